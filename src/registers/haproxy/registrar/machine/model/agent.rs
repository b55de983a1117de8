//! One agent: the machine that ships, and what it asks for.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::{NOW, RECLAIM_AFTER};
use crate::registers::haproxy::registrar::ask::{Ask, Heard, Moment};
use crate::registers::haproxy::registrar::machine::{EARLY_CHECKS, Machine, Phase};
use crate::registers::haproxy::registrar::notice::Notices;
use crate::registers::haproxy::slot::{Memory, Step};
use crate::registers::haproxy::{
    Checks, ClientError, Overview, Peers, Process, Server, ServerStat, Settings,
};
use crate::registers::{Desired, Standing};

/// What HAProxy shows to whoever asks now.
pub(super) struct Sight {
    pub(super) servers: Vec<Server>,
    pub(super) process: Process,
}

impl Sight {
    fn peers(&self) -> Peers {
        Peers { process: Some(self.process.clone()), local: None }
    }

    fn line(&self, slot: &Server) -> Option<ServerStat> {
        let server = self.servers.iter().find(|server| server.id == slot.id)?;
        let status = match (server.admin.in_maint(), server.admin.in_drain(), server.running) {
            (true, ..) => "MAINT",
            (_, true, _) => "DRAIN",
            (_, _, false) => "DOWN",
            _ => "UP",
        };
        Some(ServerStat {
            status: status.to_owned(),
            sessions: 0,
            queued: 0,
            weight: server.weight.into(),
            endpoint: server.endpoint(),
            check: None,
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) alive: bool,
    wish: Desired,
    machine: Machine,
}

impl Agent {
    /// One whose app listens there and is ready.
    pub(super) fn new(endpoint: SocketAddr) -> Self {
        let settings = Settings {
            servers: Vec::new(),
            backend: Some("b".to_owned()),
            service_name: None,
            prefix: "node".to_owned(),
            limit: None,
            sync_interval: Duration::from_secs(1),
            reclaim_after: RECLAIM_AFTER,
            drain_timeout: Duration::from_secs(5),
            app_addr: Some(endpoint.ip()),
            app_port: Some(endpoint.port()),
            tls: None,
        };
        let machine = Machine::new(Arc::new(settings));
        Self { alive: true, wish: Desired::Serving, machine }
    }

    /// The same in a new process.
    pub(super) fn start(&mut self) {
        self.machine = Machine::new(Arc::clone(&self.machine.settings));
        (self.alive, self.wish) = (true, Desired::Serving);
    }

    pub(super) fn crash(&mut self) {
        self.start();
        self.alive = false;
    }

    /// Its container is to stop.
    pub(super) fn stop(&mut self) {
        self.wish = Desired::Draining;
    }

    pub(super) fn serves(&self) -> bool {
        self.wish == Desired::Serving
    }

    pub(super) fn memory(&mut self) -> &mut Memory {
        &mut self.machine.memory
    }

    pub(super) fn remembers(&self) -> &Memory {
        &self.machine.memory
    }

    /// What it waits for the answer to.
    pub(super) fn step(&self) -> Option<&Step> {
        match &self.machine.ask {
            Ask::Change(step) => Some(step),
            _ => None,
        }
    }

    /// A turn, up to where it rests or has commands sent. All that it reads, it reads at one moment: what
    /// comes in between might as well have come before. Who holds a slot looks at its line, as most often,
    /// and then at all of them.
    pub(super) fn turn(&mut self, sight: &Sight) {
        let looks = |machine: &mut Machine, times: usize| match &mut machine.phase {
            Phase::Holding { verified, .. } => {
                *verified = times as u32;
                true
            }
            _ => false,
        };
        let mut again = looks(&mut self.machine, EARLY_CHECKS.len());
        let mut heard = Heard::Woken;
        while self.alive {
            self.hears(heard);
            if again && matches!(self.machine.ask, Ask::Rest(_)) {
                again = false;
                if looks(&mut self.machine, 0) {
                    heard = Heard::Woken;
                    continue;
                }
            }
            heard = match &self.machine.ask {
                Ask::Rest(_) | Ask::Change(_) => return,
                Ask::Route => Heard::Route(None),
                Ask::Ping => Heard::Alive(sight.peers()),
                Ask::Table { .. } => {
                    again = false;
                    Heard::Table(Overview { servers: sight.servers.clone(), peers: sight.peers() })
                }
                Ask::Verify(slot) | Ask::Work(slot) | Ask::Emptied { slot, .. } => {
                    Heard::Line { line: sight.line(slot), local: None }
                }
                Ask::Sweep(_) => panic!("there is one HAProxy"),
            };
        }
    }

    /// Its commands were carried out, and it hears so.
    pub(super) fn succeeds(&mut self, sight: &Sight) {
        self.hears(Heard::Done(sight.peers()));
    }

    /// It hears nothing.
    pub(super) fn fails(&mut self) {
        self.hears(Heard::Failed(ClientError::TimedOut(Duration::from_secs(2))));
    }

    fn hears(&mut self, heard: Heard) {
        let at = Moment { desired: self.wish, now: NOW, luck: 0.5 };
        match (self.wish, self.machine.next(heard, at)) {
            (Desired::Draining, Some(Standing::Idle | Standing::Absent)) => {
                self.wish = Desired::Absent;
            }
            // The container is gone.
            (Desired::Absent, Some(Standing::Absent)) => self.crash(),
            _ => {}
        }
        self.machine.simplify();
    }
}

impl Machine {
    /// Forgets what decides nothing but how long to wait and what to say.
    fn simplify(&mut self) {
        self.notices = Notices::default();
        self.backoff.reset();
        self.patience.reset();
        self.failures = self.failures.min(1);
        self.holding = None;
        self.processes.start_over();
        match &mut self.phase {
            Phase::Claiming { insisted } => *insisted = 0,
            Phase::Holding { slot, verified } => {
                *verified = 0;
                blur(slot);
            }
            Phase::Leaving { emptying, .. } => emptying.iter_mut().for_each(blur),
            _ => {}
        }
        match &mut self.ask {
            Ask::Rest(time) => *time = Duration::ZERO,
            Ask::Change(Step::Claim { slot, .. } | Step::MakeReady(slot) | Step::Drain(slot)) => {
                blur(slot);
            }
            Ask::Change(Step::Release(releases)) => {
                releases.iter_mut().for_each(|release| blur(&mut release.slot));
            }
            _ => {}
        }
    }

    fn key(&self) -> impl Hash + Eq + '_ {
        let known = (&self.memory, &self.addresses, &self.processes, &self.traffic);
        (&self.phase, &self.ask, &self.backend, known, self.failures)
    }
}

/// What a slot was like decides nothing later; each turn reads it anew.
fn blur(slot: &mut Server) {
    (slot.unchanged, slot.checks) = (Duration::ZERO, Checks::None);
    (slot.running, slot.weight) = (false, 0);
    slot.admin.0 = 0;
}

impl PartialEq for Agent {
    fn eq(&self, other: &Self) -> bool {
        (self.alive, self.wish) == (other.alive, other.wish)
            && self.machine.key() == other.machine.key()
    }
}

impl Eq for Agent {}

impl Hash for Agent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.alive, self.wish as u8).hash(state);
        self.machine.key().hash(state);
    }
}
