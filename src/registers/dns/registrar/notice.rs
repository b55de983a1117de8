//! Log lines of the DNS registrar: one when something changes, none while it stays so.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};

use crate::registers::dns::DnsName;
use crate::registers::dns::claim::Claim;
use crate::registers::dns::fault::Fault;
use crate::registers::dns::phase::News;

/// What was last said.
#[derive(Debug)]
pub(super) struct Notices {
    register: Arc<str>,
    trouble: Option<Fault>,
    extra_trouble: Option<Fault>,
    registered: Option<IpAddr>,
    node: Option<Node>,
}

#[derive(Debug, PartialEq, Eq)]
enum Node {
    Held(DnsName),
    Taken(DnsName, Option<IpAddr>),
}

impl Notices {
    pub(super) fn new(register: Arc<str>) -> Self {
        Self { register, trouble: None, extra_trouble: None, registered: None, node: None }
    }

    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    pub(super) fn trouble(&mut self, fault: &Fault) {
        if !self.trouble.as_ref().is_some_and(|said| said.like(fault)) {
            let (error, advice) = (fault.to_string(), fault.advice());
            warn!(register = %self.register, error, advice, "no DNS update, the app runs on; retrying");
            self.trouble = Some(fault.clone());
        }
    }

    pub(super) fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            info!(register = %self.register, "DNS answers again");
        }
    }

    /// Trouble with what comes after the address.
    pub(super) fn extras(&mut self, fault: Option<Fault>) {
        match (&self.extra_trouble, &fault) {
            (None, None) => {}
            (Some(_), None) => info!(register = %self.register, "all of DNS is in order again"),
            (Some(said), Some(fault)) if said.like(fault) => {}
            (_, Some(fault)) => {
                let (error, advice) = (fault.to_string(), fault.advice());
                warn!(register = %self.register, error, advice, "the address is in DNS, but not all that goes with it; retrying");
            }
        }
        self.extra_trouble = fault;
    }

    pub(super) fn tell(&mut self, news: News) {
        match news {
            News::In(claim) => self.registered(&claim),
            News::Left(claim) => self.left(&claim),
            News::NodeHeld(name) => self.node_held(&name),
            News::NodeTaken { name, holder } => self.node_taken(&name, holder),
            // The registrar asks why before it says so.
            News::NotShown(_) => {}
        }
    }

    fn registered(&mut self, claim: &Claim) {
        if self.registered.replace(claim.addr) != Some(claim.addr) {
            let (name, addr) = (&claim.shared, claim.addr);
            info!(register = %self.register, %name, %addr, "in DNS");
        }
    }

    fn left(&mut self, claim: &Claim) {
        let (name, addr) = (&claim.shared, claim.addr);
        info!(register = %self.register, %name, %addr, "out of DNS");
        self.registered = None;
        self.node = None;
    }

    fn node_held(&mut self, name: &DnsName) {
        if self.changes(Node::Held(name.clone())) {
            info!(register = %self.register, %name, "this container alone holds the name");
        }
    }

    fn node_taken(&mut self, name: &DnsName, holder: Option<IpAddr>) {
        if self.changes(Node::Taken(name.clone(), holder)) {
            let holder = holder.map_or_else(
                || "records that are not Berth's".to_owned(),
                |holder| format!("the container at {holder}"),
            );
            warn!(register = %self.register, %name, holder, "another holds the name; waiting for it");
        }
    }

    pub(super) fn swept(&self, addr: IpAddr, name: &DnsName) {
        info!(register = %self.register, %name, %addr, "swept the records of a container that has died");
    }

    fn changes(&mut self, node: Node) -> bool {
        let changes = self.node.as_ref() != Some(&node);
        self.node = Some(node);
        changes
    }
}
