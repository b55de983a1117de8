//! A DNS server that exists only here and in virtual time, and the way to it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::base::iana::Rtype;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::registers::dns::client::{Answer, Dns, Outcome};
use crate::registers::dns::fault::Fault;
use crate::registers::dns::lease::{Lease, Mark};
use crate::registers::dns::wire::name::{self, DnsName};
use crate::registers::dns::wire::update::{Change, Data, Prerequisite, Rr, Update};
use crate::registers::{Desired, Identity, Report, Want};

pub(super) const LEASE: Duration = Duration::from_secs(120);
pub(super) const FOREIGN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// The same story as before for the same seed.
pub(super) fn start_over(seed: u64) {
    STATE.set(seed);
}

/// SplitMix64, so that a seed tells a story again.
pub(super) fn bits() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

pub(super) fn below(limit: u64) -> u64 {
    bits() % limit
}

pub(super) fn chance(percent: u64) -> bool {
    below(100) < percent
}

pub(super) fn dns_name(text: &str) -> DnsName {
    DnsName::vec_from_str(text).unwrap()
}

/// Faults that a run has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Requests or answers lost, and requests that arrive a second time, in percent.
    pub(super) lossy: u64,
    /// Single containers are cut off from the server.
    pub(super) partitions: bool,
    /// No leases are kept, so what is dead stays.
    pub(super) no_leases: bool,
}

/// Every address that a container has had, the present one last, and its port.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) addrs: Vec<IpAddr>,
    pub(super) mark: Mark,
}

impl Who {
    pub(super) fn addr(&self) -> IpAddr {
        self.addrs[self.addrs.len() - 1]
    }
}

pub(super) struct World {
    pub(super) faults: Faults,
    pub(super) up: bool,
    /// So many requests find no way there, which shows at once.
    pub(super) unreachable: u32,
    pub(super) records: BTreeSet<Rr>,
    /// When each lease's text was last put in.
    pub(super) leased_at: BTreeMap<Rr, Instant>,
    pub(super) agents: BTreeMap<usize, Agent>,
    pub(super) snapshot: BTreeSet<Rr>,
    pub(super) swept: u32,
}

pub(super) struct Agent {
    pub(super) who: Who,
    pub(super) serving: bool,
    pub(super) cut: bool,
    pub(super) want: watch::Sender<Want>,
    pub(super) identity: watch::Sender<Identity>,
    pub(super) task: JoinHandle<()>,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
}

impl World {
    pub(super) fn is_taken(&self, addr: IpAddr, mark: Mark) -> bool {
        self.agents.values().any(|agent| (agent.who.addr(), agent.who.mark) == (addr, mark))
    }

    pub(super) fn texts(&self, owner: &DnsName) -> Vec<Vec<u8>> {
        let at = self.records.iter().filter(|rr| rr.owner == *owner);
        at.filter_map(|rr| match &rr.data {
            Data::Txt(text) => Some(text.clone()),
            _ => None,
        })
        .collect()
    }

    fn meets(&self, prerequisite: &Prerequisite) -> bool {
        match prerequisite {
            Prerequisite::Unused(name) => self.records.iter().all(|rr| rr.owner != *name),
            Prerequisite::NoTxt(name) => self.texts(name).is_empty(),
            Prerequisite::ExactlyTxt(name, wanted) => {
                let mut wanted = wanted.clone();
                wanted.sort();
                self.texts(name) == wanted
            }
        }
    }

    fn apply(&mut self, who: &Who, update: &Update) -> Outcome {
        if !update.prerequisites.iter().all(|prerequisite| self.meets(prerequisite)) {
            return Outcome::Conflict;
        }
        for change in &update.changes {
            match change {
                Change::Add(rr) => {
                    self.records.insert(rr.clone());
                    self.leased_at.insert(rr.clone(), Instant::now());
                }
                Change::Delete(rr) => {
                    if self.records.remove(rr) {
                        self.judge(who, rr);
                    }
                }
            }
        }
        self.check();
        Outcome::Done
    }

    /// Whether `who` may have deleted this record.
    fn judge(&mut self, who: &Who, rr: &Rr) {
        if let Data::Txt(text) = &rr.data
            && let Some(lease) = Lease::parse(text)
        {
            let addr = addr_of(&rr.owner);
            if !(who.addrs.contains(&addr) && lease.mark == who.mark) {
                let age = self.leased_at[rr].elapsed();
                assert!(age >= lease.holds, "{who:?} swept {rr} after {age:?}");
                self.swept += 1;
            }
        }
        if let Data::Addr(addr) = rr.data
            && rr.owner == shared()
            && !who.addrs.contains(&addr)
            && !self.faults.partitions
        {
            let alive =
                self.agents.values().find(|agent| agent.who.addr() == addr && agent.serving);
            // One that has just begun to serve at a dead one's address is not in DNS yet.
            let in_dns = alive.filter(|agent| {
                let texts = self.texts(&lease_name(addr)).into_iter();
                texts
                    .filter_map(|text| Lease::parse(&text))
                    .any(|lease| lease.mark == agent.who.mark)
            });
            assert!(in_dns.is_none(), "{who:?} deleted {rr} of a live container");
        }
    }

    /// What holds after every change.
    fn check(&self) {
        assert!(self.records.contains(&Rr::new(&shared(), Data::Addr(FOREIGN))));
        for rr in &self.records {
            if let Data::Txt(text) = &rr.data
                && let Some(lease) = Lease::parse(text)
            {
                for listed in lease.records(&shared(), addr_of(&rr.owner)) {
                    assert!(self.records.contains(&listed), "{rr} without {listed}");
                }
            }
        }
        for node in ["a", "b"].map(|node| dns_name(&format!("{node}.test"))) {
            let holders = self.texts(&node);
            let addrs =
                self.records.iter().filter(|rr| rr.owner == node && rr.data.addr().is_some());
            let addrs = addrs.count();
            assert!(holders.len() <= 1 && addrs <= holders.len(), "two hold {node}");
            // Without a lease to name, a neighbour at the same address that has just lost the name
            // can take the address out, until its holder looks.
            assert!(addrs == holders.len() || self.faults.no_leases, "{node} without its address");
        }
    }
}

pub(super) fn shared() -> DnsName {
    dns_name("webapp.test")
}

pub(super) fn lease_name(addr: IpAddr) -> DnsName {
    name::of_leases(addr, &shared()).unwrap()
}

pub(super) fn addr_of(lease_name: &DnsName) -> IpAddr {
    lease_name.first().to_string().replace('-', ".").parse().unwrap()
}

/// One container's way to the server.
pub(super) struct Wire {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) id: usize,
}

impl Wire {
    /// The request's way there; it may not arrive.
    async fn send(&self) -> Result<(), Fault> {
        {
            let mut world = self.world.lock().unwrap();
            if let Some(left) = world.unreachable.checked_sub(1) {
                world.unreachable = left;
                let error = "Network is unreachable".to_owned();
                return Err(Fault::Silent("127.0.0.1:53".parse().unwrap(), error));
            }
        }
        sleep(Duration::from_millis(below(50))).await;
        let lost = {
            let world = self.world.lock().unwrap();
            !world.up || world.agents[&self.id].cut || chance(world.faults.lossy)
        };
        if lost { self.silence().await } else { Ok(()) }
    }

    /// The answer's way back.
    async fn answer(&self) -> Result<(), Fault> {
        sleep(Duration::from_millis(below(50))).await;
        let lost = {
            let world = self.world.lock().unwrap();
            world.agents[&self.id].cut || chance(world.faults.lossy)
        };
        if lost { self.silence().await } else { Ok(()) }
    }

    async fn silence(&self) -> Result<(), Fault> {
        sleep(Duration::from_secs(5)).await;
        Err(Fault::Silent("127.0.0.1:53".parse().unwrap(), "timed out".to_owned()))
    }
}

impl Dns for Wire {
    fn server(&mut self) -> Answer<'_, SocketAddr> {
        Box::pin(async { Ok("127.0.0.1:53".parse().unwrap()) })
    }

    fn zone_of<'a>(&'a mut self, _: &'a DnsName) -> Answer<'a, DnsName> {
        Box::pin(async { Ok(dns_name("test")) })
    }

    fn query<'a>(&'a mut self, owner: &'a DnsName, rtype: Rtype) -> Answer<'a, Vec<(u32, Data)>> {
        Box::pin(async move {
            self.send().await?;
            let found = {
                let world = self.world.lock().unwrap();
                let at = |rr: &&Rr| rr.owner == *owner && rr.data.rtype() == rtype;
                world.records.iter().filter(at).map(|rr| (30, rr.data.clone())).collect()
            };
            self.answer().await?;
            Ok(found)
        })
    }

    fn update<'a>(&'a mut self, update: &'a Update) -> Answer<'a, Outcome> {
        Box::pin(async {
            self.send().await?;
            let who = self.world.lock().unwrap().agents[&self.id].who.clone();
            let outcome = self.world.lock().unwrap().apply(&who, update);
            if chance(self.world.lock().unwrap().faults.lossy) {
                let (world, update) = (Arc::clone(&self.world), update.clone());
                tokio::spawn(async move {
                    sleep(Duration::from_millis(below(10_000))).await;
                    world.lock().unwrap().apply(&who, &update);
                });
            }
            self.answer().await?;
            Ok(outcome)
        })
    }
}

impl Agent {
    /// Another address, as HAProxy's registrar tells it.
    pub(super) fn moves(&mut self, addr: IpAddr) {
        self.who.addrs.push(addr);
        self.identity.send_modify(|identity| identity.addr = Some(addr));
    }

    pub(super) fn wants(&mut self, desired: Desired) {
        self.serving = desired == Desired::Serving;
        self.want.send_modify(|want| *want = Want { desired, epoch: want.epoch + 1 });
    }
}
