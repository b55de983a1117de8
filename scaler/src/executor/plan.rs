//! Turns a move into steps: who comes back, who is made and where, who goes. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::{Health, Instance, State, Step, StepKind};
use crate::decide::Move;
use crate::observation::Replicas;
use crate::policy::Policy;
use crate::store::audit::Entry;
use crate::store::containers::{Fate, Known};
use crate::timestamp::Timestamp;
use crate::victim::{Replica, victims};

/// One service as it is now.
#[derive(Debug, Default)]
pub struct Service<'a> {
    /// Its containers that exist and are not on their way out.
    pub alive: Vec<&'a Instance>,
    /// Those that ended by themselves or were deleted from outside.
    pub lost: Vec<&'a Known>,
    /// Stopped by the scaler and kept; one that was removed meanwhile can be made again.
    pub parked: Vec<&'a Known>,
    /// Ids of all that exist.
    pub here: HashSet<&'a str>,
    /// Of which it is remembered what they are made from, by host and id.
    specs: HashSet<(&'a str, &'a str)>,
    /// Containers that the scaler made and that ended: nothing but litter.
    pub litter: Vec<&'a Instance>,
    /// What new ones are made like; never a victim.
    pub template: Option<(String, String)>,
    /// Open intents to stop one whose signal has not been sent.
    pub taken_back: Vec<i64>,
    /// Open intents to make or start one that is not seen to run yet.
    pub coming: u32,
}

impl<'a> Service<'a> {
    /// Sorts what is known of a service.
    pub fn new(instances: &[&'a Instance], known: &[&'a Known], open: &[&'a Entry]) -> Self {
        let mut service = Self::default();
        let going: HashSet<&str> = open
            .iter()
            .filter(|e| e.step.as_ref().is_some_and(|s| s.kind.takes_away()))
            .filter_map(|e| e.container_id.as_deref())
            .collect();
        let fates: HashMap<&str, &Known> = known.iter().map(|k| (k.id.as_str(), *k)).collect();
        for instance in instances.iter().filter(|i| !going.contains(i.id.as_str())) {
            let fate = fates.get(instance.id.as_str()).map(|known| known.fate);
            match (instance.state, fate) {
                (State::Running | State::Unable, _) => service.alive.push(instance),
                (State::Ended, Some(Fate::Crashed)) if instance.is_clone() => {
                    service.litter.push(instance);
                }
                (State::Created, _) if instance.is_clone() && !named(open, instance) => {
                    service.litter.push(instance);
                }
                _ => {}
            }
        }
        let with_spec = known.iter().filter(|k| k.spec.is_some());
        service.specs = with_spec.map(|k| (k.host.as_str(), k.id.as_str())).collect();
        service.here = instances.iter().map(|i| i.id.as_str()).collect();
        for known in known.iter().filter(|k| !going.contains(k.id.as_str())) {
            match known.fate {
                Fate::Crashed | Fate::Deleted | Fate::Unreachable => service.lost.push(known),
                Fate::Parked if known.spec.is_some() || service.here.contains(&*known.id) => {
                    service.parked.push(known);
                }
                Fate::Alive | Fate::Stopped | Fate::Parked | Fate::Gone => {}
            }
        }
        service.template = template(&service.alive, known);
        for entry in open {
            let Some(step) = &entry.step else { continue };
            let seen = |i: &&Instance| i.host == step.host && i.name == step.name;
            match step.kind {
                StepKind::Create | StepKind::Start if !service.alive.iter().any(seen) => {
                    service.coming += 1;
                    // It is on its way back already.
                    service.lost.retain(|k| k.host != step.host || k.name != step.name);
                    service.parked.retain(|k| k.host != step.host || k.name != step.name);
                    let replaced = |k: &Known| {
                        step.replaces.as_ref().is_some_and(|(h, id)| *h == k.host && *id == k.id)
                    };
                    service.lost.retain(|k| !replaced(k));
                    service.parked.retain(|k| !replaced(k));
                }
                StepKind::Stop | StepKind::Park if entry.status.is_none() => {
                    service.taken_back.push(entry.id);
                }
                _ => {}
            }
        }
        service
    }

    /// How many are in which state.
    pub fn replicas(&self, policy: &Policy, now: Timestamp) -> Replicas {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut replicas = Replicas {
            starting: self.coming,
            draining: count(self.taken_back.len()),
            stopped: count(self.lost.len()),
            ..Replicas::default()
        };
        for instance in &self.alive {
            *match (instance.state, instance.health) {
                (State::Unable, _) | (_, Health::Unhealthy) => &mut replicas.unhealthy,
                (_, Health::Starting) => &mut replicas.starting,
                (_, Health::Unchecked) if now.since(instance.created) < policy.start_time => {
                    &mut replicas.starting
                }
                _ => &mut replicas.running,
            } += 1;
        }
        replicas
    }
}

/// Whether an open intent is about it.
fn named(open: &[&Entry], instance: &Instance) -> bool {
    let mut steps = open.iter().filter_map(|entry| entry.step.as_ref());
    steps.any(|step| step.host == instance.host && step.name == instance.name)
}

/// The eldest that somebody else started; else the eldest; else the last that is remembered.
fn template(alive: &[&Instance], known: &[&Known]) -> Option<(String, String)> {
    let eldest = alive
        .iter()
        .min_by_key(|i| (i.is_clone(), i.created, &i.id))
        .map(|i| (i.host.clone(), i.id.clone()));
    let with_spec = known.iter().filter(|k| k.spec.is_some());
    let remembered = || {
        with_spec
            .max_by_key(|k| (k.fate == Fate::Parked, k.seen_at))
            .map(|k| (k.host.clone(), k.id.clone()))
    };
    eldest.or_else(remembered)
}

/// What the steps of one move look at besides the service.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Hosts that answer, in the configuration's order.
    pub hosts: &'a [String],
    /// How many containers each host has.
    pub load: &'a HashMap<&'a str, usize>,
    /// Hosts that lately could not make one of this service.
    pub avoid: &'a HashSet<String>,
    /// Every name in use or about to be.
    pub names: &'a HashSet<String>,
    /// Sessions by address.
    pub sessions: &'a HashMap<IpAddr, u64>,
}

/// The steps of a move.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they are taken.
    pub steps: Vec<Step>,
    /// Intents to stop one that are cancelled.
    pub taken_back: Vec<i64>,
}

/// The steps of a move. The error says what is missing to do it.
pub fn plan(
    policy: &Policy,
    service: &Service<'_>,
    around: &Surroundings<'_>,
    action: Move,
) -> Result<Plan, String> {
    match action {
        Move::Hold => Ok(Plan::default()),
        Move::Out { take_back, restart, create } => {
            out(policy, service, around, take_back, restart, create)
        }
        Move::In { stop } => Ok(down(policy, service, around, stop)),
    }
}

fn out(
    policy: &Policy,
    service: &Service<'_>,
    around: &Surroundings<'_>,
    take_back: u32,
    restart: u32,
    create: u32,
) -> Result<Plan, String> {
    let taken_back: Vec<i64> =
        service.taken_back.iter().copied().take(take_back as usize).collect();
    let mut steps = Vec::new();
    let mut spread = Spread::of(service, around);
    let mut last = 0;
    for known in service.lost.iter().take(restart as usize) {
        let step = match known.fate {
            Fate::Unreachable => elsewhere(policy, service, around, known, &mut spread, &mut last),
            _ => Some(back(policy, service, known)),
        };
        steps.push(step.ok_or("no docker host answers")?);
    }
    // What of the first two there is not is made anew.
    let missing = (take_back as usize - taken_back.len()) + (restart as usize - steps.len());
    let mut create = create as usize + missing;
    for known in service.parked.iter().take(create) {
        steps.push(back(policy, service, known));
        create -= 1;
    }
    if create == 0 {
        return Ok(Plan { steps, taken_back });
    }
    let restarted = |i: &&&Instance| !steps.iter().any(|s| s.id.as_ref() == Some(&i.id));
    let litter: Vec<Step> = service
        .litter
        .iter()
        .filter(restarted)
        .map(|i| of_instance(policy, StepKind::Remove, i))
        .collect();
    steps.extend(litter);
    let template = service.template.as_ref().ok_or_else(|| {
        format!(
            "there is nothing to clone: start one container with the label service_name={}",
            policy.service
        )
    })?;
    for _ in 0..create {
        let host = spread.next().ok_or("no docker host answers")?;
        let name = next_name(policy, around.names, &mut last);
        steps.push(made(policy, host, name, template.clone()));
    }
    Ok(Plan { steps, taken_back })
}

/// In the place of one whose host is lost.
fn elsewhere<'a>(
    policy: &Policy,
    service: &Service<'_>,
    around: &Surroundings<'_>,
    known: &Known,
    spread: &mut Spread<'a>,
    last: &mut usize,
) -> Option<Step> {
    let itself = (known.host.clone(), known.id.clone());
    let like = service.template.clone().unwrap_or_else(|| itself.clone());
    let name = next_name(policy, around.names, last);
    Some(Step { replaces: Some(itself), ..made(policy, spread.next()?, name, like) })
}

/// Puts each next one on the host with the fewest of its service.
struct Spread<'a> {
    around: &'a Surroundings<'a>,
    mine: HashMap<&'a str, usize>,
}

impl<'a> Spread<'a> {
    fn of(service: &Service<'a>, around: &'a Surroundings<'a>) -> Self {
        let mut mine: HashMap<&str, usize> = HashMap::new();
        for instance in &service.alive {
            *mine.entry(instance.host.as_str()).or_default() += 1;
        }
        Self { around, mine }
    }

    fn next(&mut self) -> Option<&'a str> {
        let fewest = |host: &&String| {
            let host = host.as_str();
            let mine = self.mine.get(host).copied().unwrap_or(0);
            let all = self.around.load.get(host).copied().unwrap_or(0);
            (self.around.avoid.contains(host), mine, all)
        };
        let host = self.around.hosts.iter().min_by_key(fewest)?;
        *self.mine.entry(host.as_str()).or_default() += 1;
        Some(host)
    }
}

/// Another way to the same end, for a step that its host has refused: elsewhere, or a new one in
/// the place of one that cannot be started. `seen` says whether a container of its name is on its
/// host. `None` when the same is to be tried again.
pub fn another_way(
    policy: &Policy,
    service: &Service<'_>,
    around: &Surroundings<'_>,
    step: &Step,
    seen: Option<&Instance>,
) -> Option<Step> {
    let template = service.template.as_ref()?;
    let here = seen.is_some();
    match (step.kind, &step.id) {
        (StepKind::Start, Some(id)) if here => {
            let host = Spread::of(service, around).next()?;
            let name = next_name(policy, around.names, &mut 0);
            let replaces = Some((step.host.clone(), id.clone()));
            Some(Step { replaces, ..made(policy, host, name, template.clone()) })
        }
        (StepKind::Start, Some(id)) => {
            let itself = (step.host.clone(), id.clone());
            let has_spec = service.specs.contains(&(step.host.as_str(), id.as_str()));
            let like = if has_spec { &itself } else { template };
            let again = made(policy, &step.host, step.name.clone(), like.clone());
            Some(Step { replaces: Some(itself), ..again })
        }
        // It was made here and does not start: nothing is made elsewhere while it is still there.
        (StepKind::Create, _) if seen.is_some_and(Instance::is_clone) => None,
        (StepKind::Create, _) => {
            let host = Spread::of(service, around).next()?;
            let taken = || next_name(policy, around.names, &mut 0);
            let name = if here { taken() } else { step.name.clone() };
            let replaces = step.replaces.clone();
            Some(Step { replaces, ..made(policy, host, name, template.clone()) })
        }
        _ => None,
    }
}

/// A new one.
fn made(policy: &Policy, host: &str, name: String, like: (String, String)) -> Step {
    Step {
        kind: StepKind::Create,
        host: host.to_owned(),
        id: None,
        name,
        like: Some(like),
        grace: policy.drain_grace,
        signalled: None,
        replaces: None,
    }
}

fn down(policy: &Policy, service: &Service<'_>, around: &Surroundings<'_>, stop: u32) -> Plan {
    let is_template = |i: &Instance| {
        service.template.as_ref().is_some_and(|(host, id)| *host == i.host && *id == i.id)
    };
    let replicas: Vec<Replica> = service
        .alive
        .iter()
        .map(|i| Replica {
            id: i.id.clone(),
            unhealthy: i.state == State::Unable || i.health == Health::Unhealthy,
            clone: i.is_clone(),
            template: is_template(i),
            sessions: i
                .ips
                .iter()
                .filter_map(|ip| around.sessions.get(ip))
                .copied()
                .reduce(|a, b| a + b),
            created: i.created,
        })
        .collect();
    let (intruders, mut replicas) = intruders(policy, replicas);
    let first = intruders.len().min(stop as usize);
    replicas.retain(|replica| !intruders[..first].iter().any(|i| i.id == replica.id));
    let rest = stop - u32::try_from(first).unwrap_or(stop);
    let mut going: Vec<&Replica> = intruders.iter().take(first).collect();
    going.extend(victims(&replicas, rest, &policy.victim));
    let find = |id: &str| service.alive.iter().find(|i| i.id == id);
    let mut steps: Vec<Step> = going
        .iter()
        .filter_map(|replica| find(&replica.id))
        .map(|i| {
            // What somebody else made is stopped and kept.
            let kind = if i.is_clone() { StepKind::Stop } else { StepKind::Park };
            of_instance(policy, kind, i)
        })
        .collect();
    // Down to none, the template goes last and stays at hand to be started or cloned again.
    if steps.len() < stop as usize
        && policy.min == 0
        && let Some(last) = service.alive.iter().find(|i| is_template(i))
    {
        steps.push(of_instance(policy, StepKind::Park, last));
    }
    Plan { steps, taken_back: Vec::new() }
}

/// Those that somebody started, after every clone, beyond the maximum, newest first: they must not
/// push out what serves. And all others.
fn intruders(policy: &Policy, replicas: Vec<Replica>) -> (Vec<Replica>, Vec<Replica>) {
    let beyond = replicas.len().saturating_sub(policy.max as usize);
    let newest_clone = replicas.iter().filter(|r| r.clone).map(|r| r.created).max();
    let came_last = |r: &Replica| !r.clone && !r.template && Some(r.created) > newest_clone;
    let (mut last, mut rest): (Vec<Replica>, Vec<Replica>) =
        replicas.into_iter().partition(|r| newest_clone.is_some() && came_last(r));
    last.sort_by_key(|r| std::cmp::Reverse(r.created));
    rest.extend(last.split_off(beyond.min(last.len())));
    (last, rest)
}

/// One that is lost or parked comes back: it is started, or made again under its name.
fn back(policy: &Policy, service: &Service<'_>, known: &Known) -> Step {
    let itself = (known.host.clone(), known.id.clone());
    if known.fate == Fate::Deleted || !service.here.contains(known.id.as_str()) {
        return made(policy, &known.host, known.name.clone(), itself);
    }
    Step {
        kind: StepKind::Start,
        host: known.host.clone(),
        id: Some(known.id.clone()),
        name: known.name.clone(),
        like: None,
        grace: policy.drain_grace,
        signalled: None,
        replaces: None,
    }
}

fn of_instance(policy: &Policy, kind: StepKind, instance: &Instance) -> Step {
    Step {
        kind,
        host: instance.host.clone(),
        id: Some(instance.id.clone()),
        name: instance.name.clone(),
        like: None,
        grace: policy.drain_grace,
        signalled: None,
        replaces: None,
    }
}

/// The naming convention with the next free number above `last`, or the service and an id where
/// there is none.
fn next_name(policy: &Policy, names: &HashSet<String>, last: &mut usize) -> String {
    let Some(prefix) = &policy.naming_convention else {
        return format!("{}-{:08x}", policy.service, berth::net::random::bits() >> 32);
    };
    loop {
        *last += 1;
        let name = format!("{prefix}{last}");
        if !names.contains(&name) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests;
