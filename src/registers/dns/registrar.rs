//! One container in DNS: ask, compare, change what differs, ask again later.
//!
//! It never decides what is wanted and never touches the app. Dropping it at any await is safe:
//! what may have been put into DNS is noted before it is sent, and the next turn starts from what
//! the server shows.

mod notice;
#[cfg(test)]
mod simulation;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::Rtype;
use tokio::time::Instant;

use super::claim::Claim;
use super::client::{Client, Dns, Outcome};
use super::fault::Fault;
use super::lease::{self, Mark, Patrol};
use super::settings::DnsConfig;
use super::wire::name::{self, DnsName};
use super::wire::update::{Change, Data, Rr, Update, addr_type};
use crate::net::backoff::{Backoff, jitter};
use crate::net::random;
use crate::net::resolve::Resolver;
use crate::registers::{Channels, Desired, Standing, Want};
use notice::Notices;

/// How often the records are verified by a plain question, at most.
const VERIFY_INTERVAL: Duration = Duration::from_secs(20);
/// Pauses after a failure; never so long that a lease could run out in between.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// HAProxy gets this long to tell us our address before the one that faces the DNS server counts.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nothing is looked at while nothing may be held.
const IDLE: Duration = Duration::from_secs(3600);
/// The app's stop waits this long for the record to be out. Clients keep it for its time to live
/// anyway.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);
/// Pause before a change that collided with another's is thought over.
const AGAIN: Duration = Duration::from_millis(50);
/// Taking out is tried this often when it collides.
const ROUNDS: u32 = 5;

/// Registers in DNS for as long as the container lives.
pub async fn run(config: Arc<DnsConfig>, channels: Channels, resolver: Resolver) {
    let client = Client::new(Arc::clone(&config), resolver);
    Registrar::new(config, channels, client, random::bits).run().await;
}

struct Registrar<D> {
    config: Arc<DnsConfig>,
    client: D,
    channels: Channels,
    started: Instant,
    /// Chosen once, since it tells our lease from those of neighbours at the same address.
    mark: Option<Mark>,
    /// What may be in DNS of this container.
    held: Option<Claim>,
    /// Nothing of this container is in DNS, by the server's word.
    clean: bool,
    /// The lease's text that was sent last, and when, until it is known to have arrived.
    sent: Option<(Vec<u8>, Instant)>,
    renewed_at: Option<Instant>,
    /// The zone that the server has for `DNS_NAME`, when it is not configured.
    zone: Option<DnsName>,
    /// Targets of PTR records that may be in DNS, and the zone of these records.
    ptrs: Vec<DnsName>,
    reverse_zone: Option<DnsName>,
    patrol: Patrol,
    backoff: Backoff,
    notices: Notices,
    /// Random bits.
    bits: fn() -> u64,
}

impl<D: Dns> Registrar<D> {
    fn new(config: Arc<DnsConfig>, channels: Channels, client: D, bits: fn() -> u64) -> Self {
        let longest = config.lease.map_or(LONGEST_RETRY, |lease| LONGEST_RETRY.min(lease / 8));
        Self {
            client,
            bits,
            notices: Notices::new(Arc::clone(&channels.register)),
            backoff: Backoff::new(FIRST_RETRY, longest),
            config,
            channels,
            started: Instant::now(),
            mark: None,
            held: None,
            clean: false,
            sent: None,
            renewed_at: None,
            zone: None,
            ptrs: Vec::new(),
            reverse_zone: None,
            patrol: Patrol::default(),
        }
    }

    async fn run(mut self) {
        let mut wants = self.channels.want.clone();
        let mut identity = self.channels.identity.subscribe();
        self.channels.report(wants.borrow().epoch, Standing::Absent);
        loop {
            let want = *wants.borrow_and_update();
            identity.mark_unchanged();
            let wait = tokio::select! {
                wait = self.turn(want) => wait,
                changed = wants.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = identity.changed() => {}
                changed = wants.changed() => if changed.is_err() { return },
            }
        }
    }

    fn luck(&self) -> f64 {
        random::fraction_of((self.bits)())
    }

    /// One turn; says how long to wait before the next.
    async fn turn(&mut self, want: Want) -> Duration {
        if want.desired != Desired::Serving && self.notices.is_in_trouble() {
            // The app's stop must not wait for a server that has not answered before.
            self.channels.report(want.epoch, Standing::Unreachable);
        }
        let done = match want.desired {
            Desired::Serving => self.serve().await,
            Desired::Draining | Desired::Absent => {
                let channels = self.channels.clone();
                let leave = self.leave(want.desired);
                tokio::pin!(leave);
                tokio::select! {
                    done = &mut leave => done,
                    () = tokio::time::sleep(LEAVE_PATIENCE) => {
                        channels.report(want.epoch, Standing::Unreachable);
                        leave.await
                    }
                }
            }
        };
        match done {
            Ok((standing, wait)) => {
                self.notices.recovered();
                self.backoff.reset();
                self.channels.report(want.epoch, standing);
                wait
            }
            Err(fault) => {
                self.notices.trouble(&fault);
                self.channels.report(want.epoch, Standing::Unreachable);
                self.backoff.next(self.luck())
            }
        }
    }

    async fn serve(&mut self) -> Result<(Standing, Duration), Fault> {
        self.clean = false;
        let Some(fresh) = self.whoami().await? else {
            return Ok((Standing::Absent, Duration::from_secs(1)));
        };
        if self.held.as_ref().is_some_and(|held| held.addr != fresh.addr) {
            self.take_out().await?;
        }
        let former = self.held.clone();
        let mut claim = match former.clone() {
            Some(held) => Claim { srv: fresh.srv, ..held },
            None => fresh,
        };
        let texts = self.lease_texts(&claim).await?;
        let node = self.node(&claim).await;
        if let Ok(node) = &node {
            claim.node = node.mine().cloned();
        }
        claim.ptr = self.ptr_target(&claim);
        self.ptrs.extend(lease::ptrs(texts.iter().filter(|text| claim.is_mine(text))));
        let shared = self.client.data(&claim.shared, addr_type(claim.addr)).await?;
        let there = shared.contains(&Data::Addr(claim.addr));
        let as_before = former.as_ref().is_none_or(|former| former.node == claim.node);
        let listed = if claim.holds.is_some() { claim.is_leased_by(&texts) } else { as_before };
        let whole = there && listed && !matches!(node, Ok(Node::Mine { whole: false, .. }));
        self.note_renewal(&texts);
        if whole && self.renewal_in().is_none_or(|due| !due.is_zero()) {
            self.held = Some(claim.clone());
        } else {
            self.held.get_or_insert_with(|| claim.clone());
            let nonce = self.draw(&claim);
            let update = claim.assert(former.as_ref(), &texts, nonce);
            if self.client.update(&update).await? == Outcome::Conflict {
                let standing = if there { Standing::Serving } else { Standing::Absent };
                return Ok((standing, AGAIN));
            }
            self.held = Some(claim.clone());
            self.renewed_at = self.sent.take().map(|(_, at)| at);
        }
        if !there {
            self.read_back(&claim).await?;
        }
        self.notices.registered(&claim);
        let extras = self.extras(claim, node).await;
        self.notices.extras(extras.err());
        let verify = jitter(self.verify_interval(), self.luck());
        let wait = self.renewal_in().map_or(verify, |due| due.min(verify));
        Ok((Standing::Serving, wait.max(AGAIN)))
    }

    /// A number for the next lease; its text is remembered, since an update can succeed and its
    /// answer get lost.
    fn draw(&mut self, claim: &Claim) -> u64 {
        let nonce = (self.bits)();
        self.sent = Some((claim.lease(nonce).text(), Instant::now()));
        nonce
    }

    fn note_renewal(&mut self, texts: &[Vec<u8>]) {
        if let Some((_, at)) = self.sent.take_if(|(text, _)| texts.contains(text)) {
            self.renewed_at = Some(at);
        }
    }

    fn verify_interval(&self) -> Duration {
        self.config.lease.map_or(VERIFY_INTERVAL, |lease| VERIFY_INTERVAL.min(lease / 8))
    }

    /// Time until the lease should be renewed: well before half of it is over, so that a lost
    /// packet or a restart of the server costs nothing.
    fn renewal_in(&self) -> Option<Duration> {
        let lease = self.config.lease?;
        let age = self.renewed_at.map_or(lease, |at| at.elapsed());
        Some((lease / 4).saturating_sub(age))
    }

    /// Who this container is to DNS; `None` until HAProxy has told its address.
    async fn whoami(&mut self) -> Result<Option<Claim>, Fault> {
        let identity = self.channels.identity.borrow().clone();
        let addr = match identity.addr {
            Some(addr) => addr,
            None if self.config.haproxy && self.started.elapsed() < PATIENCE => return Ok(None),
            None => {
                let addr = self.client.facing_address().await?;
                if !self.config.haproxy {
                    self.channels.identity.send_modify(|identity| identity.addr = Some(addr));
                }
                addr
            }
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

    /// The zone to update: as configured, or as the server has it for `DNS_NAME`.
    async fn zone(&mut self) -> Result<DnsName, Fault> {
        if let Some(zone) = self.config.zone.as_ref().or(self.zone.as_ref()) {
            return Ok(zone.clone());
        }
        let zone = self.client.zone_of(&self.config.name).await?;
        Ok(self.zone.insert(zone).clone())
    }

    async fn lease_texts(&mut self, claim: &Claim) -> Result<Vec<Vec<u8>>, Fault> {
        match claim.lease_name() {
            Some(name) => self.client.texts(&name).await,
            None => Ok(Vec::new()),
        }
    }

    /// What the server shows at the node's name.
    async fn node(&mut self, claim: &Claim) -> Result<Node, Fault> {
        let slot = self.channels.identity.borrow().slot.clone();
        let name = match self.config.node.as_ref().and_then(|node| node.fill(slot.as_deref())) {
            None => return Ok(Node::None),
            Some(name) => name.map_err(Fault::BadName)?,
        };
        let holders = self.client.texts(&name).await?;
        let addrs = self.client.data(&name, addr_type(claim.addr)).await?;
        let mine = [claim.holder_text()];
        if holders.is_empty() && addrs.is_empty() {
            return Ok(Node::Free(name));
        }
        if holders != mine {
            let holder = holders.iter().find_map(|text| lease::holder(text));
            return Ok(Node::Taken { name, holder });
        }
        let mut whole = addrs.contains(&Data::Addr(claim.addr));
        if let Some((owner, port)) = &claim.srv {
            let srv = Data::Srv { port: *port, target: name.clone() };
            whole &= self.client.data(owner, Rtype::SRV).await?.contains(&srv);
        }
        Ok(Node::Mine { name, whole })
    }

    /// A server says NOERROR to an address beside a CNAME, and does not add it (RFC 2136 section
    /// 3.4.2.2).
    async fn read_back(&mut self, claim: &Claim) -> Result<(), Fault> {
        let shared = self.client.data(&claim.shared, addr_type(claim.addr)).await?;
        match shared.contains(&Data::Addr(claim.addr)) {
            true => Ok(()),
            false => Err(Fault::Ignored(self.client.server().await?, claim.shared.clone())),
        }
    }

    /// What comes after the address: trouble with it is told, but the container serves.
    async fn extras(&mut self, claim: Claim, node: Result<Node, Fault>) -> Result<(), Fault> {
        let claim = match node? {
            Node::Free(name) => self.claim_node(claim, name).await?,
            Node::Taken { name, holder } => {
                self.notices.node_taken(&name, holder);
                claim
            }
            Node::Mine { name, .. } => {
                self.notices.node_held(&name);
                claim
            }
            Node::None => claim,
        };
        self.keep_ptr(claim).await?;
        self.sweep().await
    }

    async fn claim_node(&mut self, mut claim: Claim, name: DnsName) -> Result<Claim, Fault> {
        let texts = self.lease_texts(&claim).await?;
        let without = claim.clone();
        claim.node = Some(name.clone());
        claim.ptr = self.ptr_target(&claim);
        self.held = Some(claim.clone());
        let nonce = self.draw(&claim);
        let update = claim.assert_exclusively(&texts, nonce);
        if self.client.update(&update).await? == Outcome::Conflict {
            // Whoever was faster shows in the next turn. It may have been ourselves, when an answer
            // was lost.
            self.held = Some(without.clone());
            return Ok(without);
        }
        self.renewed_at = self.sent.take().map(|(_, at)| at);
        self.notices.node_held(&name);
        Ok(claim)
    }

    fn ptr_target(&self, claim: &Claim) -> Option<DnsName> {
        match (self.config.ptr, &self.config.node) {
            (false, _) => None,
            (true, None) => Some(claim.shared.clone()),
            (true, Some(_)) => claim.node.clone(),
        }
    }

    async fn keep_ptr(&mut self, claim: Claim) -> Result<(), Fault> {
        if claim.ptr.is_none() && self.ptrs.is_empty() {
            return Ok(());
        }
        let Some(reverse) = name::reverse(claim.addr) else { return Ok(()) };
        let present = self.client.data(&reverse, Rtype::PTR).await?;
        let there = |target: &DnsName| present.contains(&Data::Ptr(target.clone()));
        let (wanted, mut stale) = (claim.ptr.as_slice(), self.ptrs.clone());
        stale.retain(|target| !wanted.contains(target) && there(target));
        let rr = |target: &DnsName| Rr::new(&reverse, Data::Ptr(target.clone()));
        let mut changes: Vec<_> = stale.iter().map(|target| Change::Delete(rr(target))).collect();
        changes.extend(wanted.iter().filter(|t| !there(t)).map(|target| Change::Add(rr(target))));
        self.ptrs.extend_from_slice(wanted);
        if !changes.is_empty() {
            self.update_reverse(&reverse, changes).await?;
        }
        self.ptrs = wanted.to_vec();
        Ok(())
    }

    async fn update_reverse(
        &mut self,
        reverse: &DnsName,
        changes: Vec<Change>,
    ) -> Result<(), Fault> {
        let zone = match &self.reverse_zone {
            Some(zone) if reverse.ends_with(zone) => zone.clone(),
            _ => self.client.zone_of(reverse).await?,
        };
        self.reverse_zone = Some(zone.clone());
        let update = Update { zone, prerequisites: Vec::new(), changes };
        self.client.update(&update).await.map(|_| ())
    }

    /// Looks at the leases of the others and takes out what has expired.
    async fn sweep(&mut self) -> Result<(), Fault> {
        let (Some(lease), Some(me)) = (self.config.lease, self.held.clone()) else { return Ok(()) };
        let mut present = Vec::new();
        for rtype in [Rtype::A, Rtype::AAAA] {
            present
                .extend(self.client.data(&me.shared, rtype).await?.iter().filter_map(Data::addr));
        }
        for addr in self.patrol.choose(&present, self.luck()) {
            let Some(lease_name) = name::of_leases(addr, &me.shared) else { continue };
            let texts = self.client.texts(&lease_name).await?;
            let mut expired = self.patrol.observe(addr, &texts, Instant::now(), lease / 4);
            expired.retain(|text| addr != me.addr || !me.is_mine(text));
            if expired.is_empty() {
                continue;
            }
            let update = me.sweep(addr, &texts, expired.clone());
            if self.client.update(&update).await? == Outcome::Done {
                self.notices.swept(addr, &me.shared);
                let (gone, kept): (Vec<_>, Vec<_>) =
                    texts.iter().partition(|text| expired.contains(text));
                let gone = lease::ptrs(gone.into_iter()).collect();
                self.delete_ptrs(addr, gone, kept).await?;
            }
        }
        Ok(())
    }

    /// Takes out the PTR records to these targets, unless one of the leases that are `kept` lists it.
    async fn delete_ptrs(
        &mut self,
        addr: IpAddr,
        mut targets: Vec<DnsName>,
        kept: Vec<&Vec<u8>>,
    ) -> Result<(), Fault> {
        let kept: Vec<_> = lease::ptrs(kept.into_iter()).collect();
        targets.retain(|target| !kept.contains(target));
        let Some(reverse) = name::reverse(addr).filter(|_| !targets.is_empty()) else {
            return Ok(());
        };
        let delete = |target| Change::Delete(Rr::new(&reverse, Data::Ptr(target)));
        self.update_reverse(&reverse, targets.into_iter().map(delete).collect()).await
    }

    /// Takes everything of this container out, if anything can be in.
    async fn leave(&mut self, desired: Desired) -> Result<(Standing, Duration), Fault> {
        let gone = match desired {
            Desired::Draining => Standing::Idle,
            _ => Standing::Absent,
        };
        if self.clean {
            return Ok((gone, IDLE));
        }
        if self.held.is_none() {
            // A container that was here before may have died, or this task may have.
            let Some(claim) = self.whoami().await? else {
                return Ok((gone, Duration::from_secs(1)));
            };
            let texts = self.lease_texts(&claim).await?;
            let leftover = texts.iter().any(|text| claim.is_mine(text));
            let may_hold = claim.holds.is_none() && desired == Desired::Draining;
            self.held = (leftover || may_hold).then_some(claim);
        }
        self.take_out().await?;
        self.clean = true;
        Ok((gone, IDLE))
    }

    async fn take_out(&mut self) -> Result<(), Fault> {
        let Some(claim) = self.held.clone() else { return Ok(()) };
        for _ in 0..ROUNDS {
            let texts = self.lease_texts(&claim).await?;
            if self.client.update(&claim.leave(&texts)).await? == Outcome::Conflict {
                continue;
            }
            // An update of ours that was cut short may have overtaken this one.
            let left = self.lease_texts(&claim).await?;
            if left.iter().any(|text| claim.is_mine(text)) {
                continue;
            }
            self.held = None;
            self.renewed_at = None;
            self.notices.left(&claim);
            let (mine, kept): (Vec<_>, Vec<_>) = texts.iter().partition(|text| claim.is_mine(text));
            self.ptrs.extend(claim.ptr.clone());
            self.ptrs.extend(lease::ptrs(mine.into_iter()));
            let ptrs = std::mem::take(&mut self.ptrs);
            let deleted = self.delete_ptrs(claim.addr, ptrs, kept).await;
            self.notices.extras(deleted.err());
            return Ok(());
        }
        Err(Fault::Ignored(self.client.server().await?, claim.shared))
    }
}

/// How the name stands that this container alone should hold.
enum Node {
    /// None is wanted, or the slot in it is not known yet.
    None,
    /// Nobody has it.
    Free(DnsName),
    /// This container has it; `whole` when nothing of it is missing.
    Mine { name: DnsName, whole: bool },
    /// Somebody else has it: this address, or records that are not ours.
    Taken { name: DnsName, holder: Option<IpAddr> },
}

impl Node {
    fn mine(&self) -> Option<&DnsName> {
        match self {
            Self::Mine { name, .. } => Some(name),
            _ => None,
        }
    }
}
