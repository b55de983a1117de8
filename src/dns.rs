//! Registration in DNS by RFC 2136 updates.

pub mod config;
