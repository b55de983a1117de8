//! What a container that registers is told.

use std::net::IpAddr;
use std::time::Duration;

use crate::container::readiness::ReadyCheck;
use crate::init;
use crate::registers::dns::settings::DnsConfig;
use crate::registers::{haproxy, traefik};

/// The app, and where it is registered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the app is run, which a plain init is told too.
    pub init: init::Settings,
    /// Address to advertise; `None` = the local address of the connection to each HAProxy.
    pub addr: Option<IpAddr>,
    /// Port that the app is served on; `None` = the template's.
    pub port: Option<u16>,
    /// When it can serve.
    pub readiness: Readiness,
    /// Longest wait for sessions to end before the app gets its stop signal.
    pub drain_timeout: Duration,
    /// HAProxy registration, when `HAPROXY_SERVER` is set.
    pub haproxy: Option<haproxy::Settings>,
    /// DNS registration, when `DNS_SERVER` or `DNS_ZONE` is set.
    pub dns: Option<DnsConfig>,
    /// Registration for Traefik, when `TRAEFIK_KV` is set.
    pub traefik: Option<traefik::Settings>,
}

impl Settings {
    /// Whether there is anything to register with.
    pub fn registers(&self) -> bool {
        self.haproxy.is_some() || self.dns.is_some() || self.traefik.is_some()
    }
}

/// When the app counts as able to serve.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Whether HAProxy will tell the address that the app is served on.
    pub told_address: bool,
    /// A server that the container's own address faces, until somebody tells that.
    pub facing: Option<IpAddr>,
    /// What is checked.
    pub check: ReadyCheck,
    /// Port to check; `None` = the one that the app is served on.
    pub port: Option<u16>,
    /// Time between two checks of an app that is ready.
    pub interval: Duration,
    /// Longest time that one check may take.
    pub timeout: Duration,
    /// Successes in a row after which an unready app is ready again.
    pub rise: u32,
    /// Failures in a row after which a ready app is unready.
    pub fall: u32,
}
