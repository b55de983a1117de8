//! One HAProxy at two addresses: the first of this container's registrars there holds a slot, and the
//! others none.

use super::super::ask::{Ask, Moment};
use super::super::holdings::Holding;
use super::{Machine, Phase};
use crate::registers::haproxy::{Overview, Server};
use crate::registers::{Desired, Standing};

/// Looks in a row at which the first one holds nothing, until the second takes its place. After a reload
/// the first one has to claim anew, too.
const MISSED: u32 = 3;

impl Machine {
    /// What the registrars before this one hold.
    pub(in super::super) fn beside(&mut self, others: Vec<Holding>) {
        self.others = others;
    }

    /// What this one holds, as far as it knows.
    pub(in super::super) fn holding(&self) -> Option<&Holding> {
        self.holding.as_ref()
    }

    /// Takes in that a slot is held, in rotation or left to an operator.
    pub(super) fn hold(&mut self, slot: &Server) {
        let held = slot.endpoint().zip(self.processes.last());
        self.holding = held.map(|(endpoint, process)| Holding {
            process: process.clone(),
            endpoint,
            slot: slot.into(),
        });
    }

    /// What another registrar holds at the very HAProxy that has shown this. That it is the same process
    /// may be an accident, since in containers all have one number; so what the other has written must show.
    pub(super) fn first(&self, overview: &Overview, at: Moment) -> Option<Holding> {
        let known = at.desired == Desired::Serving && overview.peers.process.is_some();
        let mut others = self.others.iter().filter(|_| known);
        let first = |other: &&Holding| {
            self.processes.is_last(&other.process) && other.is_in(&overview.servers)
        };
        others.find(first).cloned()
    }

    /// Nothing is to be held here, and `clean` says whether nothing is.
    pub(super) fn step_back(&mut self, first: &Holding, clean: bool) {
        if !matches!(self.phase, Phase::Second { .. }) {
            self.notices.second(&first.slot);
        }
        self.phase = Phase::Second { missed: 0, clean };
        self.holding = None;
    }

    /// Whether another registrar still holds a slot here; otherwise this one looks for itself.
    pub(super) fn look_after(&mut self, at: Moment) -> Option<Standing> {
        let Phase::Second { missed, clean: true } = &mut self.phase else {
            return self.look(at);
        };
        if self.others.iter().any(|other| self.processes.is_last(&other.process)) {
            *missed = 0;
        } else {
            *missed += 1;
        }
        if *missed >= MISSED {
            self.phase = Phase::Claiming { insisted: 0 };
            return self.look(at);
        }
        self.notices.reachable();
        self.rest(Standing::Serving, self.interval(at), at)
    }

    /// Whether one that has stepped back need only ask for a sign of life.
    pub(super) fn is_second(&self) -> bool {
        matches!(self.phase, Phase::Second { clean: true, .. })
    }

    /// Forgets what is held when that is not so any more.
    pub(super) fn let_go(&mut self, standing: Option<&Standing>) {
        if standing.is_some_and(|standing| *standing != Standing::Serving) {
            self.holding = None;
        }
    }

    /// A sign of life is asked for.
    pub(super) fn ping(&mut self) -> Option<Standing> {
        self.ask = Ask::Ping;
        None
    }
}
