//! The variables of registration in HAProxy.

use std::net::IpAddr;
use std::time::Duration;

use super::env::Env;
use super::tls;
use super::value;
use super::variables::{self as vars, Group};
use crate::net::target::Target;
use crate::net::tls::Tls;
use crate::registers::haproxy::{self, Settings};

/// The variables of TLS to the stats socket.
const FILES: tls::Files = tls::Files {
    ca: vars::HAPROXY_TLS_CA,
    cert: vars::HAPROXY_TLS_CERT,
    key: vars::HAPROXY_TLS_KEY,
    names: &haproxy::TLS,
};

/// What HAProxy's registrars are told too, though it is not about HAProxy.
pub(super) struct Shared {
    pub(super) service_name: Option<String>,
    pub(super) drain_timeout: Duration,
    pub(super) addr: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) sync_interval: Duration,
}

/// `None` when `HAPROXY_SERVER` is not set.
pub(super) fn settings(env: &mut Env, shared: Shared) -> Option<Settings> {
    const SECOND: Duration = Duration::from_secs(1);
    let port = env.value(&vars::HAPROXY_PORT, "a port from 1 to 65535", value::port, 9999);
    let servers = env.list(
        &vars::HAPROXY_SERVER,
        "host names or IP addresses, each with an optional :port, or unix:/path, by commas",
        |text| Target::parse(text, port),
    );
    if !env.counts(Group::Haproxy) {
        env.warn_without(
            "HAPROXY_SERVER",
            &[
                vars::HAPROXY_BACKEND,
                vars::HAPROXY_NODE_PREFIX,
                vars::HAPROXY_TLS_CA,
                vars::NODE_COUNT,
            ],
            "no slot is claimed",
        );
    }
    let settings = Settings {
        backend: env.parsed(&vars::HAPROXY_BACKEND, value::PROXY_NAME, value::proxy_name),
        service_name: shared.service_name,
        prefix: env
            .parsed(&vars::HAPROXY_NODE_PREFIX, value::PROXY_NAME, value::proxy_name)
            .unwrap_or_default(),
        limit: env.parsed(&vars::NODE_COUNT, value::COUNT, value::count),
        sync_interval: shared.sync_interval,
        reclaim_after: env.duration(&vars::RECLAIM_AFTER, SECOND),
        drain_timeout: shared.drain_timeout,
        app_addr: shared.addr,
        app_port: shared.port,
        tls: tls(env, &servers),
        servers,
    };
    (!settings.servers.is_empty()).then_some(settings)
}

/// Unix sockets go without TLS: their permissions say who may open them.
fn tls(env: &mut Env, servers: &[Target]) -> Option<Tls> {
    let files = tls::files(env, &FILES)?;
    if servers.is_empty() {
        return None;
    }
    if servers.iter().all(|server| matches!(server, Target::Unix(_))) {
        env.problem(
            &vars::HAPROXY_TLS_CA,
            "is set, expected a host name or an IP address in HAPROXY_SERVER: there is no TLS over \
             Unix sockets",
        );
        return None;
    }
    tls::load(env, &files, &FILES)
}
