//! What a leader takes from the store and from its surroundings before it decides anything.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use tokio::time::Instant;
use tracing::warn;

use super::scene::keeps;
use super::{FORGET_EVERY, Led, Round, still_leads};
use crate::clock::now;
use crate::executor::Sight;
use crate::history::History;
use crate::observation::Hint;
use crate::policy::{Action, Policy};
use crate::run::blind::Blind;
use crate::run::census::{self, Keep};
use crate::run::{policies, templates};
use crate::store::alerts::StoredAlert;
use crate::store::audit::Entry;
use crate::store::lease::Lease;
use crate::timestamp::Timestamp;

impl Round {
    /// Reads what the leader before has left.
    pub(super) async fn take_over(&mut self, lease: &Lease) -> Result<()> {
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

    /// Nothing gets older or younger because somebody sets the clock.
    pub(super) async fn heed_clock(&mut self, lease: &Lease) -> Result<()> {
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

    /// The policies that hold now.
    pub(super) async fn policies(
        &mut self,
        lease: &Lease,
        sight: &Sight,
    ) -> Result<Arc<Vec<Policy>>> {
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

    /// Brings the census up to date, and asks what it takes to.
    pub(super) async fn take_census(
        &mut self,
        lease: &Lease,
        sight: &Sight,
        policies: &[Policy],
        touched: &[Entry],
        at: Timestamp,
    ) -> Result<()> {
        let keep = keeps(policies);
        let keep = |service: &str| keep.get(service).copied().unwrap_or(Keep::Nothing);
        let Led { census, inquiries, templates, .. } = &mut self.led;
        let specs: (&dyn Fn(&str) -> Keep, _) = (&keep, &*templates);
        inquiries.begin();
        let mut changed = census::update(census, sight, touched, specs, inquiries, at);
        if inquiries.ask(&self.executor, self.pacing.peers).await {
            changed = changed.and(census::update(census, sight, touched, specs, inquiries, at));
        }
        still_leads(changed.remember(census, &self.store, lease).await?)?;
        self.heed_silence(lease, sight, &keep).await
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

    /// The live alerts of each policy; those that nobody wants are skipped here. `None` where the clock
    /// was set since the round began.
    pub(super) async fn hints(
        &mut self,
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
                    let skipped = self.store.skip_alert(lease, alert.id, &why).await;
                    let leads = self.bear(&format!("skip alert {}", alert.id), skipped)?;
                    still_leads(leads.unwrap_or(true))?;
                }
                Err(_) => {}
            }
        }
        Ok(Some(hints))
    }

    pub(super) async fn remember(
        &mut self,
        lease: &Lease,
        changed: Vec<(String, History)>,
    ) -> Result<()> {
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

    pub(super) async fn forget(&mut self, lease: &Lease, at: Timestamp) -> Result<()> {
        if self.led.forgot_at.is_some_and(|last| last.elapsed() < FORGET_EVERY) {
            return Ok(());
        }
        self.led.forgot_at = Some(Instant::now());
        self.led.complaints.clear();
        self.store.forget_before(lease, at - self.config.timing.keep_history).await?;
        Ok(())
    }
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
