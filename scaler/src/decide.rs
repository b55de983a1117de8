//! The one decision: a policy, what is seen, what is remembered and the time; no clock, no I/O.

mod demand;
mod forecast;
mod hints;
mod pace;
mod reason;
mod replay;

pub use replay::Inputs;

use crate::history::{Act, History};
use crate::observation::{Observation, Replicas};
use crate::policy::{Direction, Policy};
use crate::timestamp::Timestamp;
use hints::Hints;
use pace::Pace;
use reason::Reason;
use serde::Serialize;
use std::time::Duration;

/// What to do now, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// When it was made; [`History::retract`] takes it back under this time.
    pub at: Timestamp,
    /// What the executor does.
    pub action: Move,
    /// Replicas alive now.
    pub from: u32,
    /// Replicas after the action; `from` when nothing is done.
    pub to: u32,
    /// What the policy recommends within min and max, before windows, limits, cool-downs, pause
    /// and dry run. Published even when nothing is done.
    pub want: u32,
    /// Why, in words; never empty.
    pub reason: String,
    /// What changed or held back the recommendation, in the order applied.
    pub limited_by: Vec<Limited>,
    /// The metric that drove it and its value, for the audit row.
    pub metric: Option<(String, f64)>,
    /// What became of each hint, in the observation's order.
    pub hints: Vec<(String, HintOutcome)>,
}

/// What the executor does. Counts are replicas; a `Hold` has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Move {
    /// Nothing.
    Hold,
    /// `take_back` draining ones return first, then `restart` of the stopped start again, then
    /// `create` new ones are made. If one of the first two fails, a new one is made in its place.
    Out {
        /// Draining replicas to take back.
        take_back: u32,
        /// Stopped replicas to start again; a deleted one is recreated.
        restart: u32,
        /// New replicas.
        create: u32,
    },
    /// `stop` replicas drain and go, chosen by [`crate::victim::victims`].
    In {
        /// Replicas to stop.
        stop: u32,
    },
}

impl Move {
    /// How many replicas are concerned.
    pub fn count(&self) -> u32 {
        match *self {
            Move::Hold => 0,
            Move::Out { take_back, restart, create } => take_back + restart + create,
            Move::In { stop } => stop,
        }
    }
}

/// What changed or held back a recommendation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limited {
    /// The minimum, `scheduled` when a schedule raised it.
    Min {
        /// The bound.
        min: u32,
        /// Whether a schedule set it.
        scheduled: bool,
    },
    /// The maximum, `scheduled` when a schedule lowered it.
    Max {
        /// The bound.
        max: u32,
        /// Whether a schedule set it.
        scheduled: bool,
    },
    /// A metric is stale, missing or in error: nothing is stopped meanwhile.
    Blind {
        /// The first such metric.
        metric: String,
        /// What is wrong with it.
        why: String,
    },
    /// What is spare has not idled long enough.
    Idle {
        /// Replicas that are spare.
        spare: u32,
        /// For how long they have idled, in seconds of the whole fleet.
        secs: u64,
        /// How long they may.
        of_secs: u64,
    },
    /// The stabilization window still holds another recommendation.
    Window {
        /// The direction held back.
        direction: Direction,
        /// What the window holds.
        holds: u32,
        /// The window's length in seconds.
        secs: u64,
    },
    /// The rate limit lets only so many go.
    Rate {
        /// The direction held back.
        direction: Direction,
        /// To where the limit allows.
        to: u32,
        /// The period in seconds.
        secs: u64,
    },
    /// The cool-down is not over.
    Cooldown {
        /// The direction held back.
        direction: Direction,
        /// Seconds left.
        left_secs: u64,
    },
    /// `autoscale_action` does not contain this direction.
    NotAllowed {
        /// The direction held back.
        direction: Direction,
    },
    /// The policy is paused in this direction.
    Paused {
        /// The direction held back.
        direction: Direction,
    },
    /// The policy is on a dry run.
    DryRun,
    /// More than half of the replicas are unhealthy: that is no lack of replicas.
    Unhealthy {
        /// How many.
        unhealthy: u32,
        /// Of how many.
        of: u32,
    },
    /// Not every host could be asked: the replicas are not known.
    ReplicasUnknown,
}

/// What became of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HintOutcome {
    /// It was acted upon, or what it asks for is already so.
    Processed,
    /// It will not be acted upon; why, in words.
    Skipped(String),
    /// It waits for a cool-down, a limit or a pause to end, until it expires; why, in words.
    Pending(String),
}

/// Decides what to do for one policy at `now`, and what to remember. The new history is stored
/// before the act; if the act comes to nothing, [`History::retract`] it.
///
/// Going up, bounds and `service_availability` come first and wait for nothing but a pause; alerts
/// skip the window; metrics pass window, limit and cool-down. Going down, everything but the
/// maximum passes all of them, and only while every metric is known and agrees.
pub fn decide(
    policy: &Policy,
    seen: &Observation,
    history: &History,
    now: Timestamp,
) -> (Decision, History) {
    let mut memory = history.clone();
    memory.trim(policy, now);
    let Some(replicas) = seen.replicas else {
        return (unknown(seen, now), memory);
    };
    let alive = replicas.alive();
    let lost = if policy.actions.availability() { replicas.stopped } else { 0 };
    let bounds = Bounds::at(policy, now);
    let demand = demand::assess(policy, &seen.readings, replicas, &mut memory, now);
    let mut limited_by = Vec::new();

    // What the metrics wish for, as replicas alive: unhealthy ones stay on top of the capacity. When
    // most of a service is unhealthy at once, more of the same would be as well.
    let unhealthy = replicas.unhealthy;
    let tracked = demand.want.map(|w| w.saturating_add(replaced(w, unhealthy, alive)));
    let ill = unhealthy > alive / 2 && tracked.is_some();
    let agreed = demand.blind.is_none() && !ill;
    let base = baseline(policy, &mut memory, &bounds, alive);
    let mut signal = tracked.or(base).unwrap_or(alive);
    if ill {
        signal = alive;
        limited_by.push(Limited::Unhealthy { unhealthy, of: alive });
    }
    if !agreed && signal <= alive {
        signal = alive;
        limited_by.extend(demand.blind());
    }
    let mut hints = Hints::sort(policy, &seen.hints, &bounds, alive, now);
    if ill {
        let why = Limited::Unhealthy { unhealthy, of: alive }.to_string();
        hints.refuse(Direction::Down, alive, &HintOutcome::Pending(why));
    }
    let least = tracked.map(|_| demand.least.saturating_add(unhealthy));
    hints.agree(policy, &memory, &demand, least, alive, now);
    let ordered = hints.up_to.max(alive.saturating_add(lost));
    let wish = if ordered > alive { signal.max(ordered) } else { signal };
    let want = bounds.clip(wish, &mut limited_by);
    if agreed || want > alive {
        let keep = demand.want.map_or(wish, |_| wish.max(demand.keep.saturating_add(unhealthy)));
        memory.recommend(policy, (want, bounds.clamp(keep)), alive, now);
    }

    let idled = idle(policy, &mut memory, &demand, agreed.then_some(want), alive, now);
    let mut pace = Pace { policy, memory: &memory, alive, now, idled, limited_by };
    let steered = pace.up_window(signal.min(want)).max(hints.up_to);
    let restored = pace.restore(lost);
    let up = pace.limit(Direction::Up, steered).max(restored).clamp(bounds.min, bounds.max);
    let proposed = if up > alive {
        up
    } else {
        let surplus = want < alive.min(bounds.max);
        let steered = if surplus { pace.down_window(want) } else { alive };
        let steered = steered.min(hints.down_to);
        pace.limit(Direction::Down, steered).min(bounds.max)
    };
    let to = pace.stand_still(proposed);
    let limited_by = pace.limited_by;
    if to != alive {
        memory.acts.push(Act { at: now, from: alive, to });
        memory.idle = 0.0;
    }
    if let Some(base) = &mut memory.base {
        // Only what alerts added or took is kept beyond the schedule.
        *base += hints.up_to.min(to).saturating_sub(alive);
        *base = base.saturating_sub(alive.saturating_sub(hints.down_to.max(to)));
    }

    let driver = demand.driver;
    let reason = Reason {
        policy,
        demand,
        bounds,
        hints: &hints,
        lost,
        unhealthy,
        alive,
        want,
        proposed,
        to,
        limited_by: &limited_by,
    };
    let decision = Decision {
        at: now,
        action: action(replicas, lost, to),
        from: alive,
        to,
        want,
        reason: reason.to_string(),
        metric: driver.map(|d| (d.metric.name.clone(), d.value)),
        hints: hints.outcomes(to >= alive.saturating_add(lost), to, &limited_by),
        limited_by,
    };
    (decision, memory)
}

/// Unhealthy replicas in the place of which new ones are made, on top of `want`: half as many at
/// most. Those that are there already are not stopped for it.
fn replaced(want: u32, unhealthy: u32, alive: u32) -> u32 {
    let most = want.div_ceil(2).max(alive.saturating_sub(want));
    unhealthy.min(most)
}

/// The bounds at a moment, schedules included.
struct Bounds {
    min: u32,
    max: u32,
    /// Whether a schedule moves them now, and which bound.
    scheduled: bool,
    min_scheduled: bool,
    max_scheduled: bool,
}

impl Bounds {
    fn at(policy: &Policy, now: Timestamp) -> Self {
        let (mut min, mut max, mut scheduled) = (policy.min, policy.max, false);
        for s in policy.schedules.iter().filter(|s| s.active_since(now).is_some()) {
            scheduled = true;
            min = min.max(s.min.unwrap_or(0));
            max = max.min(s.max.unwrap_or(u32::MAX));
        }
        // Of two schedules that contradict each other the floor wins: it is there for safety.
        let max = max.max(min).min(policy.max);
        let min = min.min(max);
        let (min_scheduled, max_scheduled) = (min != policy.min, max != policy.max);
        Self { min, max, scheduled, min_scheduled, max_scheduled }
    }

    fn clamp(&self, wish: u32) -> u32 {
        wish.clamp(self.min, self.max)
    }

    fn clip(&self, wish: u32, limited_by: &mut Vec<Limited>) -> u32 {
        if wish < self.min {
            limited_by.push(Limited::Min { min: self.min, scheduled: self.min_scheduled });
        } else if wish > self.max {
            limited_by.push(Limited::Max { max: self.max, scheduled: self.max_scheduled });
        }
        self.clamp(wish)
    }
}

/// A policy without metrics stays where alerts brought it; what a schedule added or took is given
/// back when it ends.
fn baseline(policy: &Policy, memory: &mut History, bounds: &Bounds, alive: u32) -> Option<u32> {
    if !policy.metrics.is_empty() {
        memory.base = None;
    } else if bounds.scheduled {
        memory.base = memory.base.or(Some(alive));
        return None;
    } else if memory.base == Some(alive) {
        memory.base = None;
    }
    memory.base
}

/// For how long what is spare has idled; `None` where it need not. Blind, nothing is counted.
fn idle(
    policy: &Policy,
    memory: &mut History,
    demand: &demand::Demand<'_>,
    want: Option<u32>,
    alive: u32,
    now: Timestamp,
) -> Option<Duration> {
    let Some(want) = want.filter(|_| demand.may_idle()) else {
        memory.idle_at = Some(now);
        return None;
    };
    let keep = memory.peak().unwrap_or(alive).max(want).min(alive);
    let idled = memory.idle(alive - keep, alive, now);
    (!policy.down.idle.is_zero()).then_some(idled)
}

fn action(replicas: Replicas, lost: u32, to: u32) -> Move {
    let alive = replicas.alive();
    if to <= alive {
        return if to == alive { Move::Hold } else { Move::In { stop: alive - to } };
    }
    let more = to - alive;
    let take_back = more.min(replicas.draining);
    let restart = (more - take_back).min(lost);
    Move::Out { take_back, restart, create: more - take_back - restart }
}

/// The decision while it is not known how many replicas there are: anything could be one too many.
fn unknown(seen: &Observation, now: Timestamp) -> Decision {
    let limited_by = vec![Limited::ReplicasUnknown];
    let wait = || HintOutcome::Pending(Limited::ReplicasUnknown.to_string());
    Decision {
        at: now,
        action: Move::Hold,
        from: 0,
        to: 0,
        want: 0,
        reason: format!("hold: {}", Limited::ReplicasUnknown),
        metric: None,
        hints: seen.hints.iter().map(|h| (h.key.clone(), wait())).collect(),
        limited_by,
    }
}

#[cfg(test)]
mod tests;
