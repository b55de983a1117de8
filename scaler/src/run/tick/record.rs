//! What came of an act: its row, what is remembered of its container, and what it means for those
//! that come after it.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::act::Pacing;
use super::{Round, still_leads};
use crate::clock::now;
use crate::crash;
use crate::executor::{Progress, Status, Step, StepError, StepKind};
use crate::store::audit::{Committed, Entry, Outcome};
use crate::store::containers::Fate;
use crate::store::lease::Lease;
use crate::timestamp::Timestamp;

impl Round {
    /// Writes what came of an act, in its row and in what is remembered.
    pub(super) async fn record(
        &mut self,
        lease: &Lease,
        entry: &mut Entry,
        answer: Result<Progress, StepError>,
    ) -> Result<()> {
        let Some(step) = entry.step.clone() else { return Ok(()) };
        let at = now();
        let before = entry.clone();
        let litter = self.take_in(entry, &step, answer, at);
        if *entry == before {
            return Ok(());
        }
        entry.last_at = at;
        let what = format!("write how far act {} has come", entry.id);
        if entry.outcome == Outcome::Intended {
            let written = self.store.update_intent(lease, entry).await;
            return still_leads(self.bear(&what, written)?.unwrap_or(true));
        }
        self.note_fate(lease, entry, &step, at).await?;
        entry.duration_ms = Some(i64::try_from(at.since(entry.at).as_millis()).unwrap_or(i64::MAX));
        let rest = litter.then(|| remains(entry, &step, lease, at));
        let closed = self.store.close_intent(lease, entry, rest.as_ref()).await;
        match self.bear(&what, closed)? {
            Some(Committed::Stored) => {}
            Some(Committed::NotLeading) => return still_leads(false),
            Some(Committed::Overtaken) => return Ok(()),
            // It is open still, and is looked at again.
            None => {
                *entry = before;
                return Ok(());
            }
        }
        crash::point("outcome_written");
        self.led.acts.tries.remove(&entry.id);
        self.led.acts.refused.remove(&entry.id);
        self.page.acted(&entry.policy, &entry.action, entry.outcome.as_str());
        if entry.outcome == Outcome::Done {
            self.say(entry, &step);
            self.led.pauses.remove(&entry.policy);
            return Ok(());
        }
        self.give_up(lease, entry, &step).await
    }

    /// Puts an answer into the row. Whether something is left over.
    fn take_in(
        &mut self,
        entry: &mut Entry,
        step: &Step,
        answer: Result<Progress, StepError>,
        at: Timestamp,
    ) -> bool {
        let pacing = self.pacing;
        let acts = &mut self.led.acts;
        let tries = acts.tries(entry, at);
        let too_old = !step.kind.takes_away() && at.since(entry.at) > pacing.stale;
        match answer {
            Ok(Progress::Waiting { status }) => {
                entry.status = Some(status.as_str().to_owned());
                if status == Status::Draining && step.signalled.is_none() {
                    tries.signalled = Some((Duration::ZERO, Instant::now()));
                    entry.step = Some(Step { signalled: Some(at), ..step.clone() });
                }
                if too_old {
                    entry.outcome = Outcome::Abandoned;
                    entry.problem.get_or_insert_with(|| "no end of it is in sight".to_owned());
                }
            }
            Ok(Progress::Done { id, status, litter }) => {
                entry.container_id = id.or_else(|| entry.container_id.take());
                entry.status = Some(status.as_str().to_owned());
                entry.outcome = Outcome::Done;
                entry.problem = litter;
                return entry.problem.is_some();
            }
            Err(StepError::Hopeless(why)) => {
                entry.problem = Some(why);
                entry.outcome = Outcome::Failed;
            }
            Err(StepError::Refused(why)) => {
                if tries.failed == 0 {
                    warn!(policy = entry.policy, action = entry.action, problem = why, "refused");
                }
                tries.failed(pacing);
                entry.problem = Some(why);
                acts.refused.insert(entry.id);
                let until = Instant::now() + pacing.longest;
                self.led.avoid.insert((entry.service.clone(), step.host.clone()), until);
                if too_old {
                    entry.outcome = Outcome::Failed;
                }
            }
            Err(StepError::Unreachable(why)) => {
                tries.failed(pacing);
                entry.problem = Some(why);
                if too_old {
                    entry.outcome = Outcome::Abandoned;
                }
            }
        }
        false
    }

    /// Remembers who stopped it before the intent is closed: afterwards nobody could tell.
    async fn note_fate(
        &mut self,
        lease: &Lease,
        entry: &Entry,
        step: &Step,
        at: Timestamp,
    ) -> Result<()> {
        if entry.outcome != Outcome::Done {
            return Ok(());
        }
        let gone = entry.status.as_deref() == Some(Status::Deleted.as_str());
        let (key, fate) = match (step.kind, &step.id, &step.replaces) {
            (StepKind::Park, Some(id), _) => ((step.host.clone(), id.clone()), Some(Fate::Parked)),
            (StepKind::Stop | StepKind::Remove, Some(id), _) => {
                ((step.host.clone(), id.clone()), (!gone).then_some(Fate::Stopped))
            }
            // Something else is in its place.
            (StepKind::Create, _, Some(lost)) => (lost.clone(), Some(Fate::Stopped)),
            _ => return Ok(()),
        };
        let Some(known) = self.led.census.get_mut(&key) else { return Ok(()) };
        still_leads(match fate {
            Some(fate) => {
                (known.fate, known.seen_at) = (fate, at);
                self.store.remember_containers(lease, &[known], &[]).await?
            }
            None => {
                self.led.census.remove(&key);
                self.store.remember_containers(lease, &[], &[key]).await?
            }
        })
    }

    fn say(&self, entry: &Entry, step: &Step) {
        let container = entry.container_name.as_deref().unwrap_or_default();
        info!(policy = entry.policy, action = entry.action, host = step.host, container, "done");
    }

    /// It is not done, and starts no cool-down. Alerts of which nothing at all came end as well.
    async fn give_up(&mut self, lease: &Lease, entry: &Entry, step: &Step) -> Result<()> {
        let container = entry.container_name.as_deref().unwrap_or_default();
        let problem = entry.problem.clone().unwrap_or_default();
        error!(
            policy = entry.policy,
            action = entry.action,
            host = step.host,
            container,
            problem,
            "failed"
        );
        self.notifier
            .tell(format!("{}: {} {container} failed: {problem}", entry.policy, entry.action));
        if step.kind == StepKind::Remove {
            return Ok(());
        }
        let (_, times) = self.led.pauses.get(&entry.policy).copied().unwrap_or((Instant::now(), 0));
        let Pacing { first, longest, .. } = self.pacing;
        let pause = (first * 4 * 2_u32.saturating_pow(times.min(16))).min(longest);
        self.led.pauses.insert(entry.policy.clone(), (Instant::now() + pause, times + 1));
        if let Some(memory) = self.led.memories.get_mut(&entry.policy) {
            memory.retract_one(entry.decided_at);
            let memory = memory.clone();
            self.store.save_memories(lease, &[(&entry.policy, &memory)]).await?;
        }
        let store = &self.store;
        let ended =
            store.end_alerts_in_vain(lease, &entry.policy, entry.decided_at, &problem).await?;
        still_leads(ended.is_some())
    }
}

/// The row of what is left to be removed of one that was stopped.
fn remains(stopped: &Entry, step: &Step, lease: &Lease, at: Timestamp) -> Entry {
    let kind = StepKind::Remove;
    let step = Step { kind, signalled: None, ..step.clone() };
    Entry {
        decided_at: stopped.decided_at,
        from: stopped.to,
        to: stopped.to,
        reason: "it was stopped, and what is left of it could not be removed".to_owned(),
        host: stopped.host.clone(),
        container_id: stopped.container_id.clone(),
        container_name: stopped.container_name.clone(),
        epoch: lease.epoch,
        step: Some(step),
        ..Entry::new(at, &stopped.policy, &stopped.service, kind.as_str())
    }
}
