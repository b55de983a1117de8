//! What containers' labels make of policies. Whoever may start a container may label it, so labels
//! are trusted as far as the configuration says: not at all, to narrow what a policy allows, or in full.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::config::Trust;
use crate::policy::{
    Action, LONGEST_NAME, MOST_REPLICAS, Policy, check_container_name, check_policy_name,
};

/// Labels by which a container names its service.
pub const SERVICE: [&str; 2] = ["service_name", "container_service_name"];
const MIN: [&str; 2] = ["autoscale_min_instance", "autoscale_min_instances"];
const MAX: [&str; 2] = ["autoscale_max_instance", "autoscale_max_instances"];
const NAMING: [&str; 2] = ["naming_convention", "container_naming_convention"];
const POLICY: [&str; 2] = ["policy_name", "container_policy_name"];
const ALERTS: &str = "alert_service_name";
const ACTION: &str = "autoscale_action";
const AVAILABILITY: &str = "service_availability";

/// Labels of a container.
pub type Labels = BTreeMap<String, String>;

/// The service that a container belongs to.
pub fn service_of(labels: &Labels) -> Option<&str> {
    find(labels, SERVICE)
}

/// Those labels that say something of the service and its policy.
pub fn said(labels: &Labels) -> Labels {
    let known = [SERVICE, MIN, MAX, NAMING, POLICY].into_iter().flatten();
    let known: Vec<&str> = known.chain([ALERTS, ACTION, AVAILABILITY]).collect();
    let ours = labels.iter().filter(|(label, _)| known.contains(&label.as_str()));
    ours.map(|(label, value)| (label.clone(), value.clone())).collect()
}

/// What one label of a service asked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The service.
    pub service: String,
    /// The label.
    pub label: &'static str,
    /// Its value.
    pub asked: String,
    /// Why it counts for nothing; `None` when it does count.
    pub refused: Option<String>,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, label, asked, refused } = self;
        write!(f, "labels of {service}: {label}={asked}")?;
        refused.as_ref().map_or(Ok(()), |why| write!(f, ": refused: {why}"))
    }
}

/// Puts labels over policies, as far as they are trusted. In full trust a service with labels and
/// without a policy gets one of its own. What a label may not say is left as it was.
pub fn with_labels(
    mut policies: Vec<Policy>,
    labels: &HashMap<&str, Labels>,
    trust: Trust,
    effects: &mut Vec<Effect>,
) -> Vec<Policy> {
    let mut services: Vec<_> = labels.iter().collect();
    services.sort_unstable_by_key(|(service, _)| **service);
    let at: HashMap<String, usize> =
        policies.iter().enumerate().map(|(n, p)| (p.service.clone(), n)).collect();
    for (service, labels) in services {
        let mut reader = Reader { service, labels, trust, effects: Vec::new() };
        match at.get(*service) {
            Some(&n) => {
                let mut policy = policies[n].clone();
                reader.put_over(&mut policy, &policies);
                policies[n] = policy;
            }
            None => {
                let made = reader.policy_of_its_own(&policies);
                policies.extend(made);
            }
        }
        effects.append(&mut reader.effects);
    }
    policies
}

/// Reads the labels of one service.
struct Reader<'l> {
    service: &'l str,
    labels: &'l Labels,
    trust: Trust,
    effects: Vec<Effect>,
}

impl Reader<'_> {
    /// Notes what came of a label; the value when it counts.
    fn note<T>(&mut self, label: &'static str, asked: &str, read: Result<T, String>) -> Option<T> {
        let shown: String = asked.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
        let (refused, value) = match read {
            Ok(value) => (None, Some(value)),
            Err(why) => (Some(why), None),
        };
        let service = self.service.to_owned();
        self.effects.push(Effect { service, label, asked: shown, refused });
        value
    }

    /// What labels may say in full trust only.
    fn in_full<T>(&self, value: T, what: &str) -> Result<T, String> {
        match self.trust {
            Trust::Full => Ok(value),
            Trust::Off | Trust::Narrow => Err(format!("{what} takes [labels] trust = \"full\"")),
        }
    }

    fn policy_of_its_own(&mut self, others: &[Policy]) -> Option<Policy> {
        let bounded = find(self.labels, MAX);
        let available = self.labels.get(AVAILABILITY).filter(|text| truth(text) == Some(true));
        // What makes a policy: a maximum, or availability.
        let (label, asked) = match (bounded, available) {
            (Some(max), _) => (MAX[0], max.to_owned()),
            (None, Some(text)) => (AVAILABILITY, text.clone()),
            (None, None) => return None,
        };
        let name = find(self.labels, POLICY).unwrap_or(self.service).to_owned();
        let allowed = match self.in_full((), "a policy made of labels alone") {
            Err(why) => Err(format!(
                "{why}; or give the service a [[policy]] with service_name = {:?}",
                self.service
            )),
            Ok(()) => check_policy_name(&name).and_then(|()| is_free(&name, others)),
        };
        if let Err(why) = allowed {
            self.note::<()>(label, &asked, Err(why));
            return None;
        }
        // Without a maximum it may bring back what was lost and nothing else.
        let (min, max) = if bounded.is_some() { (1, 1) } else { (0, u32::MAX) };
        let mut policy = Policy::new(&name, self.service, min, max);
        if bounded.is_none() {
            policy.actions.list.clear();
        }
        self.put_over(&mut policy, others);
        if policy.naming_convention.is_none()
            && let Err(why) = check_container_name(self.service)
        {
            self.note::<()>(SERVICE[0], self.service, Err(why));
            return None;
        }
        Some(policy)
    }

    fn put_over(&mut self, policy: &mut Policy, others: &[Policy]) {
        self.bounds(policy);
        if let Some(prefix) = find(self.labels, NAMING)
            && policy.naming_convention.as_deref() != Some(prefix)
        {
            let read = self
                .in_full(prefix.to_owned(), "how new containers are called")
                .and_then(|prefix| check_container_name(&prefix).map(|()| prefix));
            if let Some(prefix) = self.note(NAMING[0], prefix, read) {
                policy.naming_convention = Some(prefix);
            }
        }
        if let Some(service) = self.labels.get(ALERTS).map(|s| s.trim()).filter(|s| !s.is_empty())
            && policy.alert_service != service
        {
            let others = others.iter().filter(|p| p.name != policy.name);
            let theirs = others
                .filter(|p| [&p.name, &p.service, &p.alert_service].contains(&&service.to_owned()));
            let read =
                self.in_full(service.to_owned(), "whose alerts it follows").and_then(|service| {
                    match theirs.map(|p| &p.name).next() {
                        Some(name) => Err(format!("those are the alerts of the policy {name}")),
                        None => Ok(service),
                    }
                });
            if let Some(service) = self.note(ALERTS, service, read) {
                policy.alert_service = service;
            }
        }
        self.actions(policy);
    }

    fn bounds(&mut self, policy: &mut Policy) {
        let (low, high) = match self.trust {
            Trust::Full => (0, MOST_REPLICAS),
            Trust::Off | Trust::Narrow => (policy.min, policy.max),
        };
        let trust = self.trust;
        let within = |text: &str| match text.parse::<u32>() {
            _ if trust == Trust::Off => Err("[labels] trust is \"off\"".to_owned()),
            Ok(n) if (low..=high).contains(&n) => Ok(n),
            Ok(n) if n <= MOST_REPLICAS && trust == Trust::Narrow => Err(format!(
                "outside of the policy's {low} to {high}, which takes [labels] trust = \"full\""
            )),
            _ => Err(format!("expected a whole number from {low} to {high}, not {text:?}")),
        };
        let max = find(self.labels, MAX).map(|text| (text, within(text)));
        let max = max.and_then(|(text, read)| self.note(MAX[0], text, read));
        // A label may lower the maximum below a minimum that it does not name.
        policy.max = max.unwrap_or(policy.max);
        let asked = find(self.labels, MIN);
        let min = asked.map(|text| (text, within(text))).map(|(text, read)| {
            let most = policy.max;
            let read = read.and_then(|n| match n {
                n if n > most => Err(format!("{n} is above the maximum of {most}")),
                n => Ok(n),
            });
            self.note(MIN[0], text, read)
        });
        policy.min = min.flatten().unwrap_or(policy.min.min(policy.max));
    }

    fn actions(&mut self, policy: &mut Policy) {
        if let Some(text) = self.labels.get(ACTION) {
            let list =
                text.split(',').map(|a| a.trim().parse()).collect::<Result<Vec<Action>, _>>();
            let wider = |list: &Vec<Action>| {
                list.iter().find(|action| !policy.actions.list.contains(action)).copied()
            };
            let read = list.and_then(|list| match wider(&list) {
                Some(action) => self.in_full(list, &format!("{action}, which the policy has not,")),
                None => self.at_all(list),
            });
            if let Some(list) = self.note(ACTION, text, read) {
                policy.actions.list = list;
            }
        }
        if let Some(text) = self.labels.get(AVAILABILITY) {
            let has = policy.actions.availability();
            let read = match truth(text) {
                Some(true) if !has => self.in_full(true, "what the policy has not"),
                Some(wanted) => self.at_all(wanted),
                None => Err(format!("expected true or false, not {text:?}")),
            };
            match self.note(AVAILABILITY, text, read) {
                Some(true) if !has => policy.actions.list.push(Action::ServiceAvailability),
                Some(false) => policy.actions.list.retain(|a| *a != Action::ServiceAvailability),
                Some(true) | None => {}
            }
        }
    }

    /// What labels may say unless they may say nothing.
    fn at_all<T>(&self, value: T) -> Result<T, String> {
        match self.trust {
            Trust::Off => Err("[labels] trust is \"off\"".to_owned()),
            Trust::Narrow | Trust::Full => Ok(value),
        }
    }
}

/// Whether a policy of labels may be called so: a name stands for a memory and for a pause.
fn is_free(name: &str, others: &[Policy]) -> Result<(), String> {
    match others.iter().find(|p| p.name == name) {
        Some(other) => Err(format!(
            "the service {} has a policy that is called {name:?}: give it a policy_name of its own",
            other.service
        )),
        None => Ok(()),
    }
}

/// What no name can be counts as none: it could be neither stored nor shown.
fn find<'l>(labels: &'l Labels, names: [&str; 2]) -> Option<&'l str> {
    let value = names.iter().find_map(|name| labels.get(*name))?.trim();
    let fits = !value.is_empty() && value.len() <= LONGEST_NAME;
    (fits && !value.chars().any(char::is_control)).then_some(value)
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
