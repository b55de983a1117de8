//! What a container finds out by itself: its backend, its port, its address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use crate::registers::haproxy::slot;
use crate::registers::haproxy::{Endpoint, Server, Settings};

/// Why this HAProxy's configuration and ours do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// `HAPROXY_BACKEND` names none.
    #[error(
        "backend '{backend}' has no server called {prefix}1, {prefix}2, …; {}",
        candidates(.found)
    )]
    NoSuchBackend {
        /// The backend asked for.
        backend: String,
        /// `HAPROXY_NODE_PREFIX`.
        prefix: String,
        /// Backends that have such servers.
        found: Vec<Arc<str>>,
    },
    /// Nothing to choose from.
    #[error("no backend has a server-template with servers called {prefix}1, {prefix}2, …")]
    NoBackend {
        /// `HAPROXY_NODE_PREFIX`.
        prefix: String,
    },
    /// Too much to choose from.
    #[error("set HAPROXY_BACKEND: {}", candidates(.found))]
    SeveralBackends {
        /// Backends that have such servers.
        found: Vec<Arc<str>>,
    },
    /// The template does not say on which port the app listens.
    #[error("set APP_PORT: the slots of backend '{0}' have no port of their own")]
    NoPort(Arc<str>),
    /// The connection to HAProxy does not say which address is ours.
    #[error("set APP_ADDR: a Unix socket does not tell our address, and there is no route out")]
    NoAddress,
}

fn candidates(found: &[Arc<str>]) -> String {
    match found {
        [] => "no backend has any".to_owned(),
        found => format!("backends that have such servers: {}", found.join(", ")),
    }
}

/// The backend to claim in: the one configured, else the service's, else the only one.
pub(super) fn find_backend(servers: &[Server], settings: &Settings) -> Result<Arc<str>, Unfit> {
    let prefix = &settings.prefix;
    let of_slots = |template: bool| -> BTreeSet<Arc<str>> {
        servers
            .iter()
            .filter(|server| server.slot_number(prefix).is_some())
            .filter(|server| !template || server.admin.configured_disabled())
            .map(|server| Arc::clone(&server.backend))
            .collect()
    };
    if let Some(backend) = &settings.backend {
        let found = of_slots(false);
        return found.iter().find(|name| ***name == **backend).cloned().ok_or_else(|| {
            Unfit::NoSuchBackend {
                backend: backend.clone(),
                prefix: prefix.clone(),
                found: found.into_iter().collect(),
            }
        });
    }
    let mut found = of_slots(true);
    if found.is_empty() {
        found = of_slots(false);
    }
    if let Some(service) = &settings.service_name
        && let Some(backend) = found.get(service.as_str())
    {
        return Ok(Arc::clone(backend));
    }
    match found.len() {
        0 => Err(Unfit::NoBackend { prefix: prefix.clone() }),
        1 => found.pop_first().ok_or(Unfit::NoBackend { prefix: prefix.clone() }),
        _ => Err(Unfit::SeveralBackends { found: found.into_iter().collect() }),
    }
}

/// This container's backend, and the endpoint that it advertises, at the HAProxy that showed
/// `servers` on a connection whose near end is `local`, or over a Unix socket.
pub fn who_am_i(
    servers: &[Server],
    local: Option<IpAddr>,
    settings: &Settings,
) -> Result<(Arc<str>, SocketAddr), Unfit> {
    let backend = find_backend(servers, settings)?;
    let endpoint = endpoint(servers, &backend, local.or_else(outward), settings)?;
    Ok((backend, endpoint))
}

/// The endpoint to advertise for a slot of `backend`; `local` is the address by which we are reached
/// when none is configured.
pub(super) fn endpoint(
    servers: &[Server],
    backend: &Arc<str>,
    local: Option<IpAddr>,
    settings: &Settings,
) -> Result<SocketAddr, Unfit> {
    let addr = settings.app_addr.or(local).ok_or(Unfit::NoAddress)?;
    let port = match settings.app_port {
        Some(port) => port,
        None => template_port(servers, backend, &settings.prefix)?,
    };
    Ok(SocketAddr::new(addr, port))
}

/// The port of the template's slots.
fn template_port(servers: &[Server], backend: &Arc<str>, prefix: &str) -> Result<u16, Unfit> {
    let slots = servers
        .iter()
        .filter(|server| server.backend == *backend && server.slot_number(prefix).is_some());
    slot::template_port(slots).ok_or_else(|| Unfit::NoPort(Arc::clone(backend)))
}

/// The address that a connection to this stats socket would have at our end, or to the world where
/// that is in the file system.
pub(super) fn route(to: &Endpoint) -> Option<IpAddr> {
    match to {
        Endpoint::Tcp(addr) => near_end(*addr),
        Endpoint::Unix(_) => outward(),
    }
}

/// The address that our packets to the world would carry; the addresses there are for documentation
/// (RFC 5737, RFC 3849).
pub(super) fn outward() -> Option<IpAddr> {
    let v4 = IpAddr::from([192, 0, 2, 1]);
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    [v4, v6].into_iter().find_map(|out| near_end(SocketAddr::new(out, 9)))
}

/// Connecting a UDP socket sends nothing; it only asks the routing table.
fn near_end(to: SocketAddr) -> Option<IpAddr> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip().to_canonical())
}
