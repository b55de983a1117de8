//! A policy's turn: from what is seen to a decision, its steps and its rows, which a task of its own
//! stores. A policy whose rows cannot be stored yet is left out of the rounds until they are, and
//! keeps no other waiting.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{error, info};

use super::bound::hosts_for;
use super::scene::Scene;
use super::{Round, still_leads};
use crate::crash;
use crate::decide::{Decision, HintOutcome, Inputs, Move, decide};
use crate::executor::Sight;
use crate::executor::plan::{Plan, Service, Surroundings, plan};
use crate::history::History;
use crate::observation::{Hint, Observation, Reading};
use crate::policy::Policy;
use crate::store::alerts::AlertEnd;
use crate::store::audit::{Commit, Committed, Entry};
use crate::store::lease::Lease;
use crate::store::{Store, gave_way};
use crate::timestamp::Timestamp;

/// Turns that are stored at once.
const AT_ONCE: usize = 4;
/// How often a turn that had to give way to another writer is stored again at once.
const TRIES: usize = 3;

/// What all policies of a round look at.
pub(super) struct Stage<'a> {
    pub(super) policies: &'a [Policy],
    pub(super) sight: &'a Sight,
    pub(super) open: &'a [Entry],
    pub(super) at: Timestamp,
}

/// What came of the turns of a round.
#[derive(Default)]
pub(super) struct Turned {
    /// The acts that were decided, all to be begun.
    pub(super) entries: Vec<Entry>,
    /// Decisions that were acted upon.
    pub(super) acted: usize,
}

/// The turns that are being stored.
#[derive(Default)]
pub(super) struct Turns {
    storing: JoinSet<(Turn, Result<Committed, sqlx::Error>)>,
    /// Whose turn that is, and the names that it gives.
    names: HashMap<String, Vec<String>>,
}

/// What one policy has decided.
struct Turn {
    policy: String,
    decision: Decision,
    memory: History,
    plan: Plan,
    entries: Vec<Entry>,
    ends: Vec<(i64, AlertEnd)>,
    /// Nothing is done but to write that something was wanted.
    holds: bool,
}

/// What one policy looks at.
struct View<'a> {
    policy: &'a Policy,
    seen: Observation,
    hints: Vec<(i64, Hint)>,
    before: History,
}

/// What all policies share while they plan: what one has planned, the next one counts with.
struct Common<'a> {
    names: HashSet<String>,
    load: HashMap<&'a str, usize>,
    sessions: HashMap<IpAddr, u64>,
    complaints: Vec<String>,
}

/// A decision, and what is wanted for it.
struct Proposal {
    decision: Decision,
    memory: History,
    plan: Plan,
}

impl Round {
    /// Lets every policy decide that is not still busy with its last turn, and stores what comes of
    /// it.
    pub(super) async fn take_turns(
        &mut self,
        lease: &Lease,
        stage: &Stage<'_>,
        readings: Vec<Vec<Reading>>,
        hints: HashMap<String, Vec<(i64, Hint)>>,
    ) -> Result<Turned> {
        let (mut queue, unchanged) = self.decide_all(lease, stage, readings, hints);
        let turned = self.store_turns(lease, &mut queue).await?;
        // Those that found no place decide anew.
        queue.iter().for_each(|turn| self.led.holds.end(&turn.policy));
        self.led.holds.flush(&self.store, lease).await;
        self.remember(lease, unchanged).await?;
        Ok(turned)
    }

    /// The turns to be stored, and what has changed of the memories of all others.
    fn decide_all(
        &mut self,
        lease: &Lease,
        stage: &Stage<'_>,
        readings: Vec<Vec<Reading>>,
        mut hints: HashMap<String, Vec<(i64, Hint)>>,
    ) -> (VecDeque<Turn>, Vec<(String, History)>) {
        let (mut queue, mut unchanged, mut held) = (VecDeque::new(), Vec::new(), Vec::new());
        let led = &self.led;
        let scene = Scene::new(stage.sight, &led.census, stage.open, &led.templates, &led.blind);
        let mut common = self.common(stage, &scene);
        for (policy, readings) in stage.policies.iter().zip(readings) {
            if led.turns.names.contains_key(&policy.name) {
                continue;
            }
            let service = scene.service(policy);
            let hints = hints.remove(&policy.name).unwrap_or_default();
            let hidden = led.blind.hides(&policy.service, &led.census, stage.open);
            let seen = Observation {
                readings,
                replicas: (!hidden).then(|| service.replicas(policy, stage.at)),
                hints: hints.iter().map(|(_, hint)| hint.clone()).collect(),
            };
            let before = led.memories.get(&policy.name).cloned().unwrap_or_default();
            let view = View { policy, seen, hints, before };
            // A policy that cannot be decided must not keep the others from it.
            let propose = || self.propose(&view, &service, stage, &mut common);
            let Ok(proposal) = catch_unwind(AssertUnwindSafe(propose)) else {
                common.complaints.push(format!("policy {}: panicked: not decided", policy.name));
                continue;
            };
            let turn = turn(&view, proposal, lease);
            common.take_in(&turn.entries, stage.sight);
            match turn.is_quiet() {
                true => held.push((view, turn)),
                false => queue.push_back(turn),
            }
        }
        let complaints = common.complaints;
        for (view, mut turn) in held {
            let View { policy, seen, before, .. } = &view;
            if turn.memory != *before {
                unchanged.push((policy.name.clone(), turn.memory.clone()));
            }
            let row = self.led.holds.note(policy, &turn.decision, seen, before, lease);
            if let Some(row) = row {
                (turn.entries, turn.holds) = (vec![row], true);
                queue.push_back(turn);
            }
        }
        complaints.into_iter().for_each(|complaint| self.complain(complaint));
        (queue, unchanged)
    }

    fn common<'a>(&self, stage: &Stage<'a>, scene: &Scene<'a>) -> Common<'a> {
        let mut names: HashSet<String> =
            stage.sight.instances.iter().map(|instance| instance.name.clone()).collect();
        names.extend(stage.open.iter().filter_map(|entry| entry.container_name.clone()));
        names.extend(self.led.turns.names.values().flatten().cloned());
        let sessions = self.sources.sessions();
        Common { names, load: scene.load.clone(), sessions, complaints: Vec::new() }
    }

    /// Decides, and finds the steps; a decision that cannot be carried out is one to hold.
    fn propose(
        &self,
        view: &View<'_>,
        service: &Service<'_>,
        stage: &Stage<'_>,
        common: &mut Common<'_>,
    ) -> Proposal {
        let View { policy, seen, before, .. } = view;
        let (mut decision, mut memory) = decide(policy, seen, before, stage.at);
        crash::point("decided");
        self.page.decided(policy, seen, &decision);
        let planned = self.plan(policy, service, stage, decision.action, common);
        let plan = planned.unwrap_or_else(|why| {
            common.complaints.push(format!("policy {}: {why}", policy.name));
            memory.retract(stage.at);
            decision.action = Move::Hold;
            decision.to = decision.from;
            decision.reason = format!("{}; {why}", decision.reason);
            for (_, outcome) in &mut decision.hints {
                if *outcome == HintOutcome::Processed {
                    *outcome = HintOutcome::Pending(why.clone());
                }
            }
            Plan::default()
        });
        Proposal { decision, memory, plan }
    }

    fn plan(
        &self,
        policy: &Policy,
        service: &Service<'_>,
        stage: &Stage<'_>,
        action: Move,
        common: &mut Common<'_>,
    ) -> Result<Plan, String> {
        let mut hosts = Vec::new();
        if let Move::Out { .. } = action {
            let (census, all) = (&self.led.census, &stage.sight.hosts);
            let (allowed, why) = hosts_for(policy, service, all, census, &*self.executor);
            hosts = allowed;
            common.complaints.extend(why);
            let pause = self.led.pauses.get(&policy.name);
            if pause.is_some_and(|(until, _)| Instant::now() < *until) {
                return Err("the last act failed: waiting before the next".to_owned());
            }
        }
        let around = Surroundings {
            hosts: &hosts,
            load: &common.load,
            avoid: &self.avoided(&policy.service),
            names: &common.names,
            sessions: &common.sessions,
        };
        plan(policy, service, &around, action)
    }

    /// Stores what was decided, a few turns at a time, for as long as any of them gets anywhere.
    async fn store_turns(&mut self, lease: &Lease, queue: &mut VecDeque<Turn>) -> Result<Turned> {
        let mut turned = Turned::default();
        let mut mine = 0;
        loop {
            while mine < AT_ONCE
                && let Some(turn) = queue.pop_front()
            {
                let names = turn.entries.iter().filter_map(|e| e.container_name.clone());
                self.led.turns.names.insert(turn.policy.clone(), names.collect());
                self.led.turns.storing.spawn(store(self.store.clone(), lease.clone(), turn));
                mine += 1;
            }
            if mine == 0 {
                return Ok(turned);
            }
            let next = self.led.turns.storing.join_next();
            match timeout(self.pacing.peers, next).await {
                Ok(Some(ended)) => {
                    mine -= 1;
                    let (turn, stored) = ended?;
                    self.end_turn(turn, stored, &mut turned)?;
                }
                Ok(None) | Err(_) => return Ok(turned),
            }
        }
    }

    /// Takes in the turns of earlier rounds that are stored by now; their acts are found as open.
    pub(super) fn end_turns(&mut self) -> Result<()> {
        let mut turned = Turned::default();
        while let Some(ended) = self.led.turns.storing.try_join_next() {
            let (turn, stored) = ended?;
            self.end_turn(turn, stored, &mut turned)?;
        }
        Ok(())
    }

    fn end_turn(
        &mut self,
        turn: Turn,
        stored: Result<Committed, sqlx::Error>,
        turned: &mut Turned,
    ) -> Result<()> {
        self.led.turns.names.remove(&turn.policy);
        let stored = self.bear(&format!("store what policy {} decided", turn.policy), stored)?;
        match stored {
            Some(Committed::Stored) => {}
            Some(Committed::NotLeading) => return still_leads(false),
            Some(Committed::Overtaken) | None => {
                self.led.holds.end(&turn.policy);
                return Ok(());
            }
        }
        crash::point("intent_written");
        if turn.holds {
            return Ok(());
        }
        self.led.memories.insert(turn.policy.clone(), turn.memory);
        if !turn.entries.is_empty() || !turn.plan.taken_back.is_empty() {
            turned.acted += 1;
            let Decision { from, to, reason, .. } = turn.decision;
            self.led.holds.end(&turn.policy);
            info!(policy = turn.policy, from, to, reason, "scale");
            self.notifier.tell(format!("{}: {reason}", turn.policy));
        }
        self.led.acts.fresh.extend(turn.entries.iter().map(|entry| entry.id));
        turned.entries.extend(turn.entries);
        Ok(())
    }
}

impl Turn {
    fn is_quiet(&self) -> bool {
        self.entries.is_empty() && self.plan.taken_back.is_empty() && self.ends.is_empty()
    }
}

impl<'a> Common<'a> {
    fn take_in(&mut self, entries: &[Entry], sight: &'a Sight) {
        self.names.extend(entries.iter().filter_map(|entry| entry.container_name.clone()));
        for host in entries.iter().filter(|e| e.action == "create").filter_map(|e| e.host.as_ref())
        {
            if let Some(host) = sight.hosts.iter().find(|known| *known == host) {
                *self.load.entry(host).or_default() += 1;
            }
        }
    }
}

fn turn(view: &View<'_>, proposal: Proposal, lease: &Lease) -> Turn {
    let Proposal { decision, memory, plan } = proposal;
    let ends = ends(&decision, &view.hints);
    let entries = entries(view, &decision, &plan, lease);
    Turn { policy: view.policy.name.clone(), decision, memory, plan, entries, ends, holds: false }
}

/// Stores one turn.
async fn store(store: Store, lease: Lease, turn: Turn) -> (Turn, Result<Committed, sqlx::Error>) {
    let commit = Commit {
        policy: &turn.policy,
        history: (!turn.holds).then_some(&turn.memory),
        entries: &turn.entries,
        taken_back: &turn.plan.taken_back,
        alerts: &turn.ends,
        at: turn.decision.at,
    };
    let mut stored = store.commit(&lease, &commit).await;
    for _ in 1..TRIES {
        match &stored {
            Err(error) if gave_way(error) => stored = store.commit(&lease, &commit).await,
            _ => break,
        }
    }
    if let Err(error) = &stored {
        error!(policy = turn.policy, %error, "what it decided is not stored: it decides again");
    }
    (turn, stored)
}

/// The alerts that this decision ends.
fn ends(decision: &Decision, hints: &[(i64, Hint)]) -> Vec<(i64, AlertEnd)> {
    let end = |(id, hint): &(i64, Hint)| {
        let (_, outcome) = decision.hints.iter().find(|(key, _)| *key == hint.key)?;
        match outcome {
            HintOutcome::Processed => Some((*id, AlertEnd::Processed(decision.reason.clone()))),
            HintOutcome::Skipped(why) => Some((*id, AlertEnd::Skipped(why.clone()))),
            HintOutcome::Pending(_) => None,
        }
    };
    hints.iter().filter_map(end).collect()
}

/// The rows of a decision that is acted upon, one for each step.
fn entries(view: &View<'_>, decision: &Decision, plan: &Plan, lease: &Lease) -> Vec<Entry> {
    if plan.steps.is_empty() {
        return Vec::new();
    }
    let View { policy, seen, before, .. } = view;
    let inputs = Inputs::written(policy, seen, before);
    plan.steps
        .iter()
        .map(|step| Entry {
            decided_at: decision.at,
            from: decision.from,
            to: decision.to,
            metric: decision.metric.as_ref().map(|(name, _)| name.clone()),
            metric_value: decision.metric.as_ref().map(|(_, value)| *value),
            reason: decision.reason.clone(),
            host: Some(step.host.clone()),
            container_id: step.id.clone(),
            container_name: Some(step.name.clone()),
            epoch: lease.epoch,
            step: Some(step.clone()),
            inputs: inputs.clone(),
            ..Entry::new(decision.at, &policy.name, &policy.service, step.kind.as_str())
        })
        .collect()
}
