//! The registrar as it is, many of them, on a DNS server that exists only here and in virtual time:
//! requests and answers get lost, come late and come twice, containers die without a word, share
//! addresses and inherit them, the server is away or comes back with an older zone.
//!
//! What must never happen is checked at every change, and in the end all must be in order.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::*;
use crate::registers::Identity;
use crate::registers::dns::lease::{self, Lease};
use crate::registers::dns::wire::update::{Data, Rr};
use world::*;

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
            unreachable: 0,
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
        if world.is_taken(addr, mark) {
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
        let wire = Wire { world: Arc::clone(&self.world), id };
        let registrar = Registrar::new(Arc::clone(&self.config), channels, wire, bits);
        let task = tokio::spawn(registrar.run());
        let who = Who { addrs: vec![addr], mark };
        let agent = Agent { who, serving: false, cut: false, want, identity, task, reports: inbox };
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
            (80..84, Some(agent)) => {
                let (addr, mark) = (IpAddr::from([10, 0, 0, below(5) as u8]), agent.who.mark);
                if !world.is_taken(addr, mark) {
                    world.agents.get_mut(&id.unwrap()).unwrap().moves(addr);
                }
            }
            (84..88, Some(agent)) if world.faults.partitions => agent.cut = !agent.cut,
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
        let mut addrs: BTreeSet<_> = serving.iter().map(|agent| agent.who.addr()).collect();
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
            serving.iter().map(|agent| (agent.who.addr(), agent.who.mark.to_string())).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "one lease for each container that serves");
        for node in ["a", "b"] {
            let wanting = serving
                .iter()
                .filter(|agent| agent.identity.borrow().slot.as_deref() == Some(node));
            let holders = world.texts(&dns_name(&format!("{node}.test")));
            let texts: Vec<_> =
                wanting.map(|agent| lease::holder_text(agent.who.addr(), agent.who.mark)).collect();
            assert_eq!(holders.is_empty(), texts.is_empty(), "{node} is free while wanted");
            assert!(holders.iter().all(|text| texts.contains(text)), "a dead one holds {node}");
        }
    }
}

/// Plays one seed through; returns how many leases were swept, so that a run that tests nothing
/// shows.
async fn play(seed: u64, faults: Faults) -> u32 {
    start_over(seed);
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

/// What the app's stop is told first when so many requests find no way to the server, and after how
/// long.
async fn stop_with_unreachable(requests: u32, known: bool) -> (Option<Standing>, Duration) {
    start_over(1);
    let faults = Faults { lossy: 0, partitions: false, no_leases: false };
    let mut simulation = Simulation::new(faults);
    simulation.start();
    let world = Arc::clone(&simulation.world);
    let mut reports = {
        let mut world = world.lock().unwrap();
        let agent = world.agents.values_mut().next().unwrap();
        agent.wants(Desired::Serving);
        std::mem::replace(&mut agent.reports, mpsc::unbounded_channel().1)
    };
    let mut told = async |wanted: Option<Standing>, epoch: u64| loop {
        let report = reports.recv().await.unwrap();
        let standing = report.standing.filter(|_| report.epoch == epoch);
        if standing.is_some() && (wanted.is_none() || standing == wanted) {
            return standing;
        }
    };
    told(Some(Standing::Serving), 1).await;
    if known {
        world.lock().unwrap().unreachable = u32::MAX;
        told(Some(Standing::Unreachable), 1).await;
    }
    {
        let mut world = world.lock().unwrap();
        world.unreachable = requests;
        world.agents.values_mut().next().unwrap().wants(Desired::Draining);
    }
    let since = Instant::now();
    (told(None, 2).await, since.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_away_for_a_moment_at_the_stop_is_asked_again() {
    for requests in [0, 1, 2] {
        let (standing, after) = stop_with_unreachable(requests, false).await;
        assert_eq!(standing, Some(Standing::Idle), "{requests} after {after:?}");
    }
    let (standing, after) = stop_with_unreachable(u32::MAX, false).await;
    assert_eq!(standing, Some(Standing::Unreachable));
    assert!((LEAVE_PATIENCE..LEAVE_PATIENCE * 11 / 10).contains(&after), "{after:?}");
    // One that did not answer before is not waited for at all.
    let (standing, after) = stop_with_unreachable(u32::MAX, true).await;
    assert_eq!((standing, after.as_millis()), (Some(Standing::Unreachable), 0));
}
