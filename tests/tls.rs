//! TLS to the stats socket, on real HAProxys behind the configuration of the example.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use support::agent::{Agent, berth};
use support::haproxy::{ARTICLE, Haproxy, versions};
use support::tls::{Ca, with_tls};
use support::{Port, eventually, stays};

const HERE: &[&str] = &["127.0.0.1"];

/// `berth --status` with these variables: exit code of `--check`, and what both said.
fn status(at: &str, port: Port, tls: &[(&str, String)]) -> (i32, String) {
    let port = port.to_string();
    let mut env = vec![("HAPROXY_SERVER", at), ("HAPROXY_PORT", &port), ("APP_PORT", "1")];
    env.extend(tls.iter().map(|(name, value)| (*name, value.as_str())));
    let (_, out, err) = berth(&["--status"], &env);
    (berth(&["--check"], &env).0, out + &err)
}

#[track_caller]
fn refused(at: &str, port: Port, tls: &[(&str, String)], words: &str) {
    let (code, said) = status(at, port, tls);
    assert!(said.contains(words), "expected '{words}' in:\n{said}");
    assert_eq!(code, 2);
}

#[test]
fn registers_and_leaves_over_mutual_tls() {
    for binary in versions() {
        let ca = Ca::new(&["127.0.0.1", "lb.localhost"]);
        let (haproxy, tls_port) = with_tls(binary, &ca);
        let port = Port::free();
        let mut agent = Agent::hello(&haproxy, "one", port).env("HAPROXY_PORT", tls_port);
        for (name, value) in ca.env() {
            agent = agent.env(name, value);
        }
        let mut agent = agent.start();
        eventually("served through the frontend", || haproxy.get("/") == "hello from one\n");
        let at = format!("127.0.0.1:{port}");
        let slots = haproxy.ready_at(&at);
        assert_eq!(slots.len(), 1, "at the local address of the TCP connection");

        let mut env = ca.env();
        env.push(("APP_PORT", port.to_string()));
        eventually("--check", || status("127.0.0.1", tls_port, &env).0 == 0);
        // The name has an IPv6 address too, on which nobody listens.
        assert_eq!(status("lb.localhost", tls_port, &env).0, 0);
        let (_, said) = status("127.0.0.1", tls_port, &env);
        assert!(said.contains(&format!("webapp/{}", slots[0])) && said.contains(&at), "{said}");

        assert_eq!(agent.stop(), 143);
        assert!(haproxy.ready_at(&at).is_empty());
    }
}

#[test]
fn haproxy_refuses_a_client_without_a_good_certificate() {
    for binary in versions() {
        let (ca, stranger) = (Ca::new(HERE), Ca::new(HERE));
        let (_haproxy, port) = with_tls(binary, &ca);
        let ours = ca.env();
        let theirs = [vec![ours[0].clone()], stranger.env()[1..].to_vec()].concat();
        refused("127.0.0.1", port, &ours[..1], "HAProxy refused us: it wants a client certificate");
        refused(
            "127.0.0.1",
            port,
            &theirs,
            "HAProxy refused us: our certificate (HAPROXY_TLS_CERT) is not from an authority",
        );
        assert!(!status("127.0.0.1", port, &ours).1.contains("refused"), "the good one is let in");
        ca.expire("agent.pem", HERE);
        refused(
            "127.0.0.1",
            port,
            &ours,
            "HAProxy refused us: our certificate (HAPROXY_TLS_CERT) has expired",
        );
        let plain = "the connection was closed without an answer; is this its stats socket, and one without TLS?";
        refused("127.0.0.1", port, &[], plain);
    }
}

#[test]
fn a_server_that_cannot_prove_its_name_is_refused() {
    let ca = Ca::new(&["localhost", "lb.example", "127.0.0.2"]);
    let (_haproxy, port) = with_tls("haproxy".into(), &ca);
    let said = "certificate: it is for localhost, lb.example, 127.0.0.2, expected 127.0.0.1";
    refused("127.0.0.1", port, &ca.env(), said);
    // A name stays the name to verify, whatever it resolves to.
    refused("lb.localhost", port, &ca.env(), "expected lb.localhost");

    let ca = Ca::new(&["lb.localhost"]);
    let (_haproxy, port) = with_tls("haproxy".into(), &ca);
    let (_, said) = status("lb.localhost", port, &ca.env());
    assert!(!said.contains("refused our") && !said.contains("we refused"), "{said}");

    let (mine, other) = (Ca::new(HERE), Ca::new(HERE));
    let (_haproxy, port) = with_tls("haproxy".into(), &other);
    refused("127.0.0.1", port, &mine.env(), "we refused HAProxy's certificate: ");
    refused("127.0.0.1", port, &mine.env(), "HAPROXY_TLS_CA");

    mine.expire("haproxy.pem", HERE);
    let (_haproxy, port) = with_tls("haproxy".into(), &mine);
    refused("127.0.0.1", port, &mine.env(), "we refused HAProxy's certificate: it expired");
}

/// The trap that the example warns of, and what a Berth with TLS on makes of it.
#[test]
fn ssl_on_a_stats_socket_line_is_plain_text_and_gets_nothing() {
    for binary in versions() {
        let ca = Ca::new(HERE);
        let port = Port::free();
        let global = format!(
            "stats socket ipv4@127.0.0.1:{port} ssl crt {} ca-file {} verify required level admin",
            ca.path("haproxy.pem").display(),
            ca.path("ca.pem").display()
        );
        let proxies = format!("backend webapp\n  {ARTICLE}\n");
        let _haproxy = Haproxy::with_global(binary, &global, &proxies);
        let mut plain = TcpStream::connect(("127.0.0.1", port.0)).unwrap();
        plain.write_all(b"show info\n").unwrap();
        let mut answer = String::new();
        plain.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("Name: HAProxy"), "it has become TLS: {answer}");
        refused("127.0.0.1", port, &ca.env(), "it does not speak TLS");
    }
}

#[test]
fn no_command_leaves_before_the_handshake_is_done() {
    let ca = Ca::new(HERE);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Port(listener.local_addr().unwrap().port());
    let listens = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for stream in listener.incoming().take(2) {
            stream.unwrap().read_to_end(&mut heard).unwrap();
        }
        heard
    });
    refused("127.0.0.1", port, &ca.env(), "no TLS handshake within 2s");
    let heard = listens.join().unwrap();
    assert_eq!(heard.first(), Some(&22), "a handshake record");
    assert!(!heard.windows(4).any(|window| window == b"show"), "{heard:?}");
}

#[test]
fn the_next_handshake_resumes_the_session() {
    let ca = Ca::new(HERE);
    let (haproxy, tls_port) = with_tls("haproxy".into(), &ca);
    let port = Port::free();
    let mut agent = Agent::hello(&haproxy, "one", port).env("HAPROXY_PORT", tls_port);
    for (name, value) in ca.env() {
        agent = agent.env(name, value);
    }
    let _agent = agent.env("SYNC_INTERVAL", "100ms").start();
    let count = |column| haproxy.count("stats-tls", "FRONTEND", column);
    let counts = || (count("ssl_sess"), count("ssl_reused_sess"));
    eventually("twenty resumed", || counts().1 >= 20);
    let (all, resumed) = counts();
    assert!(all <= resumed + 2, "{resumed} of {all} handshakes were resumed");
}

#[test]
fn rotated_certificates_are_taken_up_and_garbled_ones_left_alone() {
    let (ca, next) = (Ca::new(HERE), Ca::new(HERE));
    let (mut haproxy, tls_port) = with_tls("haproxy".into(), &ca);
    let port = Port::free();
    let at = format!("127.0.0.1:{port}");
    let mut agent = Agent::hello(&haproxy, "one", port).env("HAPROXY_PORT", tls_port);
    for (name, value) in ca.env() {
        agent = agent.env(name, value);
    }
    let agent = agent.env("SYNC_INTERVAL", "100ms").start();
    eventually("claimed", || haproxy.ready_at(&at).len() == 1);

    let good = std::fs::read(ca.path("agent.key")).unwrap();
    std::fs::write(ca.path("agent.key"), "half a ke").unwrap();
    eventually("complained", || agent.log().contains("HAPROXY_TLS_KEY names"));
    stays("in rotation", || haproxy.ready_at(&at).len() == 1);
    assert_eq!(agent.log().matches("keeping the old").count(), 1, "{}", agent.log());
    std::fs::write(ca.path("agent.key"), good).unwrap();

    for name in ["ca.pem", "agent.pem", "agent.key", "haproxy.pem"] {
        std::fs::copy(next.path(name), ca.path(name)).unwrap();
    }
    haproxy.restart();
    eventually("claimed again", || haproxy.ready_at(&at).len() == 1);
}

#[test]
fn files_that_cannot_be_used_are_configuration_errors() {
    let (ca, other) = (Ca::new(HERE), Ca::new(HERE));
    let file = |name: &str, contents: &str| -> String {
        let path: PathBuf = ca.path(name);
        std::fs::write(&path, contents).unwrap();
        path.display().to_string()
    };
    let missing = ca.path("missing").display().to_string();
    let empty = file("empty", "");
    let truncated = file("truncated", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    let nonsense =
        file("nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let encrypted = file(
        "encrypted",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let long = file("long", &"x".repeat(2 << 20));
    let other = other.path("agent.key").display().to_string();
    let directory = ca.path("").display().to_string();
    for (variable, path, expected) in [
        ("HAPROXY_TLS_CA", &missing, "No such file"),
        ("HAPROXY_TLS_CA", &directory, "is not a regular file"),
        ("HAPROXY_TLS_CA", &empty, "holds no certificate, expected PEM"),
        ("HAPROXY_TLS_CA", &truncated, "garbled PEM"),
        ("HAPROXY_TLS_CA", &nonsense, "does not parse"),
        ("HAPROXY_TLS_CA", &long, "longer than"),
        ("HAPROXY_TLS_CERT", &empty, "holds no certificate, expected PEM"),
        ("HAPROXY_TLS_CERT", &nonsense, "does not parse"),
        ("HAPROXY_TLS_KEY", &empty, "holds no private key, expected PEM"),
        ("HAPROXY_TLS_KEY", &encrypted, "expected one without a passphrase"),
        ("HAPROXY_TLS_KEY", &other, "is not the key of"),
    ] {
        let mut env = ca.env();
        env.retain(|(name, _)| *name != variable);
        let mut env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        env.extend([(variable, path.as_str()), ("HAPROXY_SERVER", "lb")]);
        let (code, _, said) = berth(&["--", "echo", "started"], &env);
        assert_eq!(code, 64, "{variable}={path}: {said}");
        let named = format!("berth: {variable} names {path}: ");
        assert!(said.starts_with(&named) && said.contains(expected), "{expected}: {said}");
    }
    let (code, _, said) =
        berth(&["true"], &[("HAPROXY_SERVER", "unix:/x"), ("HAPROXY_TLS_CA", &missing)]);
    assert_eq!(code, 64);
    assert!(said.contains("no TLS over Unix sockets"), "{said}");
}
