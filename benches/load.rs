//! Failed requests while nodes are replaced, scaled and killed, with Berth and without.
//!
//! `scripts/bench-load.sh [REQUESTS]` runs it on every HAProxy that is supported. HAProxy is told not
//! to retry, so that what goes wrong shows.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::path::Path;
use std::process::Command;

use berth_testkit::haproxy::versions;
use berth_testkit::load::{Site, Tally, Way};

fn main() {
    let requests = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(200_000);
    println!(
        "| HAProxy | entrypoint | nodes stopped | failed meanwhile | failed when 1 app of 4 is killed |"
    );
    println!("|---|---|---|---|---|");
    for binary in versions() {
        let version = version(&binary);
        for (name, way) in [
            ("Berth", Way::Berth),
            ("Berth, `DRAIN_TIMEOUT=0`", Way::BerthWithoutDrain),
            ("bash and socat", Way::Script),
        ] {
            let (stopped, rolled) = rolled(&binary, way, requests);
            let crashed = crashed(&binary, way);
            let of = |tally: Tally| format!("{} of {}", tally.failed, tally.total);
            let (rolled, crashed) = (of(rolled), of(crashed));
            println!("| {version} | {name} | {stopped} | {rolled} | {crashed} |");
        }
    }
}

fn rolled(binary: &Path, way: Way, requests: u64) -> (u32, Tally) {
    let mut site = Site::start(binary.into(), way);
    site.scale_to(4);
    let load = site.load();
    site.churn(&load, requests);
    (site.stopped, load.finish())
}

/// Until the dead slot is out of rotation, by its agent's doing or by HAProxy's health check.
fn crashed(binary: &Path, way: Way) -> Tally {
    let mut site = Site::start(binary.into(), way);
    site.scale_to(4);
    let load = site.load();
    site.crash_app();
    let live = || site.haproxy.ready().iter().filter(|server| server.running).count();
    berth_testkit::eventually("the dead slot is out", || live() == 3);
    load.finish()
}

fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("-v").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().nth(2).unwrap_or_default().split('-').next().unwrap().to_owned()
}
