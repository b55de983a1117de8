//! What every registrar of this container is told, at whichever HAProxy.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::net::target::Target;
use crate::net::tls::Tls;
use crate::registers::haproxy::{Client, Endpoint};

/// What every registrar of this container is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HAPROXY_SERVER`: the load balancers; a name stands for all its addresses.
    pub servers: Vec<Target>,
    /// `HAPROXY_BACKEND`.
    pub backend: Option<String>,
    /// `SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `HAPROXY_NODE_PREFIX`.
    pub prefix: String,
    /// `NODE_COUNT`.
    pub limit: Option<u32>,
    /// `SYNC_INTERVAL`.
    pub sync_interval: Duration,
    /// `RECLAIM_AFTER`.
    pub reclaim_after: Duration,
    /// `DRAIN_TIMEOUT`.
    pub drain_timeout: Duration,
    /// `APP_ADDR`.
    pub app_addr: Option<IpAddr>,
    /// `APP_PORT`.
    pub app_port: Option<u16>,
    /// `HAPROXY_TLS_…`.
    pub tls: Option<Tls>,
}

impl Settings {
    /// A client of the socket at `addr`, over TLS where that is configured: then its certificate must
    /// be for `host`, the name or address that `HAPROXY_SERVER` gives.
    pub fn client(&self, addr: SocketAddr, host: &str) -> Client {
        let endpoint = Endpoint::Tcp(addr);
        match &self.tls {
            Some(tls) => Client::with_tls(endpoint, tls.clone(), host),
            None => Client::new(endpoint),
        }
    }
}
