//! Many containers that start at once, a HAProxy that restarts, and what holding a slot costs it: with
//! Berth, and with `examples/entrypoint-socat.sh`.
//!
//! `scripts/bench-claims.sh [quick]`. Commands are counted by a relay that all of them go through.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_testkit::agent::Running;
use berth_testkit::crowd::{PORT, address, container, haproxy};
use berth_testkit::haproxy::{Haproxy, versions};
use berth_testkit::tap::Tap;

/// Longer than anybody needs who gets in at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// Without anybody new for so long, nobody else comes.
const QUIET: Duration = Duration::from_secs(5);

fn main() {
    let quick = std::env::args().any(|arg| arg == "quick");
    let sizes: &[(usize, usize)] =
        if quick { &[(40, 40)] } else { &[(40, 40), (200, 200), (120, 100)] };
    println!(
        "{:<9} {:<6} {:>6} {:>6}   {:>8} {:>5} {:>8} {:>9}   {:>30}",
        "HAProxy",
        "way",
        "agents",
        "slots",
        "all in",
        "lost",
        "doubles",
        "commands",
        "back p50 / p99 / max"
    );
    for binary in versions() {
        for (agents, slots) in sizes {
            for berth in [true, false] {
                println!("{}", race(&binary, *agents, *slots, berth));
            }
        }
    }
    let (holders, time) = if quick { (50, 5) } else { (500, 20) };
    cost(holders, Duration::from_secs(time));
}

enum Node {
    Berth(#[allow(dead_code, reason = "kept until it is dropped")] Running),
    Script(Child),
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Self::Script(child) = self {
            // The script and its app.
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
            let _ = child.wait();
        }
    }
}

fn node(i: usize, stats: berth_testkit::Port, berth: bool) -> Node {
    if berth {
        return Node::Berth(container(i, stats).start());
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/entrypoint-socat.sh");
    let mut command = Command::new(script);
    command.args(["sleep", "1000"]).env("APP_ADDR", address(i)).env("APP_PORT", PORT.to_string());
    command.env("HAPROXY_SERVER", "127.0.0.1").env("HAPROXY_PORT", stats.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Node::Script(command.spawn().unwrap())
}

/// One line of the table.
fn race(binary: &Path, agents: usize, slots: usize, berth: bool) -> String {
    let mut haproxy = haproxy(binary.into(), slots);
    let tap = Tap::start(haproxy.stats);
    let started = Instant::now();
    let nodes: Vec<_> = (0..agents).map(|i| node(i, tap.port, berth)).collect();
    let due = agents.min(slots);
    let came = arrivals(&haproxy, due, started);
    let all_in = came.values().max().copied().unwrap_or_default();
    let (lost, doubles) = (due - came.len().min(due), doubles(&haproxy));
    let commands = tap.take().len() as f64 / agents as f64;
    haproxy.restart();
    let back = arrivals(&haproxy, came.len(), Instant::now());
    let back = match back.len() {
        0 => "nobody".to_owned(),
        _ => percentiles(back.into_values().collect()),
    };
    drop(nodes);
    let way = if berth { "berth" } else { "script" };
    let all_in = if lost == 0 { format!("{:.2} s", all_in.as_secs_f64()) } else { "never".into() };
    format!(
        "{:<9} {way:<6} {agents:>6} {slots:>6}   {all_in:>8} {lost:>5} {doubles:>8} {commands:>9.1}   {back:>30}",
        version(binary)
    )
}

/// When each container was first in rotation, until so many are or nobody new comes.
fn arrivals(haproxy: &Haproxy, due: usize, since: Instant) -> BTreeMap<String, Duration> {
    let mut came = BTreeMap::new();
    let mut news = Instant::now();
    loop {
        let now = addresses(haproxy);
        for addr in &now {
            came.entry(addr.clone()).or_insert_with(|| {
                news = Instant::now();
                since.elapsed()
            });
        }
        let distinct: std::collections::BTreeSet<_> = now.iter().collect();
        let rests = distinct.len() >= due || news.elapsed() > QUIET;
        if rests || since.elapsed() > PATIENCE {
            // Who came and was overwritten by somebody else has been lost.
            came.retain(|addr, _| now.contains(addr));
            return came;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The containers' addresses in rotation.
fn addresses(haproxy: &Haproxy) -> Vec<String> {
    let addrs = haproxy.ready().into_iter().filter_map(|slot| Some(slot.addr?.to_string()));
    addrs.filter(|addr| addr.starts_with("127.1.")).collect()
}

fn doubles(haproxy: &Haproxy) -> usize {
    let all = addresses(haproxy);
    all.len() - all.iter().collect::<std::collections::BTreeSet<_>>().len()
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize].as_millis();
    format!("{} / {} / {} ms", at(0.5), at(0.99), at(1.0))
}

/// What it costs HAProxy that its slots are held, and that as many scripts ask for the whole table.
fn cost(holders: usize, time: Duration) {
    println!("\nHAProxy's CPU with {holders} holders, each looking once a second");
    for binary in versions() {
        let site = haproxy(binary.clone(), holders);
        let idle = cpu(&site, || std::thread::sleep(time)) / time.as_secs_f64();
        let nodes: Vec<_> = (0..holders).map(|i| node(i, site.stats, true)).collect();
        let came = arrivals(&site, holders, Instant::now()).len();
        std::thread::sleep(Duration::from_secs(3));
        let berth = cpu(&site, || std::thread::sleep(time)) / time.as_secs_f64();
        drop(nodes);
        let mut asked = 0;
        let started = Instant::now();
        let script = cpu(&site, || {
            while started.elapsed() < time {
                ask(&site);
                asked += 1;
                let due = Duration::from_secs_f64(f64::from(asked) / holders as f64);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
        }) / started.elapsed().as_secs_f64();
        let rate = f64::from(asked) / started.elapsed().as_secs_f64();
        println!(
            "{:<9} nobody {:>5.1} %   {came} berths {:>5.1} %   scripts, {rate:.0} tables a second {:>5.1} %",
            version(&binary),
            idle * 100.0,
            berth * 100.0,
            script * 100.0
        );
    }
}

/// One poll of the script.
fn ask(haproxy: &Haproxy) {
    let mut stream = TcpStream::connect(("127.0.0.1", haproxy.stats.0)).unwrap();
    stream.write_all(b"show servers state webapp\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// Seconds of CPU that HAProxy used meanwhile.
fn cpu(haproxy: &Haproxy, during: impl FnOnce()) -> f64 {
    let used = || -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", haproxy.pid())).unwrap();
        let cells: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // utime and stime, in hundredths of a second (proc(5)).
        [11, 12].map(|at| cells[at].parse::<f64>().unwrap()).iter().sum::<f64>() / 100.0
    };
    let before = used();
    during();
    used() - before
}

fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("-v").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().nth(2).unwrap_or_default().split('-').next().unwrap().to_owned()
}
