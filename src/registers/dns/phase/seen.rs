//! What is asked of the server before a step, and what it shows.

use std::net::IpAddr;

use crate::registers::dns::claim::Claim;
use crate::registers::dns::fault::Fault;
use crate::registers::dns::wire::name::DnsName;

/// What has to be asked before the next step.
pub(in crate::registers::dns) enum Ask<'a> {
    Nothing,
    /// Who this container is, and its lease.
    Me,
    /// The lease of this claim.
    Lease(&'a Claim),
    /// Who this container is, and everything that it should have.
    All,
}

/// What the server shows.
#[derive(Clone, Debug)]
pub(in crate::registers::dns) enum Seen {
    Nothing,
    /// The address of this container is not known yet.
    Nobody,
    Me(Claim, Vec<Vec<u8>>),
    Lease(Vec<Vec<u8>>),
    All(View),
}

/// Everything that a container should have, as the server shows it.
#[derive(Clone, Debug)]
pub(in crate::registers::dns) struct View {
    /// Who this container is: a claim without node and PTR.
    pub(in crate::registers::dns) me: Claim,
    /// The texts at its lease's name.
    pub(in crate::registers::dns) texts: Vec<Vec<u8>>,
    /// The addresses at the shared name.
    pub(in crate::registers::dns) shared: Vec<IpAddr>,
    pub(in crate::registers::dns) node: Node,
    /// Targets of the PTR records of its address; `None` when they do not matter or cannot be had.
    pub(in crate::registers::dns) ptrs: Option<Vec<DnsName>>,
    /// Why `node` or `ptrs` cannot be had.
    pub(in crate::registers::dns) trouble: Option<Fault>,
}

/// How the name stands that this container alone should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registers::dns) enum Node {
    /// None is wanted, or the slot in it is not known yet.
    None,
    /// It cannot be had.
    Unknown,
    /// Nobody has it.
    Free(DnsName),
    /// This container has it; `whole` when nothing of it is missing.
    Mine { name: DnsName, whole: bool },
    /// Somebody else has it: this address, or records that are not ours.
    Taken { name: DnsName, holder: Option<IpAddr> },
}
