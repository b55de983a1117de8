//! What a host has refused is done another way.

use std::collections::{HashMap, HashSet};

use anyhow::Result;

use super::bound::hosts_for;
use super::scene::Scene;
use super::{Round, still_leads};
use crate::executor::plan::{Surroundings, another_way};
use crate::executor::{Sight, Step};
use crate::policy::Policy;
use crate::store::audit::Entry;
use crate::store::lease::Lease;

impl Round {
    /// What a host has refused is done elsewhere, or differently, by the same intent.
    pub(super) async fn find_other_ways(
        &mut self,
        lease: &Lease,
        policies: &[Policy],
        sight: &Sight,
        open: &mut [Entry],
    ) -> Result<()> {
        let refused = std::mem::take(&mut self.led.acts.refused);
        if refused.is_empty() {
            return Ok(());
        }
        let mut names: HashSet<String> = sight.instances.iter().map(|i| i.name.clone()).collect();
        names.extend(open.iter().filter_map(|entry| entry.container_name.clone()));
        let sessions = HashMap::new();
        for id in refused {
            let Some(entry) = open.iter().find(|e| e.id == id) else { continue };
            let Some(policy) = policies.iter().find(|p| p.name == entry.policy) else { continue };
            let Some(step) = entry.step.as_ref() else { continue };
            if !sight.hosts.contains(&step.host) {
                // Whether it is there after all is not known yet.
                self.led.acts.refused.insert(id);
                continue;
            }
            let scene =
                Scene::new(sight, &self.led.census, open, &self.led.templates, &self.led.blind);
            let service = scene.service(policy);
            let (census, executor) = (&self.led.census, &*self.executor);
            let (hosts, _) = hosts_for(policy, &service, &sight.hosts, census, executor);
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
            let before = entry.clone();
            take(entry, other);
            let written = self.store.update_intent(lease, entry).await;
            match self.bear(&format!("write another way for act {id}"), written)? {
                Some(leads) => still_leads(leads)?,
                None => {
                    *entry = before;
                    self.led.acts.refused.insert(id);
                }
            }
        }
        Ok(())
    }
}

fn take(entry: &mut Entry, other: Step) {
    entry.action = other.kind.as_str().to_owned();
    entry.host = Some(other.host.clone());
    entry.container_name = Some(other.name.clone());
    entry.container_id.clone_from(&other.id);
    entry.step = Some(other);
}
