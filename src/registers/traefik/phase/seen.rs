//! What is asked before a step, and what comes of it.

use std::net::SocketAddr;

use crate::registers::traefik::api::Shown;
use crate::registers::traefik::client::Found;

/// What has to be asked before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registers::traefik) enum Ask {
    Nothing,
    /// Who this container is, and whether its key is there.
    Own,
    /// Who this container is, and everything that it should have; with the `strays` of others that have its
    /// address in them, and what `traefik` shows.
    All {
        strays: bool,
        traefik: bool,
    },
    /// Whether the key for this address is gone, from the store and from Traefik.
    Passing(SocketAddr),
}

/// What the store and Traefik show.
#[derive(Clone, Debug)]
pub(in crate::registers::traefik) enum Seen {
    Nothing,
    /// Address or port of this container is not known yet.
    Nobody,
    Own {
        at: SocketAddr,
        there: bool,
    },
    All(View),
    Passing {
        there: bool,
        traefik: Option<Shown>,
    },
}

/// Everything that a container should have, as the store shows it.
#[derive(Clone, Debug)]
pub(in crate::registers::traefik) struct View {
    /// The address of this container.
    pub(in crate::registers::traefik) at: SocketAddr,
    /// What is under its key.
    pub(in crate::registers::traefik) own: Option<Found>,
    /// Whether the service's permanent key is there.
    pub(in crate::registers::traefik) kept: bool,
    /// What is under the keys of the route, in the order of the rules.
    pub(in crate::registers::traefik) route: Vec<Option<String>>,
    /// Keys of the service's servers that have this container's address as their value, when it was
    /// asked for them.
    pub(in crate::registers::traefik) strays: Option<Vec<String>>,
    /// What Traefik shows, when it was asked.
    pub(in crate::registers::traefik) traefik: Option<Shown>,
}
