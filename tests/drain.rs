//! Leaving without dropping a request, and leaving in time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::thread;

use support::agent::{Agent, Running, hello, signal};
use support::haproxy::{ARTICLE, Haproxy, http_get, versions};
use support::tap::Tap;
use support::{DEADLINE, Port, eventually, stays};

/// An agent that is served, and where its app listens.
fn serving(haproxy: &Haproxy, env: &[(&str, &str)]) -> (Running, SocketAddr) {
    let port = Port::free();
    let agent = env
        .iter()
        .fold(Agent::hello(haproxy, "one", port), |agent, (name, value)| agent.env(name, value))
        .start();
    eventually("served", || haproxy.get("/") == "hello from one\n");
    (agent, SocketAddr::from(([127, 0, 0, 1], port.0)))
}

/// A request through the frontend that takes `ms`; returns once HAProxy works on it.
fn request(haproxy: &Haproxy, ms: u64) -> thread::JoinHandle<String> {
    let http = SocketAddr::from(([127, 0, 0, 1], haproxy.http.0));
    let request = thread::spawn(move || http_get(http, &format!("/sleep/{ms}")));
    eventually("HAProxy works on the request", || {
        haproxy.command("show stat -1 4 -1").lines().any(|row| {
            let cells: Vec<_> = row.split(',').collect();
            cells.get(4) == Some(&"1") && !row.starts_with('#')
        })
    });
    request
}

/// A connection through the frontend that is upgraded to something else, as a WebSocket is.
fn upgraded(haproxy: &Haproxy) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", haproxy.http.0)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        .unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    stream
}

/// Says a word to the app, which says it back.
fn echo(stream: &mut BufReader<TcpStream>, word: &str) {
    stream.get_mut().write_all(format!("{word}\n").as_bytes()).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, format!("{word}\n"));
}

#[test]
fn a_running_request_ends_before_the_app_is_stopped() {
    let haproxy = Haproxy::start(ARTICLE);
    let (mut agent, at) = serving(&haproxy, &[]);
    let request = request(&haproxy, 1500);
    agent.signal("TERM");
    eventually("out of rotation", || haproxy.ready().is_empty());
    assert_eq!(haproxy.get("/"), "status 503", "no new request");
    assert_eq!(http_get(at, "/"), "hello from one\n", "the app itself serves on");
    assert_eq!(request.join().unwrap(), "hello from one\n");
    assert_eq!(agent.wait(), 143);
    assert!(haproxy.servers().iter().all(|server| server.admin.in_maint()));
}

#[test]
fn a_frontend_may_have_the_name_of_the_backend() {
    let proxies = format!("  use_backend web\nbackend webapp\nbackend web\n  {ARTICLE}\n");
    for binary in versions() {
        let haproxy = Haproxy::with_config(binary, &proxies);
        let sync = [("HAPROXY_BACKEND", "web"), ("SYNC_INTERVAL", "100ms")];
        let (mut agent, _) = serving(&haproxy, &sync);
        let said = |agent: &Running| agent.log().matches("in rotation").count();
        stays("verified in silence", || said(&agent) == 1);
        let request = request(&haproxy, 1500);
        assert_eq!(agent.stop(), 143);
        assert_eq!(request.join().unwrap(), "hello from one\n");
    }
}

#[test]
fn a_drain_ends_at_its_deadline_and_the_request_with_it() {
    let haproxy = Haproxy::start(ARTICLE);
    let (mut agent, _) = serving(&haproxy, &[("DRAIN_TIMEOUT", "500ms")]);
    let request = request(&haproxy, 60_000);
    assert_eq!(agent.stop(), 143);
    assert_eq!(request.join().unwrap(), "status 502");
    assert!(haproxy.servers().iter().all(|server| server.admin.in_maint()));
}

#[test]
fn a_long_lived_connection_has_all_of_the_drains_time() {
    for mode in ["http", "tcp"] {
        let proxies = format!("  mode {mode}\nbackend webapp\n  mode {mode}\n  {ARTICLE}\n");
        let haproxy = Haproxy::with_config("haproxy".into(), &proxies);
        let tap = Tap::start(haproxy.stats);
        let port = tap.port.to_string();
        let env = [("DRAIN_TIMEOUT", "1h"), ("SYNC_INTERVAL", "100ms"), ("HAPROXY_PORT", &port)];
        let (mut agent, _) = serving(&haproxy, &env);
        let mut stream = upgraded(&haproxy);
        agent.signal("TERM");
        eventually("out of rotation", || haproxy.ready().is_empty());
        tap.take();
        let mut asked = 0;
        eventually("asked again and again", || {
            echo(&mut stream, mode);
            asked += tap.take().len();
            asked > 20
        });
        drop(stream);
        assert_eq!(agent.wait(), 143, "as soon as it is closed");

        let (mut agent, _) = serving(&haproxy, &[("DRAIN_TIMEOUT", "1s")]);
        let mut stream = upgraded(&haproxy);
        assert_eq!(agent.stop(), 143);
        assert_eq!(stream.read(&mut [0; 9]).unwrap_or(0), 0, "cut by the app's end");
    }
}

#[test]
fn a_request_that_waits_for_the_server_is_served_too() {
    // Whose server is chosen by a hash waits for that one and no other.
    let haproxy = Haproxy::start(&format!(
        "balance source\n  timeout queue 20s\n  {}",
        ARTICLE.replace("maxconn 8000", "maxconn 1")
    ));
    let (mut agent, _) = serving(&haproxy, &[]);
    let requests = [request(&haproxy, 2000), {
        let http = SocketAddr::from(([127, 0, 0, 1], haproxy.http.0));
        thread::spawn(move || http_get(http, "/sleep/500"))
    }];
    let slot = haproxy.ready()[0].name.to_string();
    eventually("queued", || haproxy.count("webapp", &slot, "qcur") == 1);
    agent.signal("TERM");
    eventually("out of rotation", || haproxy.ready().is_empty());
    for request in requests {
        assert_eq!(request.join().unwrap(), "hello from one\n");
    }
    assert_eq!(agent.wait(), 143);
}

#[test]
fn a_client_that_sticks_to_the_server_is_served_up_to_the_last_moment() {
    for binary in versions() {
        let stick = "stick-table type ip size 1k\n  stick on src\n  retries 0";
        let proxies = format!("backend webapp\n  {stick}\n  {ARTICLE}\n");
        let haproxy = Haproxy::with_config(binary, &proxies);
        let (mut agent, _) = serving(&haproxy, &[("DRAIN_TIMEOUT", "1s")]);
        let request = request(&haproxy, 900);
        agent.signal("TERM");
        eventually("draining", || haproxy.ready().is_empty());
        // HAProxy sends it there all the same, and it is not done when the drain is over.
        assert_eq!(haproxy.get("/sleep/1200"), "hello from one\n");
        assert_eq!(request.join().unwrap(), "hello from one\n");
        assert_eq!(agent.wait(), 143);
    }
}

#[test]
fn requests_of_a_process_that_was_reloaded_have_the_drains_time_too() {
    for binary in versions() {
        // Before the stop, and in the middle of the drain.
        for early in [true, false] {
            let mut haproxy =
                Haproxy::with_config(binary.clone(), &format!("backend webapp\n  {ARTICLE}\n"));
            let (mut agent, _) = serving(&haproxy, &[]);
            let request = request(&haproxy, 2000);
            if early {
                haproxy.reload();
                eventually("claimed again", || !haproxy.ready().is_empty());
            }
            agent.signal("TERM");
            eventually("out of rotation", || haproxy.ready().is_empty());
            if !early {
                haproxy.reload();
            }
            assert_eq!(request.join().unwrap(), "hello from one\n");
            assert_eq!(agent.wait(), 143);
        }
    }
}

#[test]
fn a_haproxy_too_busy_to_answer_keeps_the_drains_time() {
    let haproxy = Haproxy::start(ARTICLE);
    let tap = Tap::start(haproxy.stats);
    let port = tap.port.to_string();
    let (mut agent, _) = serving(&haproxy, &[("DRAIN_TIMEOUT", "1h"), ("HAPROXY_PORT", &port)]);
    let mut request = upgraded(&haproxy);
    agent.signal("TERM");
    eventually("out of rotation", || haproxy.ready().is_empty());
    signal(haproxy.pid() as i32, "STOP");
    tap.take();
    // Three in a row make a HAProxy unreachable that has no request of ours.
    let asked = Cell::new(0);
    eventually("asked in vain, often", || {
        asked.set(asked.get() + tap.take().len());
        asked.get() > 4
    });
    signal(haproxy.pid() as i32, "CONT");
    echo(&mut request, "still here");
    drop(request);
    assert_eq!(agent.wait(), 143);
}

#[test]
fn a_second_signal_skips_the_drain() {
    let haproxy = Haproxy::start(ARTICLE);
    let (mut agent, _) = serving(&haproxy, &[("DRAIN_TIMEOUT", "1h")]);
    let request = request(&haproxy, 60_000);
    agent.signal("TERM");
    eventually("draining", || haproxy.ready().is_empty());
    stays("draining", || http_get_is_pending(&request));
    assert_eq!(agent.stop(), 143);
    assert_eq!(request.join().unwrap(), "status 502");
    assert!(haproxy.servers().iter().all(|server| server.admin.in_maint()));
}

fn http_get_is_pending(request: &thread::JoinHandle<String>) -> bool {
    !request.is_finished()
}

#[test]
fn several_haproxys_drain_at_once() {
    let haproxys = [Haproxy::start(ARTICLE), Haproxy::start(ARTICLE)];
    let list = haproxys.each_ref().map(|haproxy| format!("127.0.0.1:{}", haproxy.stats)).join(",");
    let (mut agent, _) = serving(&haproxys[0], &[("HAPROXY_SERVER", &list)]);
    eventually("served by both", || haproxys[1].get("/") == "hello from one\n");
    let requests = [request(&haproxys[0], 800), request(&haproxys[1], 1200)];
    agent.signal("TERM");
    for haproxy in &haproxys {
        eventually("out of rotation", || haproxy.ready().is_empty());
    }
    for request in requests {
        assert_eq!(request.join().unwrap(), "hello from one\n");
    }
    assert_eq!(agent.wait(), 143);
}

#[test]
fn a_haproxy_that_hangs_or_is_gone_does_not_hold_up_the_stop() {
    for gone in [true, false] {
        let mut haproxy = Haproxy::start(ARTICLE);
        // One that hangs may have requests, which have the drain's time.
        let drain = if gone { "1h" } else { "3s" };
        let (mut agent, _) = serving(&haproxy, &[("DRAIN_TIMEOUT", drain)]);
        if gone {
            haproxy.kill();
        } else {
            signal(haproxy.pid() as i32, "STOP");
        }
        // To the millisecond in the tests of the life cycle.
        assert_eq!(agent.stop(), 143);
    }
}

#[test]
fn an_app_that_ends_by_itself_is_out_at_once() {
    let haproxy = Haproxy::start(ARTICLE);
    let (mut agent, at) = serving(&haproxy, &[]);
    http_get(at, "/exit/7");
    assert_eq!(agent.wait(), 7);
    assert!(haproxy.ready().is_empty(), "before the agent itself has left");
}

#[test]
fn an_app_that_turns_unready_is_drained_and_comes_back() {
    let haproxy = Haproxy::start(ARTICLE);
    let env = [
        ("READY_CHECK", "http:/health"),
        ("READY_INTERVAL", "100ms"),
        ("READY_FALL", "2"),
        ("READY_RISE", "2"),
    ];
    let (mut agent, at) = serving(&haproxy, &env);
    let slot = haproxy.ready_at(&at.to_string());
    for _ in 0..2 {
        http_get(at, "/health/503");
        eventually("drained", || haproxy.ready().is_empty());
        let drained = |server: &&berth::registers::haproxy::Server| server.admin.in_drain();
        assert_eq!(haproxy.servers().iter().filter(drained).count(), 1, "it keeps its slot");
        http_get(at, "/health/200");
        eventually("back", || haproxy.ready_at(&at.to_string()) == slot);
    }
    assert_eq!(agent.stop(), 143);
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("stderr");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let app = format!("yes >&2 & exec {}", hello().display());
    let line = ["sh", "-c", "exec 2<>\"$0\" \"$@\"", pipe.to_str().unwrap()];
    let line = [&line[..], &[support::binary(), "--", "sh", "-c", &app]].concat();
    let port = Port::free();
    let agent = Agent::line(&line).at(&haproxy).env("PORT", port).env("APP_PORT", port);
    let mut agent = agent.env("LOG_LEVEL", "trace").start();
    eventually("served", || haproxy.ready().len() == 1);
    let mut end = OpenOptions::new();
    let end = end.write(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    eventually("full", || (&end).write(b"x").is_err());
    let slots = haproxy.ready();
    haproxy.command(&format!("set server webapp/{} addr 0.0.0.0 port 3128", slots[0].name));
    eventually("it claims again", || !haproxy.ready_at(&format!("127.0.0.1:{port}")).is_empty());
    assert_eq!(agent.stop(), 143);
    assert!(haproxy.ready().is_empty());
}

#[test]
fn an_app_that_stays_unready_costs_haproxy_no_more_than_one_that_serves() {
    let haproxy = Haproxy::start(ARTICLE);
    let tap = Tap::start(haproxy.stats);
    let dir = tempfile::tempdir().unwrap();
    let (count, ill) = (dir.path().join("count"), dir.path().join("ill"));
    let check = format!("cmd:echo >> {}; ! test -e {}", count.display(), ill.display());
    let port = tap.port.to_string();
    let env = [
        ("HAPROXY_PORT", port.as_str()),
        ("SYNC_INTERVAL", "1h"),
        ("READY_CHECK", &check),
        ("READY_INTERVAL", "100ms"),
    ];
    let (_agent, _) = serving(&haproxy, &env);
    std::fs::write(&ill, "").unwrap();
    eventually("drained", || haproxy.ready().is_empty());
    let checks = || std::fs::read_to_string(&count).unwrap().lines().count();
    // Of its own accord it looks at its slot within an hour: what comes now, the checks have caused.
    tap.take();
    let (drained, mut commands) = (checks(), Vec::new());
    eventually("many checks", || {
        commands.extend(tap.take());
        checks() > drained + 30
    });
    assert!(haproxy.ready().is_empty());
    assert!(commands.len() <= 10, "for thirty checks: {commands:?}");
}

#[test]
fn a_check_that_fails_once_changes_nothing() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count").display().to_string();
    // Every third check fails.
    let check = format!("cmd:echo >> {count}; test $(($(wc -l < {count}) % 3)) -ne 0");
    let port = Port::free();
    let agent = Agent::new(&[hello().to_str().unwrap()])
        .at(&haproxy)
        .env("PORT", port)
        .env("APP_PORT", port)
        .env("READY_CHECK", check)
        .env("READY_INTERVAL", "100ms")
        .env("READY_FALL", "2")
        .start();
    eventually("claimed", || haproxy.ready().len() == 1);
    stays("in rotation", || haproxy.ready().len() == 1);
    let checks = std::fs::read_to_string(&count).unwrap().lines().count();
    assert!(checks > 6, "{checks} checks");
    drop(agent);
}

#[test]
fn a_check_that_hangs_is_killed_and_counts_as_a_failure() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let (slow, pids) = (dir.path().join("slow"), dir.path().join("pids"));
    let check = format!(
        "cmd:if test -e {}; then echo $$ >> {}; sleep 1000; fi",
        slow.display(),
        pids.display()
    );
    let env = [
        ("READY_CHECK", check.as_str()),
        ("READY_INTERVAL", "100ms"),
        ("READY_TIMEOUT", "200ms"),
        ("READY_FALL", "2"),
    ];
    let (mut agent, at) = serving(&haproxy, &env);
    std::fs::write(&slow, "").unwrap();
    eventually("drained", || haproxy.ready().is_empty());
    std::fs::remove_file(&slow).unwrap();
    eventually("back", || haproxy.ready_at(&at.to_string()).len() == 1);
    for pid in std::fs::read_to_string(&pids).unwrap().lines() {
        let group = format!("/proc/{pid}");
        eventually("the check's processes are gone", || !std::path::Path::new(&group).exists());
    }
    assert_eq!(agent.stop(), 143);
}
