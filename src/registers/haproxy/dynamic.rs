//! HAProxy without slots: a server of its own for each container, added and deleted at run time.
//!
//! The server is named by its endpoint, and HAProxy takes a name once only. So there is nothing to choose
//! and no race to lose: [`plan`] compares what one read showed with what is wanted and names one step. Weight
//! 0 in maintenance is the mark of our own leaving, any other maintenance is an operator's. Nothing is
//! deleted whose name is not what its address makes of it.

pub mod machine;
pub mod step;
#[cfg(test)]
mod tests;
pub mod watch;

use std::net::SocketAddr;

use crate::registers::Desired;
use crate::registers::haproxy::{Checks, Server, ServerOptions};
use step::{Place, Step};

/// Servers that one line deletes at most; HAProxy's line is 16 kB (`tune.bufsize`).
const AT_ONCE: usize = 16;

/// Who plans: one container at one HAProxy.
#[derive(Clone, Copy, Debug)]
pub struct Me<'a> {
    /// Where its server is.
    pub place: &'a Place,
    /// What all names of such servers begin with.
    pub prefix: &'a str,
    /// Every backend that this container registers in.
    pub backends: &'a [String],
    /// What follows the address on its server line.
    pub options: &'a ServerOptions,
    /// Whether this process has seen its server in rotation since it last changed it.
    pub held: bool,
}

/// The name of the server at an endpoint: `node-10-0-0-5-8080`. It can stand in a host name.
pub fn server_name(prefix: &str, endpoint: SocketAddr) -> String {
    let ip = endpoint.ip().to_string().replace(['.', ':'], "-");
    format!("{prefix}-{ip}-{}", endpoint.port())
}

/// Whether a server is one that Berth has added: it is named by what it shows.
pub fn is_ours(prefix: &str, server: &Server) -> bool {
    server.endpoint().is_some_and(|endpoint| *server.name == *server_name(prefix, endpoint))
}

/// The next step. `former` are servers at addresses that this container had.
pub fn plan(me: &Me<'_>, desired: Desired, servers: &[Server], former: &[&Server]) -> Step {
    let is_mine = |server: &&Server| me.place.is(server);
    let mine = servers.iter().find(is_mine);
    match desired {
        Desired::Serving => me.serve(mine),
        Desired::Draining => match mine.or(former.first().copied()) {
            Some(server) if out(server) => Step::AwaitIdle(server.clone()),
            Some(server) => Step::Drain(server.clone()),
            None => Step::Nothing,
        },
        Desired::Absent => {
            let own = mine.filter(|server| is_ours(me.prefix, server));
            let mut gone: Vec<_> = own.into_iter().map(Into::into).collect();
            gone.extend(stale(me, servers, former));
            gone.truncate(AT_ONCE);
            if gone.is_empty() { Step::Nothing } else { Step::Delete(gone) }
        }
    }
}

/// Servers that show this container's endpoint and must not: at an address that it had, and in backends of
/// others, left by somebody who had its address before.
pub fn stale(me: &Me<'_>, servers: &[Server], former: &[&Server]) -> Vec<step::Slot> {
    let elsewhere = servers.iter().filter(|server| {
        server.endpoint() == Some(me.place.endpoint)
            && !me.backends.iter().any(|backend| **backend == *server.backend)
    });
    let all = elsewhere.chain(former.iter().copied()).filter(|server| is_ours(me.prefix, server));
    all.map(Into::into).take(AT_ONCE).collect()
}

impl Me<'_> {
    fn serve(&self, mine: Option<&Server>) -> Step {
        let Some(server) = mine else { return Step::Add(self.place.clone(), self.options.clone()) };
        let finish = || Step::Finish(server.clone(), self.options.clone());
        if server.endpoint() != Some(self.place.endpoint) {
            return Step::Moved(server.clone());
        }
        if !out(server) && (server.weight > 0 || server.configured_weight == 0) {
            return Step::Hold(server.clone());
        }
        // Half a line of ours leaves weight 0, or a server that was never checked.
        let marked = server.weight == 0 && server.configured_weight > 0;
        let begun = server.admin.in_maint() && server.checks == Checks::Pending;
        match !self.held && (marked || begun) && !server.admin.is_held_back() {
            true => finish(),
            false => Step::LeaveToOperator(server.clone()),
        }
    }
}

/// Out of rotation for new work.
fn out(server: &Server) -> bool {
    server.admin.in_maint() || server.admin.in_drain()
}
