//! From the start of a container to its first request served, what of it is the agent's own, and from
//! the end of an app to its slot out of rotation.
//!
//! `scripts/bench-start.sh [RUNS]`. Prints milliseconds; asserts nothing.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use berth_testkit::Port;
use berth_testkit::agent::{Agent, hello, signal};
use berth_testkit::haproxy::{ARTICLE, Haproxy};

fn main() {
    let runs = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(30_u32);
    let haproxy = Haproxy::start(ARTICLE);
    let mut lives: [Vec<Duration>; 6] = Default::default();
    for _ in 0..runs {
        let alone =
            life(|port| Agent::line(&[hello().to_str().unwrap()]).env("PORT", port), || true);
        let served = || haproxy.get("/") == "hello from bench\n";
        let wrapped = life(|port| Agent::hello(&haproxy, "bench", port), served);
        let times = [
            wrapped.served,
            alone.listening,
            wrapped.listening.saturating_sub(alone.listening),
            wrapped.served - wrapped.listening,
            wrapped.ended,
            wrapped.ended.saturating_sub(alone.ended),
        ];
        lives.iter_mut().zip(times).for_each(|(row, time)| row.push(time));
    }
    let agent = |_| {
        let port = Port::free();
        let mut agent = Agent::hello(&haproxy, "bench", port).start();
        let out = || haproxy.ready().is_empty();
        poll(|| !out());
        let killed = Instant::now();
        agent.children().into_iter().for_each(|pid| signal(pid, "KILL"));
        poll(out);
        let after = killed.elapsed();
        agent.wait();
        after
    };
    println!("{:<46}{:>8}{:>8}{:>8}", format!("milliseconds, {runs} runs"), "p50", "p90", "max");
    let [served, app, before, claim, ended, release] = lives;
    row("start to first request served", served);
    row("  the app by itself, until it listens", app);
    row("  Berth: before the app runs", before);
    row("  Berth: check, claim, settle, verify, ready", claim);
    row("stop signal to exit, no request in flight", ended);
    row("  Berth: drain, release, verify", release);
    row("app killed to out of rotation", (0..runs).map(agent).collect());
    let checked = (0..runs.min(5)).map(|_| checked(&haproxy)).collect();
    row("  the same by HAProxy's health check, 5 runs", checked);
}

/// What is measured of one app.
struct Life {
    listening: Duration,
    served: Duration,
    ended: Duration,
}

fn life(agent: impl FnOnce(Port) -> Agent, is_served: impl Fn() -> bool) -> Life {
    let port = Port::free();
    let agent = agent(port);
    let started = Instant::now();
    let mut running = agent.start();
    poll(|| TcpStream::connect(("127.0.0.1", port.0)).is_ok());
    let listening = started.elapsed();
    poll(is_served);
    let served = started.elapsed();
    running.signal("TERM");
    let stopping = Instant::now();
    poll(|| !running.is_running());
    Life { listening, served, ended: stopping.elapsed() }
}

/// From the end of an app without an agent to the end of HAProxy's patience, by the template's
/// `inter` and `fall`.
fn checked(haproxy: &Haproxy) -> Duration {
    let port = Port::free();
    let mut app = Command::new(hello()).env("PORT", port.to_string()).spawn().unwrap();
    poll(|| TcpStream::connect(("127.0.0.1", port.0)).is_ok());
    haproxy.command(&format!("set server webapp/node1 addr 127.0.0.1 port {port}"));
    haproxy.command("set server webapp/node1 state ready");
    let shows = |status: &str| haproxy.command("show stat webapp 4 1").contains(status);
    // Not "UP 1/3": one that has never passed a check goes down by the first that it fails.
    poll(|| shows(",UP,"));
    // Apps die at any time between two checks.
    std::thread::sleep(Duration::from_millis(berth::net::random::bits() % 5000));
    app.kill().unwrap();
    let killed = Instant::now();
    app.wait().unwrap();
    poll(|| !shows(",UP"));
    let after = killed.elapsed();
    haproxy.command("set server webapp/node1 state maint");
    after
}

fn poll(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < berth_testkit::DEADLINE);
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn row(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("{name:<46}{:>8.1}{:>8.1}{:>8.1}", at(0.5), at(0.9), at(1.0));
}
