//! A policy under play: the production decision, fed by the simulated service.

use super::Setup;
use super::law::{Law as Play, Seen};
use crate::decide::{Move, decide};
use crate::history::History;
use crate::observation::{Observation, Reading, Replicas};
use crate::policy::{Law, Metric, Policy, Query, Target, ValueOf};
use std::time::Duration;

/// A policy and what it remembers.
pub struct Ours {
    policy: Policy,
    history: History,
    interval: u32,
}

impl Ours {
    /// Plays a policy with a tick every `interval` seconds.
    pub fn new(policy: Policy, interval: u32) -> Self {
        Self { policy, history: History::default(), interval }
    }
}

/// The default law on the requests of the played service.
pub fn default_policy(setup: &Setup, headroom: Option<f64>) -> Policy {
    let mut policy = Policy::new("berth", "service", setup.min, setup.max);
    policy.start_time = Duration::from_secs(u64::from(setup.start));
    let mut law = Target::new(setup.target, policy.start_time);
    law.capacity = setup.capacity;
    law.headroom = headroom.unwrap_or(law.headroom);
    let law = Law::Target(law);
    let stale_after = Duration::from_secs(60);
    policy.metrics =
        vec![Metric { name: "requests".to_owned(), query: Query::default(), law, stale_after }];
    policy
}

impl Play for Ours {
    fn name(&self) -> &str {
        &self.policy.name
    }

    fn interval(&self) -> u32 {
        self.interval
    }

    /// A total is the requests per second, an average or a step's value the requests per second
    /// and running replica, a backlog the requests that wait.
    fn decide(&mut self, _: &Setup, seen: &Seen) -> u32 {
        let rate = seen.rate.unwrap_or_default();
        let each = rate / f64::from(seen.running.max(1));
        let value = |m: &Metric| match m.law {
            Law::Target(Target { value: ValueOf::Total, .. }) => rate,
            Law::Target(_) | Law::Steps(_) => each,
            Law::Backlog { .. } => seen.queue,
        };
        let known = |m: &Metric| Reading::Value { v: value(m), at: seen.now };
        let reading = |m: &Metric| seen.rate.map_or(Reading::Missing, |_| known(m));
        let replicas = Replicas {
            running: seen.running,
            starting: seen.starting,
            draining: seen.draining,
            ..Replicas::default()
        };
        let observation = Observation {
            readings: self.policy.metrics.iter().map(reading).collect(),
            replicas: Some(replicas),
            hints: Vec::new(),
        };
        let (decision, history) = decide(&self.policy, &observation, &self.history, seen.now);
        self.history = history;
        match decision.action {
            Move::Hold => seen.alive(),
            Move::Out { .. } | Move::In { .. } => decision.to,
        }
    }
}
