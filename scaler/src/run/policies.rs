//! Which policies hold now: the file's, the table's in place of those, and containers' labels over
//! both, field by field, as far as they are trusted. Pure.

use std::collections::HashMap;

use crate::policy::{Pause, Policy};
use crate::store::memory::{EVERY_POLICY, either};

mod labels;

pub use labels::{Effect, Labels, SERVICE, said, service_of, with_labels};

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

/// Pauses and a dry run from the command line.
pub fn hold_back(policies: &mut [Policy], pauses: &HashMap<String, Pause>, dry_run: bool) {
    let paused = |name: &str| pauses.get(name).copied().unwrap_or_default();
    for policy in policies {
        policy.pause = either(policy.pause, either(paused(&policy.name), paused(EVERY_POLICY)));
        policy.dry_run |= dry_run;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
