//! HAProxy's stats socket: commands as types, replies parsed, one fresh connection per exchange
//! (management guide, 9.3 "Unix Socket commands").

pub mod client;
pub mod codec;
pub mod command;
pub mod process;
pub mod server;
pub mod stat;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "haproxy/no_tls.rs"]
pub mod tls;

pub use client::{Client, ClientError, Endpoint, Exchange, Overview};
pub use command::{Command, ServerState};
pub use process::Process;
pub use server::{AdminState, Checks, Server};
pub use stat::{ServerStat, StatTable};
pub use tls::Tls;

/// A table that HAProxy sent and that does not read as documented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected answer to '{command}': {problem}")]
pub struct TableError {
    /// The command that was answered.
    pub command: &'static str,
    /// What is wrong with the answer, with a short excerpt.
    pub problem: String,
}

/// The first line of an answer, short enough for a log line.
pub(crate) fn excerpt(answer: &str) -> String {
    let line = answer.trim().lines().next().unwrap_or_default();
    line.chars().take(80).flat_map(char::escape_debug).collect()
}
