//! Remembers the containers of every service, finds out what became of those that are gone or no
//! longer run, and keeps what it takes to make them again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tracing::{debug, info};

use super::inquiry::Inquiries;
use super::policies::service_of;
use super::templates::Templates;
use crate::executor::{Ending, Sight, State, StepKind, label};
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
/// of it and its template's is enough, or nobody scales it. What is not known yet is asked of `inquiries`, and waits until
/// it is.
pub(super) fn update(
    census: &mut Census,
    sight: &Sight,
    open: &[Entry],
    (keep, templates): (&dyn Fn(&str) -> Keep, &Templates),
    inquiries: &mut Inquiries,
    now: Timestamp,
) -> Changed {
    let ours: Ours<'_> = open
        .iter()
        .filter_map(|e| Some((e.container_id.as_deref()?, e.step.as_ref()?.kind)))
        .collect();
    let mut changed = Changed::default();
    let mut asked = Asked { ours: &ours, keep, inquiries, now };
    note_what_is_there(census, sight, &mut asked, &mut changed.changed);
    let seen = sight.instances.iter().map(|i| (i.host.as_str(), i.id.as_str())).collect();
    note_what_is_gone(census, sight, &seen, &mut asked, &mut changed);
    // One whose name lives again needs no second life.
    let living: Seen<'_> =
        sight.instances.iter().map(|i| (i.host.as_str(), i.name.as_str())).collect();
    let twice = |(key, k): &(&(String, String), &Known)| {
        let removed = !seen.contains(&(key.0.as_str(), key.1.as_str()));
        (k.fate == Fate::Deleted || (k.fate == Fate::Parked && removed))
            && living.contains(&(k.host.as_str(), k.name.as_str()))
    };
    changed.gone.extend(census.iter().filter(twice).map(|(key, _)| key.clone()));
    for key in &changed.gone {
        census.remove(key);
        changed.changed.remove(key);
    }
    specs(census, &sight.hosts, (keep, templates), inquiries, &mut changed.changed);
    changed
}

/// What the scaler is about to do with containers, by id.
type Ours<'a> = HashMap<&'a str, StepKind>;
/// Containers by host and id, or name.
type Seen<'a> = HashSet<(&'a str, &'a str)>;

/// What it takes to tell what became of a container.
struct Asked<'a> {
    ours: &'a Ours<'a>,
    keep: &'a dyn Fn(&str) -> Keep,
    inquiries: &'a mut Inquiries,
    now: Timestamp,
}

fn note_what_is_there(
    census: &mut Census,
    sight: &Sight,
    asked: &mut Asked<'_>,
    changed: &mut HashSet<(String, String)>,
) {
    let now = asked.now;
    for instance in &sight.instances {
        let Some(service) = service_of(&instance.labels) else { continue };
        if (asked.keep)(service) == Keep::Nothing || instance.state == State::Created {
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
            known.fate = match asked.ours.get(instance.id.as_str()) {
                Some(StepKind::Park) => Fate::Parked,
                Some(StepKind::Stop | StepKind::Remove) => continue,
                _ => match asked.inquiries.ending(&known.host, &known.id) {
                    Some(Ok(Ending::Crashed)) => Fate::Crashed,
                    Some(Ok(Ending::Stopped | Ending::Deleted | Ending::Unknown)) => Fate::Stopped,
                    Some(Err(_)) | None => continue,
                },
            };
            known.seen_at = now;
            info!(container = known.name, fate = known.fate.as_str(), "no longer runs");
            changed.insert(key);
        }
    }
}

fn note_what_is_gone(
    census: &mut Census,
    sight: &Sight,
    seen: &Seen<'_>,
    asked: &mut Asked<'_>,
    changed: &mut Changed,
) {
    let last = last_of_each(census, seen);
    for (key, known) in census.iter_mut() {
        let there = seen.contains(&(known.host.as_str(), known.id.as_str()));
        if there || !sight.hosts.contains(&known.host) {
            continue;
        }
        let keep = (asked.keep)(&known.service);
        let Some(after) = gone_as(known, keep, asked) else { continue };
        // Its spec is what the service can be made from again.
        let kept = last.contains(key) && keep != Keep::Nothing;
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
                changed.changed.insert(key.clone());
            }
            None => changed.gone.push(key.clone()),
        }
    }
}

/// What of the census is not in the store yet.
#[derive(Debug, Default)]
pub struct Changed {
    changed: HashSet<(String, String)>,
    gone: Vec<(String, String)>,
}

impl Changed {
    /// With what a later look has changed.
    pub(super) fn and(mut self, later: Changed) -> Self {
        self.changed.retain(|key| !later.gone.contains(key));
        self.gone.retain(|key| !later.changed.contains(key));
        self.changed.extend(later.changed);
        self.gone.extend(later.gone);
        self
    }

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
fn gone_as(known: &Known, keep: Keep, asked: &mut Asked<'_>) -> Option<After> {
    let comes_back = keep == Keep::Every && known.spec.is_some();
    let lost = || if comes_back { After::Lost(Fate::Deleted) } else { After::Unknown };
    let at = (known.host.as_str(), known.id.as_str());
    Some(match (known.fate, asked.ours.get(at.1)) {
        (Fate::Parked | Fate::Deleted | Fate::Gone, _) => After::Lost(known.fate),
        (_, Some(StepKind::Park)) => After::Lost(Fate::Parked),
        (_, Some(StepKind::Stop | StepKind::Remove)) => After::Unknown,
        (Fate::Alive | Fate::Unreachable, _) => match asked.inquiries.ending(at.0, at.1)? {
            Ok(Ending::Deleted | Ending::Crashed) => lost(),
            Ok(Ending::Stopped) => After::Stopped,
            Ok(Ending::Unknown) => After::Unknown,
            Err(_) => return None,
        },
        // `docker rm -f` kills first, and may have been seen half way.
        (Fate::Stopped, _) if known.spec.is_some() && asked.now.since(known.seen_at) < HALF_WAY => {
            match asked.inquiries.ending(at.0, at.1)? {
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
    /// That of the one that new ones are made like, and one for when that is gone.
    One,
    /// None: nobody scales it.
    Nothing,
}

/// Fetches the specs that are missing, from hosts that answer.
fn specs(
    census: &mut Census,
    hosts: &[String],
    (keep, templates): (&dyn Fn(&str) -> Keep, &Templates),
    inquiries: &mut Inquiries,
    changed: &mut HashSet<(String, String)>,
) {
    let is_template = |known: &Known| {
        let template = templates.get(&known.service);
        template.is_some_and(|t| t.host == known.host && t.id == known.id)
    };
    let mut have: HashSet<String> =
        census.values().filter(|k| k.spec.is_some()).map(|k| k.service.clone()).collect();
    for (key, known) in census.iter_mut() {
        let wanted = match keep(&known.service) {
            Keep::Every => true,
            Keep::One => !have.contains(&known.service) || is_template(known),
            Keep::Nothing => false,
        };
        if !hosts.contains(&known.host) {
            continue;
        }
        if !wanted || known.spec.is_some() || matches!(known.fate, Fate::Deleted | Fate::Gone) {
            continue;
        }
        match inquiries.spec(&known.host, &known.id) {
            Some(Ok(spec)) => {
                known.spec = Some(spec);
                have.insert(known.service.clone());
                changed.insert(key.clone());
            }
            Some(Err(error)) => debug!(container = known.name, %error, "no spec"),
            // One is enough, if its host answers at all.
            None if inquiries.is_late(&known.host) => {}
            None => drop(have.insert(known.service.clone())),
        }
    }
}
