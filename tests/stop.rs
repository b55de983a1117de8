//! Stops that are none: signals that the app survives, and a loop that breaks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::agent::{Agent, Running, hello};
use support::broken::breaks;
use support::haproxy::{ARTICLE, Haproxy};
use support::{Port, eventually, stays};

/// An app that ignores these signals, served.
fn deaf(haproxy: &Haproxy, ignored: &str, env: &[(&str, &str)]) -> Running {
    let script = format!("trap '' {ignored}; exec {}", hello().display());
    serving(haproxy, Agent::new(&["sh", "-c", &script]), env)
}

fn serving(haproxy: &Haproxy, agent: Agent, env: &[(&str, &str)]) -> Running {
    let port = Port::free();
    let agent = agent.at(haproxy).env("NAME", "one").env("PORT", port).env("APP_PORT", port);
    let agent = env.iter().fold(agent, |agent, (name, value)| agent.env(name, value)).start();
    eventually("served", || is_served(haproxy));
    agent
}

fn is_served(haproxy: &Haproxy) -> bool {
    haproxy.get("/") == "hello from one\n"
}

#[track_caller]
fn is_stopped_for_good(mut agent: Running, signal: &str, code: i32) {
    agent.signal(signal);
    assert_eq!(agent.wait(), code);
}

/// A JVM writes down its threads at QUIT and goes on.
#[test]
fn an_app_that_survives_a_quit_serves_again() {
    let haproxy = Haproxy::start(ARTICLE);
    for check in ["tcp", "http:/", "none"] {
        let agent = deaf(&haproxy, "QUIT", &[("READY_CHECK", check)]);
        agent.signal("QUIT");
        eventually("out of rotation", || haproxy.ready().is_empty());
        eventually("served again", || is_served(&haproxy));
        assert!(agent.log().contains("serves still"), "{}", agent.log());
        is_stopped_for_good(agent, "TERM", 143);
        assert!(haproxy.ready().is_empty());
    }
}

#[test]
fn an_app_that_does_not_get_its_stop_signal_serves_again() {
    let haproxy = Haproxy::start(ARTICLE);
    let agent = serving(
        &haproxy,
        Agent::new(&[hello().to_str().unwrap()]),
        &[("SIGNAL_REWRITE", "TERM:0")],
    );
    agent.signal("TERM");
    eventually("out of rotation", || haproxy.ready().is_empty());
    eventually("served again", || is_served(&haproxy));
    is_stopped_for_good(agent, "INT", 130);
}

/// It closes its port and works on, which is no survival.
#[test]
fn an_app_that_takes_its_time_to_stop_does_not_serve_again() {
    let haproxy = Haproxy::start(ARTICLE);
    let script = format!(
        "trap 'kill $app; trap \"exit 3\" USR1; while :; do sleep 0.1; done' QUIT
         {} & app=$!; while :; do sleep 0.1; done",
        hello().display()
    );
    for check in ["tcp", "none"] {
        let env = [("READY_CHECK", check)];
        let agent = serving(&haproxy, Agent::new(&["sh", "-c", &script]), &env);
        agent.signal("QUIT");
        eventually("out of rotation", || haproxy.ready().is_empty());
        support::stays_for(std::time::Duration::from_secs(13), "out of rotation", || {
            haproxy.ready().is_empty()
        });
        assert!(!agent.log().contains("not ready"), "{}", agent.log());
        is_stopped_for_good(agent, "USR1", 3);
    }
}

#[test]
fn a_signal_that_is_no_stop_signal_drains_nothing() {
    let haproxy = Haproxy::start(ARTICLE);
    let agent = deaf(&haproxy, "QUIT", &[("STOP_SIGNALS", "TERM,WINCH")]);
    agent.signal("QUIT");
    stays("served", || is_served(&haproxy));
    agent.signal("WINCH");
    eventually("out of rotation", || haproxy.ready().is_empty());
    is_stopped_for_good(agent, "TERM", 143);
}

#[test]
fn with_a_stop_timeout_a_deaf_app_is_killed() {
    let haproxy = Haproxy::start(ARTICLE);
    let agent = deaf(&haproxy, "QUIT", &[("STOP_TIMEOUT", "12s")]);
    is_stopped_for_good(agent, "QUIT", 137);
    assert!(haproxy.ready().is_empty());
}

/// What it cannot look after any more must not stay in rotation: nobody would drain it.
#[test]
fn a_loop_that_breaks_gives_back_what_it_holds() {
    let haproxy = Haproxy::start(ARTICLE);
    // Of all that Berth reads, a signal alone is asked for in 128 bytes.
    let broken = Agent::new(&[hello().to_str().unwrap()])
        .with(|command| breaks(command, libc::SYS_read, Some(128), libc::EIO));
    let agent = serving(&haproxy, broken, &[]);
    agent.signal("WINCH");
    eventually("given back", || haproxy.servers().iter().all(|server| server.admin.in_maint()));
    eventually("it says so", || {
        agent.log().contains("the app runs on, and is not registered any more")
    });
    is_stopped_for_good(agent, "TERM", 143);
}
