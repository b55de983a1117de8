//! What a registrar remembers between reads. All of it may be lost at any time: it saves moves and
//! tells an operator's doing from our own, and nothing depends on it being there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::placeholder::Placeholders;
use super::{SETTLING, Step, Template, View};
use crate::few::Few;
use crate::registers::haproxy::{Checks, Server};

/// Memory of one container at one HAProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The slot that I was the last to hold, as far as I know.
    former: Option<Arc<str>>,
    /// The slot that was seen in rotation with my address, or put into it, since I last wrote.
    held: Option<Arc<str>>,
    /// The process that showed it so.
    held_by: Option<u32>,
    /// HAProxy's process at the last read.
    pid: Option<u32>,
    /// The slot whose weight an operator set to 0, before whatever he does next.
    left: Option<Arc<str>>,
    /// The slot that I wrote a claim on and do not know to be in rotation since, whom I took it from,
    /// and when.
    claiming: Option<(Arc<str>, Option<SocketAddr>, Duration)>,
    attempts: u8,
    placeholders: Placeholders,
    /// What should not last, and since when it is seen.
    passing: Few<Arc<str>, (SocketAddr, Passing, Duration)>,
}

/// What should not last in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Passing {
    /// Somebody's claim, in maintenance with weight 0.
    Claim,
    /// In rotation, and nobody is behind it.
    Ghost,
    /// Found DOWN.
    Down,
}

impl Memory {
    /// Takes in what a read showed of the template's slots: endpoints that are nobody's, and what
    /// should not last. Time is counted by the observer's own clock, from what it saw.
    pub fn observe(&mut self, view: &View<'_>, template: &Template, mine: SocketAddr) {
        let slots = template.slots(view.servers);
        self.pid = view.process.map(|process| process.pid);
        let over = |since: Duration| view.read_at.saturating_sub(since) >= SETTLING;
        let held = self.held.as_ref();
        self.claiming.take_if(|(name, _, since)| held.is_some_and(|h| h != name) && over(*since));
        let nowhere = self.former.is_none() && self.claiming.is_none();
        self.placeholders.observe(
            &slots,
            view.process.map(|process| process.uptime),
            nowhere.then_some(mine),
            view.read_at,
        );
        let mut passing = Few::default();
        for slot in slots {
            let (Some(endpoint), Some(what)) = (slot.shows(), self.passing(slot)) else { continue };
            if endpoint != mine {
                let seen = self.passing.get(&slot.name);
                let since = seen.filter(|(at, was, _)| (*at, *was) == (endpoint, what));
                let since = since.map_or(view.read_at, |(.., since)| *since);
                passing.insert(Arc::clone(&slot.name), (endpoint, what, since));
            }
        }
        self.passing = passing;
    }

    fn passing(&self, slot: &Server) -> Option<Passing> {
        match (slot.admin.in_maint(), self.is_empty(slot)) {
            (true, false) if slot.weight == 0 => Some(Passing::Claim),
            (false, true) => Some(Passing::Ghost),
            // One that has yet to pass its first checks is on its way up (`init-state`).
            (false, false) if !slot.running && slot.checks == Checks::Failed => Some(Passing::Down),
            _ => None,
        }
    }

    /// Notes that a step is about to be taken; whether it succeeds may never be known.
    pub fn will(&mut self, step: &Step, now: Duration) {
        match step {
            Step::Claim { slot, .. } => {
                self.attempts = self.attempts.wrapping_add(1);
                self.claiming = Some((Arc::clone(&slot.name), self.shown(slot), now));
                // Whoever is seen there next has come anew.
                self.passing.remove(&slot.name);
                self.held = None;
                self.left = None;
            }
            Step::MakeReady(slot) => {
                self.former = Some(Arc::clone(&slot.name));
                self.held = None;
            }
            Step::Hold { slot, .. } => self.holds(slot),
            // If one is seen again, it has come anew, and is given its time.
            Step::Release(releases) => {
                let released = |name: &Arc<str>| releases.iter().any(|one| one.slot.name == *name);
                self.passing.retain(|name| !released(name));
            }
            Step::LeaveToOperator(slot) if slot.weight == 0 => {
                self.left = Some(Arc::clone(&slot.name));
            }
            _ => {}
        }
    }

    /// Notes that every command of a step was carried out. Whoever takes the slot out from then on does
    /// so on purpose; no line of mine can have been cut in two.
    pub fn did(&mut self, step: &Step) {
        if let Step::MakeReady(slot) = step {
            self.holds(slot);
        }
    }

    fn holds(&mut self, slot: &Server) {
        self.former = Some(Arc::clone(&slot.name));
        self.held = Some(Arc::clone(&slot.name));
        self.held_by = self.pid;
        self.attempts = 0;
        self.left = None;
        // A claim of another slot may yet show.
        self.claiming.take_if(|(name, ..)| *name == slot.name);
    }

    /// The slot that is held, as far as I know.
    pub fn held(&self) -> Option<&Arc<str>> {
        self.held.as_ref()
    }

    pub(super) fn was_mine(&self, slot: &Server) -> bool {
        self.former.as_ref() == Some(&slot.name)
    }

    pub(super) fn has_held(&self, slot: &Server) -> bool {
        self.held.as_ref() == Some(&slot.name)
    }

    /// Whether this very process of HAProxy has shown the slot in rotation with my address.
    pub(super) fn has_held_here(&self, slot: &Server) -> bool {
        self.has_held(slot) && self.held_by == self.pid
    }

    pub(in crate::registers::haproxy) fn has_left(&self, slot: &Server) -> bool {
        self.left.as_ref() == Some(&slot.name)
    }

    pub(super) fn is_claiming(&self, slot: &Server) -> bool {
        self.claiming.as_ref().is_some_and(|(name, ..)| *name == slot.name)
    }

    /// Whether I claimed this slot a moment ago and nobody has got it: it is empty, or shows whom I
    /// took it from.
    pub(in crate::registers::haproxy) fn awaits(&self, slot: &Server, now: Duration) -> bool {
        self.claiming.as_ref().is_some_and(|(name, from, since)| {
            let shows = self.shown(slot);
            let still = shows.is_none() || shows == *from;
            *name == slot.name && still && now.saturating_sub(*since) < SETTLING
        })
    }

    /// What a slot shows; nothing when that is known to be no container's address.
    fn shown(&self, slot: &Server) -> Option<SocketAddr> {
        slot.shows().filter(|endpoint| !self.placeholders.is_nobodys(*endpoint))
    }

    /// Whether a slot is empty, whatever address it shows. Where no health check tells, a ghost is one
    /// for as long as nobody writes to it.
    pub(super) fn is_empty(&self, slot: &Server) -> bool {
        let stays = |(endpoint, what, _): &(SocketAddr, Passing, Duration)| {
            slot.shows() == Some(*endpoint) && *what == Passing::Ghost
        };
        let unwatched = slot.checks == Checks::None && !slot.admin.in_maint();
        let ghost = unwatched && self.passing.get(&slot.name).is_some_and(stays);
        ghost || self.placeholders.is_empty(slot)
    }

    /// Whether a slot is what a state file makes of the one that I was the last to hold: it has the
    /// template's address and my port.
    pub(super) fn is_my_ghost(&self, slot: &Server, mine: SocketAddr) -> bool {
        self.was_mine(slot)
            && slot.shows().is_some_and(|endpoint| {
                self.placeholders.has_given_address(endpoint) && endpoint.port() == mine.port()
            })
    }

    /// Whether nobody has touched a slot since HAProxy started.
    pub(super) fn is_untouched(&self, slot: &Server) -> bool {
        self.placeholders.is_untouched(slot)
    }

    /// Whether an endpoint is known to be no container's.
    pub(in crate::registers::haproxy) fn is_nobodys(&self, endpoint: SocketAddr) -> bool {
        self.placeholders.is_nobodys(endpoint)
    }

    /// Whether a few slots may be empty; it will soon be known.
    pub(in crate::registers::haproxy) fn is_in_doubt(&self, now: Duration) -> bool {
        self.placeholders.is_in_doubt(now)
    }

    pub(super) fn attempts(&self) -> u8 {
        self.attempts
    }

    /// Whether this slot has been seen like this for `patience`.
    pub(super) fn is_overdue(
        &self,
        slot: &Server,
        what: Passing,
        now: Duration,
        patience: Duration,
    ) -> bool {
        self.passing.get(&slot.name).is_some_and(|(endpoint, was, since)| {
            slot.shows() == Some(*endpoint)
                && *was == what
                && now.saturating_sub(*since) >= patience
        })
    }

    /// Lets [`SETTLING`](super::SETTLING) pass.
    #[cfg(test)]
    pub(in crate::registers::haproxy) fn settle(&mut self) {
        if let Some((.., since)) = &mut self.claiming {
            *since = Duration::ZERO;
        }
        self.placeholders.settle();
    }

    /// Takes it that what is DOWN has been so for long, as HAProxy says.
    #[cfg(test)]
    pub(in crate::registers::haproxy) fn trust_haproxy(&mut self) {
        let down = self.passing.values_mut().filter(|(_, what, _)| *what == Passing::Down);
        down.for_each(|(.., since)| *since = Duration::ZERO);
    }

    /// Lets any time pass that a rule may wait for.
    #[cfg(test)]
    pub(in crate::registers::haproxy) fn grow_old(&mut self) {
        self.settle();
        self.passing.values_mut().for_each(|(.., since)| *since = Duration::ZERO);
    }
}
