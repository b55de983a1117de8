//! The built binary as an init: as PID 1 of a PID namespace, and as an ordinary process.
#![allow(unsafe_code, reason = "given masks and terminals are set up by system calls")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "this is a test")]

mod broken;
mod descriptors;
mod exit_codes;
mod orphans;
mod process;
mod pty;
mod signals;
mod suspend;
mod terminal;
