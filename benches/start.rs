//! From the start of a container to its first request served, what of it is the agent's own, and from
//! the end of an app to its slot out of rotation.
//!
//! `cargo bench --bench start [RUNS]`. Prints milliseconds; asserts nothing.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use support::Port;
use support::agent::{Agent, hello, signal};
use support::haproxy::{ARTICLE, Haproxy};

fn main() {
    let runs = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(30_u32);
    let haproxy = Haproxy::start(ARTICLE);
    let (mut listening, mut served, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let port = Port::free();
        let started = Instant::now();
        let mut agent = Agent::hello(&haproxy, "bench", port).start();
        let at = SocketAddr::from(([127, 0, 0, 1], port.0));
        poll(|| TcpStream::connect(at).is_ok());
        let listens = Instant::now();
        poll(|| haproxy.get("/") == "hello from bench\n");
        listening.push(listens - started);
        served.push(listens.elapsed());
        let stopping = Instant::now();
        agent.signal("TERM");
        poll(|| !agent.is_running());
        agent.wait();
        stopped.push(stopping.elapsed());
    }
    println!("milliseconds of {runs} runs          p50    p90    max");
    row("start to app listening", listening);
    row("app listening to first answer", served);
    row("stop signal to exit", stopped);
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
    row("app killed to out of rotation", (0..runs).map(agent).collect());
    row("the same by health check (of 5)", (0..runs.min(5)).map(|_| checked(&haproxy)).collect());
}

/// From the end of an app without an agent to the end of HAProxy's patience, by the template's
/// `inter` and `fall`.
fn checked(haproxy: &Haproxy) -> Duration {
    let port = Port::free();
    let mut app = Command::new(hello()).env("PORT", port.to_string()).spawn().unwrap();
    poll(|| TcpStream::connect(("127.0.0.1", port.0)).is_ok());
    haproxy.command(&format!("set server webapp/node1 addr 127.0.0.1 port {port}"));
    haproxy.command("set server webapp/node1 state ready");
    let up = || haproxy.command("show stat webapp 4 1").contains(",UP");
    poll(up);
    app.kill().unwrap();
    let killed = Instant::now();
    app.wait().unwrap();
    poll(|| !up());
    let after = killed.elapsed();
    haproxy.command("set server webapp/node1 state maint");
    after
}

fn poll(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < support::DEADLINE);
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn row(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("{name:<32} {:>6.1} {:>6.1} {:>6.1}", at(0.5), at(0.9), at(1.0));
}
