//! The one decision: a policy, what is seen, what is remembered and the time; no clock, no I/O.

use crate::history::History;
use crate::observation::Observation;
use crate::policy::{Direction, Policy};
use crate::timestamp::Timestamp;
use serde::Serialize;
use std::fmt;

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
            Move::Out {
                take_back,
                restart,
                create,
            } => take_back + restart + create,
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
    /// Not every host could be asked: the replicas are not known.
    ReplicasUnknown,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
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
pub fn decide(
    policy: &Policy,
    seen: &Observation,
    history: &History,
    now: Timestamp,
) -> (Decision, History) {
    let alive = seen.replicas.unwrap_or_default().alive();
    let to = alive.clamp(policy.min, policy.max);
    let action = match to.cmp(&alive) {
        std::cmp::Ordering::Equal => Move::Hold,
        std::cmp::Ordering::Greater => Move::Out {
            take_back: 0,
            restart: 0,
            create: to - alive,
        },
        std::cmp::Ordering::Less => Move::In { stop: alive - to },
    };
    let decision = Decision {
        at: now,
        action,
        from: alive,
        to,
        want: to,
        reason: format!("within {}…{}", policy.min, policy.max),
        limited_by: Vec::new(),
        metric: None,
        hints: Vec::new(),
    };
    (decision, history.clone())
}
