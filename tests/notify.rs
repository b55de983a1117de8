//! READY_CHECK=notify: who may say that the app is ready, and who else is told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::agent::Agent;
use support::haproxy::{ARTICLE, Haproxy};
use support::namespace::skip;
use support::{DEADLINE, eventually, stays};

/// Sends a message to the `NOTIFY_SOCKET` of its environment, and stays.
const SAY: &str = r#"use Socket; $n = $ENV{NOTIFY_SOCKET}; $n =~ s/^@/\0/;
    socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, $ARGV[0], 0, sockaddr_un($n)) or die; sleep 30"#;

/// An agent around a script that finds `say MESSAGE` defined, and writes its NOTIFY_SOCKET to `folder`.
fn agent(haproxy: &Haproxy, folder: &Path, script: &str) -> Agent {
    let script = prepared(folder, script);
    notifying(haproxy, Agent::new(&["sh", "-c", &script]))
}

fn notifying(haproxy: &Haproxy, agent: Agent) -> Agent {
    agent.at(haproxy).env("READY_CHECK", "notify").env("APP_PORT", 1)
}

fn prepared(folder: &Path, script: &str) -> String {
    let _ = std::fs::remove_file(folder.join("address"));
    let said = folder.join("said.pl");
    std::fs::write(&said, SAY).unwrap();
    let address = folder.join("address");
    format!(
        "say() {{ perl {} \"$1\" & }}; echo $NOTIFY_SOCKET > {address}.new; mv {address}.new {address}
         {script}; exec sleep 1000",
        said.display(),
        address = address.display(),
    )
}

/// Says READY=1 from outside, by a process that stays.
fn stranger(folder: &Path) -> Child {
    let address = folder.join("address");
    eventually("the app runs", || address.exists());
    let address = std::fs::read_to_string(address).unwrap();
    let said = folder.join("said.pl");
    Command::new("perl")
        .arg(said)
        .arg("READY=1")
        .env("NOTIFY_SOCKET", address.trim())
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn end(mut stranger: Child) {
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

fn is_claimed(haproxy: &Haproxy) -> bool {
    !haproxy.ready().is_empty()
}

#[test]
fn the_apps_children_may_speak_for_it() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    // An orphan too.
    for script in ["say READY=1", "(say READY=1 &)"] {
        let mut agent = agent(&haproxy, dir.path(), script).start();
        eventually("claimed", || is_claimed(&haproxy));
        assert_eq!(agent.stop(), 143);
    }
}

#[test]
fn a_stranger_may_not_speak_for_the_app() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(&haproxy, dir.path(), "true").start();
    let stranger = stranger(dir.path());
    eventually("it says so", || agent.log().contains("did not start is ignored"));
    stays("not claimed", || !is_claimed(&haproxy));
    end(stranger);
}

/// All of a PID namespace are its PID 1's; whoever is outside has no pid there.
#[test]
fn pid_1_hears_its_namespace_alone() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let works = Command::new(unshare[0]).args(&unshare[1..]).arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        return skip("no PID namespace: needs root and unshare");
    }
    let pid_1 = |script| {
        let script = prepared(dir.path(), script);
        let words = [&unshare[..], &[support::binary(), "--", "sh", "-c", &script]];
        notifying(&haproxy, Agent::line(&words.concat())).start()
    };
    let waits = pid_1("true");
    let stranger = stranger(dir.path());
    eventually("it says so", || waits.log().contains("did not start is ignored"));
    assert!(!is_claimed(&haproxy));
    end(stranger);
    drop(waits);
    let _speaks = pid_1("say READY=1");
    eventually("claimed", || is_claimed(&haproxy));
}

#[test]
fn what_the_app_says_is_passed_on() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outer");
    let name = format!("berth-test-{}", std::process::id());
    let outers = [
        (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
        (
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            format!("@{name}"),
        ),
    ];
    for (outer, address) in outers {
        outer.set_read_timeout(Some(DEADLINE)).unwrap();
        let heard = || {
            let mut buffer = [0; 4096];
            let length = outer.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let script = "say \"MAINPID=7
READY=1
STATUS=at work\"; echo pid:$WATCHDOG_PID:; trap 'say STOPPING=1' TERM; trap 'exit 3' USR1; while :; do sleep 0.02; done";
        let mut agent = agent(&haproxy, dir.path(), script)
            .env("NOTIFY_SOCKET", &address)
            .env("WATCHDOG_PID", 1)
            .start();
        assert_eq!(heard(), "READY=1\nSTATUS=at work");
        eventually("claimed", || is_claimed(&haproxy));
        assert_eq!(agent.out(), "pid::\n");
        agent.signal("TERM");
        assert_eq!(heard(), "STOPPING=1");
        agent.signal("USR1");
        assert_eq!(agent.wait(), 3);
    }
}

/// systemd-notify sends a descriptor, and waits until the other side has closed it.
#[test]
fn a_barrier_ends_at_once() {
    if Command::new("systemd-notify").arg("--version").output().is_err() {
        return skip("systemd-notify is missing");
    }
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let script = "systemd-notify --ready; echo code-$?";
    let agent = agent(&haproxy, dir.path(), script).start();
    eventually("claimed", || is_claimed(&haproxy));
    eventually("done", || agent.out() == "code-0\n");
}

#[test]
fn an_outer_socket_that_is_away_is_said_once_and_harms_nobody() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    for address in ["/nonexistent/socket", "vsock:2:1"] {
        let script = "say STATUS=1; say STATUS=2; say READY=1";
        let agent = agent(&haproxy, dir.path(), script).env("NOTIFY_SOCKET", address).start();
        eventually("claimed", || is_claimed(&haproxy));
        let said = || agent.log().matches("passed on to").count();
        eventually("said", || said() == 1);
    }
}
