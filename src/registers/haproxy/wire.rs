//! The stats socket's language: commands as types, replies and tables parsed (management guide, 9.3
//! "Unix Socket commands"). Reads no socket.

pub mod codec;
pub mod command;
pub mod process;
pub mod server;
pub mod stat;

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
    let mut excerpt = String::new();
    for c in line.chars().take(80) {
        // Quotes steer no terminal.
        if "'\"".contains(c) { excerpt.push(c) } else { excerpt.extend(c.escape_debug()) }
    }
    excerpt
}
