//! Acts: each intent's next step, and what came of it.

use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use tracing::{error, info};

use super::{Round, still_leads};
use crate::clock::now;
use crate::crash;
use crate::executor::{Executor, Progress, Step, StepError, StepKind, Task};
use crate::run::census::{self, Census};
use crate::store::Store;
use crate::store::audit::{Entry, Outcome};
use crate::store::containers::Fate;
use crate::store::lease::Lease;
use crate::timestamp::Timestamp;

/// An intent to start something that could not be done for this long is not done any more: the
/// need for it may be long past.
const STALE: Duration = Duration::from_secs(300);
/// Steps at once.
const AT_ONCE: usize = 8;
/// First and longest pause of a policy after a step that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

impl Round {
    /// Does the next thing of every intent, several at once, and writes how far each has come.
    pub(super) async fn advance(&mut self, lease: &Lease, entries: &mut [Entry]) -> Result<()> {
        let at = now();
        let mut asked = Vec::new();
        for entry in entries.iter() {
            asked.push(advance_one(
                &self.store,
                &*self.executor,
                &self.led.census,
                lease,
                entry,
                at,
            ));
        }
        let mut answers = futures_util::stream::iter(asked).buffered(AT_ONCE);
        let mut results = Vec::with_capacity(entries.len());
        while let Some(answer) = answers.next().await {
            results.push(answer);
        }
        drop(answers);
        for (entry, advanced) in entries.iter_mut().zip(results) {
            let Some(advanced) = advanced else { return Ok(()) };
            self.record(lease, entry, advanced).await?;
        }
        Ok(())
    }

    async fn record(
        &mut self,
        lease: &Lease,
        entry: &mut Entry,
        advanced: Result<Progress, StepError>,
    ) -> Result<()> {
        let Some(step) = entry.step.clone() else { return Ok(()) };
        let at = now();
        let before = entry.clone();
        match advanced {
            Ok(Progress::Waiting { status }) => entry.status = Some(status.to_owned()),
            Ok(Progress::Done { id, status }) => {
                entry.container_id = id.or_else(|| entry.container_id.take());
                entry.status = Some(status.to_owned());
                entry.outcome = Outcome::Done;
            }
            Err(StepError::Refused(why)) => {
                entry.outcome = Outcome::Failed;
                entry.problem = Some(why);
            }
            Err(StepError::Unreachable(why)) => {
                if !step.kind.takes_away() && at.since(entry.at) > STALE {
                    entry.outcome = Outcome::Abandoned;
                }
                entry.problem = Some(why);
            }
        }
        if *entry == before {
            return Ok(());
        }
        entry.last_at = at;
        if entry.outcome == Outcome::Intended {
            return still_leads(self.store.update_intent(lease, entry).await?);
        }
        if (step.kind, entry.outcome) == (StepKind::Park, Outcome::Done) {
            self.park(lease, &step, at).await?;
        }
        entry.duration_ms = Some(i64::try_from(at.since(entry.at).as_millis()).unwrap_or(i64::MAX));
        still_leads(self.store.update_intent(lease, entry).await?)?;
        crash::point("outcome_written");
        self.page.acted(&entry.policy, &entry.action, entry.outcome.as_str());
        let container = entry.container_name.as_deref().unwrap_or_default();
        if entry.outcome == Outcome::Done {
            info!(
                policy = entry.policy,
                action = entry.action,
                host = step.host,
                container,
                "done"
            );
            self.led.pauses.remove(&entry.policy);
            return Ok(());
        }
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
        let (_, times) = self.led.pauses.get(&entry.policy).copied().unwrap_or_default();
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow(times.min(8))).min(LONGEST_PAUSE);
        self.led.pauses.insert(entry.policy.clone(), (at + pause, times + 1));
        self.led.avoid.insert((entry.service.clone(), step.host), at + LONGEST_PAUSE);
        // It starts no cool-down, and the alert that asked for it is still to be heard.
        if let Some(memory) = self.led.memories.get_mut(&entry.policy) {
            memory.retract(entry.decided_at);
            let memory = memory.clone();
            self.store.save_memories(lease, &[(&entry.policy, &memory)]).await?;
        }
        let back = self.store.put_back_alerts(lease, &entry.policy, entry.decided_at).await?;
        still_leads(back.is_some())
    }

    /// Remembers who stopped it before the intent is closed: afterwards nobody could tell.
    async fn park(&mut self, lease: &Lease, step: &Step, at: Timestamp) -> Result<()> {
        let key = (step.host.clone(), step.id.clone().unwrap_or_default());
        if let Some(known) = self.led.census.get_mut(&key) {
            (known.fate, known.seen_at) = (Fate::Parked, at);
            still_leads(self.store.remember_containers(lease, &[known], &[]).await?)?;
        }
        Ok(())
    }
}

/// `None` when somebody else leads: nothing may be done any more.
async fn advance_one(
    store: &Store,
    executor: &dyn Executor,
    census: &Census,
    lease: &Lease,
    entry: &Entry,
    at: Timestamp,
) -> Option<Result<Progress, StepError>> {
    let Some(step) = &entry.step else {
        return Some(Err(StepError::Refused("the row names no step".to_owned())));
    };
    if !step.kind.takes_away() && at.since(entry.at) > STALE && entry.problem.is_none() {
        // Left by a scaler that has been away for long.
        return Some(Err(StepError::Unreachable("it was intended too long ago".to_owned())));
    }
    let spec = match &step.like {
        Some(like) => census::spec_of(census, executor, like).await,
        None => None,
    };
    match store.leads(lease).await {
        Ok(true) => {}
        Ok(false) | Err(_) => return None,
    }
    let task = Task { intent: entry.id, step, at: entry.at, now: at, spec: spec.as_deref() };
    Some(executor.advance(task).await)
}
