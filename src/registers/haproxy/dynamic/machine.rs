//! What a registrar does next where servers are added and deleted: pure. What was heard goes in; what to ask
//! for, where that leaves the container and what to say come out.
//!
//! A turn is as with slots: ask for the servers, plan one step, have its commands sent, rest. What a change
//! answers counts here, since `add server` and `del server` say what they did.

mod divided;
mod taken;

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::step::{Place, Step};
use super::watch::Watch;
use super::{Me, plan, stale};
use crate::net::backoff::{Backoff, jitter};
use crate::registers::haproxy::registrar::address::Addresses;
use crate::registers::haproxy::registrar::ask::{Ask, Heard, Moment};
use crate::registers::haproxy::registrar::discovery;
use crate::registers::haproxy::registrar::notice::{News, Notices};
use crate::registers::haproxy::registrar::processes::{Answerer, Processes};
use crate::registers::haproxy::registrar::traffic::Traffic;
use crate::registers::haproxy::slot::{MAX_AGE, is_held};
use crate::registers::haproxy::{
    ClientError, Overview, Peers, Server, ServerOptions, ServerStat, Settings,
};
use crate::registers::{Desired, Standing};

/// A full read at least this often while a server is held, for the dead.
const FULL_READ: Duration = Duration::from_secs(30);
/// The shortest time between two such reads.
const SHORTEST_READ: Duration = Duration::from_secs(1);
/// Between two looks at the sessions of a server that is left, to begin with.
const DRAIN_POLL: Duration = Duration::from_millis(50);
/// First pause after a turn that failed.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// First and longest pause after an operator's mistake was found.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(30);
/// Turns that fail one after the other until this HAProxy counts as unreachable.
const UNREACHABLE_AFTER: u32 = 3;

/// What this container is about at this HAProxy. Whether the server is there is for HAProxy to show.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// To be in rotation, and not known to be.
    Joining,
    /// In rotation.
    Holding {
        /// The server as the last full read showed it; `None` before there was one.
        server: Option<Server>,
        /// When the next full read is due.
        full_at: Duration,
    },
    /// Nothing is there and nothing is wished.
    Idle,
    /// Several HAProxys answer at this address: nothing is added, and what is there is deleted.
    Divided {
        /// How often it was looked since the last pause.
        looks: u32,
        /// Whether different processes answered in that time.
        others: bool,
    },
    /// Not to be in rotation.
    Leaving {
        /// For how long.
        since: Duration,
        /// The server as it was last seen, for its sessions.
        server: Option<Server>,
    },
}

impl Phase {
    fn leaving(since: Duration) -> Self {
        Self::Leaving { since, server: None }
    }
}

/// One container at one HAProxy that has no slots.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Arc<Settings>,
    options: ServerOptions,
    backend: Arc<str>,
    phase: Phase,
    ask: Ask,
    /// Whether every backend has been looked at, and what somebody left at this address deleted.
    looked_around: bool,
    /// When nothing of this container was seen to be there, as long as nothing has been added since.
    clear: Option<Duration>,
    /// The server has been seen in rotation since it was last changed from here.
    held: bool,
    /// How often in a row a server was put into rotation and then not seen there.
    insisted: u32,
    /// How often in a row HAProxy has refused to delete the server.
    kept: u32,
    watch: Watch,
    addresses: Addresses,
    processes: Processes,
    traffic: Traffic,
    failures: u32,
    backoff: Backoff,
    patience: Backoff,
    notices: Notices,
}

impl Machine {
    /// One that has not looked yet.
    pub fn new(settings: Arc<Settings>, backend: &str, options: ServerOptions) -> Self {
        Self {
            backoff: Backoff::new(FIRST_RETRY, settings.sync_interval),
            settings,
            options,
            backend: backend.into(),
            phase: Phase::leaving(Duration::ZERO),
            ask: Ask::Rest(Duration::ZERO),
            looked_around: false,
            clear: None,
            held: false,
            insisted: 0,
            kept: 0,
            watch: Watch::default(),
            addresses: Addresses::default(),
            processes: Processes::default(),
            traffic: Traffic::default(),
            failures: 0,
            patience: Backoff::new(FIRST_LOOK, LAST_LOOK),
            notices: Notices::default(),
        }
    }

    /// What it waits for.
    pub(in crate::registers::haproxy) fn ask(&self) -> &Ask {
        &self.ask
    }

    /// What is to be said since the last call.
    pub(in crate::registers::haproxy) fn news(&mut self) -> Vec<News> {
        self.notices.take()
    }

    /// Takes in what was heard; says where that leaves this container, when it is known.
    pub(in crate::registers::haproxy) fn next(
        &mut self,
        heard: Heard,
        at: Moment,
    ) -> Option<Standing> {
        self.follow(at);
        if let Some(peers) = heard.peers() {
            self.note(peers, at);
        }
        let asked = mem::replace(&mut self.ask, Ask::Rest(Duration::ZERO));
        match (asked, heard) {
            (_, Heard::Failed(error)) => self.fail(&error, at),
            (Ask::Act(_), Heard::Acted { .. }) if self.is_divided() => self.swept(at),
            _ if self.is_divided() => self.sweep(at),
            (Ask::Route, Heard::Route(route)) => {
                if self.settings.app_addr.is_none() && self.addresses.reroute(route) {
                    self.phase = Phase::leaving(at.now);
                    return self.look(at);
                }
                self.ask = Ask::Rest(self.interval(at));
                None
            }
            (Ask::Ping, Heard::Alive(_)) => self.look(at),
            (Ask::Table { since, .. }, Heard::Table(overview)) => self.see(&overview, since, at),
            (_, Heard::Line { local, .. }) if self.has_moved(local) => self.look(at),
            (Ask::Verify(server), Heard::Line { line, .. }) => self.verify(&server, line, at),
            (Ask::Work(_), Heard::Line { line, .. }) => {
                self.count(line.map_or(0, |line| line.work()), at)
            }
            (Ask::Act(step), Heard::Acted { refused: None, .. }) => self.taken(step, at),
            (Ask::Act(step), Heard::Acted { refused: Some(why), .. }) => {
                self.refused(step, &why, at)
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
                self.phase = Phase::Joining;
                self.insisted = 0;
            }
            (Desired::Draining | Desired::Absent, Phase::Joining | Phase::Holding { .. })
            | (Desired::Draining, Phase::Idle) => {
                self.phase = Phase::leaving(at.now);
            }
            _ => {}
        }
    }

    /// A turn begins: with one line while a server is held, with a sign of life after a failure, at once
    /// where it was just seen that the server is not there, and without HAProxy while there is nothing to
    /// do.
    fn begin(&mut self, at: Moment) -> Option<Standing> {
        if self.phase == Phase::Idle {
            self.ask = Ask::Route;
            return None;
        }
        if let Phase::Holding { server: Some(server), full_at } = &self.phase
            && at.now < *full_at
            && !self.addresses.may_be_left()
        {
            self.ask = Ask::Verify(server.clone());
            return None;
        }
        if self.failures > 0 {
            self.ask = Ask::Ping;
            return None;
        }
        let fresh = |seen: &Duration| at.now.saturating_sub(*seen) < MAX_AGE;
        match (&self.phase, self.place(), self.clear.filter(fresh)) {
            (Phase::Joining, Some(place), Some(_)) => {
                self.take(Step::Add(place, self.options.clone()), at)
            }
            _ => self.look(at),
        }
    }

    /// Every backend's servers the first time, those of my own afterwards.
    fn look(&mut self, at: Moment) -> Option<Standing> {
        let backend = self.looked_around.then(|| Arc::clone(&self.backend));
        self.ask = Ask::Table { backend, since: at.now };
        None
    }

    /// Where this container's server is, once its address is known.
    fn place(&self) -> Option<Place> {
        let addr = self.addresses.advertised()?.ip();
        discovery::added(&self.backend, Some(addr), &self.settings).ok()
    }

    fn verify(
        &mut self,
        server: &Server,
        line: Option<ServerStat>,
        at: Moment,
    ) -> Option<Standing> {
        match line.filter(|line| is_held(server, line)) {
            None => {
                self.notices.changed();
                self.ask = Ask::Ping;
                None
            }
            Some(line) => {
                self.notices.checked(server, &line, at.now);
                self.rest(Standing::Serving, self.interval(at), at)
            }
        }
    }

    /// Whether a connection of ours came from another address than the one that is advertised.
    fn has_moved(&self, local: Option<IpAddr>) -> bool {
        self.settings.app_addr.is_none() && self.addresses.differ(local)
    }

    fn see(&mut self, overview: &Overview, since: Duration, at: Moment) -> Option<Standing> {
        if at.now.saturating_sub(since) > MAX_AGE {
            return self.look(at);
        }
        let place = match discovery::added(&self.backend, overview.peers.local, &self.settings) {
            Ok(place) => place,
            Err(unfit) => return self.unfit(unfit.to_string(), at),
        };
        self.addresses.are(place.endpoint, at.now);
        self.notices.known(place.endpoint);
        // What was there before this process is another's, with other options perhaps.
        let desired = if self.looked_around { at.desired } else { Desired::Absent };
        let servers = &overview.servers;
        let former = self.addresses.left(servers, since);
        self.watch.observe(servers, &place, &self.settings.prefix, since);
        let mine = servers.iter().find(|server| place.is(server));
        self.clear = mine.is_none().then_some(since);
        if let Phase::Leaving { server, .. } = &mut self.phase {
            *server = mine.cloned();
        }
        let me = Me {
            place: &place,
            prefix: &self.settings.prefix,
            backends: &self.settings.backends,
            options: &self.options,
            held: self.held,
        };
        let step = plan(&me, desired, servers, &former);
        if let Step::Hold(server) = step {
            let patience = self.settings.reclaim_after;
            let mut dead = self.watch.overdue(servers, &self.backend, at.now, patience);
            dead.extend(stale(&me, servers, &former));
            return self.hold(server, dead, at);
        }
        self.take(step, at)
    }

    fn fail(&mut self, error: &ClientError, at: Moment) -> Option<Standing> {
        if let Phase::Holding { .. } = self.phase {
            self.phase = Phase::Joining;
        }
        self.clear = None;
        self.notices.trouble(error.to_string());
        self.failures = self.failures.saturating_add(1);
        let gone = matches!(error, ClientError::Connect(_));
        let busy = at.desired == Desired::Draining && self.traffic.may_run() && !gone;
        self.ask = Ask::Rest(self.backoff.next(at.luck));
        (self.failures >= UNREACHABLE_AFTER && !busy).then_some(Standing::Unreachable)
    }

    /// It answers, and has no place for this container.
    fn unfit(&mut self, why: String, at: Moment) -> Option<Standing> {
        self.notices.trouble(why);
        let pause = match at.desired {
            Desired::Serving => self.patience.next(at.luck),
            Desired::Draining | Desired::Absent => jitter(LAST_LOOK, at.luck),
        };
        self.rest(Standing::Absent, pause, at)
    }

    /// `SYNC_INTERVAL`, and never in step with the neighbours.
    fn interval(&self, at: Moment) -> Duration {
        jitter(self.settings.sync_interval, at.luck)
    }

    /// A tenth of the time that leaving has taken so far: an app may be unready for hours, with sessions that
    /// last as long.
    fn drain_pause(&self, at: Moment) -> Duration {
        let since = match self.phase {
            Phase::Leaving { since, .. } => since,
            _ => at.now,
        };
        let tenth = at.now.saturating_sub(since) / 10;
        tenth.min(self.settings.sync_interval).max(DRAIN_POLL)
    }
}
