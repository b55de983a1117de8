//! DNS messages: names, updates, their answers, and signatures. Reads no socket.

pub(crate) mod key;
pub(crate) mod name;
#[cfg(feature = "dns")]
pub(crate) mod tsig;
#[cfg(feature = "dns")]
pub(crate) mod update;
