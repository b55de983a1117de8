//! Users of a service behind Traefik notice nothing when its nodes are replaced.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::kv::{Kind, Kv, stores};
use support::traefik::{Rolling, roll};

const QUICK: &[&str] = &["--providers.providersthrottleduration=50ms"];

/// Requests of a full run for each store, and of a quick one.
fn requests() -> u64 {
    if std::env::var_os("BERTH_TEST_FULL").is_some() { 50_000 } else { 5_000 }
}

#[test]
fn no_request_fails_while_nodes_are_replaced_and_traefik_is_asked() {
    for kv in stores() {
        let rolling = Rolling { requests: requests(), arguments: QUICK, asks: true, drains: true };
        let Some((stopped, tally)) = roll(&kv, rolling) else { return };
        assert_eq!(tally.failed, 0, "of {} while {stopped} nodes stopped", tally.total);
    }
}

#[test]
fn no_request_fails_while_nodes_take_their_time_for_traefiks_own_throttle() {
    let Some(kv) = Kv::start(Kind::Redis) else { return };
    let rolling = Rolling { requests: requests(), arguments: &[], asks: false, drains: true };
    let Some((stopped, tally)) = roll(&kv, rolling) else { return };
    assert_eq!(tally.failed, 0, "of {} while {stopped} nodes stopped", tally.total);
}

#[test]
fn the_load_can_fail() {
    let Some(kv) = Kv::start(Kind::Redis) else { return };
    let rolling = Rolling { requests: 1, arguments: &[], asks: false, drains: false };
    let Some((_, tally)) = roll(&kv, rolling) else { return };
    assert!(tally.failed > 0, "nobody waits until Traefik has taken notice");
}
