//! Failed requests while the nodes behind a Traefik are replaced, and many containers at once in its stores.
//!
//! `scripts/bench-traefik.sh [REQUESTS [CONTAINERS]]` runs it. Traefik is told not to retry.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::time::Instant;

use berth_testkit::agent::Agent;
use berth_testkit::eventually;
use berth_testkit::kv::{Kv, stores};
use berth_testkit::traefik::{Rolling, Traefik, roll};

const QUICK: &[&str] = &["--providers.providersthrottleduration=50ms"];

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse().ok());
    let (requests, crowd) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(200));
    println!("| store | Traefik's throttle | a stop | nodes stopped | failed |");
    println!("|---|---|---|---|---|");
    for kv in stores() {
        for (throttle, arguments) in [("50 ms", QUICK), ("2 s", &[])] {
            for (how, asks, drains) in [
                ("asks `TRAEFIK_API`", true, true),
                ("waits for `TRAEFIK_DRAIN`", false, true),
                ("does not wait", false, false),
            ] {
                // Without a wait it fails early enough.
                let requests = if drains { requests } else { requests / 10 };
                let rolling = Rolling { requests, arguments, asks, drains };
                let Some((stopped, tally)) = roll(&kv, rolling) else { return };
                let (kind, failed, total) = (kv.kind, tally.failed, tally.total);
                println!("| {kind} | {throttle} | {how} | {stopped} | {failed} of {total} |");
            }
        }
    }
    println!("\n| store | containers at once | all shown after | all gone after |");
    println!("|---|---|---|---|");
    for kv in stores() {
        at_once(&kv, crowd);
    }
}

/// Starts so many containers in the same moment, and stops them.
fn at_once(kv: &Kv, crowd: usize) {
    let Some(traefik) = Traefik::start(kv) else { return };
    let begun = Instant::now();
    let mut agents: Vec<_> = (0..crowd)
        .map(|i| {
            // An app that does nothing: nobody asks it.
            let agent = Agent::new(&["sleep", "1000"]).env("READY_CHECK", "none");
            let agent = agent.env("APP_PORT", 20_000).env("TRAEFIK_KV", kv.url());
            agent
                .env("TRAEFIK_SERVICE", "web")
                .env("APP_ADDR", format!("127.1.{}.{}", i / 200, i % 200 + 1))
                .start()
        })
        .collect();
    let shown = || traefik.servers();
    eventually("all are shown", || shown() == crowd);
    let (came, stopped) = (begun.elapsed(), Instant::now());
    agents.iter().for_each(|agent| agent.signal("TERM"));
    eventually("all are gone", || shown() == 0);
    let went = stopped.elapsed();
    for agent in &mut agents {
        agent.wait();
    }
    println!("| {} | {crowd} | {came:.1?} | {went:.1?} |", kv.kind);
}
