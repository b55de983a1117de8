//! Registration in DNS by RFC 2136 updates.

#![cfg_attr(
    not(feature = "dns"),
    allow(dead_code, unused_imports, reason = "registration in DNS uses the rest")
)]

pub mod config;
mod key;
mod name;

#[cfg(feature = "dns")]
mod claim;
#[cfg(feature = "dns")]
mod client;
#[cfg(feature = "dns")]
mod fault;
#[cfg(feature = "dns")]
mod lease;
#[cfg(feature = "dns")]
mod registrar;
#[cfg(feature = "dns")]
mod status;
#[cfg(feature = "dns")]
mod tsig;
#[cfg(feature = "dns")]
mod update;

pub use key::{Algorithm, Key};
pub use name::DnsName;
#[cfg(feature = "dns")]
pub use registrar::run;
#[cfg(feature = "dns")]
pub use status::{DnsStatus, RecordStatus, status};

/// Variables that hold a secret, which the app must not inherit.
pub const SECRETS: &[&str] = &["DNS_TSIG_KEY"];
