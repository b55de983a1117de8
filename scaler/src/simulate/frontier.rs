//! What more speed costs: a policy at several headrooms beside its peers at several targets.

use super::load::Load;
use super::ours::Ours;
use super::report::Row;
use super::{Outcome, Setup, play};
use crate::policy::{Law, Policy};

/// Headrooms of the policy's metrics with a target.
const HEADROOMS: [f64; 6] = [0.08, 0.12, 0.17, 0.20, 0.25, 0.35];
/// What the peers' targets are multiplied by.
const TARGETS: [f64; 6] = [1.10, 1.06, 1.03, 1.00, 0.96, 0.92];
/// Peers that a target steers, by their place in [`super::law::peers`].
const PEERS: [usize; 2] = [0, 1];

/// Plays all of them, the cheapest first.
pub fn rows(setup: &Setup, load: &Load, policy: &Policy, interval: u32, from: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for headroom in HEADROOMS {
        let mut policy = policy.clone();
        for metric in &mut policy.metrics {
            if let Law::Target(law) = &mut metric.law {
                law.headroom = headroom;
            }
        }
        let name = format!("{}, headroom {headroom:.2}", policy.name);
        rows.push((name, play(setup, load, &mut Ours::new(policy, interval), from)));
    }
    for times in TARGETS {
        let aimed = Setup { target: setup.target * times, ..setup.clone() };
        for place in PEERS {
            let mut peer = super::law::peers().swap_remove(place);
            let outcome = play(&aimed, load, peer.as_mut(), from);
            rows.push((format!("{}, target × {times:.2}", peer.name()), outcome));
        }
    }
    rows.sort_by_key(|(_, outcome)| outcome.instance_secs);
    rows
}

/// Whether another one is at least as fast and as cheap, and better in one of both.
pub fn is_beaten(outcome: &Outcome, rows: &[Row]) -> bool {
    let of = |o: &Outcome| (o.slow_secs, o.instance_secs);
    let (slow, cost) = of(outcome);
    rows.iter()
        .map(|(_, other)| of(other))
        .any(|other| other.0 <= slow && other.1 <= cost && other != (slow, cost))
}
