//! Berth: a container entrypoint that claims a slot in HAProxy and a record in BIND, and gives them
//! back.
//!
//! The binary is `berth`; this library is what it is made of, and what the scaler shares with it
//! (the HAProxy client). Deciding is pure ([`container::lifecycle`], [`registers::haproxy::slot`],
//! [`registers::dns`]'s leases, [`net::backoff`]); sockets, clocks and processes are at the edges.

pub mod cli;
pub mod config;
pub mod container;
pub mod few;
pub mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod init;
pub mod log;
pub mod net;
pub mod registers;
pub mod task;
mod time;
