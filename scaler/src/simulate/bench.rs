//! How long a tick over many policies takes, with simulated ports.

use crate::decide::decide;
use crate::history::History;
use crate::observation::{Observation, Reading, Replicas};
use crate::policy::{Law, Metric, Policy, Query, Target};
use crate::timestamp::Timestamp;
use std::time::{Duration, Instant};

/// Replicas of each policy.
pub const REPLICAS: u32 = 10;
const WARM_UP: u32 = 200;
const TICKS: u32 = 50;

/// The mean time of one tick over `count` policies of [`REPLICAS`] containers each.
pub fn tick(count: usize) -> Duration {
    let services: Vec<Policy> = (0..count).map(policy).collect();
    let mut memories = vec![History::default(); count];
    let mut acts = 0u32;
    let mut spent = Duration::ZERO;
    for tick in 0..WARM_UP + TICKS {
        let now = Timestamp::from_secs(1_756_684_800 + 5 * i64::from(tick));
        let begin = Instant::now();
        for (i, (policy, memory)) in services.iter().zip(&mut memories).enumerate() {
            // A different phase for each, now and then beyond the tolerance.
            let wave = (f64::from(tick) / 40.0 + i as f64).sin();
            let readings = vec![
                Reading::Value { v: 400.0 + 150.0 * wave, at: now },
                Reading::Value { v: 20.0, at: now },
            ];
            let replicas = Some(Replicas { running: REPLICAS, ..Replicas::default() });
            let seen = Observation { readings, replicas, hints: Vec::new() };
            let (decision, next) = decide(policy, &seen, memory, now);
            acts += u32::from(decision.action.count() > 0);
            *memory = next;
        }
        if tick >= WARM_UP {
            spent += begin.elapsed();
        }
    }
    // So that nothing of it can be left out.
    assert!(acts > 0 || count == 0, "a load that moves must lead to acts");
    spent / TICKS
}

fn policy(i: usize) -> Policy {
    let mut policy = Policy::new(&format!("policy-{i}"), &format!("service-{i}"), 2, 40);
    let metric = |name: &str, target| Metric {
        name: name.to_owned(),
        query: Query::default(),
        law: Law::Target(Target::new(target, policy.start_time)),
        stale_after: Duration::from_secs(60),
    };
    policy.metrics = vec![metric("sessions", 50.0), metric("queue", 10.0)];
    policy
}
