//! Servers that nobody is behind any more, and since when that is so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::is_ours;
use super::step::{Place, Slot};
use crate::few::Few;
use crate::registers::haproxy::{Checks, Server};

/// How many of the living see to one that is dead; some of them may be dead without HAProxy knowing.
const JANITORS: usize = 3;

/// What one container has seen of others' servers, by its own clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Those that look dead and that it falls to this container to delete, since when.
    seen: Few<Arc<str>, (SocketAddr, Duration)>,
}

impl Watch {
    /// Takes in what a read of `mine`'s backend showed: those before it, up to the third of the living. So
    /// each is seen to by a few and not by hundreds.
    pub fn observe(&mut self, servers: &[Server], mine: &Place, prefix: &str, read_at: Duration) {
        let of_backend = |server: &&Server| server.backend == mine.slot.backend;
        let servers: Vec<_> = servers.iter().filter(of_backend).collect();
        let at = servers.iter().position(|server| mine.is(server)).unwrap_or(0);
        let (before, after) = servers.split_at(at);
        let mut living = 0;
        let near = before.iter().rev().chain(after.iter().rev()).take_while(|server| {
            living += usize::from(server.running && !server.admin.in_maint());
            living < JANITORS
        });
        let known = std::mem::take(&mut self.seen);
        for server in near.filter(|server| !mine.is(server) && is_ours(prefix, server)) {
            if let Some(endpoint) = server.endpoint().filter(|_| looks_dead(server)) {
                let since = known.get(&server.name).filter(|(before, _)| *before == endpoint);
                let since = since.map_or(read_at, |(_, since)| *since);
                self.seen.insert(Arc::clone(&server.name), (endpoint, since));
            }
        }
    }

    /// Those that have looked dead for so long, to this container and to HAProxy.
    pub fn overdue(
        &self,
        servers: &[Server],
        backend: &Arc<str>,
        now: Duration,
        patience: Duration,
    ) -> Vec<Slot> {
        let is_overdue = |server: &&Server| {
            let known =
                self.seen.get(&server.name).filter(|(at, _)| Some(*at) == server.endpoint());
            server.backend == *backend
                && server.unchanged >= patience
                && known.is_some_and(|(_, since)| now.saturating_sub(*since) >= patience)
        };
        servers.iter().filter(is_overdue).map(Slot::from).take(super::AT_ONCE).collect()
    }

    /// When the first of them will have looked dead for so long.
    pub fn next(&self, patience: Duration) -> Option<Duration> {
        self.seen.values().map(|(_, since)| *since + patience).min()
    }
}

/// Found DOWN by a health check; or left in maintenance by one of ours that did not come to delete it.
fn looks_dead(server: &Server) -> bool {
    match server.admin.in_maint() {
        true => server.weight == 0 && server.configured_weight > 0,
        false => !server.running && server.checks == Checks::Failed,
    }
}
