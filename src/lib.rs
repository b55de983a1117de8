//! Berth: a container entrypoint that claims a slot in HAProxy and a record in BIND, and gives them
//! back.
//!
//! The binary is `berth`; this library is what it is made of, and what the scaler shares with it
//! (the HAProxy client). Deciding is pure ([`plan`], [`lifecycle`], [`backoff`]); sockets, clocks
//! and processes are at the edges ([`registrar`], [`readiness`], [`haproxy::client`]).

pub mod arguments;
pub mod backoff;
pub mod config;
pub mod dns;
pub mod exit;
pub mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod haproxy;
pub mod inherited;
pub mod init;
pub mod lifecycle;
pub mod log;
pub mod plan;
pub mod random;
pub mod readiness;
pub mod register;
pub mod registrar;
pub mod resolve;
pub mod run;
pub mod secret;
pub mod signals;
pub mod spawn;
pub mod status;
pub mod supervisor;
mod sys;
pub mod task;
mod tcp;
mod terminal;
