//! The registrar as it is, many of them, on a DNS server that exists only here and in virtual time:
//! requests and answers get lost, come late and come twice, containers die without a word, share
//! addresses and inherit them, the server is away or comes back with an older zone.
//!
//! What must never happen is checked at every change, and in the end all must be in order.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::registers::dns::client::Answer;
use crate::registers::dns::lease::Lease;
use crate::registers::dns::wire::update::Prerequisite;
use crate::registers::{Identity, Report};

const LEASE: Duration = Duration::from_secs(120);
const FOREIGN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// SplitMix64, so that a seed tells a story again.
fn bits() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn below(limit: u64) -> u64 {
    bits() % limit
}

fn chance(percent: u64) -> bool {
    below(100) < percent
}

fn dns_name(text: &str) -> DnsName {
    DnsName::vec_from_str(text).unwrap()
}

/// Faults that a run has.
#[derive(Clone, Copy, Debug)]
struct Faults {
    /// Requests or answers lost, and requests that arrive a second time, in percent.
    lossy: u64,
    /// Single containers are cut off from the server.
    partitions: bool,
    /// No leases are kept, so what is dead stays.
    no_leases: bool,
}

struct World {
    faults: Faults,
    up: bool,
    records: BTreeSet<Rr>,
    /// When each lease's text was last put in.
    leased_at: BTreeMap<Rr, Instant>,
    agents: BTreeMap<usize, Agent>,
    snapshot: BTreeSet<Rr>,
    swept: u32,
}

struct Agent {
    addr: IpAddr,
    mark: Mark,
    serving: bool,
    cut: bool,
    want: watch::Sender<Want>,
    identity: watch::Sender<Identity>,
    task: JoinHandle<()>,
    _reports: mpsc::UnboundedReceiver<Report>,
}

impl World {
    fn texts(&self, owner: &DnsName) -> Vec<Vec<u8>> {
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

    fn apply(&mut self, who: (IpAddr, Mark), update: &Update) -> Outcome {
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
    fn judge(&mut self, who: (IpAddr, Mark), rr: &Rr) {
        if let Data::Txt(text) = &rr.data
            && let Some(lease) = Lease::parse(text)
        {
            let addr = addr_of(&rr.owner);
            if (addr, lease.mark) != who {
                let age = self.leased_at[rr].elapsed();
                assert!(age >= lease.holds, "{who:?} swept {rr} after {age:?}");
                self.swept += 1;
            }
        }
        if let Data::Addr(addr) = rr.data
            && rr.owner == shared()
            && addr != who.0
            && !self.faults.partitions
        {
            let alive = self.agents.values().find(|agent| agent.addr == addr && agent.serving);
            // One that has just begun to serve at a dead one's address is not in DNS yet.
            let in_dns = alive.filter(|agent| {
                let texts = self.texts(&lease_name(addr)).into_iter();
                texts.filter_map(|text| Lease::parse(&text)).any(|lease| lease.mark == agent.mark)
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

fn shared() -> DnsName {
    dns_name("webapp.test")
}

fn lease_name(addr: IpAddr) -> DnsName {
    name::of_leases(addr, &shared()).unwrap()
}

fn addr_of(lease_name: &DnsName) -> IpAddr {
    lease_name.first().to_string().replace('-', ".").parse().unwrap()
}

/// One container's way to the server.
struct Wire {
    world: Arc<Mutex<World>>,
    id: usize,
    who: (IpAddr, Mark),
}

impl Wire {
    /// The request's way there; it may not arrive.
    async fn send(&self) -> Result<(), Fault> {
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
    fn server(&mut self) -> Answer<'_, std::net::SocketAddr> {
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
            let outcome = self.world.lock().unwrap().apply(self.who, update);
            if chance(self.world.lock().unwrap().faults.lossy) {
                let (world, who, update) = (Arc::clone(&self.world), self.who, update.clone());
                tokio::spawn(async move {
                    sleep(Duration::from_millis(below(10_000))).await;
                    world.lock().unwrap().apply(who, &update);
                });
            }
            self.answer().await?;
            Ok(outcome)
        })
    }
}

fn configuration(lease: &str) -> DnsConfig {
    let vars = [
        ("DNS_SERVER", "127.0.0.1"),
        ("DNS_ZONE", "test"),
        ("DNS_NAME", "webapp"),
        ("DNS_NODE_NAME", "{slot}"),
        ("HAPROXY_SERVER", "lb"),
        ("DNS_LEASE", lease),
    ];
    let vars = vars.map(|(name, value)| (name.into(), value.into()));
    crate::config::Config::from_vars(vars).unwrap().container.dns.unwrap()
}

struct Simulation {
    world: Arc<Mutex<World>>,
    config: Arc<DnsConfig>,
    started: usize,
}

impl Simulation {
    fn new(faults: Faults) -> Self {
        let foreign = Rr::new(&shared(), Data::Addr(FOREIGN));
        let world = World {
            faults,
            up: true,
            records: BTreeSet::from([foreign.clone()]),
            leased_at: BTreeMap::new(),
            agents: BTreeMap::new(),
            snapshot: BTreeSet::from([foreign]),
            swept: 0,
        };
        let config = Arc::new(configuration(if faults.no_leases { "0" } else { "120" }));
        Self { world: Arc::new(Mutex::new(world)), config, started: 0 }
    }

    /// Starts a container at an address and port that no live one has.
    fn start(&mut self) {
        let addr = IpAddr::from([10, 0, 0, below(5) as u8]);
        let mark = Mark::Port(80 + below(2) as u16);
        let Mark::Port(port) = mark else { return };
        let mut world = self.world.lock().unwrap();
        if world.agents.values().any(|agent| (agent.addr, agent.mark) == (addr, mark)) {
            return;
        }
        self.started += 1;
        let id = self.started;
        let slot = Some(["a", "b"][below(2) as usize].into());
        let (identity, _) = watch::channel(Identity { addr: Some(addr), port: Some(port), slot });
        let (want, wants) = watch::channel(Want { desired: Desired::Absent, epoch: 0 });
        let (reports, inbox) = mpsc::unbounded_channel();
        let channels =
            Channels { register: "dns".into(), want: wants, identity: identity.clone(), reports };
        let wire = Wire { world: Arc::clone(&self.world), id, who: (addr, mark) };
        let registrar = Registrar::new(Arc::clone(&self.config), channels, wire, bits);
        let task = tokio::spawn(registrar.run());
        let agent =
            Agent { addr, mark, serving: false, cut: false, want, identity, task, _reports: inbox };
        world.agents.insert(id, agent);
    }

    fn happen(&mut self) {
        let event = below(100);
        if event < 25 {
            return self.start();
        }
        let mut world = self.world.lock().unwrap();
        let world = &mut *world;
        let nth = below(world.agents.len().max(1) as u64) as usize;
        let id = world.agents.keys().nth(nth).copied();
        let agent = id.and_then(|id| world.agents.get_mut(&id));
        match (event, agent) {
            (25..60, Some(agent)) => {
                let desired =
                    [Desired::Serving, Desired::Serving, Desired::Draining][below(3) as usize];
                agent.wants(desired);
            }
            (60..75, Some(agent)) => {
                agent.task.abort();
                let id = id.unwrap();
                // The world still asks whether its datagrams in flight get lost.
                world.agents.remove(&id);
            }
            (75..80, Some(agent)) => {
                let slot = Some(["a", "b"][below(2) as usize].into());
                agent.identity.send_modify(|identity| identity.slot = slot);
            }
            (80..88, Some(agent)) if world.faults.partitions => agent.cut = !agent.cut,
            (88..94, _) => world.up = !world.up,
            (94..97, _) => world.snapshot = world.records.clone(),
            (97..100, _) => world.records = world.snapshot.clone(),
            _ => {}
        }
    }

    /// Heals everything, leaves at least one container, and looks whether all is in order a few
    /// leases later.
    async fn settle(&mut self) {
        while self.world.lock().unwrap().agents.len() < 2 {
            self.start();
        }
        {
            let mut world = self.world.lock().unwrap();
            world.up = true;
            world.faults.lossy = 0;
            for (index, agent) in world.agents.values_mut().enumerate() {
                agent.cut = false;
                if index < 2 {
                    agent.wants(Desired::Serving);
                }
            }
        }
        sleep(LEASE * 4).await;
        let world = self.world.lock().unwrap();
        let serving: Vec<_> = world.agents.values().filter(|agent| agent.serving).collect();
        let mut addrs: BTreeSet<_> = serving.iter().map(|agent| agent.addr).collect();
        addrs.insert(FOREIGN);
        let at_shared = world.records.iter().filter(|rr| rr.owner == shared());
        let found: BTreeSet<_> = at_shared.filter_map(|rr| rr.data.addr()).collect();
        if world.faults.no_leases {
            assert!(found.is_superset(&addrs), "{found:?} without all of {addrs:?}");
            return;
        }
        assert_eq!(found, addrs, "the shared name");
        let leases = world.records.iter().filter_map(|rr| match &rr.data {
            Data::Txt(text) => Lease::parse(text).map(|lease| (addr_of(&rr.owner), lease.mark)),
            _ => None,
        });
        let mut found: Vec<_> = leases.map(|(addr, mark)| (addr, mark.to_string())).collect();
        let mut wanted: Vec<_> =
            serving.iter().map(|agent| (agent.addr, agent.mark.to_string())).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "one lease for each container that serves");
        for node in ["a", "b"] {
            let wanting = serving
                .iter()
                .filter(|agent| agent.identity.borrow().slot.as_deref() == Some(node));
            let holders = world.texts(&dns_name(&format!("{node}.test")));
            let texts: Vec<_> =
                wanting.map(|agent| lease::holder_text(agent.addr, agent.mark)).collect();
            assert_eq!(holders.is_empty(), texts.is_empty(), "{node} is free while wanted");
            assert!(holders.iter().all(|text| texts.contains(text)), "a dead one holds {node}");
        }
    }
}

impl Agent {
    fn wants(&mut self, desired: Desired) {
        self.serving = desired == Desired::Serving;
        self.want.send_modify(|want| *want = Want { desired, epoch: want.epoch + 1 });
    }
}

/// Plays one seed through; returns how many leases were swept, so that a run that tests nothing
/// shows.
async fn play(seed: u64, faults: Faults) -> u32 {
    STATE.set(seed);
    let mut simulation = Simulation::new(faults);
    for _ in 0..80 {
        simulation.happen();
        sleep(Duration::from_millis(below(60_000))).await;
    }
    simulation.settle().await;
    let world = simulation.world.lock().unwrap();
    for agent in world.agents.values() {
        agent.task.abort();
    }
    world.swept
}

async fn play_many(name: &str, faults: Faults) {
    let seeds = std::env::var("BERTH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let mut swept = u32::from(faults.no_leases);
    for seed in 0..seeds {
        eprintln!("{name}: seed {seed}");
        swept += play(seed, faults).await;
    }
    assert!(swept > 0, "nothing was ever swept");
}

const CALM: Faults = Faults { lossy: 0, partitions: false, no_leases: false };

#[tokio::test(start_paused = true)]
async fn nothing_live_is_swept_and_nothing_dead_stays() {
    play_many("calm", CALM).await;
}

#[tokio::test(start_paused = true)]
async fn packets_lost_late_and_double_do_no_harm() {
    play_many("lossy", Faults { lossy: 5, ..CALM }).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_cut_off_is_swept_and_comes_back() {
    play_many("partitions", Faults { lossy: 5, partitions: true, ..CALM }).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_is_exclusive_without_leases_too() {
    play_many("no leases", Faults { lossy: 5, partitions: true, no_leases: true }).await;
}
