//! One HAProxy, a few agents that are what ships, and all that can happen to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Without;
use super::agent::{Agent, Sight};
use crate::registers::haproxy::slot::{Step, Template, View};
use crate::registers::haproxy::{AdminState, Checks, Command, Process, Server, ServerState};

/// The one moment at which everything is read; what happened earlier is at zero.
pub(super) const NOW: Duration = Duration::from_secs(1000);
pub(super) const RECLAIM_AFTER: Duration = Duration::from_secs(30);
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
    begun: bool,
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
    /// A connection breaks in a line, and HAProxy drops the rest of that.
    Cut,
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
    /// A line is cut before this command of it, or lost as a whole.
    Cut(usize, usize),
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
    /// What each agent has sent and has no answer to.
    lines: Vec<Option<Line>>,
    /// The slot that an agent has put into rotation and knows of, by the answer to its last line.
    answered: Vec<Option<usize>>,
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
            agents: (0..setup.agents).map(|i| Agent::new(address(i))).collect(),
            lines: vec![None; setup.agents],
            answered: vec![None; setup.agents],
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
        for i in (0..self.agents.len()).filter(|i| self.agents[*i].alive) {
            // Nobody reads so soon after a release that it does not show.
            let releasing = self.lines[i].is_none()
                && self.queue.iter().any(|(_, shows, by)| (*shows, *by) == (Shows::Unspecified, i));
            events.extend((!releasing).then_some(Event::Agent(i)));
            // SETTLING is longer than an address takes to be applied, and a line to be executed.
            let rests = self.queue.is_empty() && !self.lines.iter().any(is_begun);
            let settles = rests && self.waits(i);
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
        self.lines[i].is_some() || self.strays.iter().any(|line| line.agent == i)
    }

    /// Whether an agent waits for its claim to show, or for what it is unsure of.
    fn waits(&self, i: usize) -> bool {
        let memory = self.agents[i].remembers();
        let awaits = |(s, slot)| memory.awaits(&server(s, slot), NOW);
        let waits = memory.is_in_doubt(NOW) || self.slots.iter().enumerate().any(awaits);
        self.lines[i].is_none() && waits
    }

    /// Whether somebody knows that a slot which shows this is empty.
    pub(super) fn is_known(&self, shows: Shows) -> bool {
        let known = |endpoint| self.agents.iter().any(|a| a.remembers().is_nobodys(endpoint));
        endpoint(shows).is_some_and(known)
    }

    /// Whether an agent knows that it has this slot in rotation.
    fn has_held(&self, i: usize, s: usize) -> bool {
        let held = self.agents[i].remembers().held();
        self.answered[i] == Some(s) || held.is_some_and(|held| *held == name(s))
    }

    /// Whether no line is half done; one that gives a slot back is not before its address shows.
    fn is_between_lines(&self) -> bool {
        let back = |(_, shows, _): &(usize, Shows, usize)| *shows == Shows::Unspecified;
        !self.lines.iter().any(is_begun) && !self.queue.iter().any(back)
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
            let hasty = fault(Kind::Late) && self.waits(i);
            events.extend(hasty.then_some(Event::Hasten(i)));
            events.extend(fault(Kind::Crash).then_some(Event::Crash(i)));
            events.extend((fault(Kind::Stop) && agent.serves()).then_some(Event::Stop(i)));
            let waits = self.lines[i].is_some();
            events.extend((fault(Kind::Timeout) && waits).then_some(Event::Timeout(i)));
            let left = self.lines[i].as_ref().map_or(0, |line| line.writes.len());
            events.extend((0..left).filter(|_| fault(Kind::Cut)).map(|at| Event::Cut(i, at)));
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
                && matches!(slot.shows, Shows::Agent(i) if self.has_held(i, s) && !self.is_writing(i));
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
            Event::Agent(i) => match self.lines[i].take() {
                None => self.turn(i, setup)?,
                Some(mut line) => match self.go_on(&mut line, setup)? {
                    true => self.answer(i, setup),
                    false => self.lines[i] = Some(line),
                },
            },
            Event::Apply => self.apply(),
            Event::Resolve => self.slots.iter_mut().for_each(|slot| {
                if slot.shows == Shows::Unresolved {
                    slot.shows = Shows::Template;
                }
            }),
            Event::Settle(i) | Event::Hasten(i) => self.agents[i].memory().settle(),
            Event::Stray(k) => {
                let mut line = self.strays.remove(k);
                self.finish(&mut line, setup)?;
            }
            Event::Crash(i) => {
                self.give_up(i, setup)?;
                self.agents[i].crash();
                self.answered[i] = None;
                // A new process cannot tell this from a claim of its own.
                let weighed = |slot: &&mut Slot| slot.shows == Shows::Agent(i) && slot.marked;
                self.slots.iter_mut().filter(weighed).for_each(|slot| slot.operator = false);
            }
            Event::Start(i) => {
                self.agents[i].start();
                let mine = |slot: &&mut Slot| slot.shows == Shows::Agent(i);
                self.slots.iter_mut().filter(mine).for_each(|slot| slot.down = false);
            }
            // Whatever it waits for is given up.
            Event::Stop(i) => {
                self.give_up(i, setup)?;
                self.agents[i].stop();
            }
            Event::Timeout(i) => {
                self.give_up(i, setup)?;
                self.agents[i].fails();
            }
            Event::Cut(i, at) => {
                if let Some(mut line) = self.lines[i].take() {
                    line.writes.truncate(at);
                    self.finish(&mut line, setup)?;
                    self.agents[i].fails();
                }
            }
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
    fn answer(&mut self, i: usize, setup: &Setup) {
        let sight = self.sight(i, setup);
        let agent = &mut self.agents[i];
        self.answered[i] = match agent.step() {
            Some(Step::MakeReady(slot)) => Some(slot.id as usize - 1),
            _ => None,
        };
        let before = agent.remembers().clone();
        agent.succeeds(&sight);
        if setup.without == Some(Without::Answer) {
            *agent.memory() = before;
        }
    }

    /// A line goes on without its agent: at once as far as it has begun, for HAProxy does not rest in
    /// the middle of a line, else as a whole and at any time.
    fn give_up(&mut self, i: usize, setup: &Setup) -> Result<(), Violation> {
        match self.lines[i].take() {
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
            let left = |agent: &Agent| agent.remembers().has_left(&server(s, slot));
            slot.operator |= matches!(slot.shows, Shows::Agent(i) if left(&self.agents[i]));
        }
        self.queue.clear();
        self.strays.clear();
        self.lose(|line| line.begun);
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
        self.agents.iter_mut().for_each(|agent| agent.memory().grow_old());
        // What was read so long ago is not acted upon.
        if setup.without != Some(Without::MaxAge) {
            self.lose(|line| !line.begun);
        }
    }

    /// Lines that nobody carries out.
    fn lose(&mut self, lost: impl Fn(&Line) -> bool) {
        for (line, agent) in self.lines.iter_mut().zip(&mut self.agents) {
            if line.take_if(|line| lost(line)).is_some() {
                agent.fails();
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

    /// What agent `i` would be shown now.
    fn sight(&self, i: usize, setup: &Setup) -> Sight {
        let servers = (0..self.slots.len()).map(|s| self.server(s, i, setup)).collect();
        let process = Process { pid: self.pid, uptime: NOW, node: None, stopping: false };
        Sight { servers, process }
    }

    /// A turn; its commands are kept for later, when all may have changed.
    fn turn(&mut self, i: usize, setup: &Setup) -> Result<(), Violation> {
        if setup.without == Some(Without::Verify) && self.agents[i].remembers().held().is_some() {
            return Ok(());
        }
        let sight = self.sight(i, setup);
        let agent = &mut self.agents[i];
        if let Some(Without::OwnClock | Without::ReclaimAfter | Without::Anew) = setup.without {
            let view =
                View { servers: &sight.servers, process: Some(&sight.process), read_at: NOW };
            agent.memory().observe(&view, &TEMPLATE.with(Template::clone), address(i));
            if setup.without != Some(Without::Anew) {
                agent.memory().trust_haproxy();
            }
        }
        let before = agent.remembers().clone();
        agent.turn(&sight);
        if let (Some(Without::Anew), Some(Step::Release(_))) = (setup.without, agent.step()) {
            *agent.memory() = before;
        }
        if !agent.alive {
            self.answered[i] = None;
        }
        let Some(step) = agent.step().cloned() else { return Ok(()) };
        if setup.without == Some(Without::Settling) {
            agent.memory().settle();
        }
        let step = super::spoil(setup.without, step, address(i));
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
        match writes.is_empty() {
            true => self.agents[i].succeeds(&sight),
            false => {
                self.answered[i] = None;
                self.lines[i] = Some(Line { agent: i, writes, begun: false });
            }
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
            Shows::Agent(j) if j == i && self.agents[i].serves() && slot.operator && !spare => {
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

fn is_begun(line: &Option<Line>) -> bool {
    line.as_ref().is_some_and(|line| line.begun)
}

/// Where agent `i` is.
fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i as u8 + 1], PORT))
}

fn endpoint(shows: Shows) -> Option<SocketAddr> {
    let (ip, port) = match shows {
        Shows::Template => ([192, 168, 1, 1], 80),
        Shows::Stale => ([192, 168, 1, 1], PORT),
        Shows::Unresolved => return None,
        Shows::Prepared => ([10, 9, 9, 9], PORT),
        Shows::Unspecified => ([0, 0, 0, 0], 80),
        Shows::Agent(i) => return Some(address(i)),
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
