//! Berth: a container entrypoint that claims a slot in HAProxy and a record in BIND, and gives them
//! back.
//!
//! The binary is `berth`; this library is what it is made of, and what the scaler shares with it
//! (the HAProxy client).

pub mod config;
pub mod dns;
pub mod haproxy;
pub mod plan;
pub mod register;
pub mod signals;
