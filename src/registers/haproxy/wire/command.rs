//! The commands that Berth sends, as types (management guide, 9.3).

use std::fmt;
use std::net::SocketAddr;

/// One command. Names come from HAProxy's own tables or from checked configuration, so nothing in
/// them can end a command or start another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// The servers of one backend, or of all.
    ShowServersState(Option<&'a str>),
    /// One server's statistics. By number: a frontend may have the backend's name, and would answer.
    ShowStat {
        /// The backend's id (`be_id`).
        backend: u32,
        /// Server id (`srv_id`).
        server: u32,
    },
    /// The statistics of every proxy and server.
    ShowStatAll,
    /// The process that answers.
    ShowInfo,
    /// Changes a server's address and port.
    SetAddr(&'a str, &'a str, SocketAddr),
    /// Changes a server's administrative state.
    SetState(&'a str, &'a str, ServerState),
    /// Changes a server's weight, in percent of the configured one.
    SetWeight(&'a str, &'a str, u8),
    /// Adds a server to a backend, in maintenance and with its checks off; the text is what follows the
    /// address on a server line.
    AddServer(&'a str, &'a str, SocketAddr, &'a str),
    /// Turns a server's health check on.
    EnableHealth(&'a str, &'a str),
    /// Turns a server's agent check on.
    EnableAgent(&'a str, &'a str),
    /// Deletes a server, which must be in maintenance and have no connection. Only `show info` may come
    /// after it on its line: see [`ReplyCodec`](super::codec::ReplyCodec).
    DelServer(&'a str, &'a str),
}

/// Administrative states that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// In rotation; the server counts as up before any check has run.
    Ready,
    /// Only sessions that stick to it; checks go on.
    Drain,
    /// Out of rotation, checks stopped.
    Maint,
}

impl Command<'_> {
    /// The command's words without its arguments, for errors.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::ShowServersState(_) => "show servers state",
            Self::ShowStat { .. } | Self::ShowStatAll => "show stat",
            Self::ShowInfo => "show info",
            Self::SetAddr(..) => "set server addr",
            Self::SetState(..) => "set server state",
            Self::SetWeight(..) => "set server weight",
            Self::AddServer(..) => "add server",
            Self::EnableHealth(..) => "enable health",
            Self::EnableAgent(..) => "enable agent",
            Self::DelServer(..) => "del server",
        }
    }

    /// Whether `reply` says that the command was done. For an address this proves little: since 3.0
    /// it is applied after the reply.
    pub fn accepts(&self, reply: &str) -> bool {
        match self {
            Self::SetState(..)
            | Self::SetWeight(..)
            | Self::EnableHealth(..)
            | Self::EnableAgent(..) => reply.is_empty(),
            Self::AddServer(..) => reply.starts_with("New server registered"),
            // Somebody else may have been first.
            Self::DelServer(..) => {
                ["Server deleted", "No such server"].iter().any(|done| reply.starts_with(done))
            }
            Self::SetAddr(..) => {
                ["changed", "no need to change"].iter().any(|word| reply.contains(word))
            }
            _ => true,
        }
    }
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShowServersState(Some(backend)) => write!(f, "show servers state {backend}"),
            Self::ShowServersState(None) => f.write_str("show servers state"),
            Self::ShowStat { backend, server } => write!(f, "show stat #{backend} 4 {server}"),
            Self::ShowStatAll => f.write_str("show stat"),
            Self::ShowInfo => f.write_str("show info"),
            Self::SetAddr(backend, server, addr) => {
                write!(f, "set server {backend}/{server} addr {} port {}", addr.ip(), addr.port())
            }
            Self::SetState(backend, server, state) => {
                let state = match state {
                    ServerState::Ready => "ready",
                    ServerState::Drain => "drain",
                    ServerState::Maint => "maint",
                };
                write!(f, "set server {backend}/{server} state {state}")
            }
            Self::SetWeight(backend, server, percent) => {
                write!(f, "set server {backend}/{server} weight {percent}%")
            }
            Self::AddServer(backend, server, addr, options) => {
                write!(f, "add server {backend}/{server} {addr} {options}")
            }
            Self::EnableHealth(backend, server) => write!(f, "enable health {backend}/{server}"),
            Self::EnableAgent(backend, server) => write!(f, "enable agent {backend}/{server}"),
            Self::DelServer(backend, server) => write!(f, "del server {backend}/{server}"),
        }
    }
}
