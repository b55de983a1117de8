//! Users of the service notice nothing when its nodes are replaced.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::haproxy::versions;
use support::load::{Site, Way};

/// Requests of a full run for each version, and of a quick one.
const REQUESTS: (u64, u64) = (200_000, 20_000);

#[test]
fn no_request_fails_while_nodes_are_replaced_and_scaled() {
    let full = std::env::var_os("BERTH_TEST_FULL").is_some();
    for version in versions() {
        let mut site = Site::start(version.clone(), Way::Berth);
        site.scale_to(4);
        let load = site.load();
        site.churn(&load, if full { REQUESTS.0 } else { REQUESTS.1 });
        let tally = load.finish();
        assert_eq!(tally.failed, 0, "of {} through {}", tally.total, version.display());
        assert_eq!(site.errors(), 0, "by the count of {}", version.display());
    }
}

#[test]
fn the_load_can_fail() {
    let mut site = Site::start("haproxy".into(), Way::BerthWithoutDrain);
    site.scale_to(4);
    let load = site.load();
    for _ in 0..4 {
        site.crash_app();
    }
    assert!(load.finish().failed > 0, "nobody is left to answer");
    assert!(site.errors() > 0);
}
