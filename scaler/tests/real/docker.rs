//! The executor on more than one Docker host.
