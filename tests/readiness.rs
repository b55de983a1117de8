//! Where the app is checked, and what is said when a check does not pass.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;

use support::agent::{Agent, Running, berth, hello};
use support::haproxy::Haproxy;
use support::namespace::{Apart, alone, ip};
use support::{Port, eventually, stays, stays_for};

/// Where HAProxy is, beside the container's network.
const HERE: &str = "10.99.0.1";
const TEMPLATE: &str = "backend webapp\n  server-template node 1-4 localhost:3128 disabled\n";

/// An HAProxy beside the network of a container, and the way to its stats socket.
fn beside() -> (Haproxy, String) {
    ip("link add outer type veth peer name inner");
    ip(&format!("address add {HERE}/24 dev outer"));
    ip("link set outer up");
    let stats = Port::free();
    let socket = format!("stats socket ipv4@{HERE}:{stats} level admin");
    (Haproxy::with_global("haproxy".into(), &socket, TEMPLATE), format!("{HERE}:{stats}"))
}

/// A container at 10.99.0.2 whose app listens on `listens`.
fn container(server: &str, listens: &str, env: &[(&str, &str)]) -> Running {
    let app = hello();
    let command = [support::binary(), "--", app.to_str().unwrap()];
    let agent = Agent::line(&Apart::line("10.99.0.2/24", &command))
        .env("HAPROXY_SERVER", server)
        .env("ADDR", listens)
        .env("APP_PORT", 3128);
    let agent = env.iter().fold(agent, |agent, (name, value)| agent.env(name, value)).start();
    Apart::plug(&agent);
    agent
}

fn shows(haproxy: &Haproxy, addr: &str) -> bool {
    let ready = haproxy.ready();
    ready.len() == 1 && ready[0].addr == addr.parse().ok()
}

#[test]
fn an_app_on_its_real_address_only_is_registered() {
    if !alone("an_app_on_its_real_address_only_is_registered") {
        return;
    }
    let (haproxy, server) = beside();
    let mut agent = container(&server, "10.99.0.2", &[("READY_CHECK", "http:/")]);
    eventually("it is in", || shows(&haproxy, "10.99.0.2"));
    assert_eq!(agent.stop(), 143);
}

#[test]
fn an_app_on_loopback_only_is_never_put_into_rotation() {
    if !alone("an_app_on_loopback_only_is_never_put_into_rotation") {
        return;
    }
    let (haproxy, server) = beside();
    let agent = container(&server, "127.0.0.1", &[]);
    let says = "it listens on 127.0.0.1 only, where HAProxy cannot reach it";
    eventually("it says so", || {
        assert!(haproxy.ready().is_empty());
        agent.log().contains(says)
    });
    stays("out of rotation", || haproxy.ready().is_empty());
}

/// Nobody tells the address while HAProxy is away.
#[test]
fn a_late_haproxy_gets_no_app_that_it_cannot_reach() {
    if !alone("a_late_haproxy_gets_no_app_that_it_cannot_reach") {
        return;
    }
    let (mut haproxy, server) = beside();
    haproxy.kill();
    let agent = container(&server, "127.0.0.1", &[("LOG_LEVEL", "debug")]);
    eventually("it complains", || agent.log().contains("the app is not ready yet"));
    haproxy.restart();
    stays_for(std::time::Duration::from_secs(4), "not in", || haproxy.ready().is_empty());
}

#[test]
fn a_check_follows_a_changed_address() {
    if !alone("a_check_follows_a_changed_address") {
        return;
    }
    let (haproxy, server) = beside();
    let check = [
        ("READY_CHECK", "http:/health"),
        ("READY_INTERVAL", "100ms"),
        ("READY_FALL", "2"),
        ("SYNC_INTERVAL", "200ms"),
    ];
    let mut agent = container(&server, "0.0.0.0", &check);
    eventually("it is in", || shows(&haproxy, "10.99.0.2"));
    Apart::run(
        &agent,
        "ip address add 10.99.0.3/24 dev inner; ip address del 10.99.0.2/24 dev inner; ip address replace 10.99.0.3/24 dev inner",
    );
    eventually("it is in at the new one", || shows(&haproxy, "10.99.0.3"));
    stays("in", || shows(&haproxy, "10.99.0.3"));
    assert_eq!(agent.stop(), 143);
}

/// An app that gives each connection to `answer`, with what it sent first.
fn app(answer: impl Fn(&str) -> &'static str + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 4096]);
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let _ = stream.write_all(answer(&request).as_bytes());
        }
    });
    port.to_string()
}

/// An agent around an app of this test, on 127.0.0.1.
fn around(haproxy: &Haproxy, port: &str, check: &str) -> Running {
    Agent::new(&["sleep", "1000"])
        .at(haproxy)
        .env("APP_PORT", port)
        .env("READY_CHECK", check)
        .start()
}

fn picky(request: &str) -> &'static str {
    match request.contains("Host: app.example\r\n") {
        true => "HTTP/1.1 200 OK\r\n\r\n",
        false => "HTTP/1.1 400 Bad Request\r\n\r\n",
    }
}

#[test]
fn http_checks_send_a_host_and_wait_for_the_final_status() {
    let haproxy = Haproxy::with_config("haproxy".into(), TEMPLATE);
    let early =
        app(|_| "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    let other = app(|_| "HTTP/1.1 200 OK\r\n\r\n");
    for (port, check) in [
        (&app(picky), "http://app.example/".to_owned()),
        (&early, "http:/".to_owned()),
        (&"9".to_owned(), format!("http:{other}/")),
        (&"9".to_owned(), format!("tcp:{other}")),
    ] {
        let mut agent = around(&haproxy, port, &check);
        eventually(&check, || haproxy.ready().len() == 1);
        assert_eq!(haproxy.ready()[0].port, port.parse().ok(), "{check}");
        assert_eq!(agent.stop(), 143);
    }
    let mut agent = Agent::new(&["sleep", "1000"])
        .at(&haproxy)
        .env("APP_PORT", 9)
        .env("READY_PORT", other)
        .start();
    eventually("READY_PORT", || haproxy.ready().len() == 1);
    assert_eq!(agent.stop(), 143);
}

#[test]
fn what_keeps_an_app_from_being_ready_is_said() {
    let haproxy = Haproxy::with_config("haproxy".into(), TEMPLATE);
    let nobody = Port::free().to_string();
    let listens = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listens.local_addr().unwrap().port();
    let redis = app(|_| "-ERR unknown command 'GET'\r\n");
    let missing = app(|_| "HTTP/1.1 404 Not Found\r\n\r\n");
    let agents = [
        (around(&haproxy, &app(picky), "http:/"), "status 400"),
        (around(&haproxy, &missing, "http:/nope"), "status 404"),
        (around(&haproxy, &redis, "http:/"), "something else than HTTP/1"),
        (around(&haproxy, "9", "cmd:exit 3"), "exit code 3"),
        (around(&haproxy, "9", "cmd:sleep 100"), "no answer within 2s"),
        (around(&haproxy, &nobody, "tcp"), "refused"),
    ];
    for (agent, why) in &agents {
        eventually(why, || agent.log().contains("the app is not ready yet"));
        let log = agent.log();
        assert!(log.contains(why) && !log.contains("127.0.0.1 only"), "{why}: {log}");
    }
    let (log, own) = (agents[5].0.log(), format!("127.0.0.1:{port}"));
    assert!(
        log.contains("what listens here: ") && (log.contains(&own) || log.contains('…')),
        "{log}"
    );
    assert!(haproxy.ready().is_empty());
}

#[test]
fn an_unknown_port_is_said_after_a_while() {
    let agent = Agent::new(&["sleep", "1000"]).env("HAPROXY_SERVER", "127.0.0.1:1").start();
    eventually("it says so", || agent.log().contains("the app's port is not known yet"));
}

/// A file that never ends, or never begins.
#[test]
fn files_that_variables_name_are_read_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let fifo = path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let long = path("long");
    std::fs::write(&long, " ".repeat(64 * 1024 + 1)).unwrap();
    let longest = path("longest");
    let key = "hmac-sha256:k:c2VjcmV0c2VjcmV0";
    std::fs::write(&longest, format!("{key}{}", " ".repeat(64 * 1024 - key.len()))).unwrap();
    let dns = [("DNS_SERVER", "127.0.0.1"), ("DNS_NAME", "web.app"), ("APP_PORT", "9")];
    for name in ["DNS_TSIG_KEYFILE", "DNS_TSIG_KEY_FILE"] {
        for (file, why) in [
            (fifo.as_str(), "it is not a regular file"),
            ("/dev/zero", "it is not a regular file"),
            (&long, "it is longer than 64 kB"),
            (dir.path().to_str().unwrap(), "it is not a regular file"),
        ] {
            let env = [&dns[..], &[(name, file)]].concat();
            let (code, out, err) = berth(&["--", "echo", "started"], &env);
            assert!(code == 64 && out.is_empty() && err.contains(why), "{name}={file}: {err}");
        }
    }
    let env = [&dns[..], &[("DNS_TSIG_KEY_FILE", longest.as_str())]].concat();
    assert_eq!(berth(&["--", "echo", "started"], &env).1, "started\n");
    for name in ["HAPROXY_TLS_CA", "HAPROXY_TLS_CERT"] {
        let other = ["HAPROXY_TLS_CERT", "HAPROXY_TLS_CA"][usize::from(name.ends_with("CERT"))];
        let env =
            [("HAPROXY_SERVER", "lb"), (name, &fifo), (other, &fifo), ("HAPROXY_TLS_KEY", &fifo)];
        let (code, _, err) = berth(&["--", "true"], &env);
        assert!(code == 64 && err.contains("it is not a regular file"), "{err}");
    }
}

/// Variables by our names may be the app's, or of a linked container.
#[test]
fn a_plain_init_starts_whatever_is_set() {
    for (name, value) in [
        ("DNS_NAME", "/web/dns"),
        ("SYNC_INTERVAL", "*/5 * * * *"),
        ("NODE_COUNT", "auto"),
        ("READY_CHECK", "/healthz"),
        ("DNS_TTL", "default"),
        ("DRAIN_TIMEOUT", "10 seconds"),
        ("HAPROXY_PORT", "80,443"),
        ("HAPROXY_HOST", "lb"),
        ("DNS_TSIG_KEYFILE", "/no/such/file"),
    ] {
        let (code, out, err) = berth(&["--", "echo", "started"], &[(name, value)]);
        assert_eq!((code, out.as_str()), (0, "started\n"), "{name}={value}: {err}");
        assert!(err.contains(&format!("WARN {name}")), "{name}={value}: {err}");
    }
}
