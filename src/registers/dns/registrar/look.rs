//! What the server shows of this container.

use std::net::IpAddr;
use std::time::Duration;

use domain::base::iana::Rtype;

use super::Registrar;
use crate::registers::Desired;
use crate::registers::dns::claim::Claim;
use crate::registers::dns::client::Dns;
use crate::registers::dns::fault::Fault;
use crate::registers::dns::lease::{self, Mark};
use crate::registers::dns::phase::{Ask, Node, Seen, View};
use crate::registers::dns::settings::Whence;
use crate::registers::dns::wire::name::{self, DnsName};
use crate::registers::dns::wire::update::{Data, addr_type};

/// HAProxy gets this long to tell us our address before the one that faces the DNS server counts.
const PATIENCE: Duration = Duration::from_secs(10);
/// A label below a name at which nobody has records.
const NOBODY: &str = "_berth-wildcard";

impl<D: Dns> Registrar<D> {
    pub(super) async fn look(&mut self, wish: Desired) -> Result<Seen, Fault> {
        Ok(match self.phase.ask(wish) {
            Ask::Nothing => Seen::Nothing,
            Ask::Lease(claim) => {
                let claim = claim.clone();
                Seen::Lease(self.lease_texts(&claim).await?)
            }
            Ask::Me => match self.whoami().await? {
                Some(me) => {
                    let texts = self.lease_texts(&me).await?;
                    Seen::Me(me, texts)
                }
                None => Seen::Nobody,
            },
            Ask::All => match self.whoami().await? {
                Some(me) => Seen::All(self.view(me).await?),
                None => Seen::Nobody,
            },
        })
    }

    /// Who this container is to DNS; `None` until HAProxy has told its address.
    async fn whoami(&mut self) -> Result<Option<Claim>, Fault> {
        let identity = self.channels.identity.borrow().clone();
        let known = identity.addr.filter(|_| self.config.address != Whence::Facing);
        let waits = self.config.address == Whence::Haproxy && self.started.elapsed() < PATIENCE;
        let addr = match known {
            Some(addr) => addr,
            None if waits => return Ok(None),
            None => self.facing_address().await?,
        };
        let mark = *self.mark.get_or_insert_with(|| {
            identity.port.map_or_else(|| Mark::Drawn((self.bits)()), Mark::Port)
        });
        Ok(Some(Claim {
            zone: self.zone().await?,
            shared: self.config.name.clone(),
            addr,
            mark,
            holds: self.config.lease,
            node: None,
            srv: self.config.srv.clone().zip(identity.port),
            ptr: None,
        }))
    }

    /// The address that faces the DNS server, looked at anew each time: a network can be taken away
    /// and another one given.
    async fn facing_address(&mut self) -> Result<IpAddr, Fault> {
        let addr = self.client.facing_address().await?;
        if self.config.address == Whence::Facing {
            self.channels
                .identity
                .send_if_modified(|identity| identity.addr.replace(addr) != Some(addr));
        }
        Ok(addr)
    }

    /// The zone to update: as configured, or as the server has it for `DNS_NAME`.
    async fn zone(&mut self) -> Result<DnsName, Fault> {
        if let Some(zone) = self.config.zone.as_ref().or(self.zone.as_ref()) {
            return Ok(zone.clone());
        }
        let zone = self.client.zone_of(&self.config.name).await?;
        Ok(self.zone.insert(zone).clone())
    }

    async fn view(&mut self, me: Claim) -> Result<View, Fault> {
        let texts = self.lease_texts(&me).await?;
        let (node, trouble) = match self.node(&me).await {
            Ok(node) => (node, None),
            Err(fault) => (Node::Unknown, Some(fault)),
        };
        let shared = self.client.data(&me.shared, addr_type(me.addr)).await?;
        let shared = shared.iter().filter_map(Data::addr).collect();
        let (ptrs, trouble) = match self.ptrs(me.addr).await {
            Ok(ptrs) => (ptrs, trouble),
            Err(fault) => (None, trouble.or(Some(fault))),
        };
        Ok(View { me, texts, shared, node, ptrs, trouble })
    }

    async fn lease_texts(&mut self, claim: &Claim) -> Result<Vec<Vec<u8>>, Fault> {
        match claim.lease_name() {
            Some(name) => self.own_texts(&name).await,
            None => Ok(Vec::new()),
        }
    }

    /// What the server shows at the node's name.
    async fn node(&mut self, me: &Claim) -> Result<Node, Fault> {
        let slot = self.channels.identity.borrow().slot.clone();
        let name = match self.config.node.as_ref().and_then(|node| node.fill(slot.as_deref())) {
            None => return Ok(Node::None),
            Some(name) => name.map_err(Fault::BadName)?,
        };
        let holders = self.own_texts(&name).await?;
        let addrs = match holders.is_empty() {
            true => self.own(&name, addr_type(me.addr)).await?,
            false => self.client.data(&name, addr_type(me.addr)).await?,
        };
        if holders.is_empty() && addrs.is_empty() {
            return Ok(Node::Free(name));
        }
        if holders != [me.holder_text()] {
            let holder = holders.iter().find_map(|text| lease::holder(text));
            return Ok(Node::Taken { name, holder });
        }
        let mut whole = addrs.contains(&Data::Addr(me.addr));
        if let Some((owner, port)) = &me.srv {
            let srv = Data::Srv { port: *port, target: name.clone() };
            whole &= self.client.data(owner, Rtype::SRV).await?.contains(&srv);
        }
        Ok(Node::Mine { name, whole })
    }

    async fn ptrs(&mut self, addr: IpAddr) -> Result<Option<Vec<DnsName>>, Fault> {
        let matter = self.config.ptr || self.phase.has_ptrs();
        let Some(reverse) = name::reverse(addr).filter(|_| matter) else { return Ok(None) };
        let target = |data| match data {
            Data::Ptr(target) => Some(target),
            _ => None,
        };
        let found = self.client.data(&reverse, Rtype::PTR).await?;
        Ok(Some(found.into_iter().filter_map(target).collect()))
    }

    /// The TXT records that a name has of its own.
    async fn own_texts(&mut self, owner: &DnsName) -> Result<Vec<Vec<u8>>, Fault> {
        let texts = self.client.texts(owner).await?;
        // A name that has records of ours is there, and no wildcard stands for it.
        if texts.iter().any(|text| lease::is_ours(text)) {
            return Ok(texts);
        }
        let text = |data| match data {
            Data::Txt(text) => Some(text),
            _ => None,
        };
        let texts = texts.into_iter().map(Data::Txt).collect();
        Ok(self
            .without_made_up(owner, Rtype::TXT, texts)
            .await?
            .into_iter()
            .filter_map(text)
            .collect())
    }

    /// The records of one type that a name has of its own.
    async fn own(&mut self, owner: &DnsName, rtype: Rtype) -> Result<Vec<Data>, Fault> {
        let found = self.client.data(owner, rtype).await?;
        self.without_made_up(owner, rtype, found).await
    }

    /// What was `found` at a name, unless a wildcard makes it up: then the name itself is not there,
    /// and the same is made up for every name below it (RFC 4592 section 2.2). An update's conditions
    /// are about the records that are there (RFC 2136 section 3.2), and so must we be.
    async fn without_made_up(
        &mut self,
        owner: &DnsName,
        rtype: Rtype,
        found: Vec<Data>,
    ) -> Result<Vec<Data>, Fault> {
        let below = name::below(NOBODY, owner).filter(|_| !found.is_empty());
        let Some(below) = below else { return Ok(found) };
        let made_up = self.client.data(&below, rtype).await?;
        let same = found.iter().all(|data| made_up.contains(data)) && made_up.len() == found.len();
        Ok(if same { Vec::new() } else { found })
    }
}
