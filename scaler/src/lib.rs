//! The scaler: observe, decide, act, record.
//!
//! The core is pure. [`decide::decide`] takes a [`policy::Policy`], an
//! [`observation::Observation`], the [`history::History`] and the time, and returns what to do and
//! the new history; it never reads a clock, opens a socket or logs.

pub mod alerts;
pub mod clock;
pub mod commands;
pub mod config;
pub mod crash;
pub mod decide;
pub mod executor;
pub mod history;
pub mod http;
pub mod listen;
pub mod metrics_page;
pub mod notify;
pub mod observation;
pub mod policy;
pub mod ports;
pub mod run;
pub mod schedule;
pub mod simulate;
pub mod sources;
pub mod store;
pub mod timestamp;
pub mod tls;
pub mod victim;
