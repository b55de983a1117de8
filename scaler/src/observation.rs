//! What is known of a service at one moment.

use crate::policy::Action;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// What a source said of one metric. An error or an empty answer is never a zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// A number and when it was true.
    Value {
        /// The value in the metric's own unit.
        v: f64,
        /// When the source measured it, or when it was read if the source does not say.
        at: Timestamp,
    },
    /// A number that may be too low, since a part of what it counts is hidden: more may be started
    /// for it, and nothing stopped.
    AtLeast {
        /// The value in the metric's own unit.
        v: f64,
        /// As of a [`Reading::Value`].
        at: Timestamp,
        /// What is hidden, in words that go on from "may be more: ".
        why: String,
    },
    /// The source answered with something too old.
    Stale,
    /// The source answered that there is nothing: no such series, no such backend.
    Missing,
    /// The source did not answer or answered nonsense; in words.
    Error(String),
}

/// How many replicas of the service are in which state, over all hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// Serving.
    pub running: u32,
    /// Started, not serving yet. They count as capacity.
    pub starting: u32,
    /// On their way out; no capacity, but the first to be taken back.
    pub draining: u32,
    /// Alive, but failing their health check: no capacity, yet counted against the maximum.
    pub unhealthy: u32,
    /// Ended by themselves or deleted from outside, not by an operator's stop nor by the scaler;
    /// `service_availability` brings them back.
    pub stopped: u32,
}

impl Replicas {
    /// Those that serve or are about to.
    pub fn capacity(&self) -> u32 {
        self.running.saturating_add(self.starting)
    }

    /// Those that exist and are not on their way out: what min and max bound.
    pub fn alive(&self) -> u32 {
        self.capacity().saturating_add(self.unhealthy)
    }
}

/// A live alert: claimed by the caller, not yet acted upon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hint {
    /// Its de-duplication key; outcomes come back under it.
    pub key: String,
    /// What it asks for, once looked up: its own action or its policy's.
    pub action: Action,
    /// When it was received.
    pub at: Timestamp,
    /// From here on it is too old to act upon.
    pub expires: Timestamp,
    /// The alert's own `autoscale_min_instances`; narrows the policy's, never widens it.
    pub min: Option<u32>,
    /// The alert's own `autoscale_max_instances`; narrows the policy's, never widens it.
    pub max: Option<u32>,
    /// What the alert is called, for the reason.
    pub title: String,
}

/// Everything that a decision looks at, besides the policy and its history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// One reading per metric of the policy, in the policy's order; a short list means missing.
    pub readings: Vec<Reading>,
    /// The service's replicas; `None` when not every host could be asked: then nothing is done.
    pub replicas: Option<Replicas>,
    /// Live alerts, oldest first.
    pub hints: Vec<Hint>,
}
