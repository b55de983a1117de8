//! The loop: observe, decide, act, record.
pub mod census;
pub mod leadership;
pub mod policies;
