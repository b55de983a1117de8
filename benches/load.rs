//! Failed requests while nodes are replaced, scaled and killed, with Berth and without.
//!
//! `cargo bench --bench load [REQUESTS]`. Every HAProxy that `scripts/haproxy-versions.sh` got is
//! tried with BERTH_TEST_FULL=1. HAProxy is told not to retry, so that what goes wrong shows.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use support::haproxy::versions;
use support::load::{Site, Tally, Way};

fn main() {
    let requests = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(200_000);
    println!(
        "{:<10} {:<22} {:>24} {:>22}",
        "HAProxy", "entrypoint", "replaced twice, 4-12-3", "4 of 8 apps killed"
    );
    for binary in versions() {
        for (name, way) in [
            ("berth", Way::Berth),
            ("berth, DRAIN_TIMEOUT=0", Way::BerthWithoutDrain),
            ("bash and socat", Way::Script),
        ] {
            let [rolled, crashed] = [rolled(&binary, way, requests), crashed(&binary, way)];
            let failed = |tally: Tally| format!("{} of {} failed", tally.failed, tally.total);
            let (version, rolled, crashed) = (version(&binary), failed(rolled), failed(crashed));
            println!("{version:<10} {name:<22} {rolled:>24} {crashed:>22}");
        }
    }
}

fn rolled(binary: &Path, way: Way, requests: u64) -> Tally {
    let mut site = Site::start(binary.into(), way);
    site.scale_to(4);
    let load = site.load(requests);
    site.roll();
    site.roll();
    site.scale_to(12);
    site.scale_to(3);
    load.finish()
}

fn crashed(binary: &Path, way: Way) -> Tally {
    let mut site = Site::start(binary.into(), way);
    site.scale_to(8);
    let load = site.load(40_000);
    for _ in 0..4 {
        site.crash_app();
    }
    load.finish()
}

fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("-v").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().nth(2).unwrap_or_default().split('-').next().unwrap().to_owned()
}
