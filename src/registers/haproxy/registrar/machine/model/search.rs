//! Finds every state that can be reached, and checks that each of them comes right.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::world::{Admin, Event, Setup, Shows, Slot, World};

const TOO_MANY: usize = 1_000_000;

/// Explores every order of events; how many states there are, or how it goes wrong.
///
/// Without faults no order of events leads back to where it was, so each comes to rest, and all is
/// right in each state of rest.
pub(super) fn explore(setup: &Setup) -> Result<usize, String> {
    let mut search = Search::default();
    let first = World::new(setup);
    search.visit(&first, None);
    let mut frontier = vec![(0, first)];
    while let Some((at, world)) = frontier.pop() {
        let wrong = |problem: &str, event: Option<Event>, search: &Search| {
            search.tell(problem, at, event, setup)
        };
        let mut calm = Vec::new();
        let mut next = |event, search: &mut Search| -> Result<bool, String> {
            let next = world.after(event, setup).map_err(|p| wrong(p, Some(event), search))?;
            if next == world {
                return Ok(false);
            }
            let (to, new) = search.visit(&next, Some((at, event)));
            if event.is_calm() {
                calm.push((to, event));
            }
            if new {
                frontier.push((to, next));
            }
            Ok(true)
        };
        let mut goes_on = false;
        for event in world.calm_events() {
            goes_on |= next(event, &mut search)?;
        }
        if !goes_on {
            goes_on = next(Event::Rest, &mut search)?;
        }
        for event in world.faults(setup) {
            next(event, &mut search)?;
        }
        if !goes_on {
            world.is_right().map_err(|problem| wrong(problem, None, &search))?;
        }
        search.calm[at as usize] = calm;
        if search.calm.len() > TOO_MANY {
            return Err("too many states".to_owned());
        }
    }
    match search.cycle() {
        Some((at, events)) => {
            let way = search.tell("it goes round in circles", at, None, setup);
            let some = &events[..events.len().min(20)];
            Err(format!("{way}and then for ever {some:?}"))
        }
        None => Ok(search.calm.len()),
    }
}

/// Follows one random order of events, then lets it come to rest.
pub(super) fn wander(setup: &Setup, seed: u64, steps: usize) -> Result<(), String> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let (mut world, mut path) = (World::new(setup), Vec::new());
    for step in 0.. {
        let luck = hasher.hash_one((seed, step));
        // Of many things that can happen, few are faults.
        let faults = if step < steps && luck % 8 == 0 { world.faults(setup) } else { Vec::new() };
        let calm = world.calm_events();
        let mut changes = |event| -> Result<bool, String> {
            path.push(event);
            let next = world.after(event, setup).map_err(|p| replay(p, &path, setup))?;
            let changes = next != world;
            world = next;
            Ok(changes)
        };
        let mut moved = false;
        // Time passes only when there is nothing else to do, or as a fault.
        for mut events in [faults, calm] {
            let from = (luck >> 8) as usize % events.len().max(1);
            events.rotate_left(from);
            for event in events {
                moved = moved || changes(event)?;
            }
        }
        if !moved && !changes(Event::Rest)? && step >= steps {
            break;
        }
        if step > steps + 2_000 {
            return Err(replay("it never comes to rest", &path, setup));
        }
    }
    world.is_right().map_err(|problem| replay(problem, &path, setup))
}

impl Event {
    fn is_calm(self) -> bool {
        use Event::{Agent, Apply, Resolve, Rest, Settle, Stray};
        matches!(self, Agent(_) | Apply | Resolve | Settle(_) | Stray(_) | Rest)
    }
}

#[derive(Default)]
struct Search {
    /// States by their fingerprints, numbered as found.
    known: HashMap<u64, u32>,
    /// How each was found.
    from: Vec<Option<(u32, Event)>>,
    /// Where each goes when nothing goes wrong.
    calm: Vec<Vec<(u32, Event)>>,
}

impl Search {
    /// The number of a state, and whether it is new.
    fn visit(&mut self, world: &World, from: Option<(u32, Event)>) -> (u32, bool) {
        let fingerprint = BuildHasherDefault::<DefaultHasher>::default().hash_one(world);
        let number = self.from.len() as u32;
        match self.known.entry(fingerprint) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(vacant) => {
                vacant.insert(number);
                self.from.push(from);
                self.calm.push(Vec::new());
                (number, true)
            }
        }
    }

    /// A state to which one comes back without a fault, and by which events.
    fn cycle(&self) -> Option<(u32, Vec<Event>)> {
        // Whatever leads nowhere, and then whatever leads only there, is on no cycle.
        let mut before = vec![Vec::new(); self.calm.len()];
        let mut onward = vec![0; self.calm.len()];
        for (at, ways) in self.calm.iter().enumerate() {
            onward[at] = ways.len();
            ways.iter().for_each(|(to, _)| before[*to as usize].push(at));
        }
        let mut ends: Vec<_> = (0..onward.len()).filter(|at| onward[*at] == 0).collect();
        while let Some(end) = ends.pop() {
            for at in &before[end] {
                onward[*at] -= 1;
                if onward[*at] == 0 {
                    ends.push(*at);
                }
            }
        }
        // From one that is left some way always leads on, and so comes round in the end.
        let mut at = onward.iter().position(|count| *count > 0)? as u32;
        let (mut passed, mut events) = (vec![at], Vec::new());
        loop {
            let ways = &self.calm[at as usize];
            let (to, event) = ways.iter().find(|(to, _)| onward[*to as usize] > 0)?;
            events.push(*event);
            if let Some(since) = passed.iter().position(|state| state == to) {
                return Some((*to, events.split_off(since)));
            }
            at = *to;
            passed.push(at);
        }
    }

    /// How it came to a problem.
    fn tell(&self, problem: &str, at: u32, last: Option<Event>, setup: &Setup) -> String {
        let mut path: Vec<_> = last.into_iter().collect();
        let mut at = at;
        while let Some((before, event)) = self.from[at as usize] {
            path.push(event);
            at = before;
        }
        path.reverse();
        replay(problem, &path, setup)
    }
}

/// The events that led to a problem, with the slots as they changed.
fn replay(problem: &str, path: &[Event], setup: &Setup) -> String {
    let mut text = format!("{problem}, after\n");
    let mut world = World::new(setup);
    for event in path {
        let next = world.after(*event, setup);
        if next.as_ref() == Ok(&world) {
            continue;
        }
        let _ = writeln!(text, "  {event:?}");
        if let Ok(next) = next {
            if next.slots != world.slots {
                let slots: Vec<_> = next.slots.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "      {}", slots.join(" | "));
            }
            world = next;
        }
    }
    text
}

impl World {
    fn shows(&self, what: Shows) -> bool {
        self.slots.iter().any(|slot| slot.shows == what)
    }

    /// Whether a world at rest is as it should be.
    fn is_right(&self) -> Result<(), &'static str> {
        let shows = |i| self.slots.iter().filter(move |slot| slot.shows == Shows::Agent(i));
        let mut waiting = 0;
        for (i, agent) in self.agents.iter().enumerate() {
            match shows(i).count() {
                _ if !agent.alive => {}
                0 => waiting += 1,
                1 if shows(i).all(|s| s.operator || s.admin == Admin::Ready && !s.marked) => {}
                1 => return Err("an agent never gets into rotation"),
                _ => return Err("two slots show one address"),
            }
        }
        let several =
            |shows: Shows| self.slots.iter().filter(|slot| slot.shows == shows).count() > 1;
        // The last one with the template's address and the health of an earlier life looks as if an
        // operator had put somebody of HAProxy's own host into maintenance.
        let lost = |slot: &Slot| match slot.shows {
            Shows::Agent(i) => !self.agents[i].alive && !slot.operator,
            Shows::Unspecified => true,
            // The last two that are untouched differ when an operator has prepared one of them.
            Shows::Template if several(slot.shows) => true,
            Shows::Template => slot.is_untouched() && !self.shows(Shows::Prepared),
            Shows::Stale => several(slot.shows),
            Shows::Unresolved | Shows::Prepared => false,
        };
        if waiting > 0 && self.slots.iter().any(lost) {
            return Err("an agent waits beside a slot that it could have");
        }
        // Nobody can tell a ghost on an address that only one slot shows; but then it is DOWN.
        let known = |shows| shows == Shows::Unspecified || self.is_known(shows);
        let ghost = |slot: &Slot| {
            let empty = !matches!(slot.shows, Shows::Agent(_));
            let seen = known(slot.shows) || several(slot.shows);
            empty && slot.admin != Admin::Maint && (!slot.down || seen)
        };
        let holds = |slot: &Slot| {
            matches!(slot.shows, Shows::Agent(i) if self.agents[i].alive) && !slot.operator
        };
        if self.slots.iter().any(holds) && self.slots.iter().any(ghost) {
            return Err("a ghost stays");
        }
        Ok(())
    }
}
