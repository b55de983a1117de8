//! The variables of registration in DNS.

use std::time::Duration;

use super::env::Env;
use super::value;
use super::variables::{self as vars, Group};
use crate::init;
use crate::net::DnsName;
use crate::net::target::Target;
use crate::registers::dns::settings::{DnsConfig, NodeName, Whence};
use crate::registers::dns::wire::key::Key;
use crate::registers::dns::wire::name;

/// Shortest and longest lease. Below, one lost packet would cost a live record; above, a lease
/// would serve no purpose.
const LEASES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(86_400);

const PORT: &str = "a port from 1 to 65535";
const SERVERS: &str = "host names or IP addresses, each with an optional :port, by commas";
const TTL: &str = "a duration in whole seconds from 0 to a week";
const LEASE: &str = "a duration in whole seconds from 5s to 24h, or 0 for none";

/// `None` when neither `DNS_SERVER` nor `DNS_ZONE` is set.
pub(super) fn settings(env: &mut Env, service_name: Option<&str>) -> Option<DnsConfig> {
    let port = env.value(&vars::DNS_PORT, PORT, value::port, 53);
    let servers = env.list(&vars::DNS_SERVER, SERVERS, |text| server(text, port));
    let zone = env.text(&vars::DNS_ZONE);
    let zone = zone.and_then(|text| env.check(&vars::DNS_ZONE, name::zone(&text)));
    let wanted = env.counts(Group::Dns);
    let name = owner_name(env, service_name, zone.as_ref(), wanted);
    let ttl = env.value(&vars::DNS_TTL, TTL, ttl, 0);
    let lease = env.value(&vars::DNS_LEASE, LEASE, lease, None);
    let haproxy = env.counts(Group::Haproxy);
    let address = match (env.is_set(&vars::APP_ADDR), haproxy) {
        (true, _) => Whence::Given,
        (false, true) => Whence::Haproxy,
        (false, false) => Whence::Facing,
    };
    let node = node_name(env, zone.as_ref(), haproxy);
    let service = env.parsed(&vars::DNS_SRV, "_service._proto", name::service);
    if service.is_some() && node.is_none() {
        env.problem(
            &vars::DNS_SRV,
            "needs DNS_NODE_NAME: the record's target, a name that is this container's alone",
        );
    }
    let ptr = env.value(&vars::DNS_PTR, "0 or 1", value::flag, false);
    if !wanted {
        warn_of_idle(env);
        return None;
    }
    let key = key(env);
    let name = name?;
    let srv = service.and_then(|service| {
        let owner = name::below(&service, &name);
        env.check(&vars::DNS_SRV, owner.ok_or_else(|| "makes a name that is too long".to_owned()))
    });
    let longest = std::net::Ipv6Addr::UNSPECIFIED.into();
    if lease.is_some() && name::of_leases(longest, &name).is_none() {
        env.problem(
            &vars::DNS_NAME,
            "is too long to keep leases below it; DNS_LEASE=0 does without",
        );
    }
    Some(DnsConfig { servers, port, zone, name, ttl, lease, node, srv, ptr, key, address })
}

fn warn_of_idle(env: &mut Env) {
    let how = [
        vars::DNS_NODE_NAME,
        vars::DNS_SRV,
        vars::DNS_TSIG_KEY,
        vars::DNS_TSIG_KEYFILE,
        vars::DNS_TSIG_KEY_FILE,
    ];
    env.warn_without("DNS_SERVER", &how, "nothing is registered in DNS");
}

fn server(text: &str, port: u16) -> Option<Target> {
    Target::parse(text, port).filter(|server| !matches!(server, Target::Unix(_)))
}

fn ttl(text: &str) -> Option<u32> {
    let ttl = value::duration(text).filter(|ttl| ttl.subsec_nanos() == 0)?;
    u32::try_from(ttl.as_secs()).ok().filter(|ttl| *ttl <= 604_800)
}

fn lease(text: &str) -> Option<Option<Duration>> {
    if text == "off" {
        return Some(None);
    }
    let lease = value::duration(text).filter(|lease| lease.subsec_nanos() == 0)?;
    (lease.is_zero() || LEASES.contains(&lease)).then(|| Some(lease).filter(|l| !l.is_zero()))
}

fn owner_name(
    env: &mut Env,
    service_name: Option<&str>,
    zone: Option<&DnsName>,
    wanted: bool,
) -> Option<DnsName> {
    match (env.text(&vars::DNS_NAME), service_name) {
        (Some(text), _) => env.check(&vars::DNS_NAME, name::owner(&text, zone)),
        (None, _) if !wanted => None,
        (None, Some(service)) => {
            let owner = name::owner(service, zone);
            env.check(
                &vars::DNS_NAME,
                owner.map_err(|why| format!("is not set, and SERVICE_NAME {why}")),
            )
        }
        (None, None) => {
            env.problem(&vars::DNS_NAME, "is not set, expected it or SERVICE_NAME");
            None
        }
    }
}

fn node_name(env: &mut Env, zone: Option<&DnsName>, haproxy: bool) -> Option<NodeName> {
    let text = env.text(&vars::DNS_NODE_NAME)?;
    let hostname = init::host_name();
    let label = hostname.as_deref().and_then(|name| name.split('.').next()).unwrap_or_default();
    let node = NodeName::new(text.replace("{hostname}", label), zone.cloned());
    if node.needs_slot() && !haproxy {
        env.problem(&vars::DNS_NODE_NAME, "has {slot} in it, but HAPROXY_SERVER is not set");
    }
    if let Some(Err(why)) = node.fill(Some("node1")) {
        env.problem(&vars::DNS_NODE_NAME, &why);
    }
    Some(node)
}

/// The key comes from one of three variables.
fn key(env: &mut Env) -> Option<Key> {
    let set = [vars::DNS_TSIG_KEYFILE, vars::DNS_TSIG_KEY, vars::DNS_TSIG_KEY_FILE];
    let mut set = set.into_iter().filter(|variable| env.is_set(variable));
    let first = set.next()?;
    if let Some(second) = set.next() {
        let complaint = format!("is set as well as {}, expected one of them", first.name);
        env.problem(&second, &complaint);
        return None;
    }
    let text = match first.name == vars::DNS_TSIG_KEY.name {
        true => env.text(&first)?,
        false => env.contents(&first)?,
    };
    let of_bind = first.name == vars::DNS_TSIG_KEYFILE.name;
    let key = if of_bind { Key::parse_file(&text) } else { Key::parse(text.trim()) };
    let file = env.path(&first).filter(|_| first.name != vars::DNS_TSIG_KEY.name);
    let which = |why| match &file {
        Some(path) => format!("names {}, which {why}", path.display()),
        None => why,
    };
    env.check(&first, key.map_err(which))
}
