//! One HAProxy, a few agents that plan as the real ones do, and all that can happen to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Without;
use crate::registers::Desired;
use crate::registers::haproxy::slot::{Me, Memory, Step, Template, View, plan};
use crate::registers::haproxy::{AdminState, Checks, Command, Process, Server, ServerState};

/// The one moment at which everything is read; what happened earlier is at zero.
const NOW: Duration = Duration::from_secs(1000);
const RECLAIM_AFTER: Duration = Duration::from_secs(30);
/// Where the agents' apps listen; the template has port 80.
const PORT: u16 = 8080;

/// What a slot's address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shows {
    /// What the template gives.
    Template,
    /// The template's address and the agents' port, after a state file.
    Stale,
    /// None, since the template's name does not resolve.
    Unresolved,
    /// What an operator has prepared.
    Prepared,
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
    /// It left maintenance as DOWN, and no check has passed.
    rising: bool,
    /// Its first check has failed.
    slow: bool,
    /// Its state has changed since HAProxy started, as HAProxy counts.
    pub(super) changed: bool,
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
    rising: false,
    slow: false,
    changed: false,
    operator: false,
    settled: false,
};

impl Slot {
    /// Whether nobody has touched it since HAProxy started.
    pub(super) fn is_untouched(&self) -> bool {
        self.admin == Admin::Maint && !(self.marked || self.checked || self.changed)
    }
}

/// How the slots are in the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// As the template made them.
    Untouched,
    /// The template's name does not resolve yet.
    Unresolved,
    /// In rotation with the template's address, as a state file has brought them back: half of them
    /// with the template's port, the others with another.
    Ghosts,
    /// An operator has prepared the last one.
    Prepared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Write {
    Admin(Admin),
    Marked(bool),
    Addr(Shows),
}

/// Commands on their way, first the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Line {
    agent: usize,
    writes: Vec<(usize, Write)>,
    /// The slot that it puts into rotation.
    readies: Option<usize>,
    begun: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Agent {
    pub(super) alive: bool,
    pub(super) wants: bool,
    memory: Memory,
    line: Option<Line>,
    /// The slot whose line into rotation was the last and was answered.
    answered: Option<usize>,
}

impl Agent {
    pub(super) fn knows(&self, template: Shows) -> bool {
        endpoint(template).is_some_and(|endpoint| self.memory.is_nobodys(endpoint))
    }

    fn has_held(&self, s: usize) -> bool {
        self.answered == Some(s) || self.memory.held().is_some_and(|held| *held == name(s))
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
    /// Slots leave maintenance as DOWN, and HAProxy does not count that as a change (`init-state`).
    pub(super) init_state: bool,
    pub(super) begin: Begin,
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
    /// HAProxy applies an address later than an agent waits for that, or than RECLAIM_AFTER.
    Late,
    /// An app takes longer than HAProxy's first check.
    Slow,
}

pub(super) const EVERY_KIND: &[Kind] = &[
    Kind::Crash,
    Kind::Stop,
    Kind::Timeout,
    Kind::Restart,
    Kind::Operator,
    Kind::Tick,
    Kind::Late,
];
/// The same of a HAProxy that applies an address within [`SETTLING`](super::super::SETTLING).
pub(super) const IN_TIME: &[Kind] = EVERY_KIND.split_at(6).0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The agent reads and plans, or its line goes on.
    Agent(usize),
    /// HAProxy applies the next address.
    Apply,
    /// The template's name resolves.
    Resolve,
    /// SETTLING has passed for an agent.
    Settle(usize),
    /// The same, although HAProxy has not applied an address in that time.
    Hasten(usize),
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
    /// The first check of a slot fails, though its agent is there.
    Slow(usize),
    /// RECLAIM_AFTER passes.
    Tick,
    /// The same when there is nothing else to do.
    Rest,
}

impl Event {
    fn is_fault(self) -> bool {
        use Event::{Agent, Apply, Resolve, Rest, Return, Settle, Start, Stray};
        let calm = matches!(self, Agent(_) | Apply | Resolve | Settle(_) | Stray(_) | Rest);
        !calm && !matches!(self, Start(_) | Return(_))
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
    queue: Vec<(usize, Shows, usize)>,
    strays: Vec<Line>,
    saved: Option<Vec<Slot>>,
    /// HAProxy's process.
    pid: u32,
    pub(super) faults: u8,
}

/// Something that must never happen has happened.
pub(super) type Violation = &'static str;

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let agent = Agent {
            alive: true,
            wants: true,
            memory: Memory::default(),
            line: None,
            answered: None,
        };
        let slot = |s: usize| match setup.begin {
            Begin::Untouched => UNTOUCHED,
            Begin::Unresolved => Slot { shows: Shows::Unresolved, ..UNTOUCHED },
            Begin::Ghosts => Slot {
                shows: if s < setup.slots / 2 { Shows::Template } else { Shows::Stale },
                admin: Admin::Ready,
                checked: true,
                ..UNTOUCHED
            },
            Begin::Prepared if s + 1 == setup.slots => {
                Slot { shows: Shows::Prepared, operator: true, ..UNTOUCHED }
            }
            Begin::Prepared => UNTOUCHED,
        };
        Self {
            slots: (0..setup.slots).map(slot).collect(),
            agents: vec![agent; setup.agents],
            queue: Vec::new(),
            strays: Vec::new(),
            saved: None,
            pid: 1,
            faults: setup.faults,
        }
    }

    /// All that happens if nothing goes wrong, but for [`Event::Rest`].
    pub(super) fn calm_events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (i, agent) in self.agents.iter().enumerate().filter(|(_, agent)| agent.alive) {
            // Nobody reads so soon after a release that it does not show.
            let releasing = agent.line.is_none()
                && self.queue.iter().any(|(_, shows, by)| (*shows, *by) == (Shows::Unspecified, i));
            events.extend((!releasing).then_some(Event::Agent(i)));
            // SETTLING is longer than an address takes to be applied, and a line to be executed.
            let begun = |agent: &Agent| agent.line.as_ref().is_some_and(|line| line.begun);
            let rests = self.queue.is_empty() && !self.agents.iter().any(begun);
            let settles = rests && self.waits(agent);
            events.extend(settles.then_some(Event::Settle(i)));
        }
        events.extend((!self.queue.is_empty()).then_some(Event::Apply));
        let unresolved = self.slots.iter().any(|slot| slot.shows == Shows::Unresolved);
        events.extend(unresolved.then_some(Event::Resolve));
        events.extend((0..self.strays.len()).map(Event::Stray));
        events
    }

    /// Whether a line of this agent is on its way; it would race with an operator.
    fn is_writing(&self, i: usize) -> bool {
        self.agents[i].line.is_some() || self.strays.iter().any(|line| line.agent == i)
    }

    /// Whether an agent waits for its claim to show, or for what it is unsure of.
    fn waits(&self, agent: &Agent) -> bool {
        let awaits = |(s, slot)| agent.memory.awaits(&server(s, slot), NOW);
        let waits = agent.memory.is_in_doubt(NOW) || self.slots.iter().enumerate().any(awaits);
        agent.line.is_none() && waits
    }

    /// Whether no line is half done; one that gives a slot back is not before its address shows.
    fn is_between_lines(&self) -> bool {
        let begun = |agent: &Agent| agent.line.as_ref().is_some_and(|line| line.begun);
        let back = |(_, shows, _): &(usize, Shows, usize)| *shows == Shows::Unspecified;
        !self.agents.iter().any(begun) && !self.queue.iter().any(back)
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
            let hasty = fault(Kind::Late) && self.waits(agent);
            events.extend(hasty.then_some(Event::Hasten(i)));
            events.extend(fault(Kind::Crash).then_some(Event::Crash(i)));
            events.extend((fault(Kind::Stop) && agent.wants).then_some(Event::Stop(i)));
            let waits = agent.line.is_some();
            events.extend((fault(Kind::Timeout) && waits).then_some(Event::Timeout(i)));
        }
        let rests = self.queue.is_empty() || setup.kinds.contains(&Kind::Late);
        events.extend((fault(Kind::Tick) && rests).then_some(Event::Tick));
        if fault(Kind::Restart) {
            events.push(Event::Restart(Restored::Nothing));
            match self.saved {
                // Whoever saves the state in the middle of a line has bad luck.
                None if self.is_between_lines() => events.push(Event::Save),
                None => {}
                Some(_) => events
                    .extend([Restored::Everything, Restored::AllButAddresses].map(Event::Restart)),
            }
        }
        for (s, slot) in self.slots.iter().enumerate() {
            let slow = fault(Kind::Slow) && slot.rising && !slot.slow;
            events.extend(slow.then_some(Event::Slow(s)));
            let held = slot.admin == Admin::Ready
                && matches!(slot.shows, Shows::Agent(i) if self.agents[i].has_held(s) && !self.is_writing(i));
            if slot.operator && slot.shows != Shows::Prepared {
                events.push(Event::Return(s));
            } else if fault(Kind::Operator)
                && held
                && !slot.marked
                && self.queue.iter().all(|(at, ..)| *at != s)
            {
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
                    match self.go_on(&mut line, setup)? {
                        true => self.answer(i, line.readies, setup),
                        false => self.agents[i].line = Some(line),
                    }
                }
            }
            Event::Apply => self.apply(),
            Event::Resolve => self.slots.iter_mut().for_each(|slot| {
                if slot.shows == Shows::Unresolved {
                    slot.shows = Shows::Template;
                }
            }),
            Event::Settle(i) | Event::Hasten(i) => self.agents[i].memory.settle(),
            Event::Stray(k) => {
                let mut line = self.strays.remove(k);
                self.finish(&mut line, setup)?;
            }
            Event::Crash(i) => {
                self.give_up(i, setup)?;
                self.agents[i].alive = false;
                self.agents[i].memory = Memory::default();
                self.agents[i].answered = None;
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
            Event::Timeout(i) => self.give_up(i, setup)?,
            Event::Save => self.saved = Some(self.slots.clone()),
            Event::Restart(restored) => self.restart(restored),
            Event::Maintain(s) => {
                self.slots[s].admin = Admin::Maint;
                self.slots[s].rising = false;
                self.slots[s].slow = false;
                self.slots[s].changed |= !setup.init_state;
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
            Event::Slow(s) => self.slots[s].slow = true,
            Event::Tick | Event::Rest => self.tick(setup),
        }
        Ok(())
    }

    /// An agent hears that its line was carried out.
    fn answer(&mut self, i: usize, readies: Option<usize>, setup: &Setup) {
        if let Some(s) = readies {
            let agent = &mut self.agents[i];
            agent.answered = readies;
            if setup.without != Some(Without::Answer) {
                agent.memory.did(&Step::MakeReady(server(s, &self.slots[s])));
            }
        }
    }

    /// A line goes on without its agent: at once as far as it has begun, for HAProxy does not rest in
    /// the middle of a line, else as a whole and at any time.
    fn give_up(&mut self, i: usize, setup: &Setup) -> Result<(), Violation> {
        match self.agents[i].line.take() {
            Some(mut line) if line.begun => self.finish(&mut line, setup),
            // Late lines that interleave with others are more bad luck than there is in the world.
            line => {
                self.strays.extend(line.filter(|_| !setup.interleaved));
                Ok(())
            }
        }
    }

    fn finish(&mut self, line: &mut Line, setup: &Setup) -> Result<(), Violation> {
        self.go_on(line, &Setup { interleaved: false, ..*setup }).map(|_| ())
    }

    fn restart(&mut self, restored: Restored) {
        let saved = self.saved.clone().unwrap_or_default();
        self.pid += 1;
        for (s, slot) in self.slots.iter_mut().enumerate() {
            *slot = match restored {
                Restored::Nothing => UNTOUCHED,
                Restored::Everything => {
                    Slot { changed: false, rising: false, slow: false, ..saved[s] }
                }
                Restored::AllButAddresses => Slot {
                    shows: match saved[s].shows {
                        Shows::Agent(_) => Shows::Stale,
                        _ => Shows::Template,
                    },
                    changed: false,
                    rising: false,
                    slow: false,
                    operator: false,
                    settled: false,
                    ..saved[s]
                },
            };
        }
        // Its owner goes on leaving to the operator what it has left to him, whatever it is now.
        for (s, slot) in self.slots.iter_mut().enumerate() {
            let left = |agent: &Agent| agent.memory.has_left(&server(s, slot));
            slot.operator |= matches!(slot.shows, Shows::Agent(i) if left(&self.agents[i]));
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
            slot.changed |= slot.rising && !slot.down;
            slot.rising = false;
            slot.slow = false;
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
        let (s, shows, _) = self.queue.remove(0);
        let slot = &mut self.slots[s];
        slot.settled &= slot.shows == shows;
        slot.operator &= slot.shows == shows;
        slot.shows = shows;
    }

    /// Reads, plans, and keeps the commands for later, when all may have changed.
    fn read(&mut self, i: usize, setup: &Setup) -> Result<(), Violation> {
        let me = SocketAddr::from(([10, 0, 0, i as u8 + 1], PORT));
        if setup.without == Some(Without::Verify) && self.agents[i].memory.held().is_some() {
            return Ok(());
        }
        let servers: Vec<_> = (0..self.slots.len()).map(|s| self.server(s, i, setup)).collect();
        let agent = &mut self.agents[i];
        let process = Process { pid: self.pid, uptime: NOW, node: None, stopping: false };
        let view = View { servers: &servers, process: Some(&process), read_at: NOW };
        let template = TEMPLATE.with(Template::clone);
        agent.memory.observe(&view, &template, me);
        if let Some(Without::OwnClock | Without::ReclaimAfter) = setup.without {
            agent.memory.trust_haproxy();
        }
        let desired = if agent.wants { Desired::Serving } else { Desired::Absent };
        let planner = Me {
            endpoint: me,
            template: &template,
            limit: None,
            reclaim_after: RECLAIM_AFTER,
            memory: &agent.memory,
        };
        let step = plan(&planner, desired, &view, NOW);
        let step = super::spoil(setup.without, step, me);
        let commands = super::spoil_commands(setup.without, &step);
        let writes: Vec<_> = commands.iter().map(write).collect();
        for (s, write) in &writes {
            self.may_write(i, *s)?;
            let claims = *write == Write::Addr(Shows::Agent(i));
            // One that somebody else has got meanwhile is lost.
            let under_way = |(at, _, by): &(usize, Shows, usize)| {
                *by == i && !matches!(self.slots[*at].shows, Shows::Agent(_))
            };
            if claims && setup.faults == 0 && self.queue.iter().any(under_way) {
                return Err("a second slot is claimed while the first is on its way");
            }
        }
        if step == Step::Nothing && desired == Desired::Absent {
            self.agents[i].alive = false;
            self.agents[i].memory = Memory::default();
            self.agents[i].answered = None;
        } else {
            let agent = &mut self.agents[i];
            agent.memory.will(&step, NOW);
            if setup.without == Some(Without::Settling) {
                agent.memory.settle();
            }
            agent.answered.take_if(|_| !writes.is_empty());
            let into =
                |(s, write): &(usize, Write)| (*write == Write::Admin(Admin::Ready)).then_some(*s);
            let readies =
                writes.iter().find_map(into).filter(|_| matches!(step, Step::MakeReady(_)));
            let line = Line { agent: i, writes, readies, begun: false };
            agent.line = (!line.writes.is_empty()).then_some(line);
        }
        Ok(())
    }

    /// Whether agent `i`, which sees this very state, may want to write to slot `s`.
    fn may_write(&self, i: usize, s: usize) -> Result<(), Violation> {
        let slot = &self.slots[s];
        let claim = slot.admin == Admin::Maint && slot.marked;
        // One of two, and out of rotation: its agent is giving it back.
        let other = |(o, other): (usize, &Slot)| {
            o != s && other.shows == slot.shows && other.admin == Admin::Ready && !other.marked
        };
        let spare = slot.admin == Admin::Maint && self.slots.iter().enumerate().any(other);
        let leaves = self.queue.iter().any(|(at, to, _)| *at == s && *to == Shows::Unspecified);
        match slot.shows {
            Shows::Agent(j) if j == i && self.agents[i].wants && slot.operator && !spare => {
                Err("the owner fights the operator")
            }
            Shows::Agent(j) if j != i && slot.operator => Err("an operator's slot is touched"),
            Shows::Prepared => Err("an operator's slot is touched"),
            Shows::Unresolved => Err("a slot that takes no address is written"),
            Shows::Agent(j) if j != i && !slot.down && !claim && !leaves && !spare => {
                Err("a slot is taken from its holder")
            }
            _ => Ok(()),
        }
    }

    /// Executes the next command, or all; whether the line is done.
    fn go_on(&mut self, line: &mut Line, setup: &Setup) -> Result<bool, Violation> {
        line.begun = true;
        let calm = setup.kinds.iter().all(|kind| *kind == Kind::Tick);
        while !line.writes.is_empty() {
            let (s, write) = line.writes.remove(0);
            let slot = &mut self.slots[s];
            let theirs = slot.shows != Shows::Agent(line.agent);
            if slot.settled && theirs && calm {
                return Err("a settled slot is taken from its holder");
            }
            match write {
                Write::Admin(admin) => {
                    let leaves = admin != Admin::Maint || slot.admin != Admin::Maint;
                    let rises = setup.init_state && slot.admin == Admin::Maint;
                    slot.rising = admin != Admin::Maint && (slot.rising || rises);
                    slot.slow &= slot.rising;
                    slot.changed |= admin != slot.admin && !rises && !slot.rising;
                    slot.down &= !leaves;
                    slot.operator = false;
                    slot.checked |= admin == Admin::Ready;
                    slot.admin = admin;
                    let coming =
                        |(at, _, by): &(usize, Shows, usize)| (*at, *by) == (s, line.agent);
                    if admin == Admin::Ready && setup.faults == 0 && self.queue.iter().any(coming) {
                        return Err("an empty slot is made ready");
                    }
                }
                Write::Marked(marked) => slot.marked = marked,
                Write::Addr(shows) => {
                    self.queue.push((s, shows, line.agent));
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

    /// Slot `s` as HAProxy lists it to agent `i`.
    fn server(&self, s: usize, i: usize, setup: &Setup) -> Server {
        let mut server = server(s, &self.slots[s]);
        super::spoil_view(setup.without, &mut server, i, &self.slots[s], &self.agents);
        server
    }
}

fn endpoint(shows: Shows) -> Option<SocketAddr> {
    let (ip, port) = match shows {
        Shows::Template => ([192, 168, 1, 1], 80),
        Shows::Stale => ([192, 168, 1, 1], PORT),
        Shows::Unresolved => return None,
        Shows::Prepared => ([10, 9, 9, 9], PORT),
        Shows::Unspecified => ([0, 0, 0, 0], 80),
        Shows::Agent(i) => ([10, 0, 0, i as u8 + 1], PORT),
    };
    Some(SocketAddr::from((ip, port)))
}

thread_local! {
    static BACKEND: Arc<str> = "b".into();
    static TEMPLATE: Template =
        Template::of(&[server(0, &UNTOUCHED)], &BACKEND.with(Arc::clone), "node");
    static NAMES: Vec<Arc<str>> = (1..=9).map(|n| format!("node{n}").into()).collect();
}

fn name(s: usize) -> Arc<str> {
    NAMES.with(|names| Arc::clone(&names[s]))
}

fn server(s: usize, slot: &Slot) -> Server {
    let endpoint = endpoint(slot.shows);
    Server {
        backend: BACKEND.with(Arc::clone),
        backend_id: 1,
        id: s as u32 + 1,
        name: name(s),
        addr: endpoint.map(|endpoint| endpoint.ip()),
        port: endpoint.map(|endpoint| endpoint.port()),
        running: slot.admin != Admin::Maint && !slot.down && !slot.rising,
        admin: AdminState(match slot.admin {
            Admin::Ready => AdminState::CONFIGURED_MAINT,
            Admin::Drain => AdminState::CONFIGURED_MAINT | AdminState::FORCED_DRAIN,
            Admin::Maint => AdminState::CONFIGURED_MAINT | AdminState::FORCED_MAINT,
        }),
        weight: u32::from(!slot.marked),
        configured_weight: 1,
        has_name: false,
        unchanged: if slot.changed && !slot.down { Duration::ZERO } else { NOW },
        checks: match slot.checked {
            true if slot.down || slot.slow || slot.admin == Admin::Maint => Checks::Failed,
            true => Checks::Seen,
            false => Checks::Pending,
        },
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
