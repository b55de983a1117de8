//! One HAProxy, a few agents that plan as the real ones do, and all that can happen to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Without;
use crate::haproxy::{AdminState, Command, Server, ServerState};
use crate::plan::{Me, Memory, Step, View, plan};
use crate::register::Desired;

/// The one moment at which everything is read; what happened earlier is at zero.
const NOW: Duration = Duration::from_secs(1000);
const RECLAIM_AFTER: Duration = Duration::from_secs(30);

/// What a slot's address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shows {
    Template,
    Unspecified,
    Agent(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Admin {
    Ready,
    Drain,
    Maint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) shows: Shows,
    pub(super) admin: Admin,
    /// Has weight 0.
    pub(super) marked: bool,
    /// Found DOWN for RECLAIM_AFTER.
    pub(super) down: bool,
    pub(super) checked: bool,
    /// An operator took it out of rotation; nobody knows that but the properties.
    pub(super) operator: bool,
    /// Its live holder has had it in rotation for RECLAIM_AFTER; for the properties too.
    pub(super) settled: bool,
}

const UNTOUCHED: Slot = Slot {
    shows: Shows::Template,
    admin: Admin::Maint,
    marked: false,
    down: false,
    checked: false,
    operator: false,
    settled: false,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Write {
    Admin(Admin),
    Marked(bool),
    Addr(Shows),
}

/// What an agent remembers once its line of commands is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Note {
    Claimed(usize),
    Held(usize),
    Left(usize),
    Nothing,
}

/// Commands on their way, first the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Line {
    agent: usize,
    writes: Vec<(usize, Write)>,
    note: Note,
    begun: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Agent {
    pub(super) alive: bool,
    pub(super) wants: bool,
    memory: Memory,
    line: Option<Line>,
}

impl Agent {
    fn has_held(&self, s: usize) -> bool {
        self.memory.last_held().is_some_and(|held| *held == name(s))
    }
}

/// What differs from one exploration to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) slots: usize,
    pub(super) agents: usize,
    /// Addresses are applied after the reply, one after the other (since 3.0).
    pub(super) deferred: bool,
    /// The commands of two lines may interleave.
    pub(super) interleaved: bool,
    /// How much may go wrong.
    pub(super) faults: u8,
    /// Of what kinds.
    pub(super) kinds: &'static [Kind],
    pub(super) without: Option<Without>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Crash,
    Stop,
    Timeout,
    Restart,
    Operator,
    Tick,
}

pub(super) const EVERY_KIND: &[Kind] =
    &[Kind::Crash, Kind::Stop, Kind::Timeout, Kind::Restart, Kind::Operator, Kind::Tick];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The agent reads and plans, or its line goes on.
    Agent(usize),
    /// HAProxy applies the next address.
    Apply,
    /// SETTLING has passed for an agent.
    Settle(usize),
    /// A line that its agent has given up goes on.
    Stray(usize),
    Crash(usize),
    Start(usize),
    Stop(usize),
    Timeout(usize),
    Save,
    Restart(Restored),
    Maintain(usize),
    Weigh(usize),
    Return(usize),
    /// RECLAIM_AFTER passes.
    Tick,
    /// The same when there is nothing else to do.
    Rest,
}

impl Event {
    fn is_fault(self) -> bool {
        use Event::{Agent, Apply, Rest, Return, Settle, Start, Stray};
        !matches!(self, Agent(_) | Apply | Settle(_) | Stray(_) | Start(_) | Return(_) | Rest)
    }
}

/// What a restart brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restored {
    Nothing,
    /// A state file, for a template with a host name.
    Everything,
    /// A state file, for a template with a literal address.
    AllButAddresses,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) slots: Vec<Slot>,
    pub(super) agents: Vec<Agent>,
    queue: Vec<(usize, Shows)>,
    strays: Vec<Line>,
    saved: Option<Vec<Slot>>,
    pub(super) faults: u8,
}

/// Something that must never happen has happened.
pub(super) type Violation = &'static str;

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let agent = Agent { alive: true, wants: true, memory: Memory::default(), line: None };
        Self {
            slots: vec![UNTOUCHED; setup.slots],
            agents: vec![agent; setup.agents],
            queue: Vec::new(),
            strays: Vec::new(),
            saved: None,
            faults: setup.faults,
        }
    }

    /// All that happens if nothing goes wrong, but for [`Event::Rest`].
    pub(super) fn calm_events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (i, agent) in self.agents.iter().enumerate().filter(|(_, agent)| agent.alive) {
            events.push(Event::Agent(i));
            events.extend(self.waits_for_its_claim(agent).then_some(Event::Settle(i)));
        }
        events.extend((!self.queue.is_empty()).then_some(Event::Apply));
        events.extend((0..self.strays.len()).map(Event::Stray));
        events
    }

    fn waits_for_its_claim(&self, agent: &Agent) -> bool {
        let claim = agent.memory.claim_in_progress(NOW);
        let empty = |s: usize| !matches!(self.slots[s].shows, Shows::Agent(_));
        claim.is_some_and(|claim| (0..self.slots.len()).any(|s| name(s) == claim && empty(s)))
    }

    /// All that else can happen.
    pub(super) fn faults(&self, setup: &Setup) -> Vec<Event> {
        let mut events = Vec::new();
        let fault = |kind| self.faults > 0 && setup.kinds.contains(&kind);
        for (i, agent) in self.agents.iter().enumerate() {
            if !agent.alive {
                events.extend(setup.kinds.contains(&Kind::Crash).then_some(Event::Start(i)));
                continue;
            }
            events.extend(fault(Kind::Crash).then_some(Event::Crash(i)));
            events.extend((fault(Kind::Stop) && agent.wants).then_some(Event::Stop(i)));
            let waits = agent.line.is_some();
            events.extend((fault(Kind::Timeout) && waits).then_some(Event::Timeout(i)));
        }
        events.extend(fault(Kind::Tick).then_some(Event::Tick));
        if fault(Kind::Restart) {
            events.push(Event::Restart(Restored::Nothing));
            match self.saved {
                None => events.push(Event::Save),
                Some(_) => events.extend(
                    [Restored::Everything, Restored::AllButAddresses].map(Event::Restart),
                ),
            }
        }
        for (s, slot) in self.slots.iter().enumerate() {
            let held = slot.admin == Admin::Ready
                && matches!(slot.shows, Shows::Agent(i) if self.agents[i].has_held(s));
            if slot.operator {
                events.push(Event::Return(s));
            } else if fault(Kind::Operator) && held && !slot.marked {
                events.extend([Event::Maintain(s), Event::Weigh(s)]);
            }
        }
        events
    }

    pub(super) fn after(&self, event: Event, setup: &Setup) -> Result<Self, Violation> {
        let mut next = self.clone();
        next.happen(event, setup)?;
        Ok(next)
    }

    fn happen(&mut self, event: Event, setup: &Setup) -> Result<(), Violation> {
        self.faults -= u8::from(event.is_fault());
        match event {
            Event::Agent(i) if self.agents[i].line.is_none() => self.read(i, setup)?,
            Event::Agent(i) => {
                if let Some(mut line) = self.agents[i].line.take() {
                    if !self.go_on(&mut line, setup)? {
                        self.agents[i].line = Some(line);
                    } else {
                        self.note(i, line.note);
                    }
                }
            }
            Event::Apply => self.apply(),
            Event::Settle(i) => self.agents[i].memory.settle(),
            Event::Stray(k) => {
                // It is late as a whole: HAProxy does not rest in the middle of a line.
                let mut line = self.strays.remove(k);
                self.go_on(&mut line, &Setup { interleaved: false, ..*setup })?;
            }
            Event::Crash(i) => {
                self.give_up(i);
                self.agents[i].alive = false;
                self.agents[i].memory = Memory::default();
                // A new process cannot tell this from a claim of its own.
                let weighed = |slot: &&mut Slot| slot.shows == Shows::Agent(i) && slot.marked;
                self.slots.iter_mut().filter(weighed).for_each(|slot| slot.operator = false);
            }
            Event::Start(i) => {
                self.agents[i].alive = true;
                self.agents[i].wants = true;
                let mine = |slot: &&mut Slot| slot.shows == Shows::Agent(i);
                self.slots.iter_mut().filter(mine).for_each(|slot| slot.down = false);
            }
            Event::Stop(i) => self.agents[i].wants = false,
            Event::Timeout(i) => self.give_up(i),
            Event::Save => self.saved = Some(self.slots.clone()),
            Event::Restart(restored) => self.restart(restored),
            Event::Maintain(s) => {
                self.slots[s].admin = Admin::Maint;
                self.slots[s].operator = true;
                self.slots[s].settled = false;
            }
            Event::Weigh(s) => {
                self.slots[s].marked = true;
                self.slots[s].operator = true;
                self.slots[s].settled = false;
            }
            Event::Return(s) => {
                self.slots[s] =
                    Slot { admin: Admin::Ready, marked: false, operator: false, ..self.slots[s] };
            }
            Event::Tick | Event::Rest => self.tick(setup),
        }
        Ok(())
    }

    /// What has begun goes on without its agent; what has not is forgotten.
    fn give_up(&mut self, i: usize) {
        if let Some(line) = self.agents[i].line.take() {
            self.strays.push(line);
        }
    }

    fn restart(&mut self, restored: Restored) {
        let saved = self.saved.clone().unwrap_or_default();
        for (s, slot) in self.slots.iter_mut().enumerate() {
            *slot = match restored {
                Restored::Nothing => UNTOUCHED,
                Restored::Everything => saved[s],
                Restored::AllButAddresses => {
                    Slot { shows: Shows::Template, operator: false, settled: false, ..saved[s] }
                }
            };
        }
        self.queue.clear();
        self.strays.clear();
        for agent in &mut self.agents {
            agent.line.take_if(|line| line.begun);
        }
    }

    fn tick(&mut self, setup: &Setup) {
        for slot in &mut self.slots {
            let alive = matches!(slot.shows, Shows::Agent(i) if self.agents[i].alive);
            slot.down |= slot.admin != Admin::Maint && !alive;
            slot.settled |= slot.admin == Admin::Ready && !slot.marked && alive;
            slot.checked |= slot.admin != Admin::Maint;
        }
        for agent in &mut self.agents {
            agent.memory.grow_old();
            if setup.without != Some(Without::MaxAge) {
                agent.line.take_if(|line| !line.begun);
            }
        }
    }

    fn apply(&mut self) {
        let (s, shows) = self.queue.remove(0);
        let slot = &mut self.slots[s];
        slot.settled &= slot.shows == shows;
        slot.operator &= slot.shows == shows;
        slot.shows = shows;
    }

    /// Reads, plans, and keeps the commands for later, when all may have changed.
    fn read(&mut self, i: usize, setup: &Setup) -> Result<(), Violation> {
        let me = SocketAddr::from(([10, 0, 0, i as u8 + 1], 80));
        if setup.without == Some(Without::Verify) && self.agents[i].memory.last_held().is_some() {
            return Ok(());
        }
        let servers: Vec<_> = (0..self.slots.len()).map(|s| self.server(s, i, setup)).collect();
        let agent = &mut self.agents[i];
        agent.memory.observe(&servers, |_| true, me, NOW);
        let desired = if agent.wants { Desired::Serving } else { Desired::Absent };
        let planner = Me {
            endpoint: me,
            backend: "b",
            prefix: "node",
            limit: None,
            reclaim_after: RECLAIM_AFTER,
            memory: &agent.memory,
        };
        let step = plan(&planner, desired, &View { servers: &servers, read_at: NOW }, NOW);
        let step = super::spoil(setup.without, step, me);
        let at = |server: &Server| server.id as usize - 1;
        let note = match &step {
            Step::Claim { slot, .. } => Note::Claimed(at(slot)),
            Step::Hold { slot, .. } => Note::Held(at(slot)),
            Step::LeaveToOperator(slot) => Note::Left(at(slot)),
            _ => Note::Nothing,
        };
        let commands = super::spoil_commands(setup.without, &step);
        let writes: Vec<_> = commands.iter().map(write).collect();
        for (s, _) in &writes {
            self.may_write(i, *s)?;
        }
        if step == Step::Nothing && desired == Desired::Absent {
            self.agents[i].alive = false;
            self.agents[i].memory = Memory::default();
        } else if writes.is_empty() {
            self.note(i, note);
        } else {
            self.agents[i].line = Some(Line { agent: i, writes, note, begun: false });
        }
        Ok(())
    }

    /// Whether agent `i`, which sees this very state, may want to write to slot `s`.
    fn may_write(&self, i: usize, s: usize) -> Result<(), Violation> {
        let slot = &self.slots[s];
        let claim = slot.admin == Admin::Maint && slot.marked;
        match slot.shows {
            Shows::Agent(j) if j == i && self.agents[i].wants && slot.operator => {
                Err("the owner fights the operator")
            }
            Shows::Agent(j) if j != i && slot.operator => Err("an operator's slot is touched"),
            Shows::Agent(j) if j != i && !slot.down && !claim => {
                Err("a slot is taken from its holder")
            }
            _ => Ok(()),
        }
    }

    /// Executes the next command, or all; whether the line is done.
    fn go_on(&mut self, line: &mut Line, setup: &Setup) -> Result<bool, Violation> {
        line.begun = true;
        let calm = setup.without.is_some() || self.strays.is_empty();
        while !line.writes.is_empty() {
            let (s, write) = line.writes.remove(0);
            let slot = &mut self.slots[s];
            let theirs = slot.shows != Shows::Agent(line.agent);
            if slot.settled && theirs && setup.faults == 0 && calm {
                return Err("a settled slot is taken from its holder");
            }
            match write {
                Write::Admin(admin) => {
                    let leaves = admin != Admin::Maint || slot.admin != Admin::Maint;
                    slot.down &= !leaves;
                    slot.operator = false;
                    slot.checked |= admin == Admin::Ready;
                    slot.admin = admin;
                    let empty = !matches!(slot.shows, Shows::Agent(_));
                    if admin == Admin::Ready && empty && setup.faults == 0 {
                        return Err("an empty slot is made ready");
                    }
                }
                Write::Marked(marked) => slot.marked = marked,
                Write::Addr(shows) => {
                    self.queue.push((s, shows));
                    if !setup.deferred {
                        self.apply();
                    }
                }
            }
            if setup.interleaved {
                break;
            }
        }
        Ok(line.writes.is_empty())
    }

    fn note(&mut self, i: usize, note: Note) {
        let (Note::Claimed(s) | Note::Held(s) | Note::Left(s)) = note else { return };
        let slot = server(s, &self.slots[s]);
        let memory = &mut self.agents[i].memory;
        match note {
            Note::Claimed(_) => memory.claimed(&slot, NOW),
            Note::Held(_) => memory.held(&slot),
            _ => memory.left(&slot),
        }
    }

    /// Slot `s` as HAProxy lists it to agent `i`.
    fn server(&self, s: usize, i: usize, setup: &Setup) -> Server {
        let mut server = server(s, &self.slots[s]);
        super::spoil_view(setup.without, &mut server, i, &self.slots[s], &self.agents);
        server
    }
}

fn endpoint(shows: Shows) -> SocketAddr {
    match shows {
        Shows::Template => SocketAddr::from(([127, 0, 0, 1], 80)),
        Shows::Unspecified => SocketAddr::from(([0, 0, 0, 0], 80)),
        Shows::Agent(i) => SocketAddr::from(([10, 0, 0, i as u8 + 1], 80)),
    }
}

thread_local! {
    static BACKEND: Arc<str> = "b".into();
    static NAMES: Vec<Arc<str>> = (1..=9).map(|n| format!("node{n}").into()).collect();
}

fn name(s: usize) -> Arc<str> {
    NAMES.with(|names| Arc::clone(&names[s]))
}

fn server(s: usize, slot: &Slot) -> Server {
    let endpoint = endpoint(slot.shows);
    Server {
        backend: BACKEND.with(Arc::clone),
        id: s as u32 + 1,
        name: name(s),
        addr: Some(endpoint.ip()),
        port: Some(endpoint.port()),
        running: slot.admin != Admin::Maint && !slot.down,
        admin: AdminState(match slot.admin {
            Admin::Ready => AdminState::CONFIGURED_MAINT,
            Admin::Drain => AdminState::CONFIGURED_MAINT | AdminState::FORCED_DRAIN,
            Admin::Maint => AdminState::CONFIGURED_MAINT | AdminState::FORCED_MAINT,
        }),
        weight: u32::from(!slot.marked),
        unchanged: if slot.down { NOW } else { Duration::ZERO },
        unchecked: !slot.checked,
    }
}

fn write(command: &Command<'_>) -> (usize, Write) {
    let at = |name: &str| name.trim_start_matches("node").parse::<usize>().unwrap() - 1;
    match command {
        Command::SetState(_, name, state) => (
            at(name),
            Write::Admin(match state {
                ServerState::Ready => Admin::Ready,
                ServerState::Drain => Admin::Drain,
                ServerState::Maint => Admin::Maint,
            }),
        ),
        Command::SetWeight(_, name, percent) => (at(name), Write::Marked(*percent == 0)),
        Command::SetAddr(_, name, to) => (
            at(name),
            Write::Addr(match to.ip() {
                ip if ip.is_unspecified() => Shows::Unspecified,
                std::net::IpAddr::V4(v4) => Shows::Agent(v4.octets()[3] as usize - 1),
                ip => panic!("nobody has {ip}"),
            }),
        ),
        other => panic!("no agent writes {other}"),
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.shows, self.admin)?;
        let signs = [(self.marked, " 0%"), (self.down, " DOWN"), (self.operator, " operator")];
        signs.iter().filter(|(is, _)| *is).try_for_each(|(_, sign)| f.write_str(sign))
    }
}
