//! A decision made again from its row in the audit.

use super::{Decision, decide};
use crate::history::History;
use crate::observation::Observation;
use crate::policy::Policy;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// All that a decision went by, as it stands in the column `inputs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inputs<'a> {
    policy: Cow<'a, Policy>,
    observation: Cow<'a, Observation>,
    /// What was remembered before it.
    history: Cow<'a, History>,
}

impl Inputs<'_> {
    /// For the audit, as JSON.
    pub fn written(policy: &Policy, seen: &Observation, before: &History) -> Option<String> {
        let (policy, observation) = (Cow::Borrowed(policy), Cow::Borrowed(seen));
        let inputs = Inputs { policy, observation, history: Cow::Borrowed(before) };
        serde_json::to_string(&inputs).ok()
    }

    /// What was written at the time.
    ///
    /// # Errors
    /// When it is not in this form, as rows of earlier versions are not: their policy is not known.
    pub fn read(inputs: &str) -> Result<Inputs<'static>, serde_json::Error> {
        serde_json::from_str(inputs)
    }

    /// Decides as of `at`.
    pub fn decide(&self, at: Timestamp) -> Decision {
        decide(&self.policy, &self.observation, &self.history, at).0
    }
}
