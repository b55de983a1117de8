//! Which policies hold now: the file's, the table's in place of those, and containers' labels over
//! both, field by field. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::policy::{Action, LONGEST_NAME, MOST_REPLICAS, Pause, Policy};
use crate::store::memory::{EVERY_POLICY, either};

/// Labels by which a container names its service.
const SERVICE: [&str; 2] = ["service_name", "container_service_name"];
const MIN: [&str; 2] = ["autoscale_min_instance", "autoscale_min_instances"];
const MAX: [&str; 2] = ["autoscale_max_instance", "autoscale_max_instances"];
const NAMING: [&str; 2] = ["naming_convention", "container_naming_convention"];
const POLICY: [&str; 2] = ["policy_name", "container_policy_name"];

/// Labels of a container.
pub type Labels = BTreeMap<String, String>;

/// The service that a container belongs to.
pub fn service_of(labels: &Labels) -> Option<&str> {
    find(labels, SERVICE)
}

/// The policies of the file with those of the table in their place or behind them. A policy of the
/// table for a service that another already scales is left out, with a complaint.
pub fn file_and_table(
    file: &[Policy],
    table: Vec<Policy>,
    complaints: &mut Vec<String>,
) -> Vec<Policy> {
    let mut policies: Vec<Policy> =
        file.iter().filter(|p| !table.iter().any(|t| t.name == p.name)).cloned().collect();
    for policy in table {
        match policies.iter().find(|p| p.service == policy.service) {
            Some(other) => complaints.push(format!(
                "policy {}: the service {} is already scaled by the policy {}",
                policy.name, policy.service, other.name
            )),
            None => policies.push(policy),
        }
    }
    policies
}

/// Puts labels over policies; a service with labels and without a policy gets one of its own.
/// What a label says wrongly is left as it was, with a complaint.
pub fn with_labels(
    mut policies: Vec<Policy>,
    labels: &HashMap<&str, Labels>,
    complaints: &mut Vec<String>,
) -> Vec<Policy> {
    let mut services: Vec<_> = labels.iter().collect();
    services.sort_unstable_by_key(|(service, _)| **service);
    let at: HashMap<String, usize> =
        policies.iter().enumerate().map(|(n, p)| (p.service.clone(), n)).collect();
    for (service, labels) in services {
        let mut complain = |why: String| complaints.push(format!("labels of {service}: {why}"));
        match at.get(*service) {
            Some(&n) => override_fields(&mut policies[n], labels, &mut complain),
            None => policies.extend(of_labels(service, labels, &mut complain)),
        }
    }
    policies
}

/// Pauses and a dry run from the command line.
pub fn hold_back(policies: &mut [Policy], pauses: &HashMap<String, Pause>, dry_run: bool) {
    let paused = |name: &str| pauses.get(name).copied().unwrap_or_default();
    for policy in policies {
        policy.pause = either(policy.pause, either(paused(&policy.name), paused(EVERY_POLICY)));
        policy.dry_run |= dry_run;
    }
}

fn of_labels(service: &str, labels: &Labels, complain: &mut dyn FnMut(String)) -> Option<Policy> {
    let name = find(labels, POLICY).unwrap_or(service);
    let bounded = find(labels, MAX).is_some();
    let available = labels.get("service_availability").and_then(|text| truth(text)) == Some(true);
    if !bounded && !available {
        return None;
    }
    // Without a maximum it may bring back what was lost and nothing else.
    let (min, max) = if bounded { (1, 1) } else { (0, u32::MAX) };
    let mut policy = Policy::new(name, service, min, max);
    if !bounded {
        policy.actions.list.clear();
    }
    override_fields(&mut policy, labels, complain);
    Some(policy)
}

fn override_fields(policy: &mut Policy, labels: &Labels, complain: &mut dyn FnMut(String)) {
    let mut count = |names: [&str; 2]| {
        let text = find(labels, names)?;
        let parsed = text.parse::<u32>().ok().filter(|n| *n <= MOST_REPLICAS);
        if parsed.is_none() {
            complain(format!(
                "{}: expected a whole number from 0 to {MOST_REPLICAS}, not {text:?}",
                names[0]
            ));
        }
        parsed
    };
    let (min, max) = (count(MIN), count(MAX));
    // A label may lower the maximum below a minimum that it does not name.
    let new_max = max.unwrap_or(policy.max);
    let new_min = min.unwrap_or(policy.min.min(new_max));
    if new_min <= new_max {
        (policy.min, policy.max) = (new_min, new_max);
    } else {
        complain(format!("autoscale_min_instance: {new_min} is above the maximum of {new_max}"));
    }
    if let Some(prefix) = find(labels, NAMING) {
        policy.naming_convention = Some(prefix.to_owned());
    }
    if let Some(service) = labels.get("alert_service_name").filter(|s| !s.is_empty()) {
        policy.alert_service.clone_from(service);
    }
    if let Some(text) = labels.get("autoscale_action") {
        match text.split(',').map(|a| a.trim().parse()).collect::<Result<Vec<Action>, _>>() {
            Ok(list) => policy.actions.list = list,
            Err(error) => complain(format!("autoscale_action: {error}")),
        }
    }
    if let Some(text) = labels.get("service_availability") {
        match truth(text) {
            Some(true) if !policy.actions.availability() => {
                policy.actions.list.push(Action::ServiceAvailability);
            }
            Some(false) => policy.actions.list.retain(|a| *a != Action::ServiceAvailability),
            Some(true) => {}
            None => complain(format!("service_availability: expected true or false, not {text:?}")),
        }
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
mod tests {
    use super::*;

    fn labels(list: &[(&str, &str)]) -> Labels {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn merged(policies: Vec<Policy>, list: &[(&str, &str)]) -> (Vec<Policy>, Vec<String>) {
        let mut complaints = Vec::new();
        let labels = HashMap::from([("web", labels(list))]);
        (with_labels(policies, &labels, &mut complaints), complaints)
    }

    #[test]
    fn a_label_wins_field_by_field() {
        let mut policy = Policy::new("p", "web", 2, 8);
        policy.naming_convention = Some("web_".to_owned());
        let list = [("autoscale_max_instances", "5"), ("service_availability", "true")];
        let (policies, complaints) = merged(vec![policy], &list);
        let [p] = &policies[..] else { panic!("one") };
        assert_eq!((p.min, p.max, p.naming_convention.as_deref()), (2, 5, Some("web_")));
        assert!(p.actions.availability());
        assert!(complaints.is_empty());
    }

    #[test]
    fn a_wrong_label_changes_nothing_and_is_named() {
        let list = [
            ("autoscale_min_instance", "9"),
            ("autoscale_action", "grow"),
            ("service_availability", "perhaps"),
            ("autoscale_max_instances", "10001"),
        ];
        let (policies, complaints) = merged(vec![Policy::new("p", "web", 2, 8)], &list);
        assert_eq!(policies, [Policy::new("p", "web", 2, 8)]);
        assert_eq!(complaints.len(), 4, "{complaints:?}");
        assert!(complaints[0].contains("from 0 to 10000, not \"10001\""), "{complaints:?}");
        assert!(complaints[1].contains("9 is above the maximum of 8"), "{complaints:?}");
    }

    #[test]
    fn a_label_that_no_store_could_hold_counts_as_none() {
        for name in ["x".repeat(LONGEST_NAME + 1), "a\u{1b}[2Jb".to_owned()] {
            assert_eq!(service_of(&labels(&[("service_name", &name)])), None, "{name:?}");
        }
    }

    #[test]
    fn labels_alone_make_a_policy() {
        let (policies, _) = merged(Vec::new(), &[("service_availability", "true")]);
        assert!(policies[0].actions.availability());
        assert!(!policies[0].actions.allows(crate::policy::Direction::Up));
        let (policies, _) = merged(Vec::new(), &[("x", "y")]);
        assert!(policies.is_empty());
    }

    #[test]
    fn the_table_takes_the_files_place_by_name_and_never_a_service_twice() {
        let file = [Policy::new("a", "web", 1, 2), Policy::new("b", "db", 1, 2)];
        let table = vec![Policy::new("a", "web", 1, 9), Policy::new("c", "db", 1, 9)];
        let mut complaints = Vec::new();
        let policies = file_and_table(&file, table, &mut complaints);
        assert_eq!(policies, [Policy::new("b", "db", 1, 2), Policy::new("a", "web", 1, 9)]);
        assert!(complaints[0].contains("already scaled by the policy b"), "{complaints:?}");
    }

    #[test]
    fn pauses_of_the_store_and_the_file_add_up() {
        let mut policies = vec![Policy::new("a", "web", 1, 2)];
        policies[0].pause = Pause::Up;
        let pauses = HashMap::from([(EVERY_POLICY.to_owned(), Pause::Down)]);
        hold_back(&mut policies, &pauses, false);
        assert_eq!(policies[0].pause, Pause::Both);
    }
}
