//! The variables of registration in HAProxy.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::env::Env;
use super::value;
use super::variables::{self as vars, Group};
use crate::net::target::Target;
use crate::registers::haproxy::{ServerOptions, Settings, Slots, Tls, TlsFiles};

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
                vars::HAPROXY_SLOTS,
                vars::HAPROXY_TLS_CA,
                vars::NODE_COUNT,
            ],
            "no slot is claimed",
        );
    }
    let backend = env.parsed(&vars::HAPROXY_BACKEND, value::PROXY_NAME, value::proxy_name);
    let named = backend.clone().or(shared.service_name.clone());
    let settings = Settings {
        backend,
        slots: slots(env, named.as_deref()),
        backends: named.into_iter().collect(),
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

/// Where servers come from. Without a template somebody else must say in which backend and on which port.
fn slots(env: &mut Env, backend: Option<&str>) -> Slots {
    let parse = |text: &str| match text {
        "template" => Some(false),
        "dynamic" => Some(true),
        _ => None,
    };
    let dynamic = env.value(&vars::HAPROXY_SLOTS, "template or dynamic", parse, false);
    let options = env.parsed(
        &vars::HAPROXY_SERVER_OPTIONS,
        "what follows the address on a server line: words without quotes, ';', '<', '#' and '\\'",
        ServerOptions::parse,
    );
    let (true, Some(options)) = (dynamic, options) else { return Slots::Template };
    for (variable, is_told, what) in [
        (&vars::HAPROXY_BACKEND, backend.is_some(), "the backend that servers are added to"),
        (&vars::APP_PORT, env.is_set(&vars::APP_PORT), "the app's port, which no template tells"),
    ] {
        if !is_told {
            env.problem(variable, &format!("is not set, expected {what} (HAPROXY_SLOTS=dynamic)"));
        }
    }
    if env.is_set(&vars::NODE_COUNT) {
        env.warn_without("HAPROXY_SLOTS=template", &[vars::NODE_COUNT], "nothing is counted");
    }
    Slots::Dynamic(backend.unwrap_or_default().to_owned(), options)
}

/// Unix sockets go without TLS: their permissions say who may open them.
fn tls(env: &mut Env, servers: &[Target]) -> Option<Tls> {
    let files = tls_files(env)?;
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
    let complain = |line| env.complain(&vars::HAPROXY_TLS_CA, line);
    Tls::load(&files).map_err(|complaints| complaints.into_iter().for_each(complain)).ok()
}

fn tls_files(env: &mut Env) -> Option<TlsFiles> {
    let path = |variable| env.path(variable);
    let (ca, cert, key) =
        (path(&vars::HAPROXY_TLS_CA), path(&vars::HAPROXY_TLS_CERT), path(&vars::HAPROXY_TLS_KEY));
    if ca.is_none() && (cert.is_some() || key.is_some()) {
        env.problem(
            &vars::HAPROXY_TLS_CA,
            "is not set, expected the authorities that HAProxy's certificate comes from",
        );
    }
    let identity = identity(env, cert, key);
    ca.map(|ca| TlsFiles { ca, identity })
}

fn identity(
    env: &mut Env,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Option<(PathBuf, PathBuf)> {
    match (&cert, &key) {
        (Some(_), None) => {
            env.problem(&vars::HAPROXY_TLS_KEY, "is not set, expected the key of HAPROXY_TLS_CERT");
        }
        (None, Some(_)) => env.problem(
            &vars::HAPROXY_TLS_CERT,
            "is not set, expected the certificate of HAPROXY_TLS_KEY",
        ),
        _ => {}
    }
    cert.zip(key)
}
