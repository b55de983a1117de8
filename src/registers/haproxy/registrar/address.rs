//! Where this container is reached, and where it was before its address changed. Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::notice::Slot;
use crate::registers::haproxy::Server;
use crate::registers::haproxy::slot::SETTLING;

/// Former addresses that are kept in mind at once.
const MAX_FORMER: usize = 8;

/// The endpoint that is advertised, and those that may still be in a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::registers::haproxy) struct Addresses {
    endpoint: Option<SocketAddr>,
    /// The slot that was last written to or seen as this container's own.
    slot: Option<Slot>,
    former: Vec<Former>,
    /// What the routing table said last.
    route: Option<IpAddr>,
}

/// An endpoint that is advertised no longer, in the slot that it was advertised in. Only there:
/// whoever has got the address meanwhile may show it in another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Former {
    endpoint: SocketAddr,
    slot: Slot,
    since: Duration,
}

impl Former {
    fn is_in(&self, server: &Server) -> bool {
        server.endpoint() == Some(self.endpoint) && self.slot == server.into()
    }
}

impl Addresses {
    /// What is advertised, once it is known.
    pub(in crate::registers::haproxy) fn advertised(&self) -> Option<SocketAddr> {
        self.endpoint
    }

    /// Whether our own end of a connection is not at the address that is advertised.
    pub(in crate::registers::haproxy) fn differ(&self, local: Option<IpAddr>) -> bool {
        let advertised = self.endpoint.map(|endpoint| endpoint.ip());
        local.is_some_and(|local| advertised.is_some_and(|advertised| advertised != local))
    }

    /// Whether the routing table says something new; what it says need not be what a connection has.
    pub(in crate::registers::haproxy) fn reroute(&mut self, route: Option<IpAddr>) -> bool {
        let before = self.route.or(self.endpoint.map(|endpoint| endpoint.ip()));
        self.route = route.or(before);
        before.is_some() && before != self.route
    }

    /// From now on this is advertised.
    pub(in crate::registers::haproxy) fn are(&mut self, endpoint: SocketAddr, now: Duration) {
        let Some(before) = self.endpoint.replace(endpoint).filter(|before| *before != endpoint)
        else {
            return;
        };
        self.former.retain(|former| former.endpoint != endpoint);
        if let Some(slot) = self.slot.take() {
            self.former.truncate(MAX_FORMER - 1);
            self.former.push(Former { endpoint: before, slot, since: now });
        }
    }

    /// This slot shows what is advertised, or soon will.
    pub(in crate::registers::haproxy) fn in_slot(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// The slots that still show a former endpoint. One that is not seen any more is forgotten; since
    /// HAProxy 3.0 an address may show a moment after it was written.
    pub(in crate::registers::haproxy) fn left<'a>(
        &mut self,
        servers: &'a [Server],
        read_at: Duration,
    ) -> Vec<&'a Server> {
        self.former.retain(|former| {
            read_at.saturating_sub(former.since) < SETTLING
                || servers.iter().any(|server| former.is_in(server))
        });
        let is_left = |server: &&Server| self.former.iter().any(|former| former.is_in(server));
        servers.iter().filter(is_left).collect()
    }

    /// What a slot may show that is this container's.
    pub(in crate::registers::haproxy) fn all(&self) -> Vec<SocketAddr> {
        let former = self.former.iter().map(|former| former.endpoint);
        self.endpoint.into_iter().chain(former).collect()
    }

    /// Whether a slot may still show a former endpoint.
    pub(in crate::registers::haproxy) fn may_be_left(&self) -> bool {
        !self.former.is_empty()
    }
}
