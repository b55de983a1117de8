//! What a registrar does next: pure. What was heard goes in; what to ask for, where that leaves the
//! container and what to say come out. It reads no clock, knows no task and writes no log.
//!
//! A turn is: ask for the servers, plan one step, have its commands sent, rest. Every turn begins
//! from what HAProxy shows, so a turn may be broken off wherever it waits: [`Heard::Woken`] begins
//! the next.

mod divided;
mod second;
mod taken;
#[cfg(test)]
mod tests;

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Problem;
use super::address::Addresses;
use super::ask::{Ask, Heard, Moment};
use super::discovery::{self, Unfit};
use super::holdings::Holding;
use super::notice::{News, Notices};
use super::processes::{Answerer, Processes};
use super::traffic::Traffic;
use crate::net::backoff::{Backoff, jitter};
use crate::registers::haproxy::slot::{self, Me, Memory, Step, Template, View, give_back, plan};
use crate::registers::haproxy::{ClientError, Overview, Peers, Server, ServerStat, Settings};
use crate::registers::{Desired, Standing};

/// Full reads after a slot went into rotation, when a lost race is most likely to show.
const EARLY_CHECKS: [Duration; 3] =
    [Duration::from_millis(40), Duration::from_millis(160), Duration::from_millis(500)];
/// A full read instead of the cheap verify every so many verifies, for ghosts and stale slots.
const FULL_READ_EVERY: u32 = 30;
/// Between two looks at the sessions of a slot that is left, to begin with.
const DRAIN_POLL: Duration = Duration::from_millis(50);
/// First pause after a turn that failed.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// First and longest pause after an operator's mistake was found. It is not worth reading every
/// server each time, and may be mended soon only while he is at it.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(30);
/// Turns that fail one after the other until this HAProxy counts as unreachable, which nobody who
/// leaves waits for: a single connection that breaks must not leave a slot behind.
const UNREACHABLE_AFTER: u32 = 3;

/// What this container is about at this HAProxy. Whether a slot is its own is for HAProxy to show.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// To be in rotation, and not known to be.
    Claiming {
        /// How often in a row a slot of mine was put into rotation and then not seen there.
        insisted: u32,
    },
    /// In rotation.
    Holding {
        /// The slot, as the last full read showed it.
        slot: Server,
        /// How often it has been looked at since it was first seen in rotation.
        verified: u32,
    },
    /// Nothing is held and nothing is wished.
    Idle,
    /// Another registrar of this container holds a slot at this very HAProxy: none is to be held here.
    Second {
        /// Looks in a row at which the other held nothing.
        missed: u32,
        /// Whether nothing of ours is left here.
        clean: bool,
    },
    /// Several HAProxys answer at this address: nothing is claimed, and what is held is given back.
    Divided {
        /// How often it was looked since the last pause.
        looks: u32,
        /// Whether different processes answered in that time.
        others: bool,
        /// Whether there was something to give back.
        found: bool,
    },
    /// Not to be in rotation.
    Leaving {
        /// For how long.
        since: Duration,
        /// Slots that were given back a moment ago, perhaps with requests that are not done.
        emptying: Vec<Server>,
    },
}

/// One container at one HAProxy.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    settings: Arc<Settings>,
    phase: Phase,
    ask: Ask,
    /// The backend to claim in; nothing is known after a failure.
    backend: Option<Arc<str>>,
    memory: Memory,
    addresses: Addresses,
    processes: Processes,
    traffic: Traffic,
    /// What this one holds, and what the registrars before it do.
    holding: Option<Holding>,
    others: Vec<Holding>,
    /// Turns that failed, one after the other.
    failures: u32,
    backoff: Backoff,
    /// Between two looks at an operator's mistake.
    patience: Backoff,
    notices: Notices,
}

impl Machine {
    /// One that has not looked yet.
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let backoff = Backoff::new(FIRST_RETRY, settings.sync_interval);
        Self {
            settings,
            phase: Phase::Leaving { since: Duration::ZERO, emptying: Vec::new() },
            ask: Ask::Rest(Duration::ZERO),
            backend: None,
            memory: Memory::default(),
            addresses: Addresses::default(),
            processes: Processes::default(),
            traffic: Traffic::default(),
            holding: None,
            others: Vec::new(),
            failures: 0,
            backoff,
            patience: Backoff::new(FIRST_LOOK, LAST_LOOK),
            notices: Notices::default(),
        }
    }

    /// What it waits for.
    pub(super) fn ask(&self) -> &Ask {
        &self.ask
    }

    /// What is to be said since the last call.
    pub(super) fn news(&mut self) -> Vec<News> {
        self.notices.take()
    }

    /// Takes in what was heard; says where that leaves this container, when it is known.
    pub(super) fn next(&mut self, heard: Heard, at: Moment) -> Option<Standing> {
        let standing = self.hear(heard, at);
        self.let_go(standing.as_ref());
        standing
    }

    fn hear(&mut self, heard: Heard, at: Moment) -> Option<Standing> {
        self.follow(at);
        if let Some(peers) = heard.peers() {
            self.note(peers, at);
        }
        let asked = mem::replace(&mut self.ask, Ask::Rest(Duration::ZERO));
        match (asked, heard) {
            (_, Heard::Failed(error)) => self.fail(&error.into(), at),
            (Ask::Sweep(_), Heard::Swept(swept)) => self.swept(swept.changed, at),
            _ if self.is_divided() => self.sweep(at),
            (Ask::Route, Heard::Route(route)) => self.reroute(route, at),
            (Ask::Ping, Heard::Alive(_)) => self.look_after(at),
            (Ask::Table { since, .. }, Heard::Table(overview)) => self.see(&overview, since, at),
            (_, Heard::Line { local, .. }) if self.has_moved(local) => self.look(at),
            (Ask::Verify(slot), Heard::Line { line, .. }) => self.verify(&slot, line, at),
            (Ask::Work(_), Heard::Line { line, .. }) => {
                self.count(line.map_or(0, |line| line.work()), Standing::Idle, at)
            }
            (Ask::Emptied { rest, sessions, .. }, Heard::Line { line, .. }) => {
                let empty = |line: &ServerStat| {
                    line.endpoint.is_none_or(|endpoint| endpoint.ip().is_unspecified())
                };
                let more = line.filter(empty).map_or(0, |line| line.sessions);
                self.empty(rest, sessions.saturating_add(more), at)
            }
            (Ask::Change(step), Heard::Done(_)) => {
                self.memory.did(&step);
                self.taken(step, at)
            }
            _ => self.begin(at),
        }
    }

    /// Takes in who answered.
    fn note(&mut self, peers: &Peers, at: Moment) {
        let Some(process) = &peers.process else { return };
        let other = self.processes.note(process, at.now) == Answerer::Other;
        if other {
            self.traffic.replaced(at.now.saturating_sub(process.uptime));
        }
        match &mut self.phase {
            Phase::Divided { others, .. } => *others |= other,
            _ if self.processes.alternate() => self.divide(at),
            _ => {}
        }
    }

    /// Lets the phase follow the wish.
    fn follow(&mut self, at: Moment) {
        match (at.desired, &self.phase) {
            (Desired::Serving, Phase::Leaving { .. } | Phase::Idle) => {
                self.phase = Phase::Claiming { insisted: 0 };
            }
            (
                Desired::Draining | Desired::Absent,
                Phase::Claiming { .. } | Phase::Holding { .. } | Phase::Second { .. },
            )
            | (Desired::Draining, Phase::Idle) => {
                self.phase = Phase::Leaving { since: at.now, emptying: Vec::new() };
            }
            _ => {}
        }
    }

    /// A turn begins: with one line while a slot is held, with a sign of life after a failure, and
    /// without HAProxy while there is nothing to do.
    fn begin(&mut self, at: Moment) -> Option<Standing> {
        if self.phase == Phase::Idle {
            self.ask = Ask::Route;
            return None;
        }
        if let Phase::Holding { slot, verified } = &mut self.phase {
            *verified = verified.saturating_add(1);
            let early = (*verified as usize) <= EARLY_CHECKS.len();
            let full = early || *verified % FULL_READ_EVERY == 0 || self.addresses.may_be_left();
            if !full {
                self.ask = Ask::Verify(slot.clone());
                return None;
            }
        }
        match self.failures > 0 || self.is_second() {
            true => self.ping(),
            false => self.look(at),
        }
    }

    /// Who is not in rotation needs to know his address all the same: his app may be asked there
    /// whether it is ready.
    fn reroute(&mut self, route: Option<IpAddr>, at: Moment) -> Option<Standing> {
        if self.settings.app_addr.is_none() && self.addresses.reroute(route) {
            self.phase = Phase::Leaving { since: at.now, emptying: Vec::new() };
            return self.look(at);
        }
        self.ask = Ask::Rest(self.interval(at));
        None
    }

    /// Every backend's servers as long as nothing is known, those of my own afterwards.
    fn look(&mut self, at: Moment) -> Option<Standing> {
        self.ask = Ask::Table { backend: self.backend.clone(), since: at.now };
        None
    }

    fn verify(&mut self, slot: &Server, line: Option<ServerStat>, at: Moment) -> Option<Standing> {
        let mine = line.as_ref().is_some_and(|line| slot::is_held(slot, line));
        if !mine {
            self.notices.changed();
            // Perhaps another process answered than before, and with each turn of two exchanges the
            // same one would be read each time.
            return self.ping();
        }
        if let Some(line) = line {
            self.notices.checked(slot, &line, at.now);
        }
        self.rest(Standing::Serving, self.interval(at), at)
    }

    /// Whether a connection of ours came from another address than the one that is advertised.
    fn has_moved(&self, local: Option<IpAddr>) -> bool {
        self.settings.app_addr.is_none() && self.addresses.differ(local)
    }

    fn see(&mut self, overview: &Overview, since: Duration, at: Moment) -> Option<Standing> {
        let (template, endpoint) = match self.place(overview) {
            Ok(place) => place,
            Err(unfit) => return self.fail(&unfit.into(), at),
        };
        self.addresses.are(endpoint, at.now);
        self.notices.known(endpoint);
        self.backend = Some(Arc::clone(template.backend()));
        let left = self.addresses.left(&overview.servers, since);
        let mine = |server: &Server| server.endpoint() == Some(endpoint);
        // Who leaves drains the slot that he has, also the one of a former address.
        let drained = left
            .iter()
            .find(|slot| !slot.admin.in_maint())
            .filter(|_| at.desired == Desired::Draining && !overview.servers.iter().any(mine));
        let endpoint = drained.and_then(|slot| slot.endpoint()).unwrap_or(endpoint);
        let Overview { servers, peers } = overview;
        let view = View { servers, process: peers.process.as_ref(), read_at: since };
        self.memory.observe(&view, &template, endpoint);
        let me = Me {
            endpoint,
            template: &template,
            limit: self.settings.limit,
            reclaim_after: self.settings.reclaim_after,
            memory: &self.memory,
        };
        let first = self.first(overview, at);
        let step = match (&first, left.is_empty() || drained.is_some()) {
            (_, false) => give_back(&me, &left, &view, at.now),
            // What it shows is the other's.
            (Some(first), true) if first.endpoint == endpoint => Step::Nothing,
            (Some(_), true) => plan(&me, Desired::Absent, &view, at.now),
            (None, true) => plan(&me, at.desired, &view, at.now),
        };
        match first {
            Some(first) => self.step_back(&first, step == Step::Nothing),
            None if matches!(self.phase, Phase::Second { .. }) => {
                self.phase = Phase::Claiming { insisted: 0 };
            }
            None => {}
        }
        self.take(step, at)
    }

    /// Where to claim, and what.
    fn place(&self, overview: &Overview) -> Result<(Template, SocketAddr), Unfit> {
        let servers = &overview.servers;
        let template = match &self.backend {
            Some(backend) => Template::of(servers, backend, &self.settings.prefix),
            None => discovery::find_template(servers, &self.settings)?,
        };
        let local = overview.peers.local;
        let endpoint = discovery::endpoint(servers, &template, local, &self.settings)?;
        Ok((template, endpoint))
    }

    fn fail(&mut self, problem: &Problem, at: Moment) -> Option<Standing> {
        if let Phase::Holding { .. } = self.phase {
            self.phase = Phase::Claiming { insisted: 0 };
        }
        self.backend = None;
        self.notices.trouble(problem.to_string());
        if let Problem::Unfit(_) = problem {
            // It answers, and has no place for this container.
            let pause = self.patience(at);
            return self.rest(Standing::Absent, pause, at);
        }
        self.failures = self.failures.saturating_add(1);
        let gone = matches!(problem, Problem::Client(ClientError::Connect(_)));
        let refused = matches!(problem, Problem::Client(ClientError::Refused { .. }));
        let busy = at.desired == Desired::Draining && self.traffic.may_run() && !gone;
        let pause = match refused && at.desired == Desired::Serving {
            true => self.patience(at),
            false => self.backoff.next(at.luck),
        };
        self.ask = Ask::Rest(pause);
        (self.failures >= UNREACHABLE_AFTER && !busy).then_some(Standing::Unreachable)
    }

    /// How long to wait before an operator's mistake is looked at again: for who waits for nothing,
    /// as long as may be.
    fn patience(&mut self, at: Moment) -> Duration {
        match at.desired {
            Desired::Serving => self.patience.next(at.luck),
            Desired::Draining | Desired::Absent => jitter(LAST_LOOK, at.luck),
        }
    }

    /// `SYNC_INTERVAL`, and never in step with the neighbours.
    fn interval(&self, at: Moment) -> Duration {
        jitter(self.settings.sync_interval, at.luck)
    }

    /// A tenth of the time that leaving has taken so far: an app may be unready for hours, with
    /// sessions that last as long.
    fn drain_pause(&self, at: Moment) -> Duration {
        let since = match self.phase {
            Phase::Leaving { since, .. } => since,
            _ => Duration::ZERO,
        };
        let tenth = at.now.saturating_sub(since) / 10;
        tenth.min(self.settings.sync_interval).max(DRAIN_POLL)
    }
}
