//! From the start of a container to its first request served, and what of it is the agent's own.
//!
//! `cargo bench --bench start [RUNS]`. Prints milliseconds; asserts nothing.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::Port;
use support::agent::Agent;
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
    println!("milliseconds of {runs} runs        p50    p90    max");
    row("start to app listening", listening);
    row("app listening to first answer", served);
    row("stop signal to exit", stopped);
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
    println!("{name:<30} {:>6.1} {:>6.1} {:>6.1}", at(0.5), at(0.9), at(1.0));
}
