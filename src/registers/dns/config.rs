//! The `DNS_…` variables.

use std::path::Path;
use std::time::Duration;

use super::wire::key::Key;
use super::wire::name::{self, DnsName};
use crate::config::{Env, Target, value};
use crate::init::sys;

/// Shortest and longest lease. Below, one lost packet would cost a live record; above, a lease
/// would serve no purpose.
const LEASES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(86_400);
/// Key files are a few lines.
const LONGEST_KEY_FILE: u64 = 64 * 1024;
/// What a node's name stands for until its slot is known.
const SLOT: &str = "{slot}";

/// Where and what to register in DNS.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Servers of one zone, in the order in which they are tried; none = the zone's primary, which
    /// its SOA record names.
    pub servers: Vec<Target>,
    /// Port of a primary that was found.
    pub port: u16,
    /// Zone to update; `None` = the one that the server has for `name`.
    pub zone: Option<DnsName>,
    /// Shared name: one address record for each container.
    pub name: DnsName,
    /// Time to live of every record, in seconds.
    pub ttl: u32,
    /// How long a record outlives the last sign of life of its container; `None` = for ever.
    pub lease: Option<Duration>,
    /// Name that only one container holds at a time.
    pub node: Option<NodeName>,
    /// Owner name of the SRV records.
    pub srv: Option<DnsName>,
    /// Whether to keep a PTR record.
    pub ptr: bool,
    /// Key that signs every message.
    pub key: Option<Key>,
    /// Whether HAProxy will tell this container its address.
    pub haproxy: bool,
}

/// The name of a node, in which the slot may still be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName {
    text: String,
    zone: Option<DnsName>,
}

impl NodeName {
    /// The name with this slot in it; `None` until the slot is known. An error is a complaint about
    /// what came out.
    pub(super) fn fill(&self, slot: Option<&str>) -> Option<Result<DnsName, String>> {
        if !self.needs_slot() {
            return Some(name::owner(&self.text, self.zone.as_ref()));
        }
        Some(name::owner(&self.text.replace(SLOT, slot?), self.zone.as_ref()))
    }

    fn needs_slot(&self) -> bool {
        self.text.contains(SLOT)
    }
}

impl DnsConfig {
    /// Parses the variables; `None` when neither `DNS_SERVER` nor `DNS_ZONE` is set.
    pub fn parse(env: &mut Env, service_name: Option<&str>) -> Option<Self> {
        let port = env.parse_if("DNS_PORT", "a port from 1 to 65535", value::port).unwrap_or(53);
        let servers = env.parse_list(
            "DNS_SERVER",
            "host names or IP addresses, each with an optional :port, by commas",
            |text| server(text, port),
        );
        let zone_text = env.text("DNS_ZONE");
        let wanted = env.is_set("DNS_SERVER") || zone_text.is_some();
        let zone = zone_text.and_then(|text| env.check("DNS_ZONE", name::zone(&text)));
        let name = owner_name(env, service_name, zone.as_ref(), wanted);
        let ttl = env.parse_if("DNS_TTL", TTL, ttl).unwrap_or(30);
        let lease = env
            .parse_if("DNS_LEASE", LEASE, lease)
            .unwrap_or_else(|| Some(Duration::from_secs(120)));
        let haproxy = env.text("HAPROXY_SERVER").is_some();
        let node = node_name(env, zone.as_ref(), haproxy);
        let service = env.parse_if("DNS_SRV", "_service._proto", name::service);
        if service.is_some() && node.is_none() {
            env.problem(
                "DNS_SRV",
                "needs DNS_NODE_NAME: the record's target, a name that is this container's alone",
            );
        }
        let ptr = env.parse_if("DNS_PTR", "0 or 1", value::flag).unwrap_or(false);
        let key = key(env);
        if !wanted {
            env.warn_without(
                "DNS_SERVER",
                &[
                    "DNS_NODE_NAME",
                    "DNS_SRV",
                    "DNS_TSIG_KEY",
                    "DNS_TSIG_KEYFILE",
                    "DNS_TSIG_KEY_FILE",
                ],
                "nothing is registered in DNS",
            );
            return None;
        }
        let name = name?;
        let srv = service.and_then(|service| {
            let owner = name::below(&service, &name);
            env.check("DNS_SRV", owner.ok_or_else(|| "makes a name that is too long".to_owned()))
        });
        let longest = std::net::Ipv6Addr::UNSPECIFIED.into();
        if lease.is_some() && name::of_leases(longest, &name).is_none() {
            env.problem(
                "DNS_NAME",
                "is too long to keep leases below it; DNS_LEASE=0 does without",
            );
        }
        let servers = servers.unwrap_or_default();
        Some(Self { servers, port, zone, name, ttl, lease, node, srv, ptr, key, haproxy })
    }
}

const TTL: &str = "a duration in whole seconds from 0 to a week";
const LEASE: &str = "a duration in whole seconds from 5s to 24h, or 0 for none";

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
    match (env.text("DNS_NAME"), service_name) {
        (Some(text), _) => env.check("DNS_NAME", name::owner(&text, zone)),
        (None, _) if !wanted => None,
        (None, Some(service)) => {
            let owner = name::owner(service, zone);
            env.check(
                "DNS_NAME",
                owner.map_err(|why| format!("is not set, and SERVICE_NAME {why}")),
            )
        }
        (None, None) => {
            env.problem("DNS_NAME", "is not set, expected it or SERVICE_NAME");
            None
        }
    }
}

fn node_name(env: &mut Env, zone: Option<&DnsName>, haproxy: bool) -> Option<NodeName> {
    let text = env.text("DNS_NODE_NAME")?;
    let hostname = sys::host_name();
    let label = hostname.as_deref().and_then(|name| name.split('.').next()).unwrap_or_default();
    let node = NodeName { text: text.replace("{hostname}", label), zone: zone.cloned() };
    if node.needs_slot() && !haproxy {
        env.problem("DNS_NODE_NAME", "has {slot} in it, but HAPROXY_SERVER is not set");
    }
    if let Some(Err(why)) = node.fill(Some("node1")) {
        env.problem("DNS_NODE_NAME", &why);
    }
    Some(node)
}

fn key(env: &mut Env) -> Option<Key> {
    let line = env.secret("DNS_TSIG_KEY", "DNS_TSIG_KEY_FILE");
    let file = env.path("DNS_TSIG_KEYFILE");
    match (line, file) {
        (Some(_), Some(_)) => {
            env.problem("DNS_TSIG_KEYFILE", "is set as well as DNS_TSIG_KEY, expected one of them");
            None
        }
        (Some(line), None) => env.check("DNS_TSIG_KEY", Key::parse(&line)),
        (None, Some(path)) => {
            let key = read_key_file(&path)
                .and_then(|text| Key::parse_file(&text))
                .map_err(|why| format!("names {}, which {why}", path.display()));
            env.check("DNS_TSIG_KEYFILE", key)
        }
        (None, None) => None,
    }
}

fn read_key_file(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_KEY_FILE).read_to_string(&mut text))
        .map(|_| text)
        .map_err(|error| format!("cannot be read: {error}"))
}
