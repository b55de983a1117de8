//! What decisions need to remember, and nothing else: it is stored after every decision, so that
//! windows, limits and cool-downs go on over a restart.

mod trend;

pub use trend::Trend;

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
    /// How long the spare replicas have idled, in seconds of the whole fleet.
    pub idle: f64,
    /// Up to when `idle` counts.
    pub idle_at: Option<Timestamp>,
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

    /// One of the replicas ordered at `at` has come to nothing: only what happened counts for
    /// limits and cool-downs.
    pub fn retract_one(&mut self, at: Timestamp) {
        for act in self.acts.iter_mut().filter(|a| a.at == at) {
            act.to = if act.to > act.from { act.to - 1 } else { (act.to + 1).min(act.from) };
        }
        self.acts.retain(|a| a.at != at || a.to != a.from);
    }

    /// Moves everything by so many milliseconds, as somebody has moved the clock: all of it stays as
    /// old as it was.
    pub fn shift(&mut self, millis: i64) {
        let wants = self.peaks.iter_mut().chain(&mut self.dips).map(|r| &mut r.at);
        let acts = self.acts.iter_mut().map(|act| &mut act.at);
        let trends = self.trends.iter_mut().map(|trend| &mut trend.at);
        for at in wants.chain(acts).chain(trends).chain(&mut self.idle_at) {
            *at = at.shifted(millis);
        }
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
        self.trends.iter_mut().for_each(|t| t.at = t.at.min(now));
        self.idle_at = self.idle_at.map(|at| at.min(now));
        self.trends.retain(|t| policy.metrics.iter().any(|m| m.name == t.metric));
    }

    /// Takes in what is wanted and what is worth keeping. `alive` stands for the time before the very
    /// first one.
    pub(crate) fn recommend(
        &mut self,
        policy: &Policy,
        (want, keep): (u32, u32),
        alive: u32,
        now: Timestamp,
    ) {
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
        for want in before(down).into_iter().chain([keep]) {
            push(&mut self.peaks, at(want), |old| old.want <= want);
        }
        for want in before(up).into_iter().chain([want]) {
            push(&mut self.dips, at(want), |old| old.want >= want);
        }
    }

    /// Counts the time since the last look as idled by `spare` of `alive`; a gap counts as one look.
    /// With none to spare it begins anew.
    pub(crate) fn idle(&mut self, spare: u32, alive: u32, now: Timestamp) -> Duration {
        let since = self.idle_at.replace(now).map_or(Duration::ZERO, |at| now.since(at).min(GAP));
        self.idle = match spare {
            0 => 0.0,
            _ => self.idle + since.as_secs_f64() * f64::from(spare) / f64::from(alive.max(1)),
        };
        // A hair is what adding up many shares loses.
        Duration::from_secs_f64(self.idle + 1e-6)
    }

    /// Replicas ordered and not serving yet by the policy's start time, oldest first: when each lot is
    /// due, and how many. What was taken off again came off the newest.
    pub(crate) fn pending(&self, start_time: Duration, now: Timestamp) -> Vec<(Timestamp, u32)> {
        let mut lots: Vec<(Timestamp, u32)> = Vec::new();
        for act in &self.acts {
            if act.to > act.from {
                lots.push((act.at + start_time, act.to - act.from));
                continue;
            }
            let mut less = act.from - act.to;
            while let Some((due, n)) = lots.pop() {
                if due <= act.at || n > less {
                    lots.push((due, n - if due <= act.at { 0 } else { less }));
                    break;
                }
                less -= n;
            }
        }
        lots.retain(|(due, _)| *due > now);
        lots
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
