//! What each registrar of this container holds, for the others to see: one HAProxy may be known by two
//! addresses, and must not give two slots to one container.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::notice::Slot;
use super::processes::Known;
use crate::few::Few;
use crate::registers::haproxy::Server;

/// The slot that a registrar holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    /// The process that showed it.
    pub(super) process: Known,
    /// What the registrar advertises there.
    pub(super) endpoint: SocketAddr,
    pub(super) slot: Slot,
}

impl Holding {
    /// Whether a table shows it.
    pub(super) fn is_in(&self, servers: &[Server]) -> bool {
        let shows = |server: &Server| server.endpoint() == Some(self.endpoint);
        servers.iter().any(|server| shows(server) && self.slot == server.into())
    }
}

/// What all registrars of one container hold, by their names.
#[derive(Clone, Debug)]
pub struct Holdings {
    started: Instant,
    all: watch::Sender<Few<Arc<str>, Holding>>,
}

impl Default for Holdings {
    fn default() -> Self {
        Self { started: Instant::now(), all: watch::Sender::new(Few::default()) }
    }
}

impl Holdings {
    /// The place of one registrar among them, empty again when it is dropped.
    pub(super) fn place(&self, register: &Arc<str>) -> Place {
        Place { all: self.clone(), register: Arc::clone(register) }
    }
}

/// One registrar's place.
pub(super) struct Place {
    all: Holdings,
    register: Arc<str>,
}

impl Place {
    /// The time by the one clock that all of them have.
    pub(super) fn now(&self) -> Duration {
        self.all.started.elapsed()
    }

    /// Says what this registrar holds.
    pub(super) fn holds(&self, holding: Option<&Holding>) {
        self.all.all.send_if_modified(|all| {
            let news = all.get(&self.register) != holding;
            if news {
                match holding {
                    Some(holding) => all.insert(Arc::clone(&self.register), holding.clone()),
                    None => all.remove(&self.register),
                };
            }
            news
        });
    }

    /// What the others hold whose names come first. Of two that find the same HAProxy the second one
    /// steps back.
    pub(super) fn before(&self) -> Vec<Holding> {
        let all = self.all.all.borrow();
        let before = all.iter().take_while(|(name, _)| **name < self.register);
        before.map(|(_, holding)| holding.clone()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.holds(None);
    }
}
