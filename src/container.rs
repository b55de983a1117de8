//! The life of a container that registers: one loop over its events, one pure decision, and whether
//! the app can serve. Knows the registers only by what they are told and report.

pub mod lifecycle;
mod look;
pub mod readiness;
pub mod run;
pub mod settings;
mod tasks;

pub use settings::Settings;
