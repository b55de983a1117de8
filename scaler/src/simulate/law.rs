//! The peers' laws, modelled after their documentation and code.
//!
//! Each is given the demand itself, which flatters those that in practice measure what was served.

use super::Setup;
use crate::timestamp::Timestamp;
use std::collections::VecDeque;

/// What a law is shown at each of its evaluations.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The time.
    pub now: Timestamp,
    /// Requests per second, on average since the last evaluation, as they are shown; `None` when the
    /// reading is missing.
    pub rate: Option<f64>,
    /// Requests that wait.
    pub queue: f64,
    /// Replicas that serve.
    pub running: u32,
    /// Replicas that were ordered and do not serve yet.
    pub starting: u32,
    /// Replicas that were let go and are still there.
    pub draining: u32,
}

impl Seen {
    /// Replicas that serve or will.
    pub fn alive(&self) -> u32 {
        self.running + self.starting
    }
}

/// A way to decide how many replicas there should be.
pub trait Law {
    /// What it is called in the table.
    fn name(&self) -> &str;
    /// Seconds from one evaluation to the next.
    fn interval(&self) -> u32;
    /// How many replicas there should be.
    fn decide(&mut self, setup: &Setup, seen: &Seen) -> u32;
}

/// Every peer, fresh.
pub fn peers() -> Vec<Box<dyn Law>> {
    vec![
        Box::new(Hpa::new("HPA default", 15, 300)),
        Box::new(Hpa::new("HPA tuned", 5, 60)),
        Box::new(Keda { hpa: Hpa::new("KEDA", 15, 300), idle_secs: 0 }),
        Box::new(Nomad { cooling_until: Timestamp::default() }),
        Box::new(Aws { minutes: VecDeque::new(), cooling_until: Timestamp::default() }),
        Box::new(Script),
    ]
}

fn ceil(need: f64) -> u32 {
    (need - 1e-9).ceil().max(0.0) as u32
}

/// The Horizontal Pod Autoscaler, v2, on an average value: `ceil(total / target)`, a tolerance of
/// 0.1, up by at most 100 % or 4 pods per 15 s, down to the largest recommendation of a window.
struct Hpa {
    name: &'static str,
    interval: u32,
    window: u32,
    recommended: VecDeque<(Timestamp, u32)>,
    added: VecDeque<(Timestamp, u32)>,
}

impl Hpa {
    fn new(name: &'static str, interval: u32, window: u32) -> Self {
        Self { name, interval, window, recommended: VecDeque::new(), added: VecDeque::new() }
    }
}

const HPA_PERIOD: i64 = 15;

impl Law for Hpa {
    fn name(&self) -> &str {
        self.name
    }

    fn interval(&self) -> u32 {
        self.interval
    }

    fn decide(&mut self, setup: &Setup, seen: &Seen) -> u32 {
        // Without a reading nobody does anything.
        let Some(rate) = seen.rate else { return seen.alive() };
        let alive = seen.alive();
        let ratio = rate / (setup.target * f64::from(alive.max(1)));
        let raw = if (ratio - 1.0).abs() <= 0.1 { alive } else { ceil(rate / setup.target) };
        if self.recommended.is_empty() {
            self.recommended.push_back((seen.now, alive));
        }
        let since = |secs: i64| Timestamp(seen.now.0 - secs * 1000);
        let oldest = since(i64::from(self.window));
        self.recommended.retain(|(at, _)| *at >= oldest);
        self.recommended.push_back((seen.now, raw));
        let highest = self.recommended.iter().map(|(_, n)| *n).max().unwrap_or(raw);
        let stable = if raw > alive { raw } else { highest.min(alive) };

        let begin = since(HPA_PERIOD);
        self.added.retain(|(at, _)| *at > begin);
        let started = alive.saturating_sub(self.added.iter().map(|(_, n)| n).sum());
        let most = (started * 2).max(started + 4).max(alive);
        let want = stable.min(most).clamp(setup.min.max(1), setup.max);
        if want > alive {
            self.added.push_back((seen.now, want - alive));
        }
        want
    }
}

/// KEDA: the HPA between one and many, its own 0↔1 by a poll of 30 s and a cool-down of 300 s.
struct Keda {
    hpa: Hpa,
    idle_secs: u32,
}

impl Law for Keda {
    fn name(&self) -> &str {
        self.hpa.name
    }

    fn interval(&self) -> u32 {
        self.hpa.interval
    }

    fn decide(&mut self, setup: &Setup, seen: &Seen) -> u32 {
        // Without a reading nobody does anything.
        let Some(rate) = seen.rate else { return seen.alive() };
        self.idle_secs = if rate > 0.0 { 0 } else { self.idle_secs + self.interval() };
        let poll = seen.now.0 % 30_000 == 0;
        match (seen.alive(), setup.min) {
            (0, 0) if rate > 0.0 && poll => 1,
            (0, 0) => 0,
            (_, 0) if self.idle_secs >= 300 => 0,
            _ => self.hpa.decide(setup, seen),
        }
    }
}

/// Nomad Autoscaler's target-value: the ratio of the average per running allocation to the target
/// times the current count, a dead band of 0.01, every 10 s, a cool-down of 5 minutes.
struct Nomad {
    cooling_until: Timestamp,
}

impl Law for Nomad {
    fn name(&self) -> &str {
        "Nomad Autoscaler"
    }

    fn interval(&self) -> u32 {
        10
    }

    fn decide(&mut self, setup: &Setup, seen: &Seen) -> u32 {
        // Without a reading nobody does anything.
        let Some(rate) = seen.rate else { return seen.alive() };
        let alive = seen.alive();
        if seen.now < self.cooling_until {
            return alive;
        }
        let factor = rate / f64::from(seen.running.max(1)) / setup.target;
        if (factor - 1.0).abs() <= 0.01 {
            return alive;
        }
        let want = ceil(f64::from(alive.max(1)) * factor).clamp(setup.min, setup.max);
        if want != alive {
            self.cooling_until = Timestamp(seen.now.0 + 300_000);
        }
        want
    }
}

/// AWS target tracking: out after three minutes of three above the target, in after fifteen of
/// fifteen below 90 % of it; cool-downs of 300 s, which a larger scale-out may cut short.
struct Aws {
    minutes: VecDeque<f64>,
    cooling_until: Timestamp,
}

impl Law for Aws {
    fn name(&self) -> &str {
        "AWS target tracking"
    }

    fn interval(&self) -> u32 {
        60
    }

    fn decide(&mut self, setup: &Setup, seen: &Seen) -> u32 {
        // Without a reading nobody does anything.
        let Some(rate) = seen.rate else { return seen.alive() };
        let alive = seen.alive();
        self.minutes.push_back(rate / f64::from(seen.running.max(1)));
        if self.minutes.len() > 15 {
            self.minutes.pop_front();
        }
        let want = ceil(rate / setup.target).clamp(setup.min.max(1), setup.max);
        let high = self.minutes.iter().rev().take(3).filter(|m| **m > setup.target).count() == 3;
        let low = self.minutes.iter().filter(|m| **m < setup.target * 0.9).count() == 15;
        let cool = seen.now >= self.cooling_until;
        if (high && want > alive) || (low && cool && want < alive) {
            self.cooling_until = Timestamp(seen.now.0 + 300_000);
            return want;
        }
        alive
    }
}

/// The usual script behind an alerting rule that fires at most once a minute: one more above 80 %
/// of what a replica can serve, one less below 40 %.
struct Script;

impl Law for Script {
    fn name(&self) -> &str {
        "one step per alert"
    }

    fn interval(&self) -> u32 {
        60
    }

    fn decide(&mut self, setup: &Setup, seen: &Seen) -> u32 {
        // Without a reading nobody does anything.
        let Some(rate) = seen.rate else { return seen.alive() };
        let alive = seen.alive();
        let load = rate / f64::from(seen.running.max(1)) / setup.capacity;
        let want = if load > 0.8 {
            alive + 1
        } else if load < 0.4 {
            alive.saturating_sub(1)
        } else {
            alive
        };
        want.clamp(setup.min.max(1), setup.max)
    }
}
