//! What the life cycle and the registers (one per HAProxy, one for DNS, one per store of Traefik's) tell
//! each other.
//!
//! Every register is a task of its own. It reads [`Want`] and [`Identity`] from watch channels
//! and answers with [`Standing`]; it never calls into another register and never touches the app. Nothing
//! is done here.

pub mod dns;
pub mod haproxy;
pub mod traefik;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

/// What the container wants of every register now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desired {
    /// Nothing may be held: the app is not ready yet, or it is gone.
    Absent,
    /// Be in rotation.
    Serving,
    /// Take no new work and report when the old is done. DNS leaves at once.
    Draining,
}

/// What is wanted, numbered, so that an answer can be told from an answer to something older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The wish itself.
    pub desired: Desired,
    /// Grows with every change of the wish.
    pub epoch: u64,
}

/// Where one register stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing of this container is held, as far as this register knows.
    Absent,
    /// Registered and in rotation.
    Serving,
    /// Out of rotation, with work left (sessions and queued requests).
    Draining {
        /// Sessions and queued requests that HAProxy still counts on the slot.
        sessions: u64,
    },
    /// Out of rotation and without work: the app may stop.
    Idle,
    /// The server does not answer or refuses; nothing can be said.
    Unreachable,
}

/// One report of one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which register: `haproxy 10.0.0.5:9999`, `dns 10.0.0.53:53`.
    pub register: Arc<str>,
    /// The wish that it has answered to.
    pub epoch: u64,
    /// Where it stands now; `None` when this register no longer exists.
    pub standing: Option<Standing>,
}

/// What has been learned about this container, by configuration or from a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Address to advertise: `APP_ADDR`, else the local address of a connection to HAProxy (or to
    /// the DNS server where there is no HAProxy).
    pub addr: Option<IpAddr>,
    /// Port that the app listens on: `APP_PORT`, else the template's.
    pub port: Option<u16>,
    /// Name of the slot held on the first HAProxy, such as `node3`.
    pub slot: Option<Arc<str>>,
}

/// The ends that a register is given.
#[derive(Clone, Debug)]
pub struct Channels {
    /// Name under which this register reports.
    pub register: Arc<str>,
    /// What is wanted.
    pub want: watch::Receiver<Want>,
    /// What is known of the container; a register may add to it.
    pub identity: watch::Sender<Identity>,
    /// Where to report.
    pub reports: mpsc::UnboundedSender<Report>,
}

impl Channels {
    /// The same ends under another name.
    pub fn named(&self, register: impl Into<Arc<str>>) -> Self {
        Self { register: register.into(), ..self.clone() }
    }

    /// Reports where this register stands in answer to wish number `epoch`. Nobody listens any more
    /// once the container is gone, which is no error.
    pub fn report(&self, epoch: u64, standing: Standing) {
        let report =
            Report { register: Arc::clone(&self.register), epoch, standing: Some(standing) };
        let _ = self.reports.send(report);
    }
}
