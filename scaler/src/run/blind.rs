//! Hosts that do not answer. Each hides what is on it and nothing else; when it has not answered for
//! its `lost_after`, what was on it counts as lost.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::census::{Census, Keep};
use crate::config::Docker;
use crate::executor::Sight;
use crate::store::audit::Entry;
use crate::store::containers::Fate;

/// What a leader knows of its hosts' silence.
#[derive(Debug, Default)]
pub(super) struct Blind {
    /// Since when each has not answered.
    since: HashMap<String, Instant>,
    /// Those that have been silent for too long.
    lost: HashSet<String>,
    /// Those that have answered once: what is on them is known.
    met: HashSet<String>,
}

impl Blind {
    /// Takes in who has answered now. The hosts that are lost from now on.
    pub(super) fn look(&mut self, sight: &Sight, hosts: &[Docker], now: Instant) -> Vec<String> {
        self.met.extend(sight.hosts.iter().cloned());
        let silent: HashSet<&String> = sight.blind.iter().map(|(host, _)| host).collect();
        self.since.retain(|host, _| silent.contains(host));
        self.lost.retain(|host| silent.contains(host));
        let mut new = Vec::new();
        for host in silent {
            let since = *self.since.entry(host.clone()).or_insert(now);
            let known = hosts.iter().find(|docker| docker.name == *host);
            let patience = known.map_or(Duration::MAX, |docker| docker.lost_after);
            if now.duration_since(since) >= patience && self.lost.insert(host.clone()) {
                new.push(host.clone());
            }
        }
        new
    }

    /// The hosts that do not answer.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.since.keys().map(String::as_str)
    }

    /// Whether a host that is not given up yet may have replicas of a service.
    pub(super) fn hides(&self, service: &str, census: &Census, open: &[Entry]) -> bool {
        let mut waiting = self.since.keys().filter(|host| !self.lost.contains(*host));
        waiting.any(|host| {
            let here = || census.values().filter(|known| known.host == *host);
            // A host that nobody has met may have anything.
            let unknown = !self.met.contains(host) && here().next().is_none();
            let under_way = |e: &Entry| {
                e.service == service && e.step.as_ref().is_some_and(|step| step.host == *host)
            };
            unknown
                || here().any(|known| known.service == service && known.fate == Fate::Alive)
                || open.iter().any(under_way)
        })
    }

    /// Counts what was on lost hosts as lost, where lost replicas are brought back. The keys of what
    /// has changed.
    pub(super) fn give_up(
        hosts: &[String],
        census: &mut Census,
        keep: &dyn Fn(&str) -> Keep,
    ) -> Vec<(String, String)> {
        let mut changed = Vec::new();
        for (key, known) in census.iter_mut().filter(|(key, _)| hosts.contains(&key.0)) {
            let counts = matches!(known.fate, Fate::Alive | Fate::Crashed | Fate::Deleted);
            if counts && keep(&known.service) == Keep::Every {
                known.fate = Fate::Unreachable;
                changed.push(key.clone());
            }
        }
        changed
    }
}
