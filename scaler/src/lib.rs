//! The scaler: observe, decide, act, record.
//!
//! The core is pure. [`decide::decide`] takes a [`policy::Policy`], an
//! [`observation::Observation`], the [`history::History`] and the time, and returns what to do and
//! the new history; it never reads a clock, opens a socket or logs.

pub mod config;
pub mod decide;
pub mod history;
pub mod observation;
pub mod policy;
pub mod schedule;
pub mod simulate;
pub mod timestamp;
pub mod victim;
