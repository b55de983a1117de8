//! What a [machine](super::machine) asks for, and what it hears.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::registers::Desired;
use crate::registers::haproxy::dynamic;
use crate::registers::haproxy::slot::{Release, Step};
use crate::registers::haproxy::{ClientError, Overview, Peers, Server, ServerStat, Swept};

/// What the machine waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registers::haproxy) enum Ask {
    /// Time, or another wish.
    Rest(Duration),
    /// Our own address as the routing table has it, which costs HAProxy nothing.
    Route,
    /// A sign of life.
    Ping,
    /// The servers of this backend, or of all.
    Table {
        /// The backend, once it is known.
        backend: Option<Arc<str>>,
        /// When it was asked for.
        since: Duration,
    },
    /// The line of the slot that is held.
    Verify(Server),
    /// The line of the slot that drains.
    Work(Server),
    /// The lines of slots that were given back, one by one.
    Emptied {
        /// The one to look at.
        slot: Server,
        /// Those after it.
        rest: Vec<Server>,
        /// Sessions on those before it.
        sessions: u64,
    },
    /// The commands of this step to be carried out.
    Change(Step),
    /// What shows our addresses to be given back, by whichever process answers.
    Sweep(Sweep),
    /// The commands of this step to be carried out, where servers are added and deleted.
    Act(dynamic::step::Step),
}

/// What is to be given back, whatever else is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registers::haproxy) struct Sweep {
    pub(in crate::registers::haproxy) backend: Option<Arc<str>>,
    pub(in crate::registers::haproxy) prefix: String,
    pub(in crate::registers::haproxy) endpoints: Vec<SocketAddr>,
}

impl Sweep {
    /// The step that gives it back.
    pub(in crate::registers::haproxy) fn choose(&self, servers: &[Server]) -> Step {
        let is_slot = |server: &Server| {
            server.slot_number(&self.prefix).is_some()
                && (self.backend.as_ref() == Some(&server.backend)
                    || server.admin.configured_disabled())
        };
        let releases: Vec<_> = servers
            .iter()
            .filter(|server| is_slot(server))
            .filter_map(|slot| {
                let endpoint = slot.endpoint().filter(|at| self.endpoints.contains(at))?;
                Some(Release { slot: slot.clone(), port: endpoint.port() })
            })
            .collect();
        if releases.is_empty() { Step::Nothing } else { Step::Release(releases) }
    }
}

/// What came of it.
#[derive(Debug)]
pub(in crate::registers::haproxy) enum Heard {
    /// The time is over, or the wish is another.
    Woken,
    /// The address, if there is a route.
    Route(Option<IpAddr>),
    /// It answers.
    Alive(Peers),
    /// The servers.
    Table(Overview),
    /// One server's line.
    Line {
        /// The line; `None` when there is no such server.
        line: Option<ServerStat>,
        /// Our own address on that connection.
        local: Option<IpAddr>,
    },
    /// Every command was accepted.
    Done(Peers),
    /// What was found and given back.
    Swept(Swept),
    /// What became of a step, where servers are added and deleted.
    Acted {
        /// Who answered, if that was asked.
        peers: Peers,
        /// The first command that was refused.
        refused: Option<ClientError>,
    },
    /// Nothing.
    Failed(ClientError),
}

impl Heard {
    /// Who answered, where that is known.
    pub(in crate::registers::haproxy) fn peers(&self) -> Option<&Peers> {
        match self {
            Self::Alive(peers) | Self::Done(peers) | Self::Acted { peers, .. } => Some(peers),
            Self::Table(overview) => Some(&overview.peers),
            Self::Swept(swept) => Some(&swept.peers),
            Self::Woken | Self::Route(_) | Self::Line { .. } | Self::Failed(_) => None,
        }
    }
}

/// The circumstances in which something is heard.
#[derive(Clone, Copy, Debug)]
pub(in crate::registers::haproxy) struct Moment {
    /// What is wished.
    pub(in crate::registers::haproxy) desired: Desired,
    /// When, on the observer's own clock.
    pub(in crate::registers::haproxy) now: Duration,
    /// A random number from 0 to 1.
    pub(in crate::registers::haproxy) luck: f64,
}
