//! DNS messages: names, updates, their answers, and signatures. Reads no socket.

pub(crate) mod key;
pub(crate) mod name;
pub(crate) mod tsig;
pub(crate) mod update;
