//! What one container has in DNS, and the updates that put it there, renew it and take it out. Pure.
//!
//! With leases, every update demands that the texts at the lease's name are exactly those that its
//! author has read. So it can never delete what somebody has claimed or renewed meanwhile, and a
//! datagram that comes late or twice changes nothing.

use std::net::IpAddr;
use std::time::Duration;

use super::lease::{self, Lease, Mark};
use super::wire::name::{self, DnsName};
use super::wire::update::{Change, Data, Prerequisite, Rr, Update};

/// What one container has, or may have, in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The forward zone.
    pub(super) zone: DnsName,
    /// The shared name.
    pub(super) shared: DnsName,
    pub(super) addr: IpAddr,
    pub(super) mark: Mark,
    pub(super) holds: Option<Duration>,
    /// The node's name that it holds, and owner and port of the SRV record with it.
    pub(super) node: Option<DnsName>,
    pub(super) srv: Option<(DnsName, u16)>,
    pub(super) ptr: Option<DnsName>,
}

impl Claim {
    /// Where its lease is, when it keeps one.
    pub(super) fn lease_name(&self) -> Option<DnsName> {
        self.holds.and_then(|_| name::of_leases(self.addr, &self.shared))
    }

    /// Its records in the forward zone, without the lease.
    pub(super) fn records(&self) -> Vec<Rr> {
        self.lease(0).records(&self.shared, self.addr)
    }

    /// Its lease, under a number that makes the text unlike any other.
    pub(super) fn lease(&self, nonce: u64) -> Lease {
        Lease {
            mark: self.mark,
            holds: self.holds.unwrap_or_default(),
            nonce,
            node: self.node.clone(),
            srv: self.srv.clone(),
            ptr: self.ptr.clone(),
        }
    }

    /// Whether a text is the lease of this container, or of one before it at this address and port.
    pub(super) fn is_mine(&self, text: &[u8]) -> bool {
        Lease::parse(text).is_some_and(|lease| lease.mark == self.mark)
    }

    /// Whether the one lease of this container lists just what it has.
    pub(super) fn is_leased_by(&self, texts: &[Vec<u8>]) -> bool {
        let leases = self.split(texts).0;
        let [text] = &leases[..] else { return false };
        Lease::parse(text).is_some_and(|lease| lease == self.lease(lease.nonce))
    }

    /// Puts all records in and renews the lease, given the `texts` that its name has now. What
    /// `former`, or a lease of this container, has beyond that goes out. A node's name stays only
    /// if this container still holds it.
    pub(super) fn assert(&self, former: Option<&Self>, texts: &[Vec<u8>], nonce: u64) -> Update {
        let (mine, others) = self.split(texts);
        let wanted = self.records();
        let kept = [listed(&others, &self.shared, self.addr), wanted.clone()].concat();
        let mut gone = listed(&mine, &self.shared, self.addr);
        gone.extend(former.into_iter().flat_map(Self::records));
        let mut update = self.removal(self.addr, texts, mine, gone, &kept);
        update.changes.extend(wanted.into_iter().map(Change::Add));
        if let Some(lease_name) = self.lease_name() {
            let text = Data::Txt(self.lease(nonce).text());
            update.changes.push(Change::Add(Rr::new(&lease_name, text)));
        }
        let held =
            |node: &DnsName| Prerequisite::ExactlyTxt(node.clone(), vec![self.holder_text()]);
        update.prerequisites.extend(self.node.as_ref().map(held));
        update
    }

    /// Like [`Self::assert`], but only if nobody has the node's name yet: of two containers that try
    /// at once, one succeeds.
    pub(super) fn assert_exclusively(&self, texts: &[Vec<u8>], nonce: u64) -> Update {
        let mut prerequisites = unchanged(self.lease_name(), texts);
        prerequisites.extend(self.node.clone().map(Prerequisite::Unused));
        Update { prerequisites, ..self.assert(None, texts, nonce) }
    }

    fn split(&self, texts: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        texts.iter().cloned().partition(|text| self.is_mine(text))
    }

    /// What stands at the node's name when this container holds it.
    pub(super) fn holder_text(&self) -> Vec<u8> {
        lease::holder_text(self.addr, self.mark)
    }

    /// Takes the container out, given the `texts` that its lease's name has now. What a neighbour
    /// at the same address also has stays.
    pub(super) fn leave(&self, texts: &[Vec<u8>]) -> Update {
        let (mine, others) = self.split(texts);
        let mut gone = self.records();
        gone.extend(listed(&mine, &self.shared, self.addr));
        self.removal(self.addr, texts, mine, gone, &listed(&others, &self.shared, self.addr))
    }

    /// Takes out whatever belongs to the `expired` of the `texts` of the containers at `addr`, and
    /// to no other of them.
    pub(super) fn sweep(&self, addr: IpAddr, texts: &[Vec<u8>], expired: Vec<Vec<u8>>) -> Update {
        let others: Vec<_> = texts.iter().filter(|text| !expired.contains(text)).cloned().collect();
        let gone = listed(&expired, &self.shared, addr);
        self.removal(addr, texts, expired, gone, &listed(&others, &self.shared, addr))
    }

    fn removal(
        &self,
        addr: IpAddr,
        texts: &[Vec<u8>],
        deleted: Vec<Vec<u8>>,
        gone: Vec<Rr>,
        kept: &[Rr],
    ) -> Update {
        let mut changes = Vec::new();
        for rr in gone {
            // Whoever can write a lease must not make us delete in other people's zones.
            let allowed = !kept.contains(&rr) && rr.owner.ends_with(&self.zone);
            let delete = Change::Delete(rr);
            if allowed && !changes.contains(&delete) {
                changes.push(delete);
            }
        }
        let lease_name = self.holds.and_then(|_| name::of_leases(addr, &self.shared));
        let prerequisites = unchanged(lease_name.clone(), texts);
        if let Some(name) = &lease_name {
            changes.extend(deleted.into_iter().map(|text| delete_text(name, text)));
        }
        self.update(prerequisites, changes)
    }

    fn update(&self, prerequisites: Vec<Prerequisite>, changes: Vec<Change>) -> Update {
        Update { zone: self.zone.clone(), prerequisites, changes }
    }
}

/// The texts at the lease's name are still those that were read.
fn unchanged(lease_name: Option<DnsName>, texts: &[Vec<u8>]) -> Vec<Prerequisite> {
    let Some(name) = lease_name else { return Vec::new() };
    vec![match texts {
        [] => Prerequisite::NoTxt(name),
        texts => Prerequisite::ExactlyTxt(name, texts.to_vec()),
    }]
}

fn delete_text(owner: &DnsName, text: Vec<u8>) -> Change {
    Change::Delete(Rr::new(owner, Data::Txt(text)))
}

fn listed(texts: &[Vec<u8>], shared: &DnsName, addr: IpAddr) -> Vec<Rr> {
    let leases = texts.iter().filter_map(|text| Lease::parse(text));
    leases.flat_map(|lease| lease.records(shared, addr)).collect()
}
