//! What every registrar of this container is told, at whichever HAProxy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::net::target::Target;
use crate::registers::haproxy::{Client, Endpoint, Tls};

/// What every registrar of this container is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HAPROXY_SERVER`: the load balancers; a name stands for all its addresses.
    pub servers: Vec<Target>,
    /// `HAPROXY_BACKEND`.
    pub backend: Option<String>,
    /// Every backend that this container registers in, as far as they are named.
    pub backends: Vec<String>,
    /// `HAPROXY_SLOTS`.
    pub slots: Slots,
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

/// Where servers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slots {
    /// From a `server-template`: its slots are claimed.
    Template,
    /// From the containers: each adds one to this backend, which is named by
    /// `HAPROXY_BACKEND` or `SERVICE_NAME`.
    Dynamic(String, ServerOptions),
}

/// `HAPROXY_SERVER_OPTIONS`: what follows the address on a server line (configuration manual, 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions(Arc<str>);

impl ServerOptions {
    /// Words of characters that neither end a command nor quote.
    pub fn parse(text: &str) -> Option<Self> {
        const LONGEST: usize = 1000;
        let fits =
            |byte: u8| byte.is_ascii_alphanumeric() || b" -_.,:/=%+@()*&^~|!?[]{}".contains(&byte);
        (text.len() <= LONGEST && text.bytes().all(fits)).then(|| Self(text.into()))
    }

    /// As it stands on the line.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether one of its words is this.
    pub fn has(&self, word: &str) -> bool {
        self.0.split(' ').any(|one| one == word)
    }
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
