//! What the registrar in DNS is told.

use std::time::Duration;

use super::wire::key::Key;
use super::wire::name::{self, DnsName};
use crate::net::target::Target;

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
    /// Where this container's address comes from.
    pub address: Whence,
}

/// Who knows the address of this container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The user, who has set `APP_ADDR`.
    Given,
    /// HAProxy, which sees it.
    Haproxy,
    /// Nobody: it is the one that faces the DNS server at the time.
    Facing,
}

/// The name of a node, in which the slot may still be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName {
    text: String,
    zone: Option<DnsName>,
}

impl NodeName {
    /// `text` may have `{slot}` in it; it is in `zone` or absolute.
    pub fn new(text: String, zone: Option<DnsName>) -> Self {
        Self { text, zone }
    }

    /// The name with this slot in it; `None` until the slot is known. An error is a complaint about
    /// what came out.
    pub(crate) fn fill(&self, slot: Option<&str>) -> Option<Result<DnsName, String>> {
        if !self.needs_slot() {
            return Some(name::owner(&self.text, self.zone.as_ref()));
        }
        Some(name::owner(&self.text.replace(SLOT, slot?), self.zone.as_ref()))
    }

    pub(crate) fn needs_slot(&self) -> bool {
        self.text.contains(SLOT)
    }
}
