//! The built binary in DNS, as users run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::time::Instant;

use support::agent::{Agent, Running, berth, hello};
use support::bind::{Bind, KEY, ZONE, faketime, secret_in};
use support::container::{leases, records, shared};
use support::haproxy::{ARTICLE, Haproxy, http_get};
use support::{Port, eventually, stays};

/// The example app at an address of its own, in DNS alone.
fn app(bind: &Bind, addr: &str, more: &[(&str, &str)]) -> Running {
    let port = Port::free();
    let mut agent = Agent::new(&[hello().to_str().unwrap()])
        .env("ADDR", addr)
        .env("PORT", port)
        .env("APP_PORT", port)
        .env("APP_ADDR", addr)
        .env("DNS_SERVER", bind.addr)
        .env("DNS_ZONE", ZONE)
        .env("SERVICE_NAME", "webapp")
        .env("DNS_TSIG_KEYFILE", bind.key_file().display());
    for (name, value) in more {
        agent = agent.env(name, value);
    }
    agent.start()
}

#[test]
fn dns_alone_is_enough_and_the_record_is_gone_before_the_app_is() {
    let Some(bind) = Bind::start() else { return };
    let port = Port::free();
    let mut agent = Agent::new(&["sh", "-c", &format!("trap '' TERM; {}", hello().display())])
        .env("PORT", port)
        .env("START_AFTER_MS", 300)
        .env("APP_PORT", port)
        .env("DNS_SERVER", bind.addr)
        .env("DNS_ZONE", ZONE)
        .env("SERVICE_NAME", "webapp")
        .env("DNS_TSIG_KEYFILE", bind.key_file().display())
        .env("STOP_TIMEOUT", "2s")
        .start();
    eventually("in DNS", || shared(&bind) == ["127.0.0.1"]);
    agent.signal("TERM");
    eventually("out of DNS", || records(&bind).is_empty() && leases(&bind) == 0);
    assert!(agent.is_running(), "the app ignores the signal for two seconds");
    assert_eq!(agent.wait(), 137);
}

#[test]
fn the_record_is_out_while_the_last_requests_still_run() {
    let Some(bind) = Bind::start() else { return };
    let haproxy = Haproxy::start(ARTICLE);
    let port = Port::free();
    let mut agent = Agent::hello(&haproxy, "one", port)
        .env("DNS_SERVER", bind.addr)
        .env("DNS_ZONE", ZONE)
        .env("SERVICE_NAME", "webapp")
        .env("DNS_TSIG_KEYFILE", bind.key_file().display())
        .env("DRAIN_TIMEOUT", "20s")
        .start();
    eventually("served", || haproxy.get("/") == "hello from one\n");
    eventually("in DNS", || shared(&bind) == ["127.0.0.1"]);
    let frontend = SocketAddr::from(([127, 0, 0, 1], haproxy.http.0));
    let request = std::thread::spawn(move || http_get(frontend, "/sleep/3000"));
    eventually("it runs", || haproxy.count("webapp", "BACKEND", "scur") == 1);
    agent.signal("TERM");
    eventually("out of both", || shared(&bind).is_empty() && haproxy.ready().is_empty());
    assert!(!request.is_finished());
    assert_eq!(request.join().unwrap(), "hello from one\n");
    assert_eq!(agent.wait(), 143);
}

#[test]
fn the_nodes_name_follows_the_container_to_another_slot() {
    let Some(bind) = Bind::start() else { return };
    let haproxy = Haproxy::start(ARTICLE);
    let mut agent = Agent::hello(&haproxy, "one", Port::free())
        .env("DNS_SERVER", bind.addr)
        .env("DNS_ZONE", ZONE)
        .env("DNS_NAME", "webapp")
        .env("DNS_NODE_NAME", "{slot}")
        .env("DNS_LEASE", "10")
        .env("DNS_TSIG_KEYFILE", bind.key_file().display())
        .start();
    let holds = |slot: &str| bind.dig(&format!("{slot}.{ZONE}"), "A") == ["127.0.0.1"];
    let mine = || haproxy.ready().into_iter().filter(|slot| slot.addr != "10.9.9.9".parse().ok());
    eventually("it has a slot", || mine().count() == 1);
    let first = mine().next().unwrap().name;
    eventually("its name", || holds(&first));
    haproxy.command(&format!("set server webapp/{first} addr 10.9.9.9 port 1"));
    eventually("the name of another slot, and no longer that of the first", || {
        mine().any(|slot| holds(&slot.name))
            && bind.dig(&format!("{first}.{ZONE}"), "ANY").is_empty()
    });
    assert_eq!(agent.stop(), 143);
    assert_eq!((records(&bind), leases(&bind)), (Vec::<String>::new(), 0));
}

#[test]
fn leases_do_not_mind_clocks_that_differ() {
    let Some(bind) = Bind::start() else { return };
    let Some(library) = faketime() else { return };
    // As far apart as signatures allow, and far more than a lease.
    let agents: Vec<_> = [("127.0.4.1", "-250"), ("127.0.4.2", "+250")]
        .map(|(addr, offset)| {
            let clock = [
                ("LD_PRELOAD", library.as_str()),
                ("FAKETIME", offset),
                ("DONT_FAKE_MONOTONIC", "1"),
                ("DNS_LEASE", "5"),
            ];
            app(&bind, addr, &clock)
        })
        .into();
    eventually("both in DNS", || shared(&bind).len() == 2);
    for _ in 0..5 {
        stays("both in DNS", || shared(&bind).len() == 2);
    }
    assert!(agents.iter().all(|agent| !agent.log().contains("swept")));
}

#[test]
fn an_app_that_ends_by_itself_leaves_nothing_behind() {
    let Some(bind) = Bind::start() else { return };
    let mut agent = app(&bind, "127.0.0.2", &[("DNS_PTR", "0"), ("DNS_NODE_NAME", "leader")]);
    eventually("in DNS", || records(&bind).len() == 3);
    agent.children().into_iter().for_each(|pid| support::agent::signal(pid, "KILL"));
    assert_eq!(agent.wait(), 137);
    assert_eq!((records(&bind), leases(&bind)), (Vec::<String>::new(), 0));
}

#[test]
fn containers_killed_without_a_word_are_swept_by_the_living() {
    let Some(bind) = Bind::start() else { return };
    bind.nsupdate(ZONE, "update add webapp.berth.test 60 A 192.0.2.1");
    let lease = [("DNS_LEASE", "5")];
    let mut agents: Vec<_> =
        (1..=6).map(|last| app(&bind, &format!("127.0.1.{last}"), &lease)).collect();
    eventually("all in DNS", || shared(&bind).len() == 7);
    let killed = Instant::now();
    agents.drain(2..).for_each(|mut agent| agent.crash());
    eventually("the dead are out", || shared(&bind) == ["127.0.1.1", "127.0.1.2", "192.0.2.1"]);
    println!("swept {:.1?} after kill -9 with a lease of 5 s", killed.elapsed());
    assert_eq!(leases(&bind), 2);
    let swept: usize =
        agents.iter().map(|agent| agent.log().matches("swept the records").count()).sum();
    assert_eq!(swept, 4, "each of the dead by one of the living");
    stays("the living are in DNS", || shared(&bind).len() == 3);

    // All die; the first that comes afterwards cleans up.
    agents.into_iter().for_each(|mut agent| agent.crash());
    let mut last = app(&bind, "127.0.1.9", &lease);
    eventually("only the last and the foreign one", || shared(&bind) == ["127.0.1.9", "192.0.2.1"]);
    assert_eq!(last.stop(), 143);
    assert_eq!((shared(&bind), leases(&bind)), (vec!["192.0.2.1".to_owned()], 0));
}

#[test]
fn a_container_that_was_frozen_comes_back() {
    let Some(bind) = Bind::start() else { return };
    let lease = [("DNS_LEASE", "5")];
    let frozen = app(&bind, "127.0.2.1", &lease);
    let _other = app(&bind, "127.0.2.2", &lease);
    eventually("both in DNS", || shared(&bind).len() == 2);
    frozen.signal("STOP");
    eventually("swept", || shared(&bind) == ["127.0.2.2"]);
    frozen.signal("CONT");
    eventually("back", || shared(&bind).len() == 2);
}

#[test]
fn status_and_check_show_what_the_server_answers() {
    let Some(bind) = Bind::start() else { return };
    let haproxy = Haproxy::start(ARTICLE);
    bind.nsupdate(ZONE, "update add webapp.berth.test 60 A 192.0.2.1");
    let (port, server, key) =
        (Port::free().to_string(), bind.addr.to_string(), bind.key_file().display().to_string());
    let stats = haproxy.stats.to_string();
    let env = [
        ("HAPROXY_SERVER", "127.0.0.1"),
        ("HAPROXY_PORT", &stats),
        ("APP_PORT", &port),
        ("SERVICE_NAME", "webapp"),
        ("DNS_SERVER", &server),
        ("DNS_ZONE", ZONE),
        ("DNS_TSIG_KEYFILE", &key),
        ("DNS_NODE_NAME", "webapp-{slot}"),
        ("DNS_SRV", "_http._tcp"),
    ];
    let (code, out, _) = berth(&["--status"], &env);
    assert!(code == 0 && out.contains("not registered in DNS"), "{out}");
    assert_eq!(berth(&["--check"], &env).0, 1);
    let mut agent = Agent::new(&[hello().to_str().unwrap()]).env("PORT", &port);
    for (name, value) in env {
        agent = agent.env(name, value);
    }
    let mut agent = agent.start();
    eventually("registered", || berth(&["--check"], &env).0 == 0);
    eventually("all records", || records(&bind).len() == 5);
    let (_, out, _) = berth(&["--status"], &env);
    let rows: Vec<Vec<_>> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let row = |start: &[&str]| rows.iter().find(|row| row.starts_with(start)).is_some();
    assert!(row(&["DNS", "TYPE", "TTL", "DATA", "MINE"]), "{out}");
    assert!(row(&["webapp.berth.test", "A", "30", "127.0.0.1", "yes"]), "{out}");
    assert!(row(&["webapp.berth.test", "A", "30", "192.0.2.1", "-"]), "{out}");
    assert!(row(&["127-0-0-1._lease.webapp.berth.test", "TXT", "30"]), "{out}");
    let (_, json, _) = berth(&["--status=json"], &env);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["dns"]["registered"], true);
    let records = json["dns"]["records"].as_array().unwrap();
    let srv = records.iter().find(|record| record["type"] == "SRV").unwrap();
    assert_eq!(srv["mine"], true);
    assert_eq!(agent.stop(), 143);
    bind.signal("STOP");
    let (code, out, _) = berth(&["--status"], &env);
    assert!(code == 0 && out.contains("timed out (check that it runs"), "{out}");
    assert_eq!(berth(&["--check"], &env).0, 1);
}

#[test]
fn the_documented_configuration_works_and_the_key_may_change_nothing_else() {
    let Some(bind) = Bind::as_documented() else { return };
    let haproxy = Haproxy::start(ARTICLE);
    let documented = include_str!("../examples/bind/webapp.env")
        .replace("10.0.0.53", &bind.addr.to_string())
        .replace("/run/secrets/berth.key", &bind.path("berth.key").display().to_string());
    let start = |more: &[(&str, &str)]| {
        let mut agent = Agent::new(&["sleep", "100"])
            .at(&haproxy)
            .env("READY_CHECK", "none")
            .env("APP_ADDR", "10.0.0.5")
            .env("APP_PORT", 8080);
        for line in documented.lines().filter(|line| line.starts_with("DNS_")) {
            let (name, value) = line.split_once('=').unwrap();
            agent = agent.env(name, value);
        }
        more.iter().fold(agent, |agent, (name, value)| agent.env(name, value)).start()
    };
    let mut agent = start(&[]);
    let ptr = || bind.dig("5.0.0.10.in-addr.arpa", "PTR").concat();
    eventually("the last of its records", || ptr().ends_with(".webapp.example.com."));
    let (node, own) = (ptr(), "10.0.0.5");
    assert_eq!(bind.dig("webapp.example.com", "A"), [own]);
    assert_eq!(bind.dig(&node, "A"), [own]);
    let srv = bind.dig("_http._tcp.webapp.example.com", "SRV");
    assert_eq!(srv, [format!("0 0 8080 {node}")]);
    assert_eq!(bind.dig("10-0-0-5._lease.webapp.example.com", "TXT").len(), 1);
    assert_eq!(agent.stop(), 143);
    let left = bind.records("example.com");
    assert!(left.iter().all(|record| !record.contains("webapp")), "{left:?}");
    assert_eq!(ptr(), "");

    for (name, value) in [("DNS_NAME", "other"), ("DNS_NODE_NAME", "other")] {
        let agent = start(&[(name, value)]);
        eventually("refused", || agent.log().contains("says REFUSED to an update"));
        assert!(agent.log().contains("update-policy"), "{}", agent.log());
        assert!(bind.dig("other.example.com", "A").is_empty());
    }
}

#[test]
fn what_is_wrong_is_a_configuration_error() {
    let long = "x".repeat(64);
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("key");
    std::fs::write(&key_file, "key k { algorithm hmac-md5; secret \"c2VjcmV0c2VjcmV0\"; };")
        .unwrap();
    let key_file = key_file.to_str().unwrap();
    // A good key, and more behind it than a file of secrets can have.
    let long_files = [
        "key k { algorithm hmac-sha256; secret \"c2VjcmV0c2VjcmV0\"; };",
        "hmac-sha256:k:c2VjcmV0",
    ]
    .map(|key| {
        let file = dir.path().join(format!("long-{}", key.len()));
        std::fs::write(&file, format!("{key}\n{}", "\n".repeat(64 * 1024))).unwrap();
        file.display().to_string()
    });
    for (name, value, complaint) in [
        ("DNS_SERVER", "a b", "DNS_SERVER has 'a b', expected host names or IP addresses"),
        ("DNS_SERVER", "unix:/run/dns", "DNS_SERVER has 'unix:/run/dns', expected host names"),
        ("DNS_SERVER", "127.0.0.1:70000", "DNS_SERVER has"),
        ("DNS_PORT", "0", "DNS_PORT is '0', expected a port"),
        ("DNS_ZONE", &long, "DNS_ZONE has the label 'xxxxxxxxxxxx…' of 64 octets"),
        ("DNS_ZONE", "a..b", "DNS_ZONE is 'a..b', expected labels"),
        ("DNS_NAME", &long, "DNS_NAME has the label 'xxxxxxxxxxxx…' of 64 octets"),
        ("DNS_NAME", "web.example.org.", "expected a name in the zone example.com"),
        ("DNS_NAME", &["abc"; 55].join("."), "DNS_NAME is too long to keep leases below it"),
        ("DNS_TTL", "-1", "DNS_TTL is '-1', expected a duration in whole seconds"),
        ("DNS_TTL", "2147483648", "DNS_TTL is '2147483648'"),
        ("DNS_TTL", "1500ms", "DNS_TTL is '1500ms'"),
        ("DNS_LEASE", "4s", "DNS_LEASE is '4s', expected a duration in whole seconds from 5s"),
        ("DNS_NODE_NAME", "web-{slot}", "DNS_NODE_NAME has {slot} in it, but HAPROXY_SERVER"),
        ("DNS_NODE_NAME", "web-{host}", "DNS_NODE_NAME is 'web-{host}', expected labels"),
        ("DNS_NODE_NAME", "a.example.org.", "expected a name in the zone example.com"),
        ("DNS_SRV", "_http._tcp", "DNS_SRV needs DNS_NODE_NAME"),
        ("DNS_SRV", "http", "DNS_SRV is 'http', expected _service._proto"),
        ("DNS_PTR", "maybe", "DNS_PTR is 'maybe', expected 0 or 1"),
        ("DNS_TSIG_KEYFILE", "/nonexistent/key", "names /nonexistent/key, which cannot be read"),
        ("DNS_TSIG_KEYFILE", key_file, "has a key for hmac-md5, which is too weak: expected"),
        ("DNS_TSIG_KEYFILE", &long_files[0], "longer than"),
        ("DNS_TSIG_KEY_FILE", &long_files[1], "longer than"),
        ("DNS_TSIG_KEY", "hmac-sha1:k:c2VjcmV0c2VjcmV0", "DNS_TSIG_KEY has a key for hmac-sha1"),
        ("DNS_TSIG_KEY", "k:c2VjcmV0c2VjcmV0", "DNS_TSIG_KEY is not alg:name:base64"),
        ("SERVICE_NAME", "a:b", "DNS_NAME is not set, and SERVICE_NAME is 'a:b', expected labels"),
        ("SERVICE_NAME", "", "DNS_NAME is not set, expected it or SERVICE_NAME"),
    ] {
        let mut env = vec![
            ("DNS_SERVER", "127.0.0.1"),
            ("DNS_ZONE", "example.com"),
            ("SERVICE_NAME", "webapp"),
        ];
        env.retain(|(other, _)| *other != name);
        env.push((name, value));
        let (code, out, err) = berth(&["--", "echo", "started"], &env);
        assert_eq!((code, out.as_str()), (64, ""), "{name}={value}: {err}");
        assert!(err.contains(complaint), "{name}={value}: {err}");
        assert!(!err.contains("c2VjcmV0"), "{err}");
    }
    let (_, _, err) =
        berth(&["--", "true"], &[("DNS_SERVER", "127.0.0.1"), ("DNS_NAME", "webapp")]);
    assert!(
        err.contains("DNS_NAME is 'webapp', expected a full name, or DNS_ZONE with it"),
        "{err}"
    );
    let silent = [("DNS_SERVER", "127.0.0.1"), ("DNS_NAME", "web.app")];
    for check in ["tcp", "http:/", "http://app.example/"] {
        let env = [silent[0], silent[1], ("READY_CHECK", check)];
        let (code, out, err) = berth(&["--", "echo", "started"], &env);
        assert!(
            code == 64 && out.is_empty() && err.contains("APP_PORT is not set"),
            "{check}: {err}"
        );
    }
    for told in [
        ("APP_PORT", "80"),
        ("READY_PORT", "80"),
        ("READY_CHECK", "none"),
        ("READY_CHECK", "tcp:80"),
    ] {
        let (code, _, err) = berth(&["--", "true"], &[silent[0], silent[1], told]);
        assert_eq!(code, 0, "{told:?}: {err}");
    }
    let both = [
        ("APP_PORT", "80"),
        ("DNS_SERVER", "127.0.0.1"),
        ("DNS_NAME", "web.app"),
        ("DNS_TSIG_KEYFILE", key_file),
        ("DNS_TSIG_KEY", "hmac-sha256:k:c2VjcmV0"),
    ];
    let (_, _, err) = berth(&["--", "true"], &both);
    assert!(err.contains("is set as well as DNS_TSIG_KEYFILE, expected one of them"), "{err}");
}

#[test]
fn the_key_may_come_from_a_file_of_one_line() {
    let Some(bind) = Bind::start() else { return };
    let key = std::fs::read_to_string(bind.key_file()).unwrap();
    let line = bind.path("line");
    std::fs::write(&line, format!("hmac-sha256:{KEY}:{}\n", secret_in(&key))).unwrap();
    let more = [("DNS_TSIG_KEYFILE", ""), ("DNS_TSIG_KEY_FILE", line.to_str().unwrap())];
    let _agent = app(&bind, "127.0.3.1", &more);
    eventually("in DNS", || shared(&bind) == ["127.0.3.1"]);
}
