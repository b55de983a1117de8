//! One HAProxy, the agents at it, an operator's slots, and what happens to them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use berth::registers::haproxy::Server;

use crate::support::agent::{Agent, Running, signal};
use crate::support::control::is_ready;
use crate::support::haproxy::Haproxy;
use crate::support::{DEADLINE, Port, eventually};

/// Slots that agents may have, two of which an operator keeps for himself, and one more beyond.
const SLOTS: usize = 11;
const OPERATORS: [&str; 2] = ["node3", "node9"];
/// So many agents live at the most: as many as there are slots for them, so that those of the dead
/// must be taken over.
const AGENTS: usize = 9;
const RECLAIM_AFTER: Duration = Duration::from_secs(3);
/// How long HAProxy may take to find out that nobody answers, this machine being busy.
const CHECKS: Duration = Duration::from_secs(4);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// What an operator set on a slot: name, address and port, maintenance, weight.
type Kept = (String, Option<SocketAddr>, bool, u32);

pub(crate) struct World {
    haproxy: Haproxy,
    /// The ports that agents may have, one after the other.
    ports: Vec<Port>,
    agents: BTreeMap<u16, Running>,
    /// Addresses that nobody is behind, and since when.
    dead: HashMap<SocketAddr, Instant>,
    /// Since when HAProxy has been running undisturbed.
    steady: Instant,
    operators: Vec<Kept>,
    random: u64,
    began: Instant,
    events: String,
    counts: BTreeMap<&'static str, u32>,
}

impl World {
    pub(crate) fn new(binary: PathBuf, seed: u64) -> Self {
        // A state file brings the operator's slots back in every new HAProxy; it knows no others.
        let haproxy = Haproxy::with_global(
            binary,
            "server-state-file {dir}/state",
            &format!(
                "backend webapp\n  load-server-state-from-file global\n  \
                 server-template node 1-{} localhost:3128 check disabled inter 300ms fall 2\n",
                SLOTS + 1
            ),
        );
        let mut world = Self {
            haproxy,
            ports: (0..AGENTS * 2).map(|_| Port::free()).collect(),
            agents: BTreeMap::new(),
            dead: HashMap::new(),
            steady: Instant::now(),
            operators: Vec::new(),
            random: seed,
            began: Instant::now(),
            events: String::new(),
            counts: BTreeMap::new(),
        };
        for (index, name) in OPERATORS.into_iter().enumerate() {
            let slot = format!("webapp/{name}");
            let addr = format!("192.0.2.{}", index + 1);
            world.haproxy.command(&format!("set server {slot} addr {addr} port 80"));
        }
        // Since 3.0 an address is applied after the reply.
        let shown = |state: &str| state.contains("192.0.2.1 ") && state.contains("192.0.2.2 ");
        eventually("the operator's addresses show", || {
            shown(&world.haproxy.command("show servers state"))
        });
        let state = world.haproxy.command("show servers state");
        let operators = |line: &str| OPERATORS.iter().any(|n| line.contains(&format!(" {n} ")));
        let keep = |line: &&str| *line == "1" || line.starts_with('#') || operators(line);
        let kept: Vec<_> = state.lines().filter(keep).collect();
        let file = world.haproxy.dir().join("state");
        std::fs::write(file, kept.join("\n") + "\n").unwrap();
        world.operators = world.of_operator(&world.haproxy.servers());
        assert_eq!(world.operators.len(), OPERATORS.len() + 1);
        world
    }

    /// One random fault, and a while of looking.
    pub(crate) fn fault(&mut self) {
        match self.below(12) {
            0..=4 => self.start(),
            5 | 6 => self.end("stop", |agent| agent.signal("TERM")),
            7 | 8 => self.end("kill", Running::crash),
            9 => {
                let restart = self.below(2) == 0;
                self.note(if restart { "HAProxy restarts" } else { "HAProxy is killed" });
                self.haproxy.kill();
                if !restart {
                    std::thread::sleep(self.up_to(1500));
                }
                self.haproxy.restart();
            }
            10 => {
                self.note("HAProxy is reloaded");
                self.haproxy.reload();
            }
            _ => {
                self.note("HAProxy hangs");
                let pid = self.haproxy.pid() as i32;
                signal(pid, "STOP");
                std::thread::sleep(self.up_to(4000));
                signal(pid, "CONT");
                self.note("HAProxy goes on");
            }
        }
        let until = Instant::now() + self.up_to(700);
        self.reap();
        while Instant::now() < until {
            self.look();
            std::thread::sleep(LOOK);
        }
    }

    /// No faults, and as many agents as there may be, until every one has exactly one slot, and for
    /// a while after.
    pub(crate) fn quiet(&mut self) {
        self.note("quiet");
        let asked = Instant::now();
        loop {
            self.reap();
            self.start();
            let Some(problem) = self.disorder() else { break };
            if asked.elapsed() > DEADLINE {
                self.fail(&format!("{DEADLINE:?} after quiet: {problem}"));
            }
            self.look();
            std::thread::sleep(LOOK);
        }
        let settled = Instant::now();
        while settled.elapsed() < Duration::from_secs(2) {
            self.look();
            if let Some(problem) = self.disorder() {
                self.fail(&format!("disorder in quiet: {problem}"));
            }
            std::thread::sleep(LOOK);
        }
    }

    pub(crate) fn summary(&self) -> String {
        format!("{}: {:?}\n", self.haproxy.binary().display(), self.counts)
    }

    fn start(&mut self) {
        let free: Vec<_> =
            self.ports.iter().filter(|port| !self.agents.contains_key(&port.0)).copied().collect();
        if self.agents.len() == AGENTS || free.is_empty() {
            return;
        }
        let port = free[self.below(free.len() as u64) as usize];
        self.note(&format!("start {port}"));
        let agent = Agent::hello(&self.haproxy, &port.to_string(), port)
            .env("NODE_COUNT", SLOTS)
            .env("RECLAIM_AFTER", format!("{}s", RECLAIM_AFTER.as_secs()))
            .env("DRAIN_TIMEOUT", "1s")
            .start();
        self.dead.remove(&at(port.0));
        self.agents.insert(port.0, agent);
    }

    /// Ends a random agent; one that takes its time is reaped later.
    fn end(&mut self, how: &'static str, end: impl Fn(&mut Running)) {
        let running: Vec<_> = self.agents.keys().copied().collect();
        if running.is_empty() {
            return;
        }
        let port = running[self.below(running.len() as u64) as usize];
        self.note(&format!("{how} {port}"));
        end(self.agents.get_mut(&port).unwrap());
    }

    fn reap(&mut self) {
        let ended: Vec<_> = self
            .agents
            .iter_mut()
            .filter_map(|(port, agent)| (!agent.is_running()).then_some(*port))
            .collect();
        for port in ended {
            let agent = self.agents.remove(&port).unwrap();
            let log = agent.log();
            if log.contains("panic") || log.contains("a bug in berth") {
                self.fail(&log);
            }
            self.note(&format!("ended {port}"));
            self.dead.insert(at(port), Instant::now());
        }
    }

    /// What must hold at any time.
    fn look(&mut self) {
        let Ok(servers) = self.haproxy.try_servers() else { return };
        let now_of_operator = self.of_operator(&servers);
        if now_of_operator != self.operators {
            self.fail(&format!("an operator's slot was touched: {now_of_operator:#?}"));
        }
        let mut served = HashMap::new();
        for slot in servers.iter().filter(|slot| is_ready(slot) && slot.running) {
            let Some(endpoint) = slot.endpoint() else { continue };
            if endpoint.ip().is_unspecified() || endpoint.port() == 3128 {
                continue;
            }
            if let Some(other) = served.insert(endpoint, &slot.name) {
                self.fail(&format!("{other} and {} both serve {endpoint}", slot.name));
            }
            let longest = RECLAIM_AFTER + CHECKS;
            if let Some(died) = self.dead.get(&endpoint)
                && self.steady.elapsed() > longest
                && died.elapsed() > longest
            {
                self.fail(&format!("{} serves {endpoint}, dead for {longest:?}", slot.name));
            }
        }
    }

    /// Why not every live agent holds exactly one slot, or anybody else does.
    fn disorder(&self) -> Option<String> {
        let Ok(servers) = self.haproxy.try_servers() else {
            return Some("HAProxy does not answer".to_owned());
        };
        if self.agents.len() < AGENTS {
            return Some("somebody has just ended".to_owned());
        }
        for port in self.agents.keys() {
            let held = servers.iter().filter(|slot| slot.endpoint() == Some(at(*port)));
            let held: Vec<_> = held.collect();
            match held.as_slice() {
                [slot] if is_ready(slot) && slot.running && slot.weight > 0 => {}
                held => return Some(format!("{port} holds {held:#?}")),
            }
        }
        None
    }

    /// An operator's slots and the one beyond NODE_COUNT.
    fn of_operator(&self, servers: &[Server]) -> Vec<Kept> {
        let beyond = format!("node{}", SLOTS + 1);
        let his = |slot: &&Server| OPERATORS.contains(&&*slot.name) || *slot.name == *beyond;
        let kept = |slot: &Server| {
            (slot.name.to_string(), slot.endpoint(), slot.admin.in_maint(), slot.weight)
        };
        servers.iter().filter(his).map(kept).collect()
    }

    /// Keeps an event; those that disturb HAProxy give it time to find out about the dead anew.
    fn note(&mut self, event: &str) {
        let _ = writeln!(self.events, "{:7.2} {event}", self.began.elapsed().as_secs_f64());
        if event.starts_with("HAProxy") {
            self.steady = Instant::now();
        }
        let kinds = ["start", "stop", "kill", "restarts", "killed", "reloaded", "hangs", "quiet"];
        if let Some(kind) = kinds.into_iter().find(|kind| event.split(' ').any(|w| w == *kind)) {
            *self.counts.entry(kind).or_default() += 1;
        }
    }

    fn fail(&self, why: &str) -> ! {
        let state = self.haproxy.try_command("show servers state").unwrap_or_default();
        panic!("{why}\n--- events\n{}--- HAProxy\n{state}", self.events);
    }

    fn up_to(&mut self, ms: u64) -> Duration {
        Duration::from_millis(self.below(ms))
    }

    /// A number below `limit`, by the seed (SplitMix64, Steele et al. 2014).
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
