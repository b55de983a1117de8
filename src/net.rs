//! What every register needs of the network: names, connections, pauses between tries, and random
//! bits. Knows nothing of HAProxy, DNS updates or containers.

pub mod backoff;
pub(crate) mod connect;
#[cfg(feature = "traefik")]
pub(crate) mod http;
pub mod pem;
pub mod random;
pub mod resolve;
pub mod target;
#[cfg(not(feature = "tls"))]
#[path = "net/no_tls.rs"]
pub mod tls;
#[cfg(feature = "tls")]
pub mod tls;

/// An absolute domain name of our own.
pub type DnsName = domain::base::Name<Vec<u8>>;
