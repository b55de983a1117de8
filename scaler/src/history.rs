//! What decisions need to remember, and nothing else: it is stored after every decision, so that
//! windows, limits and cool-downs go on over a restart.

use crate::policy::Direction;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// A policy's memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Recommendations that can still be the largest of the down window: ever smaller, ever newer.
    pub peaks: Vec<Recommendation>,
    /// Recommendations that can still be the smallest of the up window: ever larger, ever newer.
    pub dips: Vec<Recommendation>,
    /// Acts within the longest limit period, and the last in each direction; oldest first.
    pub acts: Vec<Act>,
    /// Level and slope of each metric with look-ahead, by name.
    pub trends: Vec<Trend>,
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
        if self.to > self.from {
            Direction::Up
        } else {
            Direction::Down
        }
    }
}

/// A metric's smoothed level and slope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// The metric's name.
    pub metric: String,
    /// Time of the last reading taken in.
    pub at: Timestamp,
    /// Level, in the metric's unit.
    pub level: f64,
    /// Change per second.
    pub slope: f64,
}

impl History {
    /// Forgets the act ordered at `at`, when it came to nothing: it then starts no cool-down and
    /// uses up no limit.
    pub fn retract(&mut self, at: Timestamp) {
        self.acts.retain(|a| a.at != at);
    }
}
