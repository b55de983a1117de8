//! Remembers the containers of every service, finds out what became of those that are gone or no
//! longer run, and keeps what it takes to make them again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tracing::{debug, info};

use super::policies::service_of;
use crate::executor::{Ending, Executor, Sight, State, StepKind, label};
use crate::store::Store;
use crate::store::audit::Entry;
use crate::store::containers::{Fate, Known};
use crate::store::lease::Lease;
use crate::timestamp::Timestamp;

/// Between the kill and the removal of one `docker rm -f`.
const HALF_WAY: Duration = Duration::from_secs(10);

/// Containers by host and id.
pub type Census = HashMap<(String, String), Known>;

/// Brings the census up to date with what is seen; what has changed is still to be written.
///
/// `open` are intents that are not done; what they take away is nobody's crash. `keep` says for a
/// service whether lost containers are brought back, so that each one's spec is kept, or one spec
/// is enough, or nobody scales it.
pub async fn update(
    census: &mut Census,
    sight: &Sight,
    open: &[Entry],
    keep: &dyn Fn(&str) -> Keep,
    executor: &dyn Executor,
    now: Timestamp,
) -> Changed {
    let ours: HashMap<&str, StepKind> = open
        .iter()
        .filter_map(|e| Some((e.container_id.as_deref()?, e.step.as_ref()?.kind)))
        .collect();
    let mut changed: HashSet<(String, String)> = HashSet::new();
    let mut gone: Vec<(String, String)> = Vec::new();
    let mut seen: HashSet<(&str, &str)> = HashSet::with_capacity(sight.instances.len());

    for instance in &sight.instances {
        seen.insert((&instance.host, &instance.id));
        let Some(service) = service_of(&instance.labels) else { continue };
        if keep(service) == Keep::Nothing || instance.state == State::Created {
            continue;
        }
        let key = (instance.host.clone(), instance.id.clone());
        let runs = instance.state != State::Ended;
        let known = census.entry(key.clone()).or_insert_with(|| {
            changed.insert(key.clone());
            Known {
                host: instance.host.clone(),
                id: instance.id.clone(),
                name: instance.name.clone(),
                service: service.to_owned(),
                // One of ours that ended before it was ever seen has crashed; of anybody else's it
                // is not known, so it is left alone.
                fate: match (runs, instance.labels.contains_key(label::INTENT)) {
                    (true, _) | (_, true) => Fate::Alive,
                    (false, false) => Fate::Stopped,
                },
                seen_at: now,
                spec: None,
            }
        });
        if runs && known.fate != Fate::Alive {
            known.fate = Fate::Alive;
            changed.insert(key);
        } else if !runs && matches!(known.fate, Fate::Alive | Fate::Unreachable) {
            known.fate = match ours.get(instance.id.as_str()) {
                Some(StepKind::Park) => Fate::Parked,
                Some(StepKind::Stop | StepKind::Remove) => continue,
                _ => match executor.ending(&known.host, &known.id).await {
                    Ok(Ending::Crashed) => Fate::Crashed,
                    Ok(Ending::Stopped | Ending::Deleted | Ending::Unknown) => Fate::Stopped,
                    Err(_) => continue,
                },
            };
            known.seen_at = now;
            info!(container = known.name, fate = known.fate.as_str(), "no longer runs");
            changed.insert(key);
        }
    }

    let last = last_of_each(census, &seen);
    for (key, known) in census.iter_mut() {
        let there = seen.contains(&(known.host.as_str(), known.id.as_str()));
        if there || !sight.hosts.contains(&known.host) {
            continue;
        }
        let after = match gone_as(known, &ours, keep(&known.service), executor, now).await {
            Some(after) => after,
            None => continue,
        };
        // Its spec is what the service can be made from again.
        let kept = last.contains(key) && keep(&known.service) != Keep::Nothing;
        let after = match after {
            After::Lost(Fate::Gone) if !kept => None,
            After::Lost(fate) => Some(fate),
            After::Unknown if kept => Some(Fate::Gone),
            After::Unknown | After::Stopped => None,
        };
        match after {
            Some(fate) if fate == known.fate => {}
            Some(fate) => {
                known.fate = fate;
                info!(container = known.name, fate = fate.as_str(), "was removed");
                changed.insert(key.clone());
            }
            None => gone.push(key.clone()),
        }
    }
    // One whose name lives again needs no second life.
    let living: HashSet<(&str, &str)> =
        sight.instances.iter().map(|i| (i.host.as_str(), i.name.as_str())).collect();
    gone.extend(
        census
            .iter()
            .filter(|(key, k)| {
                let removed = !seen.contains(&(key.0.as_str(), key.1.as_str()));
                k.fate == Fate::Deleted || (k.fate == Fate::Parked && removed)
            })
            .filter(|(_, k)| living.contains(&(k.host.as_str(), k.name.as_str())))
            .map(|(key, _)| key.clone()),
    );
    for key in &gone {
        census.remove(key);
        changed.remove(key);
    }
    specs(census, &sight.hosts, keep, executor, &mut changed).await;
    Changed { changed, gone }
}

/// What of the census is not in the store yet.
#[derive(Debug)]
pub struct Changed {
    changed: HashSet<(String, String)>,
    gone: Vec<(String, String)>,
}

impl Changed {
    /// Writes it; `false` when somebody else leads.
    pub async fn remember(
        self,
        census: &Census,
        store: &Store,
        lease: &Lease,
    ) -> Result<bool, sqlx::Error> {
        let changed: Vec<&Known> = self.changed.iter().filter_map(|key| census.get(key)).collect();
        store.remember_containers(lease, &changed, &self.gone).await
    }
}

/// What a container is to be taken for that is not there any more.
enum After {
    /// To be brought back, or kept as it is.
    Lost(Fate),
    /// Nobody knows, or it does not matter how it went.
    Unknown,
    /// Somebody stopped it on purpose, or the scaler did.
    Stopped,
}

/// What became of one that is gone; `None` when that is not known yet.
async fn gone_as(
    known: &Known,
    ours: &HashMap<&str, StepKind>,
    keep: Keep,
    executor: &dyn Executor,
    now: Timestamp,
) -> Option<After> {
    let comes_back = keep == Keep::Every && known.spec.is_some();
    let lost = || if comes_back { After::Lost(Fate::Deleted) } else { After::Unknown };
    Some(match (known.fate, ours.get(known.id.as_str())) {
        (Fate::Parked | Fate::Deleted | Fate::Gone, _) => After::Lost(known.fate),
        (_, Some(StepKind::Park)) => After::Lost(Fate::Parked),
        (_, Some(StepKind::Stop | StepKind::Remove)) => After::Unknown,
        (Fate::Alive | Fate::Unreachable, _) => match executor.ending(&known.host, &known.id).await
        {
            Ok(Ending::Deleted | Ending::Crashed) => lost(),
            Ok(Ending::Stopped) => After::Stopped,
            Ok(Ending::Unknown) => After::Unknown,
            Err(_) => return None,
        },
        // `docker rm -f` kills first, and may have been seen half way.
        (Fate::Stopped, _) if known.spec.is_some() && now.since(known.seen_at) < HALF_WAY => {
            match executor.ending(&known.host, &known.id).await {
                Ok(Ending::Deleted) => lost(),
                _ => After::Stopped,
            }
        }
        (Fate::Stopped, _) => After::Stopped,
        (Fate::Crashed, _) => After::Unknown,
    })
}

/// Of each service of which nothing exists any more that it could be made from, the one whose spec
/// is kept.
fn last_of_each(census: &Census, seen: &HashSet<(&str, &str)>) -> HashSet<(String, String)> {
    let there = |k: &&Known| seen.contains(&(k.host.as_str(), k.id.as_str()));
    let alive: HashSet<&str> = census
        .values()
        .filter(|k| k.spec.is_some())
        .filter(there)
        .map(|k| k.service.as_str())
        .collect();
    let mut last: HashMap<&str, (&(String, String), &Known)> = HashMap::new();
    for (key, known) in census.iter().filter(|(_, k)| k.spec.is_some()) {
        if alive.contains(known.service.as_str()) || known.fate == Fate::Stopped {
            continue;
        }
        let rank = |k: &Known| (k.fate == Fate::Gone, k.seen_at, k.id.clone());
        let kept = last.entry(&known.service).or_insert((key, known));
        if rank(known) > rank(kept.1) {
            *kept = (key, known);
        }
    }
    last.into_values().map(|(key, _)| key.clone()).collect()
}

/// How many specs of a service are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Each container's: whatever is lost comes back.
    Every,
    /// That of the one that new ones are made like.
    One,
    /// None: nobody scales it.
    Nothing,
}

/// Fetches the specs that are missing, from hosts that answer.
async fn specs(
    census: &mut Census,
    hosts: &[String],
    keep: &dyn Fn(&str) -> Keep,
    executor: &dyn Executor,
    changed: &mut HashSet<(String, String)>,
) {
    let mut have: HashSet<String> =
        census.values().filter(|k| k.spec.is_some()).map(|k| k.service.clone()).collect();
    for (key, known) in census.iter_mut() {
        let wanted = match keep(&known.service) {
            Keep::Every => true,
            Keep::One => !have.contains(&known.service),
            Keep::Nothing => false,
        };
        if !hosts.contains(&known.host) {
            continue;
        }
        if !wanted || known.spec.is_some() || matches!(known.fate, Fate::Deleted | Fate::Gone) {
            continue;
        }
        match executor.spec(&known.host, &known.id).await {
            Ok(spec) => {
                known.spec = Some(spec);
                have.insert(known.service.clone());
                changed.insert(key.clone());
            }
            Err(error) => debug!(container = known.name, %error, "no spec"),
        }
    }
}
