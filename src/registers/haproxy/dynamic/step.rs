//! One step, and the commands that take it.

use std::net::SocketAddr;
use std::sync::Arc;

pub use crate::registers::haproxy::registrar::notice::Slot;
use crate::registers::haproxy::{Command, Server, ServerOptions, ServerState};

/// Where the server of a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its backend and its name.
    pub slot: Slot,
    /// The container's address and port.
    pub endpoint: SocketAddr,
}

impl Place {
    /// The one of this name.
    pub fn new(backend: &str, name: &str, endpoint: SocketAddr) -> Self {
        Self { slot: Slot { backend: backend.into(), name: name.into() }, endpoint }
    }

    /// Whether a server has this name, whatever it shows.
    pub fn is(&self, server: &Server) -> bool {
        self.slot.backend == server.backend && self.slot.name == server.name
    }
}

/// The next step of one container at one HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add the server and put it into rotation.
    Add(Place, ServerOptions),
    /// The server is mine and out of rotation by our own doing: put it in.
    Finish(Server, ServerOptions),
    /// The server is mine and in rotation.
    Hold(Server),
    /// The server is mine, and an operator took it out of rotation: leave it so.
    LeaveToOperator(Server),
    /// The server of my name shows another address: it is somebody's, who knows why.
    Moved(Server),
    /// Take the server out of rotation for new work.
    Drain(Server),
    /// The server takes no new work: wait until the old is done.
    AwaitIdle(Server),
    /// Delete servers of my own.
    Delete(Vec<Slot>),
    /// Delete servers that nobody is behind.
    Bury(Vec<Slot>),
    /// All is as wanted, and nothing is there.
    Nothing,
}

impl Step {
    /// The commands of this step, none when it only reads or waits. Half a line leaves a server whose next
    /// owner puts it right: one in maintenance that was never checked, or one of weight 0.
    pub fn commands(&self) -> Vec<Command<'_>> {
        match self {
            Self::Add(Place { slot: Slot { backend, name }, endpoint }, options) => {
                let add = Command::AddServer(backend, name, *endpoint, options.text());
                [add].into_iter().chain(begin(backend, name, options)).collect()
            }
            Self::Finish(server, options) => {
                let weight = Command::SetWeight(&server.backend, &server.name, 100);
                [weight].into_iter().chain(begin(&server.backend, &server.name, options)).collect()
            }
            Self::Drain(server) => vec![
                Command::SetWeight(&server.backend, &server.name, 0),
                Command::SetState(&server.backend, &server.name, ServerState::Drain),
            ],
            Self::Delete(slots) | Self::Bury(slots) => {
                let outs = slots.iter().flat_map(|Slot { backend, name }| {
                    [
                        Command::SetWeight(backend, name, 0),
                        Command::SetState(backend, name, ServerState::Maint),
                    ]
                });
                let gone = slots.iter().map(|slot| Command::DelServer(&slot.backend, &slot.name));
                outs.chain(gone).collect()
            }
            Self::Hold(_)
            | Self::LeaveToOperator(_)
            | Self::Moved(_)
            | Self::AwaitIdle(_)
            | Self::Nothing => Vec::new(),
        }
    }
}

/// What puts a server into rotation that is in maintenance with its checks off. A check cannot be turned on
/// that the server does not have.
fn begin<'a>(
    backend: &'a Arc<str>,
    name: &'a Arc<str>,
    options: &ServerOptions,
) -> impl Iterator<Item = Command<'a>> {
    let health = options.has("check").then_some(Command::EnableHealth(backend, name));
    let agent = options.has("agent-check").then_some(Command::EnableAgent(backend, name));
    let ready = Command::SetState(backend, name, ServerState::Ready);
    health.into_iter().chain(agent).chain([ready])
}
