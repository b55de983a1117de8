//! What one container does next in a store of Traefik's. Pure: what the store and Traefik show goes in, one
//! step comes out.
//!
//! Nothing is remembered that can be read. The key is the container's own address, so there is nothing
//! to claim: it is there or not, and only its lease is a matter of time.

mod held;
mod seen;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::api::Shown;
use super::settings::Settings;
use super::wire::keys::{Keys, Pair};
use crate::net::backoff::jitter;
use crate::registers::{Desired, Standing};

pub(super) use held::Held;
pub(super) use seen::{Ask, Seen, View};

/// Nothing is looked at while nothing may be held.
const IDLE: Duration = Duration::from_secs(3600);
/// Between two looks while address or port of this container is not known.
const NAMELESS: Duration = Duration::from_millis(250);
/// Between two looks at Traefik while it may still send requests.
const POLL: Duration = Duration::from_millis(50);
/// Requests that Traefik had sent when it took the server out have so long to end: it does not tell how
/// many there are.
const RUNNING: Duration = Duration::from_millis(250);
/// Changes in a row after which the store still does not show them.
const IGNORED_AFTER: u32 = 3;

/// Where one container stands in one store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Phase {
    /// Not known: somebody at this address and port may have died and left a key.
    #[default]
    Unknown,
    /// There is no key of this container.
    Out,
    /// Its key is there, or may be.
    In(Held),
    /// Its key has to go; `moved` when this container has another address now.
    Leaving { at: SocketAddr, moved: bool },
    /// Its key is gone, and Traefik may still send requests. `gone_at` is when Traefik showed it no more.
    Passing { at: SocketAddr, since: Instant, gone_at: Option<Instant> },
}

/// What is fixed for the life of a container.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) keys: Keys,
    pub(super) lease: Duration,
    pub(super) drain: Duration,
    pub(super) sync_interval: Duration,
    /// Whether a Traefik can be asked.
    pub(super) has_api: bool,
    /// The keys of its route, and those that must not be there.
    pub(super) route: Vec<(String, Option<String>)>,
}

/// When something is decided, and chance: a number from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) luck: f64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, for so long.
    Rest(Duration),
    /// Put this for good, unless it is there.
    Add(Pair),
    /// Put this under our lease.
    Put(Pair),
    /// It is there: let the lease begin anew.
    Renew(Pair),
    /// Put and delete these for good.
    Route(Vec<(String, Option<String>)>),
    /// Delete these.
    Remove(Vec<String>),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    In(SocketAddr),
    Left(SocketAddr),
    /// Keys of somebody else's making with our address in them are deleted.
    Scrubbed(Vec<String>),
    /// The route to the service is another one now; what it was.
    Rerouted(String),
    /// Another container has given the service this route.
    OtherRoute(String),
    /// Traefik shows this container, or does not although it is in the store.
    TakenUp,
    NotTakenUp,
    /// Traefik does not answer.
    ApiSilent(String),
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Next {
    pub(super) phase: Phase,
    pub(super) step: Step,
    /// Where this leaves the container; nothing while it is on its way.
    pub(super) standing: Option<Standing>,
    pub(super) news: Vec<News>,
}

impl Rules {
    pub(super) fn new(settings: &Settings) -> Self {
        let keys = Keys::new(&settings.root, &settings.service, settings.scheme);
        let route = settings.route.as_ref().map(|route| keys.route(route));
        Self {
            keys,
            lease: settings.lease,
            drain: settings.drain,
            sync_interval: settings.sync_interval,
            has_api: !settings.api.is_empty(),
            route: route.unwrap_or_default(),
        }
    }
}

impl Phase {
    /// What has to be asked before the next step.
    pub(super) fn ask(&self, wish: Desired, rules: &Rules, now: Instant) -> Ask {
        match (self, wish) {
            (Self::Leaving { moved: true, .. }, _) => Ask::Nothing,
            (Self::In(held), Desired::Serving) => Ask::All {
                strays: held.asks_strays(),
                traefik: rules.has_api && held.asks_api(now),
            },
            (_, Desired::Serving) => Ask::All { strays: false, traefik: false },
            (Self::Unknown, _) => Ask::Own,
            (Self::Passing { at, .. }, Desired::Draining) => Ask::Passing(*at),
            _ => Ask::Nothing,
        }
    }

    /// Takes note that the store has done a step.
    pub(super) fn done(&mut self, step: &Step, now: Instant) {
        match (&mut *self, step) {
            (Self::In(held), Step::Put(_) | Step::Renew(_)) => held.renewed_at = Some(now),
            (Self::In(held), Step::Route(_)) => held.has_routed = true,
            (Self::Leaving { at, moved: false }, _) => {
                *self = Self::Passing { at: *at, since: now, gone_at: None };
            }
            (Self::Leaving { moved: true, .. }, _) => *self = Self::Out,
            _ => {}
        }
    }

    /// A key that was put again and again and that the store does not show.
    pub(super) fn in_vain(&self, rules: &Rules) -> Option<String> {
        let Self::In(held) = self else { return None };
        (held.vain > IGNORED_AFTER).then(|| rules.keys.server(held.at).0)
    }
}

/// Decides.
pub(super) fn next(phase: Phase, seen: &Seen, wish: Desired, rules: &Rules, at: Moment) -> Next {
    match (phase, seen) {
        (Phase::Leaving { at, moved: true }, _) => leave(at, true, rules),
        (Phase::In(held), Seen::All(view)) if held.at != view.at => leave(held.at, true, rules),
        (Phase::In(held), Seen::All(view)) => serve(held, view, rules, at),
        (_, Seen::All(view)) => serve(Held::new(view.at), view, rules, at),
        (Phase::In(held), Seen::Nothing) => leave(held.at, false, rules),
        (Phase::Leaving { at, .. }, Seen::Nothing) => leave(at, false, rules),
        (Phase::Unknown, Seen::Own { at, there: true }) => leave(*at, false, rules),
        (Phase::Unknown, Seen::Own { there: false, .. }) => rest(Phase::Out, IDLE, wish),
        (Phase::Passing { at: own, since, gone_at }, Seen::Passing { there, traefik }) => {
            match there {
                // A change of ours that was cut short has come after the one that deletes.
                true => leave(own, false, rules),
                false => pass(Passing { at: own, since, gone_at }, traefik.as_ref(), rules, at),
            }
        }
        (Phase::Passing { at, .. }, Seen::Nothing) => out(at, wish),
        (phase @ (Phase::Out | Phase::Unknown), Seen::Nothing) => rest(phase, IDLE, wish),
        (phase, _) => rest(phase, NAMELESS, wish),
    }
}

/// Where a key is gone and Traefik may still send requests.
struct Passing {
    at: SocketAddr,
    since: Instant,
    gone_at: Option<Instant>,
}

fn on_the_way(phase: Phase, step: Step) -> Next {
    Next { phase, step, standing: None, news: Vec::new() }
}

fn rest(phase: Phase, wait: Duration, wish: Desired) -> Next {
    let standing = match wish {
        Desired::Draining => Standing::Idle,
        Desired::Serving | Desired::Absent => Standing::Absent,
    };
    Next { standing: Some(standing), ..on_the_way(phase, Step::Rest(wait)) }
}

fn leave(at: SocketAddr, moved: bool, rules: &Rules) -> Next {
    let (key, _) = rules.keys.server(at);
    on_the_way(Phase::Leaving { at, moved }, Step::Remove(vec![key]))
}

fn out(at: SocketAddr, wish: Desired) -> Next {
    Next { news: vec![News::Left(at)], ..rest(Phase::Out, IDLE, wish) }
}

/// Waits until no more requests come: until Traefik says so, or for as long as it may take to notice.
fn pass(passing: Passing, traefik: Option<&Shown>, rules: &Rules, at: Moment) -> Next {
    let Passing { at: own, since, gone_at } = passing;
    let mut news = Vec::new();
    let (gone_at, over_at) = match traefik {
        Some(Shown::Yes) => (None, None),
        Some(Shown::No) => {
            let gone_at = gone_at.unwrap_or(at.now);
            (Some(gone_at), Some(gone_at + RUNNING))
        }
        Some(Shown::Silent(why)) => {
            news.push(News::ApiSilent(why.clone()));
            (gone_at, Some(since + rules.drain))
        }
        None => (gone_at, Some(since + rules.drain)),
    };
    let left = over_at.map(|over_at| over_at.saturating_duration_since(at.now));
    if left.is_some_and(|left| left.is_zero()) {
        let mut next = out(own, Desired::Draining);
        next.news.append(&mut news);
        return next;
    }
    let poll = jitter(POLL, at.luck);
    let wait =
        if rules.has_api { left.map_or(poll, |left| left.min(poll)) } else { left.unwrap_or(poll) };
    let phase = Phase::Passing { at: own, since, gone_at };
    let standing = Some(Standing::Draining { sessions: 0 });
    Next { standing, news, ..on_the_way(phase, Step::Rest(wait)) }
}

/// Puts in what is missing, and looks at what goes with it.
fn serve(mut held: Held, view: &View, rules: &Rules, at: Moment) -> Next {
    let (key, url) = rules.keys.server(held.at);
    let right = view.own.as_ref().is_some_and(|own| own.value == url && own.leased);
    if let Some(step) = missing(&held, view, rules, right, at.now) {
        // A lease that is renewed is no change that would show.
        held.vain = if right { 0 } else { held.vain + 1 };
        let standing = right.then_some(Standing::Serving);
        return Next { standing, ..on_the_way(Phase::In(held), step) };
    }
    held.vain = 0;
    let mut news = vec![News::In(held.at)];
    let mut step = None;
    if let Some(strays) = &view.strays {
        held.looked();
        let strays: Vec<_> = strays.iter().filter(|stray| **stray != key).cloned().collect();
        if !strays.is_empty() {
            news.push(News::Scrubbed(strays.clone()));
            step = Some(Step::Remove(strays));
        }
    }
    let step = step.or_else(|| route(&mut held, view, rules, &mut news));
    news.extend(view.traefik.as_ref().and_then(|shown| held.shown(shown, rules, at)));
    let step = step.unwrap_or_else(|| Step::Rest(held.rest(rules, at)));
    Next { phase: Phase::In(held), step, standing: Some(Standing::Serving), news }
}

/// What has to be put before anything else: the permanent key, so that the service is never without one,
/// and our own.
fn missing(held: &Held, view: &View, rules: &Rules, right: bool, now: Instant) -> Option<Step> {
    if !view.kept {
        return Some(Step::Add(rules.keys.permanent()));
    }
    let pair = rules.keys.server(held.at);
    if !right || held.renewed_at.is_none() {
        return Some(Step::Put(pair));
    }
    held.renewal_in(rules, now).is_zero().then_some(Step::Renew(pair))
}

/// The route to the service. The container that came last decides, as with any deployment; what others
/// have written afterwards stays.
fn route(held: &mut Held, view: &View, rules: &Rules, news: &mut Vec<News>) -> Option<Step> {
    let shown: Vec<_> = rules.route.iter().zip(&view.route).collect();
    if shown.iter().all(|((_, wanted), there)| wanted == *there) {
        held.has_routed = true;
        return None;
    }
    let other = shown.iter().find(|((_, wanted), there)| there.is_some() && wanted != *there);
    let words =
        other.map(|((key, _), there)| format!("{key} = {}", there.as_deref().unwrap_or("")));
    match (words, held.has_routed) {
        (Some(words), true) => {
            news.push(News::OtherRoute(words));
            return None;
        }
        (Some(words), false) => news.push(News::Rerouted(words)),
        (None, _) => {}
    }
    Some(Step::Route(rules.route.clone()))
}
