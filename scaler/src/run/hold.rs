//! Decisions that were wanted and held back: one row for each change, repeats counted.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use tracing::warn;

use crate::decide::{Decision, Inputs, Limited};
use crate::history::History;
use crate::observation::Observation;
use crate::policy::Policy;
use crate::store::Store;
use crate::store::audit::{Entry, Outcome};
use crate::store::lease::Lease;
use crate::timestamp::Timestamp;

/// How often counts are written.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// What each policy was last held back by.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_policy: HashMap<String, Hold>,
    ended: Vec<Hold>,
}

#[derive(Debug)]
struct Hold {
    row: i64,
    what: (u32, u32, Vec<Discriminant<Limited>>),
    unwritten: i64,
    last: Timestamp,
    written: Timestamp,
}

impl Holds {
    /// A row for a decision to hold that is not like the one before; none when nothing else was
    /// wanted.
    pub(super) fn note(
        &mut self,
        policy: &Policy,
        decision: &Decision,
        seen: &Observation,
        before: &History,
        lease: &Lease,
    ) -> Option<Entry> {
        if decision.limited_by.is_empty() && decision.want == decision.from {
            self.end(&policy.name);
            return None;
        }
        let limits = decision.limited_by.iter().map(discriminant).collect();
        let what = (decision.from, decision.want, limits);
        if let Some(hold) = self.by_policy.get_mut(&policy.name)
            && hold.what == what
        {
            hold.unwritten += 1;
            hold.last = decision.at;
            return None;
        }
        self.end(&policy.name);
        let entry = Entry {
            from: decision.from,
            to: decision.want,
            metric: decision.metric.as_ref().map(|(name, _)| name.clone()),
            metric_value: decision.metric.as_ref().map(|(_, value)| *value),
            reason: decision.reason.clone(),
            outcome: Outcome::Held,
            epoch: lease.epoch,
            inputs: Inputs::written(policy, seen, before),
            ..Entry::new(decision.at, &policy.name, &policy.service, "hold")
        };
        let (row, last, written) = (entry.id, decision.at, decision.at);
        let hold = Hold { row, what, unwritten: 0, last, written };
        self.by_policy.insert(policy.name.clone(), hold);
        Some(entry)
    }

    /// The policy is no longer held back.
    pub(super) fn end(&mut self, policy: &str) {
        self.ended.extend(self.by_policy.remove(policy).filter(|hold| hold.unwritten > 0));
    }

    /// Writes the counts of holds that ended, and now and then of those that go on.
    pub(super) async fn flush(&mut self, store: &Store, lease: &Lease) {
        let due = self
            .by_policy
            .values_mut()
            .filter(|hold| hold.unwritten > 0 && hold.last.since(hold.written) >= WRITE_EVERY);
        let mut ended = std::mem::take(&mut self.ended);
        for hold in ended.iter_mut().chain(due) {
            if let Err(error) = store.repeat(lease, hold.row, hold.unwritten, hold.last).await {
                // A count, not an act: it may be lost.
                return warn!(%error, "repeats not counted");
            }
            hold.unwritten = 0;
            hold.written = hold.last;
        }
    }
}
