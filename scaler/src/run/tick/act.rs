//! Acts: each intent's next step, and what came of it.
//!
//! An intent is one row of the audit and one container. It stays open, and is tried again with
//! back-off, until what it asks for is so; nobody decides anew meanwhile, since what is under way
//! counts. Only what can never be done, or was not done for [`Pacing::stale`], is given up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::Round;
use crate::clock::now;
use crate::executor::{Executor, Progress, Status, Step, StepError, Task};
use crate::run::census::Census;
use crate::store::Store;
use crate::store::audit::{Entry, Outcome};
use crate::store::lease::Lease;
use crate::timestamp::Timestamp;

/// Steps at once on one host, of one policy and, as far as they are not overdue, of all.
const AT_ONCE: usize = 8;

/// How long others are waited for, and how soon acts are tried again.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    /// A round waits this long for the answers of hosts and sources; those that come later count in
    /// the next one.
    pub peers: Duration,
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
            peers: Duration::from_secs(1),
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
    /// Those under way.
    begun: HashMap<i64, Begun>,
    /// Hosts that are not waited for: an act on them is overdue, or was.
    late: HashSet<String>,
    pub(super) tries: HashMap<i64, Tries>,
    /// Intents of this process that nobody has tried yet.
    pub(super) fresh: HashSet<i64>,
    /// Intents that their hosts have refused: another way may be found.
    pub(super) refused: HashSet<i64>,
}

/// An act that is under way.
struct Begun {
    host: String,
    policy: String,
    at: Instant,
    /// No round waits for it any more.
    overdue: Arc<AtomicBool>,
}

/// Of one intent.
#[derive(Clone, Copy)]
pub(super) struct Tries {
    pub(super) failed: u32,
    next: Instant,
    /// How long the stop signal had been sent when this process learned of it, and when that was:
    /// from then on our clock, which nobody sets, counts.
    pub(super) signalled: Option<(Duration, Instant)>,
}

/// What an act came to; `None` when somebody else leads: then nothing may be done any more.
type Answer = (i64, Option<Result<Progress, StepError>>);

impl Acts {
    /// Whether it is being done right now.
    pub(super) fn is_flying(&self, intent: i64) -> bool {
        self.begun.contains_key(&intent)
    }

    /// Whether another act may begin. What hangs takes up the places of its own policy alone.
    fn has_place(&self, host: &str, policy: &str) -> bool {
        let here = || self.begun.values().filter(|begun| begun.host == host);
        here().filter(|begun| begun.policy == policy).count() < AT_ONCE
            && here().filter(|begun| !begun.overdue.load(Relaxed)).count() < AT_ONCE
    }

    /// Whether an act is worth waiting for.
    fn awaits(&self) -> bool {
        let prompt = |b: &Begun| !b.overdue.load(Relaxed) && !self.late.contains(&b.host);
        self.begun.values().any(prompt)
    }

    /// Nobody waits any more for what is still under way.
    fn leave(&mut self) {
        for begun in self.begun.values() {
            begun.overdue.store(true, Relaxed);
            self.late.insert(begun.host.clone());
        }
    }

    fn ended(&mut self, intent: i64, patience: Duration) {
        if let Some(begun) = self.begun.remove(&intent)
            && begun.at.elapsed() <= patience
        {
            self.late.remove(&begun.host);
        }
    }

    pub(super) fn tries(&mut self, entry: &Entry, at: Timestamp) -> &mut Tries {
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
        self.tries.retain(|id, _| open.contains(id) || self.begun.contains_key(id));
        self.refused.retain(|id| open.contains(id));
        self.fresh.retain(|id| open.contains(id));
    }
}

impl Tries {
    pub(super) fn failed(&mut self, Pacing { first, longest, .. }: Pacing) {
        let pause = (first * 2_u32.saturating_pow(self.failed.min(16))).min(longest);
        self.failed += 1;
        self.next = Instant::now() + pause;
    }
}

impl Round {
    /// Does the next thing of every intent that is due, and writes how far each has come. Those
    /// that take longer go on, and are written when a later round finds them done.
    pub(super) async fn advance(&mut self, lease: &Lease, entries: &mut [Entry]) -> Result<()> {
        let (mut begun, patience) = (HashSet::new(), self.pacing.round);
        self.take_acts(lease, entries).await?;
        self.begin_acts(lease, entries, &mut begun);
        let end = Instant::now() + patience;
        while self.led.acts.awaits() {
            match timeout_at(end, self.led.acts.flying.join_next()).await {
                Ok(Some(answer)) => self.take_act(lease, entries, answer).await?,
                Ok(None) | Err(_) => break,
            }
            self.begin_acts(lease, entries, &mut begun);
        }
        self.take_acts(lease, entries).await?;
        self.led.acts.leave();
        // One that is being stopped right now cannot be taken back.
        let stopping = |e: &&mut Entry| e.step.as_ref().is_some_and(|s| s.kind.takes_away());
        for entry in entries.iter_mut().filter(|e| self.led.acts.is_flying(e.id)).filter(stopping) {
            entry.status.get_or_insert_with(|| Status::Stopping.as_str().to_owned());
        }
        Ok(())
    }

    /// Takes in what has ended meanwhile.
    async fn take_acts(&mut self, lease: &Lease, entries: &mut [Entry]) -> Result<()> {
        while let Some(answer) = self.led.acts.flying.try_join_next() {
            self.take_act(lease, entries, answer).await?;
        }
        Ok(())
    }

    async fn take_act(
        &mut self,
        lease: &Lease,
        entries: &mut [Entry],
        answer: Result<Answer, JoinError>,
    ) -> Result<()> {
        let Ok((id, answer)) = answer else {
            // A panic in an executor: nobody knows whose, so every one is looked at again.
            self.led.acts = Acts::default();
            return Ok(());
        };
        if let Some(begun) = self.led.acts.begun.get(&id) {
            self.led.survey.acted_on(&begun.host);
        }
        self.led.acts.ended(id, self.pacing.round);
        let Some(answer) = answer else { return Ok(()) };
        let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) else { return Ok(()) };
        self.record(lease, entry, answer).await
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
            let busy = acts.is_flying(entry.id) || !acts.has_place(&step.host, &entry.policy);
            if busy || begun.contains(&entry.id) {
                continue;
            }
            let tries = *acts.tries(entry, at);
            if tries.next > clock {
                continue;
            }
            begun.insert(entry.id);
            let overdue: Arc<AtomicBool> = Arc::default();
            let (host, policy) = (step.host.clone(), entry.policy.clone());
            let under_way = Begun { host, policy, at: clock, overdue: overdue.clone() };
            acts.begun.insert(entry.id, under_way);
            let fresh = acts.fresh.remove(&entry.id);
            let signalled = tries.signalled.map(|(before, since)| before + since.elapsed());
            let (intent, spec) = (entry.id, remembered(&self.led.census, &step));
            let task = Task { intent, step, at: entry.at, now: at, spec, signalled, fresh };
            let (store, executor) = (self.store.clone(), self.executor.clone());
            let (act, wake) = (act(store, executor, lease.clone(), task), self.wake.clone());
            acts.flying.spawn(async move {
                let answer = act.await;
                if overdue.load(Relaxed) {
                    wake.notify_one();
                }
                answer
            });
        }
    }

    /// Forgets the tries of what is not open any more.
    pub(super) fn tidy_acts(&mut self, open: &[Entry]) {
        self.led.acts.tidy(open);
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
