//! What a [machine](super::machine) asks for, and what it hears.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::registers::Desired;
use crate::registers::haproxy::slot::Step;
use crate::registers::haproxy::{ClientError, Overview, Peers, Server, ServerStat};

/// What the machine waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
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
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Heard {
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
    /// Nothing.
    Failed(ClientError),
}

/// The circumstances in which something is heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// What is wished.
    pub(super) desired: Desired,
    /// When, on the observer's own clock.
    pub(super) now: Duration,
    /// A random number from 0 to 1.
    pub(super) luck: f64,
}
