//! Acts: each intent's next step, and what came of it.
//!
//! An intent is one row of the audit and one container. It stays open, and is tried again with
//! back-off, until what it asks for is so; nobody decides anew meanwhile, since what is under way
//! counts. Only what can never be done, or was not done for [`Pacing::stale`], is given up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::{Round, still_leads};
use crate::clock::now;
use crate::crash;
use crate::executor::{Executor, Progress, Status, Step, StepError, StepKind, Task};
use crate::run::census::Census;
use crate::store::Store;
use crate::store::audit::{Committed, Entry, Outcome};
use crate::store::containers::Fate;
use crate::store::lease::Lease;
use crate::timestamp::Timestamp;

/// Steps at once on one host.
const AT_ONCE: usize = 8;

/// How long acts are waited for, and how soon they are tried again.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    /// A round waits this long for the acts that it has begun; they go on without it.
    pub round: Duration,
    /// First and longest pause after a try that came to nothing.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// What could not be started for this long is given up: the need for it may be long past.
    pub stale: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            round: Duration::from_secs(1),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(120),
            stale: Duration::from_secs(300),
        }
    }
}

/// What a leader has under way, and what it knows of earlier tries.
#[derive(Default)]
pub(super) struct Acts {
    flying: JoinSet<Answer>,
    /// Those under way, and on which host.
    hosts: HashMap<i64, String>,
    tries: HashMap<i64, Tries>,
    /// Intents of this process that nobody has tried yet.
    pub(super) fresh: HashSet<i64>,
    /// Intents that their hosts have refused: another way may be found.
    pub(super) refused: HashSet<i64>,
}

/// Of one intent.
#[derive(Clone, Copy)]
struct Tries {
    failed: u32,
    next: Instant,
    /// How long the stop signal had been sent when this process learned of it, and when that was:
    /// from then on our clock, which nobody sets, counts.
    signalled: Option<(Duration, Instant)>,
}

/// What an act came to; `None` when somebody else leads: then nothing may be done any more.
type Answer = (i64, Option<Result<Progress, StepError>>);

impl Acts {
    /// Whether it is being done right now.
    pub(super) fn is_flying(&self, intent: i64) -> bool {
        self.hosts.contains_key(&intent)
    }

    fn has_place(&self, host: &str) -> bool {
        self.hosts.values().filter(|h| *h == host).count() < AT_ONCE
    }

    fn tries(&mut self, entry: &Entry, at: Timestamp) -> &mut Tries {
        let signalled = entry.step.as_ref().and_then(|s| s.signalled);
        self.tries.entry(entry.id).or_insert_with(|| Tries {
            failed: 0,
            next: Instant::now(),
            signalled: signalled.map(|since| (at.since(since), Instant::now())),
        })
    }

    /// Forgets what is not open any more.
    fn tidy(&mut self, entries: &[Entry]) {
        let open: HashSet<i64> = entries.iter().map(|entry| entry.id).collect();
        self.tries.retain(|id, _| open.contains(id) || self.hosts.contains_key(id));
        self.refused.retain(|id| open.contains(id));
        self.fresh.retain(|id| open.contains(id));
    }
}

impl Tries {
    fn failed(&mut self, Pacing { first, longest, .. }: Pacing) {
        let pause = (first * 2_u32.saturating_pow(self.failed.min(16))).min(longest);
        self.failed += 1;
        self.next = Instant::now() + pause;
    }
}

impl Round {
    /// Does the next thing of every intent that is due, and writes how far each has come. Those
    /// that take longer go on, and are written when a later round finds them done.
    pub(super) async fn advance(&mut self, lease: &Lease, entries: &mut [Entry]) -> Result<()> {
        let mut begun = HashSet::new();
        self.begin_acts(lease, entries, &mut begun);
        let end = Instant::now() + self.pacing.round;
        while let Ok(Some(answer)) = timeout_at(end, self.led.acts.flying.join_next()).await {
            let Ok((id, answer)) = answer else {
                // A panic in an executor: nobody knows whose, so every one is looked at again.
                self.led.acts = Acts::default();
                continue;
            };
            self.led.acts.hosts.remove(&id);
            let Some(answer) = answer else { continue };
            if let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) {
                self.record(lease, entry, answer).await?;
            }
            self.begin_acts(lease, entries, &mut begun);
        }
        // One that is being stopped right now cannot be taken back.
        let stopping = |e: &&mut Entry| e.step.as_ref().is_some_and(|s| s.kind.takes_away());
        for entry in entries.iter_mut().filter(|e| self.led.acts.is_flying(e.id)).filter(stopping) {
            entry.status.get_or_insert_with(|| Status::Stopping.as_str().to_owned());
        }
        Ok(())
    }

    /// Begins what is due and not under way, as far as there is room, none of it twice.
    fn begin_acts(&mut self, lease: &Lease, entries: &[Entry], begun: &mut HashSet<i64>) {
        if self.dry_run {
            return;
        }
        let (at, clock) = (now(), Instant::now());
        for entry in entries.iter().filter(|entry| entry.outcome == Outcome::Intended) {
            let acts = &mut self.led.acts;
            let Some(step) = entry.step.clone() else { continue };
            let busy = acts.is_flying(entry.id) || !acts.has_place(&step.host);
            if busy || begun.contains(&entry.id) {
                continue;
            }
            let tries = *acts.tries(entry, at);
            if tries.next > clock {
                continue;
            }
            begun.insert(entry.id);
            acts.hosts.insert(entry.id, step.host.clone());
            let fresh = acts.fresh.remove(&entry.id);
            let signalled = tries.signalled.map(|(before, since)| before + since.elapsed());
            let (intent, spec) = (entry.id, remembered(&self.led.census, &step));
            let task = Task { intent, step, at: entry.at, now: at, spec, signalled, fresh };
            let (store, executor) = (self.store.clone(), self.executor.clone());
            acts.flying.spawn(act(store, executor, lease.clone(), task));
        }
    }

    /// Forgets the tries of what is not open any more.
    pub(super) fn tidy_acts(&mut self, open: &[Entry]) {
        self.led.acts.tidy(open);
    }

    async fn record(
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
        if entry.outcome == Outcome::Intended {
            return still_leads(self.store.update_intent(lease, entry).await?);
        }
        self.note_fate(lease, entry, &step, at).await?;
        entry.duration_ms = Some(i64::try_from(at.since(entry.at).as_millis()).unwrap_or(i64::MAX));
        let rest = litter.then(|| remains(entry, &step, lease, at));
        match self.store.close_intent(lease, entry, rest.as_ref()).await? {
            Committed::Stored => {}
            Committed::NotLeading => return still_leads(false),
            Committed::Overtaken => return Ok(()),
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

/// The next thing of one intent, if this scaler still leads.
async fn act(store: Store, executor: Arc<dyn Executor>, lease: Lease, mut task: Task) -> Answer {
    if let (None, Some((host, id))) = (&task.spec, &task.step.like) {
        task.spec = executor.spec(host, id).await.ok();
    }
    let intent = task.intent;
    match store.leads(&lease).await {
        Ok(true) => (intent, Some(executor.advance(&task).await)),
        Ok(false) | Err(_) => (intent, None),
    }
}

fn remembered(census: &Census, step: &Step) -> Option<String> {
    census.get(step.like.as_ref()?)?.spec.clone()
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
