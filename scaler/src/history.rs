//! What decisions need to remember, and nothing else: it is stored after every decision, so that
//! windows, limits and cool-downs go on over a restart.

use crate::policy::{Direction, Policy};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A recommendation is taken to have lasted until the next one; over a gap longer than this the
/// next tick says so, and the window does not shrink to what little was seen since.
const GAP: Duration = Duration::from_secs(30);

/// A policy's memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Recommendations that can still be the largest of the down window: ever smaller, ever newer.
    pub peaks: Vec<Recommendation>,
    /// Recommendations that can still be the smallest of the up window: ever larger, ever newer.
    pub dips: Vec<Recommendation>,
    /// Acts that a limit, a window or a cool-down still looks at; oldest first.
    pub acts: Vec<Act>,
    /// The trend of each metric with look-ahead, by name.
    pub trends: Vec<Trend>,
    /// What a policy without metrics goes back to when its schedule ends.
    pub base: Option<u32>,
}

/// What a policy wanted at a moment, within min and max, before windows and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// When.
    pub at: Timestamp,
    /// How many replicas.
    pub want: u32,
}

/// A change that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
}

impl Act {
    /// Which way it went.
    pub fn direction(&self) -> Direction {
        if self.to > self.from { Direction::Up } else { Direction::Down }
    }
}

impl History {
    /// Forgets the act ordered at `at`, when it came to nothing: it then starts no cool-down and
    /// uses up no limit.
    pub fn retract(&mut self, at: Timestamp) {
        self.acts.retain(|a| a.at != at);
    }

    /// The last act, in one direction or in any.
    pub fn last_act(&self, direction: Option<Direction>) -> Option<&Act> {
        self.acts.iter().rev().find(|a| direction.is_none_or(|d| a.direction() == d))
    }

    /// Drops what no rule of the policy looks at any more. Entries from the future, left by a
    /// clock that was set back, count as of now: otherwise a window would last until then.
    pub(crate) fn trim(&mut self, policy: &Policy, now: Timestamp) {
        for r in self.peaks.iter_mut().chain(&mut self.dips) {
            r.at = r.at.min(now);
        }
        let period = |d| policy.rules(d).limit.map_or(Duration::ZERO, |l| l.period);
        let keep = [
            period(Direction::Up),
            period(Direction::Down),
            policy.up.cooldown,
            policy.down.cooldown,
            policy.down.window,
            policy.start_time,
        ];
        let horizon = now - keep.into_iter().max().unwrap_or_default();
        self.acts.iter_mut().for_each(|a| a.at = a.at.min(now));
        self.acts.retain(|a| a.at >= horizon);
        self.trends.retain(|t| policy.metrics.iter().any(|m| m.name == t.metric));
    }

    /// Takes in a recommendation. `alive` stands for the time before the very first one.
    pub(crate) fn recommend(&mut self, policy: &Policy, want: u32, alive: u32, now: Timestamp) {
        let before = match self.peaks.last() {
            None => Some(alive),
            Some(last) if now.since(last.at) > GAP => Some(last.want),
            Some(_) => None,
        };
        let at = |want| Recommendation { at: now, want };
        let (down, up) = (policy.down.window, policy.up.window);
        self.peaks.retain(|r| r.at >= now - down);
        self.dips.retain(|r| r.at >= now - up);
        let before = |window: Duration| before.filter(|_| !window.is_zero());
        for want in before(down).into_iter().chain([want]) {
            push(&mut self.peaks, at(want), |old| old.want <= want);
        }
        for want in before(up).into_iter().chain([want]) {
            push(&mut self.dips, at(want), |old| old.want >= want);
        }
    }

    /// The largest recommendation of the down window.
    pub(crate) fn peak(&self) -> Option<u32> {
        self.peaks.first().map(|r| r.want)
    }

    /// The smallest recommendation of the up window.
    pub(crate) fn dip(&self) -> Option<u32> {
        self.dips.first().map(|r| r.want)
    }
}

/// Appends to a monotonic queue: what the new one outdoes can never again be the extreme.
fn push(
    queue: &mut Vec<Recommendation>,
    new: Recommendation,
    outdone: impl Fn(&Recommendation) -> bool,
) {
    while queue.last().is_some_and(&outdone) {
        queue.pop();
    }
    queue.push(new);
}

/// A metric's level, slope and noise, from a fast and a slow moving average.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// The metric's name.
    pub metric: String,
    /// Time of the last reading taken in.
    pub at: Timestamp,
    /// The fast average, in the metric's unit.
    pub fast: f64,
    /// The slow average.
    pub slow: f64,
    /// The variance of readings around the fast average.
    pub variance: f64,
    /// Where the metric stands: the fast average, or a reading that noise alone does not explain.
    pub level: f64,
    /// Growth per second beyond what noise alone explains; never below 0.
    pub growth: f64,
}

impl Trend {
    /// The fast average's time constant, as a share of the slow one's.
    const FAST: f64 = 1.0 / 24.0;
    /// The variance's time constant, as a multiple of the slow one's.
    const LASTING: f64 = 2.5;
    /// Deviations above the average from which a reading counts as it is.
    const JUMP: f64 = 2.0;
    /// Deviations from which a slope is one.
    const SIGNIFICANT: f64 = 4.0;
    /// Deviations to which an outlier counts for the variance.
    const OUTLIER: f64 = 3.0;
    /// The least deviation, as a share of the average.
    const LEAST: f64 = 0.01;
    /// The deviation before anything is known of it, as a share of the first reading.
    const FIRST: f64 = 0.05;

    /// Begins with the first reading, level.
    pub(crate) fn new(metric: &str, value: f64, at: Timestamp) -> Self {
        Self {
            metric: metric.to_owned(),
            at,
            fast: value,
            slow: value,
            variance: (value * Self::FIRST).powi(2),
            level: value,
            growth: 0.0,
        }
    }

    /// Takes in a reading; one that is not newer than the last changes nothing. A moving average
    /// with time constant τ trails a ramp by about τ, so two of them are apart by the slope times
    /// the difference of their lags; noise alone sets them apart by its deviation times the square
    /// root of half the fast one's weight.
    pub(crate) fn update(&mut self, value: f64, at: Timestamp, window: Duration) {
        let dt = at.secs_since(self.at);
        if dt <= 0.0 {
            return;
        }
        let tau = window.as_secs_f64().max(0.001);
        let weight = |tau: f64| 1.0 - (-dt / tau).exp();
        let lag = |weight: f64| dt * (1.0 - weight) / weight;
        let (fast, slow) = (weight(tau * Self::FAST), weight(tau));
        let deviation = self.variance.sqrt().max(self.fast * Self::LEAST);
        let off = value - self.fast;
        self.fast += fast * off;
        self.slow += slow * (value - self.slow);
        self.level = if off > Self::JUMP * deviation { value } else { self.fast };
        let apart = lag(slow) - lag(fast);
        let noise = Self::SIGNIFICANT * deviation * (fast / 2.0).sqrt();
        let growth = if apart > 0.0 { (self.fast - self.slow - noise) / apart } else { 0.0 };
        self.growth = growth.max(0.0);
        let surprise = off.abs().min(Self::OUTLIER * deviation);
        self.variance += weight(tau * Self::LASTING) * (surprise.powi(2) - self.variance);
        self.at = at;
    }
}
