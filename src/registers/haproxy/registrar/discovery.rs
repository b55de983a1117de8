//! What a container finds out by itself: its backend, its port, its address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use crate::registers::haproxy::dynamic::{self, step::Place};
use crate::registers::haproxy::slot::{self, Template};
use crate::registers::haproxy::{Endpoint, Server, Settings, Slots};

/// Templates that a message names at most.
const NAMED: usize = 5;

/// Why this HAProxy's configuration and ours do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// `HAPROXY_BACKEND` names none.
    #[error("no slots called {prefix}1, {prefix}2, … are in a backend '{backend}'; {}", listed(.found))]
    NoSuchBackend {
        /// The backend asked for.
        backend: String,
        /// `HAPROXY_NODE_PREFIX`.
        prefix: String,
        /// What looks like slots.
        found: Vec<Arc<str>>,
    },
    /// `SERVICE_NAME` names none, and nothing else was asked for.
    #[error(
        "no backend is called '{service}', as SERVICE_NAME asks for; {} (HAPROXY_BACKEND chooses one)",
        listed(.found)
    )]
    NoSuchService {
        /// `SERVICE_NAME`.
        service: String,
        /// What looks like slots.
        found: Vec<Arc<str>>,
    },
    /// Nothing to choose from.
    #[error(
        "no backend has slots called {prefix}1, {prefix}2, …; {} (HAPROXY_NODE_PREFIX is what their \
         names begin with)",
        listed(.found)
    )]
    NoBackend {
        /// `HAPROXY_NODE_PREFIX`.
        prefix: String,
        /// What looks like slots.
        found: Vec<Arc<str>>,
    },
    /// Too much to choose from.
    #[error("set HAPROXY_BACKEND: backends with slots: {}", .found.join(", "))]
    SeveralBackends {
        /// Backends that have such servers.
        found: Vec<Arc<str>>,
    },
    /// There were slots, and after a reload there are none.
    #[error("backend '{0}' has no slots any more")]
    Gone(Arc<str>),
    /// The template does not say on which port the app listens.
    #[error("set APP_PORT: the slots of backend '{0}' have no port of their own")]
    NoPort(Arc<str>),
    /// The connection to HAProxy does not say which address is ours.
    #[error("set APP_ADDR: a Unix socket does not tell our address, and there is no route out")]
    NoAddress,
}

fn listed(found: &[Arc<str>]) -> String {
    match found {
        [] => "there is no server-template (HAPROXY_SLOTS=dynamic does without)".to_owned(),
        found => format!("backends with slots: {}", found.join(", ")),
    }
}

/// The template to claim in: in the backend that is configured, else in the service's, else the only
/// one.
pub(in crate::registers::haproxy) fn find_template(
    servers: &[Server],
    settings: &Settings,
) -> Result<Template, Unfit> {
    let prefix = &settings.prefix;
    let of = |backend: &Arc<str>| Template::of(servers, backend, prefix);
    let named = |name: &str| backends(servers, prefix, false).into_iter().find(|b| **b == *name);
    if let Some(backend) = &settings.backend {
        return named(backend).as_ref().map(of).ok_or_else(|| Unfit::NoSuchBackend {
            backend: backend.clone(),
            prefix: prefix.clone(),
            found: what_looks_like_slots(servers, prefix),
        });
    }
    if let Some(service) = &settings.service_name {
        return named(service).as_ref().map(of).ok_or_else(|| Unfit::NoSuchService {
            service: service.clone(),
            found: what_looks_like_slots(servers, prefix),
        });
    }
    let mut found = backends(servers, prefix, true);
    if found.is_empty() {
        found = backends(servers, prefix, false);
    }
    // Prefix web fits web1 and web21; who has the first is meant.
    let begins = |backend: &&Arc<str>| of(backend).first().is_some_and(|first| first <= 1);
    if found.iter().any(|backend| begins(&backend)) {
        found.retain(|backend| begins(&backend));
    }
    match &found[..] {
        [] => Err(Unfit::NoBackend {
            prefix: prefix.clone(),
            found: what_looks_like_slots(servers, prefix),
        }),
        [backend] => Ok(of(backend)),
        _ => Err(Unfit::SeveralBackends { found }),
    }
}

/// The backends with servers called by the prefix and a number: all, or those that the configuration
/// has disabled, as a template has.
fn backends(servers: &[Server], prefix: &str, disabled: bool) -> Vec<Arc<str>> {
    let mut slots = servers
        .iter()
        .filter(|server| server.slot_number(prefix).is_some())
        .filter(|server| !disabled || server.admin.configured_disabled())
        .map(|server| Arc::clone(&server.backend));
    sorted(&mut slots)
}

/// In order and each once.
fn sorted(names: &mut dyn Iterator<Item = Arc<str>>) -> Vec<Arc<str>> {
    let mut sorted = Vec::new();
    for name in names {
        if let Err(at) = sorted.binary_search(&name) {
            sorted.insert(at, name);
        }
    }
    sorted
}

/// What a message says was found: the backends with slots of our prefix, else those with slots of
/// another, each with its prefix.
fn what_looks_like_slots(servers: &[Server], prefix: &str) -> Vec<Arc<str>> {
    let mut found = backends(servers, prefix, false);
    if found.is_empty() {
        let disabled = servers.iter().filter(|server| server.admin.configured_disabled());
        let mut named = disabled.filter_map(|server| {
            let name = server.name.trim_end_matches(|c: char| c.is_ascii_digit());
            (name != &*server.name).then(|| format!("{} ({name}1, …)", server.backend).into())
        });
        found = sorted(&mut named);
    }
    found.truncate(NAMED);
    found
}

/// This container at one HAProxy.
#[derive(Debug)]
pub struct Whoami<'a> {
    /// Its backend.
    pub backend: Arc<str>,
    /// The endpoint that it advertises.
    pub endpoint: SocketAddr,
    /// The slots that show that, or the server that it has added.
    pub mine: Vec<&'a Server>,
}

/// Who this container is at the HAProxy that showed `servers` on a connection whose near end is `local`, or
/// over a Unix socket.
pub fn who_am_i<'a>(
    servers: &'a [Server],
    local: Option<IpAddr>,
    settings: &Settings,
) -> Result<Whoami<'a>, Unfit> {
    let local = local.or_else(outward);
    let Slots::Dynamic(backend, _) = &settings.slots else {
        let template = find_template(servers, settings)?;
        let endpoint = endpoint(servers, &template, local, settings)?;
        let mut mine = template.slots(servers);
        mine.retain(|slot| slot.endpoint() == Some(endpoint));
        return Ok(Whoami { backend: Arc::clone(template.backend()), endpoint, mine });
    };
    let place = added(backend, local, settings)?;
    let is_mine = |server: &&Server| place.is(server) && server.endpoint() == Some(place.endpoint);
    let mine = servers.iter().filter(is_mine).collect();
    Ok(Whoami { backend: Arc::clone(&place.slot.backend), endpoint: place.endpoint, mine })
}

/// Where the server of this container is that it adds to a backend by itself.
pub(in crate::registers::haproxy) fn added(
    backend: &str,
    local: Option<IpAddr>,
    settings: &Settings,
) -> Result<Place, Unfit> {
    let addr = settings.app_addr.or(local).ok_or(Unfit::NoAddress)?;
    let port = settings.app_port.ok_or_else(|| Unfit::NoPort(backend.into()))?;
    let endpoint = SocketAddr::new(addr, port);
    Ok(Place::new(backend, &dynamic::server_name(&settings.prefix, endpoint), endpoint))
}

/// The endpoint to advertise for a slot of the template; `local` is the address by which we are
/// reached when none is configured.
pub(in crate::registers::haproxy) fn endpoint(
    servers: &[Server],
    template: &Template,
    local: Option<IpAddr>,
    settings: &Settings,
) -> Result<SocketAddr, Unfit> {
    let backend = template.backend();
    let slots = template.slots(servers);
    if slots.is_empty() {
        return Err(Unfit::Gone(Arc::clone(backend)));
    }
    let addr = settings.app_addr.or(local).ok_or(Unfit::NoAddress)?;
    let port = settings.app_port.or_else(|| slot::template_port(slots.into_iter()));
    Ok(SocketAddr::new(addr, port.ok_or_else(|| Unfit::NoPort(Arc::clone(backend)))?))
}

/// The address that a connection to this stats socket would have at our end, or to the world where
/// that is in the file system.
pub(in crate::registers::haproxy) fn route(to: &Endpoint) -> Option<IpAddr> {
    match to {
        Endpoint::Tcp(addr) => near_end(*addr),
        Endpoint::Unix(_) => outward(),
    }
}

/// The address that our packets to the world would carry; the addresses there are for documentation
/// (RFC 5737, RFC 3849).
pub(in crate::registers::haproxy) fn outward() -> Option<IpAddr> {
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
