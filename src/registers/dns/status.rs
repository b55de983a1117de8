//! What the servers say about this container's records, for `--status` and `--check`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use domain::base::iana::Rtype;
use serde::Serialize;

use super::client::{Client, Dns};
use super::fault::Fault;
use super::lease::{self, Lease};
use super::settings::DnsConfig;
use super::wire::name::{self, DnsName};
use super::wire::update::Data;
use crate::net::resolve::Resolver;
use crate::registers::Identity;

/// The records that one server shows.
#[derive(Debug, Default, Serialize)]
pub struct DnsStatus {
    /// The server that was asked.
    pub server: Option<SocketAddr>,
    /// This container's address.
    pub address: Option<IpAddr>,
    /// Every record of the names that this container has a share in.
    pub records: Vec<RecordStatus>,
    /// Whether its address is in DNS.
    pub registered: bool,
    /// Why nothing or not all can be said.
    pub error: Option<String>,
}

/// One record as the server answers it.
#[derive(Debug, Serialize)]
pub struct RecordStatus {
    /// Owner.
    pub name: String,
    /// A, AAAA, TXT, SRV or PTR.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Time to live in seconds.
    pub ttl: u32,
    /// The data in presentation format.
    pub data: String,
    /// Whether it is this container's.
    pub mine: bool,
}

/// Asks the server for every record of this container, given what is known of it.
pub async fn status(config: DnsConfig, identity: &Identity, resolver: Resolver) -> DnsStatus {
    let config = Arc::new(config);
    let mut client = Client::new(Arc::clone(&config), resolver);
    let mut status = DnsStatus::default();
    if let Err(fault) = fill(&mut status, &config, &mut client, identity).await {
        status.error = Some(format!("{fault} ({})", fault.advice()));
    }
    status
}

async fn fill(
    status: &mut DnsStatus,
    config: &DnsConfig,
    client: &mut Client,
    identity: &Identity,
) -> Result<(), Fault> {
    let addr = match identity.addr {
        Some(addr) => addr,
        None => client.facing_address().await?,
    };
    status.address = Some(addr);
    let here = |data: &Data| data.addr() == Some(addr);
    for rtype in [Rtype::A, Rtype::AAAA] {
        status.ask(client, &config.name, rtype, &here).await?;
    }
    status.server = Some(client.server().await?);
    status.registered = status.records.iter().any(|record| record.mine);
    let of_port = |text: &[u8]| match (Lease::parse(text), identity.port) {
        (Some(lease), Some(port)) => lease.mark == lease::Mark::Port(port),
        (lease, _) => lease.is_some(),
    };
    if let Some(owner) = config.lease.and_then(|_| name::of_leases(addr, &config.name)) {
        let mine = |data: &Data| matches!(data, Data::Txt(text) if of_port(text));
        status.ask(client, &owner, Rtype::TXT, &mine).await?;
    }
    if let Some(Ok(node)) = config.node.as_ref().and_then(|n| n.fill(identity.slot.as_deref())) {
        for rtype in [Rtype::A, Rtype::AAAA] {
            status.ask(client, &node, rtype, &here).await?;
        }
        let held =
            |data: &Data| matches!(data, Data::Txt(text) if lease::holder(text) == Some(addr));
        status.ask(client, &node, Rtype::TXT, &held).await?;
        if let Some(owner) = &config.srv {
            let mine = |data: &Data| matches!(data, Data::Srv { target, .. } if *target == node);
            status.ask(client, owner, Rtype::SRV, &mine).await?;
        }
    }
    if let Some(owner) = name::reverse(addr).filter(|_| config.ptr) {
        status.ask(client, &owner, Rtype::PTR, &|_| true).await?;
    }
    Ok(())
}

impl DnsStatus {
    async fn ask(
        &mut self,
        client: &mut Client,
        owner: &DnsName,
        rtype: Rtype,
        mine: &(dyn Fn(&Data) -> bool + Sync),
    ) -> Result<(), Fault> {
        for (ttl, data) in client.query(owner, rtype).await? {
            self.records.push(RecordStatus {
                name: owner.to_string(),
                rtype: rtype.to_string(),
                ttl,
                mine: mine(&data),
                data: data.to_string(),
            });
        }
        Ok(())
    }
}
