//! What every registrar of this container is told, at whichever HAProxy.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::{AppConfig, HaproxyConfig};
use crate::registers::haproxy::{Client, Endpoint, Tls};

/// What every registrar of this container is told.
#[derive(Clone, Debug)]
pub struct Settings {
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
    /// The settings that two parts of the configuration make.
    pub fn new(haproxy: &HaproxyConfig, app: &AppConfig) -> Self {
        Self {
            backend: haproxy.backend.clone(),
            service_name: app.service_name.clone(),
            prefix: haproxy.node_prefix.clone(),
            limit: haproxy.node_count,
            sync_interval: haproxy.sync_interval,
            reclaim_after: haproxy.reclaim_after,
            drain_timeout: app.drain_timeout,
            app_addr: app.addr,
            app_port: app.port,
            tls: haproxy.tls.clone(),
        }
    }

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
