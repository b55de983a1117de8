//! HAProxy without slots: servers that containers add and delete, through the binary on real HAProxys.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::PathBuf;

use berth::registers::haproxy::StatTable;
use support::agent::{Agent, signal};
use support::haproxy::{Haproxy, versions};
use support::tap::Tap;
use support::{Port, eventually, stays};

const EMPTY: &str = "backend webapp\n";

fn hello(haproxy: &Haproxy, name: &str, port: Port) -> Agent {
    Agent::hello(haproxy, name, port)
        .env("HAPROXY_SLOTS", "dynamic")
        .env("HAPROXY_BACKEND", "webapp")
        .env("SYNC_INTERVAL", "200ms")
}

fn name(port: Port) -> String {
    format!("node-127-0-0-1-{port}")
}

/// Whether the only server is in rotation and called so.
fn only(haproxy: &Haproxy, port: Port) -> bool {
    let servers = haproxy.servers();
    servers.len() == 1 && *servers[0].name == *name(port) && haproxy.ready().len() == 1
}

/// What its last health check ended with.
fn check(haproxy: &Haproxy, port: Port) -> String {
    let table = StatTable::parse(&haproxy.command("show stat")).unwrap();
    let mut rows = table.rows();
    let row = rows.find(|row| row.text("svname") == Some(&name(port)));
    row.and_then(|row| row.text("check_status")).unwrap_or_default().to_owned()
}

fn each(test: impl Fn(PathBuf)) {
    versions().into_iter().for_each(test);
}

#[test]
fn a_server_is_added_serves_and_is_deleted() {
    each(|binary| {
        let haproxy = Haproxy::with_config(binary, EMPTY);
        let port = Port::free();
        let mut agent = hello(&haproxy, "one", port).start();
        eventually("served", || haproxy.get("/") == "hello from one\n");
        eventually("checked", || check(&haproxy, port).contains("L4OK"));
        assert!(only(&haproxy, port), "{:?}", haproxy.servers());
        assert_eq!(agent.stop(), 143);
        assert_eq!(haproxy.servers(), []);
        let said: Vec<_> = agent.log().lines().map(str::to_owned).collect();
        assert_eq!(said.len(), 4, "{said:#?}");
        for (line, what) in said.iter().zip(["in rotation", "draining", "released", "ended"]) {
            assert!(line.contains(what), "{line}");
        }
    });
}

#[test]
fn whoever_is_forgotten_comes_back() {
    each(|binary| {
        let mut haproxy = Haproxy::with_config(binary, EMPTY);
        let port = Port::free();
        let agent = hello(&haproxy, "one", port).start();
        let served = |haproxy: &Haproxy| haproxy.get("/") == "hello from one\n";
        eventually("served", || served(&haproxy));
        haproxy.restart();
        eventually("served after a restart", || served(&haproxy));
        haproxy.reload();
        eventually("served after a reload", || served(&haproxy));
        // It has seen itself in rotation.
        stays("in", || only(&haproxy, port));
        haproxy.command(&format!("set server webapp/{} state maint", name(port)));
        haproxy.command(&format!("del server webapp/{}", name(port)));
        eventually("added again", || only(&haproxy, port));
        assert!(agent.log().contains("HAProxy has restarted"), "{}", agent.log());
    });
}

#[test]
fn an_operators_maintenance_stays() {
    let haproxy = Haproxy::with_config("haproxy".into(), EMPTY);
    let port = Port::free();
    let agent = hello(&haproxy, "one", port).start();
    let server = || haproxy.servers().pop().unwrap();
    eventually("in", || only(&haproxy, port));
    // The agent must have seen its server in rotation, and the check have ended.
    eventually("checked", || check(&haproxy, port).contains("L4OK"));
    stays("in", || only(&haproxy, port));
    haproxy.command(&format!("set server webapp/{} state maint", name(port)));
    eventually("said", || agent.log().contains("by an operator"));
    stays("left so", || server().admin.in_maint());
    haproxy.command(&format!("set server webapp/{} state ready", name(port)));
    eventually("served", || haproxy.get("/") == "hello from one\n");
}

#[test]
fn the_dead_are_deleted_by_the_living_and_nothing_else_is() {
    each(|binary| {
        let proxies = "backend webapp
  server-template node 1-3 127.0.0.1:1 check inter 100ms
  server node-127-0-0-9-1 127.0.0.1:1 check inter 100ms
backend other
  server node-127-0-0-1-2 127.0.0.1:2 check inter 100ms
";
        let haproxy = Haproxy::with_config(binary, proxies);
        let options = "check inter 100ms fall 1";
        let start = |port| {
            let agent = hello(&haproxy, "one", port).env("HAPROXY_SERVER_OPTIONS", options);
            agent.env("RECLAIM_AFTER", "1s").start()
        };
        let (living, dead) = (Port::free(), Port::free());
        let mut gone = start(dead);
        let in_rotation = |port: Port| !haproxy.ready_at(&format!("127.0.0.1:{port}")).is_empty();
        eventually("in", || in_rotation(dead));
        let agent = start(living);
        eventually("both in", || in_rotation(living));
        gone.crash();
        eventually("deleted", || !in_rotation(dead));
        eventually("said", || agent.log().contains("containers that are gone"));
        assert_eq!(haproxy.servers().len(), 6, "the living, the operator's and the template's");
        stays("left alone", || haproxy.servers().len() == 6 && in_rotation(living));
    });
}

#[test]
fn whoever_is_killed_and_comes_back_is_in_at_once() {
    each(|binary| {
        let haproxy = Haproxy::with_config(binary, EMPTY);
        let port = Port::free();
        let mut agent = hello(&haproxy, "one", port).start();
        eventually("in", || only(&haproxy, port));
        agent.crash();
        // Nobody sends requests meanwhile: one that HAProxy tries again would keep the server.
        let agent = hello(&haproxy, "two", port).env("HAPROXY_SERVER_OPTIONS", "weight 7").start();
        eventually("in", || agent.log().contains("in rotation"));
        eventually("with its own options", || {
            only(&haproxy, port) && haproxy.servers()[0].configured_weight == 7
        });
        eventually("served", || haproxy.get("/") == "hello from two\n");
        assert!(!agent.log().contains("cannot register"), "{}", agent.log());
    });
}

#[test]
fn a_killed_app_is_out_before_its_agent_ends() {
    let haproxy = Haproxy::with_config("haproxy".into(), EMPTY);
    let port = Port::free();
    let mut agent = hello(&haproxy, "one", port).start();
    eventually("in", || only(&haproxy, port));
    signal(agent.children()[0], "KILL");
    assert_eq!(agent.wait(), 137);
    assert_eq!(haproxy.servers(), []);
}

#[test]
fn a_backend_that_cannot_take_servers_is_said_once_with_what_to_change() {
    each(|binary| {
        for (lines, backend, said) in [
            ("balance source", "webapp", "hash-type consistent"),
            ("balance static-rr", "webapp", "hash-type consistent"),
            ("balance roundrobin", "nobody", "HAPROXY_BACKEND says which"),
        ] {
            let proxies = format!("backend webapp\n  {lines}\n");
            let haproxy = Haproxy::with_config(binary.clone(), &proxies);
            let agent =
                hello(&haproxy, "one", Port::free()).env("HAPROXY_BACKEND", backend).start();
            eventually("said", || agent.log().contains(said));
            stays("once", || agent.log().matches(said).count() <= 2);
            assert_eq!(haproxy.servers(), []);
        }
        let consistent = "backend webapp\n  balance source\n  hash-type consistent\n";
        let haproxy = Haproxy::with_config(binary, consistent);
        let _agent = hello(&haproxy, "one", Port::free()).start();
        eventually("served", || haproxy.get("/") == "hello from one\n");
    });
}

#[test]
fn an_option_that_haproxy_refuses_is_said_in_its_words() {
    let haproxy = Haproxy::with_config("haproxy".into(), EMPTY);
    let agent =
        hello(&haproxy, "one", Port::free()).env("HAPROXY_SERVER_OPTIONS", "check bogus").start();
    eventually("said", || agent.log().contains("unknown keyword 'bogus'"));
    assert!(agent.log().contains("HAPROXY_SERVER_OPTIONS"), "{}", agent.log());
}

#[test]
fn who_comes_in_says_a_handful_of_words() {
    let haproxy = Haproxy::with_config("haproxy".into(), EMPTY);
    let tap = Tap::start(haproxy.stats);
    let port = Port::free();
    let mut agent = hello(&haproxy, "one", port)
        .env("HAPROXY_PORT", tap.port)
        .env("SYNC_INTERVAL", "1m")
        .start();
    eventually("in", || only(&haproxy, port));
    let words: Vec<_> = tap.take();
    assert!(words.len() <= 7, "{words:?}");
    assert!(words.iter().any(|word| word.starts_with("add server webapp/node-127-0-0-1-")));
    agent.stop();
}

#[test]
fn status_and_check_know_a_server_that_was_added() {
    let haproxy = Haproxy::with_config("haproxy".into(), EMPTY);
    let port = Port::free();
    let _agent = hello(&haproxy, "one", port).start();
    eventually("in", || only(&haproxy, port));
    let ask = |argument: &str| {
        let words = [env!("CARGO_BIN_EXE_berth"), argument];
        let mut asked = Agent::line(&words).at(&haproxy).env("APP_PORT", port);
        asked = asked.env("HAPROXY_SLOTS", "dynamic").env("HAPROXY_BACKEND", "webapp");
        let mut asked = asked.start();
        (asked.wait(), asked.out())
    };
    let (code, out) = ask("--status");
    assert_eq!(code, 0);
    assert!(out.contains(&format!("webapp/{}", name(port))) && out.contains("UP"), "{out}");
    assert_eq!(ask("--check").0, 0);
    haproxy.command(&format!("set server webapp/{} state maint", name(port)));
    assert_eq!(ask("--check").0, 1);
}
