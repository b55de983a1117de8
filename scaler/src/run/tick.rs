//! One round over all policies: finish what is open, look, decide, write down, act.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::blind::Blind;
use super::census::{self, Census, Keep};
use super::hold::Holds;
use super::policies;
use super::templates::{self, Templates};
use crate::clock::{Watch, now};
use crate::config::Config;
use crate::crash;
use crate::decide::{Decision, HintOutcome, Inputs, Move, decide};
use crate::executor::plan::{Plan, Surroundings, another_way, plan};
use crate::executor::{Executor, Sight};
use crate::history::History;
use crate::metrics_page::Page;
use crate::notify::Notifier;
use crate::observation::{Hint, Observation};
use crate::policy::{Action, Policy};
use crate::sources::Sources;
use crate::store::Store;
use crate::store::alerts::{AlertEnd, StoredAlert};
use crate::store::audit::{Commit, Committed, Entry, Outcome};
use crate::store::lease::Lease;
use crate::timestamp::Timestamp;

mod act;
mod bound;
mod scene;

use act::Acts;
pub use act::Pacing;
use bound::hosts_for;
use scene::{Scene, keeps, read};

/// Many containers that start slowly take their time; nothing takes this long.
const LONGEST: Duration = Duration::from_secs(900);
/// How often old rows are deleted, and what was complained of may be told anew.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// What a round works with, and what it keeps from one to the next.
pub struct Round {
    /// The configuration that holds.
    pub config: Arc<Config>,
    /// Where everything is kept.
    pub store: Store,
    /// Who acts.
    pub executor: Arc<dyn Executor>,
    /// Who measures.
    pub sources: Sources,
    /// Who is told.
    pub notifier: Notifier,
    /// What is shown.
    pub page: Arc<Page>,
    /// The policies that hold, for the inlet.
    pub published: watch::Sender<Option<Arc<Vec<Policy>>>>,
    /// Nothing is done, whatever the policies say.
    pub dry_run: bool,
    /// A round that takes longer is cut off.
    pub longest: Duration,
    /// How acts are waited for and tried again.
    pub pacing: Pacing,
    finish_only: bool,
    watch: Watch,
    led: Led,
}

/// What only a leader knows; read from the store when the lead is taken.
#[derive(Default)]
struct Led {
    lease: Option<Lease>,
    memories: HashMap<String, History>,
    census: Census,
    blind: Blind,
    templates: Templates,
    holds: Holds,
    table: Vec<Policy>,
    complaints: HashSet<String>,
    acts: Acts,
    pauses: HashMap<String, (Instant, u32)>,
    avoid: HashMap<(String, String), Instant>,
    forgot_at: Option<Instant>,
}

/// What came of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounded {
    /// Intents that are still open.
    pub open: usize,
    /// Decisions that were acted upon.
    pub acted: usize,
    /// Docker hosts that did not answer.
    pub blind: usize,
}

impl Round {
    /// A round that has not led yet.
    pub fn new(
        config: Arc<Config>,
        store: Store,
        executor: Arc<dyn Executor>,
        sources: Sources,
        notifier: Notifier,
        page: Arc<Page>,
    ) -> Self {
        let published = watch::Sender::new(None);
        let dry_run = false;
        Self {
            config,
            store,
            executor,
            sources,
            notifier,
            page,
            published,
            dry_run,
            longest: LONGEST,
            pacing: Pacing::default(),
            finish_only: false,
            watch: Watch::start(now(), Instant::now().into_std()),
            led: Led::default(),
        }
    }

    /// Stops leading: the next lead starts from the store.
    pub async fn stand_by(&mut self) {
        self.watch = Watch::start(now(), Instant::now().into_std());
        if let Some(lease) = &self.led.lease {
            self.led.holds.flush(&self.store, lease).await;
        }
        self.led = Led::default();
        self.published.send_replace(None);
        self.page.lead(None);
    }

    /// Decides nothing any more; what is open is still finished.
    pub fn pause_all(&mut self) {
        self.finish_only = true;
    }

    /// One round. An error is the store's; what sources and hosts do wrong is part of the round.
    /// One that goes on for too long is cut off: whatever holds it up, such as a database whose host
    /// is gone, must not hold it for good. What it left open is looked for in the store, as after a
    /// crash.
    pub async fn tick(&mut self, lease: &Lease) -> Result<Rounded> {
        let longest = self.longest;
        match timeout(longest, self.whole(lease)).await {
            Ok(done) => done,
            Err(_) => {
                self.led = Led::default();
                bail!("cut off after {longest:?}")
            }
        }
    }

    async fn whole(&mut self, lease: &Lease) -> Result<Rounded> {
        let began = Instant::now();
        if self.led.lease.as_ref() != Some(lease) {
            self.take_over(lease).await?;
        }
        self.heed_clock(lease).await?;
        still_leads(self.store.set_aside(lease).await?)?;
        let mut open = self.store.open_intents().await?;
        self.tidy_acts(&open);
        self.advance(lease, &mut open).await?;
        let touched = open.clone();
        open.retain(|entry| entry.outcome == Outcome::Intended);
        let sight = self.executor.look().await;
        for (host, why) in &sight.blind {
            self.complain(format!("docker host {host}: {why}"));
        }
        let policies = self.policies(lease, &sight).await?;
        if let Some(before) = self.published.send_replace(Some(policies.clone())) {
            self.page.policies(&before, &policies);
        }
        // All of a round is at one time, which goes on as it was when somebody sets the clock meanwhile.
        let at = self.watch.time(Instant::now().into_std());
        let keep = keeps(&policies);
        let keep = |service: &str| keep.get(service).copied().unwrap_or(Keep::Nothing);
        let executor = self.executor.clone();
        let census = &mut self.led.census;
        let changed = census::update(census, &sight, &touched, &keep, &*executor, at).await;
        still_leads(changed.remember(census, &self.store, lease).await?)?;
        self.heed_silence(lease, &sight, &keep).await?;
        self.find_other_ways(lease, &policies, &sight, &mut open).await?;
        if self.finish_only {
            return Ok(Rounded { open: open.len(), acted: 0, blind: sight.blind.len() });
        }
        let Some(mut hints) = self.hints(lease, &policies, at).await? else {
            // What came since then is of another time: the next round, which heeds it, decides.
            return Ok(Rounded { open: open.len(), acted: 0, blind: sight.blind.len() });
        };
        let readings = read(&mut self.sources, &policies, &sight, at).await;
        crash::point("observed");

        let mut acts = Vec::new();
        let mut unchanged: Vec<(String, History)> = Vec::new();
        let mut names: HashSet<String> =
            sight.instances.iter().map(|instance| instance.name.clone()).collect();
        names.extend(open.iter().filter_map(|entry| entry.container_name.clone()));
        let scene =
            Scene::new(&sight, &self.led.census, &open, &self.led.templates, &self.led.blind);
        let sessions = self.sources.sessions();
        let (mut acted, mut complaints) = (0, Vec::new());
        for (policy, readings) in policies.iter().zip(readings) {
            let service = scene.service(policy);
            let hints = hints.remove(&policy.name).unwrap_or_default();
            let seen = Observation {
                readings,
                replicas: (!self.led.blind.hides(&policy.service, &self.led.census, &open))
                    .then(|| service.replicas(policy, at)),
                hints: hints.iter().map(|(_, hint)| hint.clone()).collect(),
            };
            let before = self.led.memories.get(&policy.name).cloned().unwrap_or_default();
            let (mut decision, mut memory) = decide(policy, &seen, &before, at);
            crash::point("decided");
            self.page.decided(policy, &seen, &decision);
            let census = &self.led.census;
            let (hosts, why) = match decision.action {
                Move::Out { .. } => {
                    hosts_for(policy, &service, &sight.hosts, census, &*executor).await
                }
                Move::Hold | Move::In { .. } => (Vec::new(), None),
            };
            complaints.extend(why);
            let around = Surroundings {
                hosts: &hosts,
                load: &scene.load,
                avoid: &self.avoided(&policy.service),
                names: &names,
                sessions: &sessions,
            };
            let planned = match self.led.pauses.get(&policy.name) {
                Some((until, _))
                    if Instant::now() < *until && matches!(decision.action, Move::Out { .. }) =>
                {
                    Err("the last act failed: waiting before the next".to_owned())
                }
                _ => plan(policy, &service, &around, decision.action),
            };
            let planned = planned.unwrap_or_else(|why| {
                complaints.push(format!("policy {}: {why}", policy.name));
                memory.retract(at);
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
            let ends = ends(&decision, &hints);
            let entries = entries(policy, &decision, &planned, &seen, &before, lease);
            if entries.is_empty() && planned.taken_back.is_empty() && ends.is_empty() {
                let held = self.led.holds.note(policy, &decision, &seen, &before, lease);
                if let Some(entry) = held {
                    let commit = Commit {
                        policy: &policy.name,
                        entries: std::slice::from_ref(&entry),
                        at,
                        ..Commit::default()
                    };
                    if self.store.commit(lease, &commit).await? != Committed::Stored {
                        break;
                    }
                }
                if memory != before {
                    unchanged.push((policy.name.clone(), memory));
                }
                continue;
            }
            let commit = Commit {
                policy: &policy.name,
                history: Some(&memory),
                entries: &entries,
                taken_back: &planned.taken_back,
                alerts: &ends,
                at,
            };
            match self.store.commit(lease, &commit).await? {
                Committed::Stored => {}
                Committed::NotLeading => break,
                Committed::Overtaken => continue,
            }
            crash::point("intent_written");
            self.led.memories.insert(policy.name.clone(), memory);
            if !entries.is_empty() || !planned.taken_back.is_empty() {
                acted += 1;
                self.led.holds.end(&policy.name);
                info!(
                    policy = policy.name,
                    from = decision.from,
                    to = decision.to,
                    reason = decision.reason,
                    "scale"
                );
                self.notifier.tell(format!("{}: {}", policy.name, decision.reason));
            }
            names.extend(entries.iter().filter_map(|entry| entry.container_name.clone()));
            self.led.acts.fresh.extend(entries.iter().map(|entry| entry.id));
            acts.extend(entries);
        }
        for complaint in complaints {
            self.complain(complaint);
        }
        self.led.holds.flush(&self.store, lease).await;
        self.remember(lease, unchanged).await?;
        // Those that are under way may be done by now, too.
        let flies = |entry: &Entry| self.led.acts.is_flying(entry.id);
        let (flying, waiting): (Vec<Entry>, Vec<Entry>) = open.into_iter().partition(flies);
        acts.extend(flying);
        self.advance(lease, &mut acts).await?;
        self.forget(lease, at).await?;
        acts.retain(|entry| entry.outcome == Outcome::Intended);
        self.page.round(began.elapsed(), sight.blind.len());
        Ok(Rounded { open: waiting.len() + acts.len(), acted, blind: sight.blind.len() })
    }

    /// What is on a host that has been silent for too long is lost.
    async fn heed_silence(
        &mut self,
        lease: &Lease,
        sight: &Sight,
        keep: &dyn Fn(&str) -> Keep,
    ) -> Result<()> {
        let lost = self.led.blind.look(sight, &self.config.docker, Instant::now());
        for host in &lost {
            warn!(host, "has not answered for its lost_after: its replicas are replaced");
        }
        let changed = Blind::give_up(&lost, &mut self.led.census, keep);
        let changed: Vec<_> = changed.iter().filter_map(|key| self.led.census.get(key)).collect();
        still_leads(self.store.remember_containers(lease, &changed, &[]).await?)
    }

    /// Nothing gets older or younger because somebody sets the clock.
    async fn heed_clock(&mut self, lease: &Lease) -> Result<()> {
        let mut watch = self.watch;
        let Some(step) = watch.look(now(), Instant::now().into_std()) else {
            self.watch = watch;
            return Ok(());
        };
        // The two clocks are not read in the same moment, so nothing less can be told.
        let seconds = (step.millis() as f64 / 1000.0).round();
        warn!(seconds, "the time of day was set; what is under way stays as old as it was");
        let mut memories = self.led.memories.clone();
        memories.values_mut().for_each(|memory| memory.shift(step.millis()));
        still_leads(self.store.shift(lease, step, &memories).await?)?;
        self.led.memories = memories;
        // A clock that is far ahead must not make the audit look old enough to be forgotten.
        self.led.forgot_at = Some(Instant::now());
        self.watch = watch;
        Ok(())
    }

    /// Reads what the leader before has left.
    async fn take_over(&mut self, lease: &Lease) -> Result<()> {
        let memories = self.store.memories().await?;
        let known = self.store.known_containers().await?;
        let census = known.into_iter().map(|k| ((k.host.clone(), k.id.clone()), k)).collect();
        let templates = self.store.templates().await?;
        let templates = templates.into_iter().map(|t| (t.service.clone(), t)).collect();
        // Only now: what could not be read is read again in the next round.
        let (lease_held, forgot_at) = (Some(lease.clone()), Some(Instant::now()));
        self.led =
            Led { lease: lease_held, memories, census, templates, forgot_at, ..Led::default() };
        self.page.lead(Some(lease.epoch));
        Ok(())
    }

    /// The policies that hold now.
    async fn policies(&mut self, lease: &Lease, sight: &Sight) -> Result<Arc<Vec<Policy>>> {
        let sources = self.config.sources();
        let mut complaints = Vec::new();
        let mut table = Vec::new();
        for row in self.store.policy_rows().await? {
            match row.parse(&sources) {
                Ok(policy) => table.push(policy),
                Err(why) => {
                    complaints.push(format!("policy {} of the table: {why}", row.policy_name));
                    // The last good one holds on.
                    let last = self.led.table.iter().find(|p| p.name == row.policy_name);
                    table.extend(last.cloned());
                }
            }
        }
        self.led.table.clone_from(&table);
        let merged = policies::file_and_table(&self.config.policies, table, &mut complaints);
        let templates = templates::choose(&self.led.templates, sight, &self.led.census, &merged);
        let before = &self.led.templates;
        let changed: Vec<_> =
            templates.values().filter(|t| before.get(&t.service) != Some(*t)).collect();
        let gone: Vec<&str> =
            before.keys().map(|s| &**s).filter(|s| !templates.contains_key(*s)).collect();
        self.store.pin_templates(lease, &changed, &gone).await?;
        self.led.templates = templates;
        let labels = self.led.templates.values().map(|t| (t.service.as_str(), t.labels.clone()));
        let (trust, mut effects) = (self.config.labels.trust, Vec::new());
        let mut merged = policies::with_labels(merged, &labels.collect(), trust, &mut effects);
        complaints.extend(effects.iter().filter(|e| e.refused.is_some()).map(|e| e.to_string()));
        policies::hold_back(&mut merged, &self.store.pauses().await?, self.dry_run);
        for complaint in complaints {
            self.complain(complaint);
        }
        Ok(Arc::new(merged))
    }

    /// The live alerts of each policy; those that nobody wants are skipped here. `None` where the clock
    /// was set since the round began.
    async fn hints(
        &self,
        lease: &Lease,
        policies: &[Policy],
        at: Timestamp,
    ) -> Result<Option<HashMap<String, Vec<(i64, Hint)>>>> {
        let waiting = self.store.waiting_alerts().await?;
        if self.watch.was_set(now(), Instant::now().into_std()) {
            return Ok(None);
        }
        let mut hints: HashMap<String, Vec<(i64, Hint)>> = HashMap::new();
        for alert in waiting {
            match alert.alert.order(policies.iter()) {
                Ok((policy, action)) => {
                    let hint = hint(&alert, action);
                    hints.entry(policy.name.clone()).or_default().push((alert.id, hint));
                }
                // The container of its policy may not have started yet: it waits as long as it lives.
                Err(why) if at >= alert.expires_at || alert.alert.find(policies.iter()).is_ok() => {
                    still_leads(self.store.skip_alert(lease, alert.id, &why).await?)?;
                }
                Err(_) => {}
            }
        }
        Ok(Some(hints))
    }

    /// What a host has refused is done elsewhere, or differently, by the same intent.
    async fn find_other_ways(
        &mut self,
        lease: &Lease,
        policies: &[Policy],
        sight: &Sight,
        open: &mut [Entry],
    ) -> Result<()> {
        let refused = std::mem::take(&mut self.led.acts.refused);
        if refused.is_empty() || !sight.blind.is_empty() {
            self.led.acts.refused = refused;
            return Ok(());
        }
        let mut names: HashSet<String> = sight.instances.iter().map(|i| i.name.clone()).collect();
        names.extend(open.iter().filter_map(|entry| entry.container_name.clone()));
        let sessions = HashMap::new();
        for id in refused {
            let Some(entry) = open.iter().find(|e| e.id == id) else { continue };
            let Some(policy) = policies.iter().find(|p| p.name == entry.policy) else { continue };
            let Some(step) = entry.step.as_ref() else { continue };
            let scene =
                Scene::new(sight, &self.led.census, open, &self.led.templates, &self.led.blind);
            let service = scene.service(policy);
            let (census, executor) = (&self.led.census, &*self.executor);
            let (hosts, _) = hosts_for(policy, &service, &sight.hosts, census, executor).await;
            let around = Surroundings {
                hosts: &hosts,
                load: &scene.load,
                avoid: &self.avoided(&policy.service),
                names: &names,
                sessions: &sessions,
            };
            let mut instances = sight.instances.iter();
            let seen = instances.find(|i| i.host == step.host && i.name == step.name);
            let other = another_way(policy, &service, &around, step, seen);
            let Some(other) = other.filter(|other| other != step) else { continue };
            names.insert(other.name.clone());
            let Some(entry) = open.iter_mut().find(|e| e.id == id) else { continue };
            entry.action = other.kind.as_str().to_owned();
            entry.host = Some(other.host.clone());
            entry.container_name = Some(other.name.clone());
            entry.container_id.clone_from(&other.id);
            entry.step = Some(other);
            still_leads(self.store.update_intent(lease, entry).await?)?;
        }
        Ok(())
    }

    async fn remember(&mut self, lease: &Lease, changed: Vec<(String, History)>) -> Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        let memories: Vec<(&str, &History)> =
            changed.iter().map(|(name, memory)| (name.as_str(), memory)).collect();
        if self.store.save_memories(lease, &memories).await? {
            self.led.memories.extend(changed);
        }
        Ok(())
    }

    async fn forget(&mut self, lease: &Lease, at: Timestamp) -> Result<()> {
        if self.led.forgot_at.is_some_and(|last| last.elapsed() < FORGET_EVERY) {
            return Ok(());
        }
        self.led.forgot_at = Some(Instant::now());
        self.led.complaints.clear();
        self.store.forget_before(lease, at - self.config.timing.keep_history).await?;
        Ok(())
    }

    fn avoided(&self, service: &str) -> HashSet<String> {
        let at = Instant::now();
        let live = self.led.avoid.iter().filter(|((s, _), until)| s == service && at < **until);
        live.map(|((_, host), _)| host.clone()).collect()
    }

    /// Says each thing once an hour.
    fn complain(&mut self, what: String) {
        if !self.led.complaints.contains(&what) {
            warn!("{what}");
            self.led.complaints.insert(what);
        }
    }
}

/// A leader of the past does nothing more in its round.
fn still_leads(leads: bool) -> Result<()> {
    anyhow::ensure!(leads, "another scaler leads now");
    Ok(())
}

fn hint(alert: &StoredAlert, action: Action) -> Hint {
    Hint {
        key: alert.id.to_string(),
        action,
        at: alert.received_at,
        expires: alert.expires_at,
        min: alert.alert.min,
        max: alert.alert.max,
        title: alert.alert.title.clone(),
    }
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
fn entries(
    policy: &Policy,
    decision: &Decision,
    plan: &Plan,
    seen: &Observation,
    before: &History,
    lease: &Lease,
) -> Vec<Entry> {
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
