//! What a store and Traefik say about this container, for `--status` and `--check`.

#[cfg(feature = "traefik")]
mod ask;

use std::net::SocketAddr;

use serde::Serialize;

#[cfg(feature = "traefik")]
pub use ask::status;

/// What one store shows.
#[derive(Debug, Default, Serialize)]
pub struct KeyStatus {
    /// The store, without name and password.
    pub store: String,
    /// The service that the container belongs to.
    pub service: String,
    /// This container's address and port.
    pub address: Option<SocketAddr>,
    /// Whether its key is there, with its address.
    pub registered: bool,
    /// Whether Traefik sends requests to it; nothing without `TRAEFIK_API`, or when that does not answer.
    pub taken_up: Option<bool>,
    /// Why nothing or not all can be said.
    pub error: Option<String>,
    /// Whether the store has told what it holds.
    #[serde(skip)]
    pub answered: bool,
}
