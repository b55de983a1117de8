//! What follows a step: where it leaves the container, and when to look again.

use std::time::Duration;

use super::super::ask::{Ask, Moment};
use super::{EARLY_CHECKS, Machine, Phase};
use crate::net::backoff::jitter;
use crate::registers::haproxy::Server;
use crate::registers::haproxy::slot::{SETTLING, Step};
use crate::registers::{Desired, Standing};

/// Between writing a claim and reading it back.
const SETTLE: Duration = Duration::from_millis(10);
/// Times in a row to put a slot into rotation until somebody should know that it stays out.
const IN_VAIN_AFTER: u32 = 5;

impl Machine {
    /// Has the commands of a step sent, if it has any.
    pub(super) fn take(&mut self, step: Step, at: Moment) -> Option<Standing> {
        if let Phase::Claiming { insisted } = &mut self.phase {
            match step {
                Step::MakeReady(_) => *insisted = insisted.saturating_add(1),
                Step::Reread | Step::Settle => {}
                _ => *insisted = 0,
            }
        }
        let moves = matches!(step, Step::Claim { .. } | Step::MakeReady(_) | Step::Full(_));
        if moves && self.insisted() <= 1 {
            self.notices.changed();
        }
        self.memory.will(&step, at.now);
        if let Step::Claim { slot, .. }
        | Step::MakeReady(slot)
        | Step::Hold { slot, .. }
        | Step::LeaveToOperator(slot) = &step
        {
            self.addresses.in_slot(slot.into());
        }
        // What may have happened is noted before it is asked for: the answer may never be heard.
        if matches!(step, Step::MakeReady(_) | Step::Hold { .. }) {
            self.traffic.begins();
        }
        if step.commands().is_empty() {
            return self.taken(step, at);
        }
        self.ask = Ask::Change(step);
        None
    }

    fn insisted(&self) -> u32 {
        match self.phase {
            Phase::Claiming { insisted } => insisted,
            _ => 0,
        }
    }

    /// A step is taken: where that leaves us, and how long to wait before the next read.
    pub(super) fn taken(&mut self, step: Step, at: Moment) -> Option<Standing> {
        // That it can be read proves nothing where a change was refused a moment ago.
        if !matches!(step, Step::Reread | Step::Settle) {
            self.notices.reachable();
            self.patience.reset();
        }
        let waits = matches!(step, Step::Reread | Step::Settle | Step::Full(_));
        if !waits && self.insisted() <= 1 {
            self.backoff.reset();
        }
        let verified = self.verified(&step);
        if let Phase::Holding { .. } = self.phase {
            self.phase =
                Phase::Claiming { insisted: u32::from(matches!(step, Step::MakeReady(_))) };
        }
        match step {
            Step::Reread => self.rest(Standing::Absent, Duration::ZERO, at),
            Step::Settle => self.rest(Standing::Absent, SETTLE, at),
            Step::Claim { .. } => self.rest(Standing::Absent, jitter(SETTLE, at.luck), at),
            Step::MakeReady(slot) => self.insist(&slot, at),
            Step::Hold { slot, watching } => {
                self.notices.claimed(&slot);
                self.hold(&slot);
                let kept = if watching { 0 } else { verified };
                self.phase = Phase::Holding { slot, verified: kept };
                let early = EARLY_CHECKS.get(verified as usize).copied();
                self.rest(Standing::Serving, early.unwrap_or_else(|| self.interval(at)), at)
            }
            Step::LeaveToOperator(slot) => {
                self.notices.operator(&slot);
                self.hold(&slot);
                self.rest(Standing::Serving, self.interval(at), at)
            }
            Step::Drain(slot) => {
                self.notices.draining(&slot);
                self.rest(Standing::Draining { sessions: 0 }, Duration::ZERO, at)
            }
            Step::AwaitIdle(slot) => {
                self.ask = Ask::Work(slot);
                None
            }
            Step::Release(releases) => {
                self.notices.released(&releases);
                self.released(releases.into_iter().map(|release| release.slot).collect(), at)
            }
            Step::Full(why) => {
                self.notices.full(why);
                let pause = self.backoff.next(at.luck);
                self.rest(Standing::Absent, pause, at)
            }
            Step::Nothing => self.nothing(at),
        }
    }

    /// How often the slot that this step holds has been looked at.
    fn verified(&self, step: &Step) -> u32 {
        match (step, &self.phase) {
            (Step::Hold { slot, .. }, Phase::Holding { slot: held, verified })
                if held.name == slot.name =>
            {
                *verified
            }
            _ => 0,
        }
    }

    /// A slot was put into rotation, for the first time or again.
    fn insist(&mut self, slot: &Server, at: Moment) -> Option<Standing> {
        let insisted = self.insisted();
        if insisted <= 1 {
            self.notices.claimed(slot);
            return self.rest(Standing::Serving, EARLY_CHECKS[0], at);
        }
        if insisted >= IN_VAIN_AFTER {
            self.notices.in_vain(slot.into());
        }
        let pause = self.backoff.next(at.luck);
        self.rest(Standing::Serving, pause, at)
    }

    /// Nothing is given back before a read shows it; until then nobody may leave.
    fn released(&mut self, slots: Vec<Server>, at: Moment) -> Option<Standing> {
        if let Phase::Leaving { emptying, .. } = &mut self.phase
            && at.desired == Desired::Absent
            && self.traffic.may_run()
        {
            *emptying = slots;
        }
        let standing = match at.desired {
            Desired::Serving => Standing::Absent,
            _ => Standing::Draining { sessions: 0 },
        };
        self.rest(standing, SETTLE, at)
    }

    /// Nothing is held. Requests may still run on the slots that were given back, until others claim
    /// them: clients that stick to a server are sent there while it drains, up to the release.
    fn nothing(&mut self, at: Moment) -> Option<Standing> {
        let slots = match &self.phase {
            Phase::Leaving { emptying, .. } if at.desired == Desired::Absent => emptying.clone(),
            Phase::Second { .. } => return self.rest(Standing::Serving, self.interval(at), at),
            _ => return self.rest(Standing::Absent, self.interval(at), at),
        };
        let waits = !self.settings.drain_timeout.is_zero();
        self.empty(if waits { slots } else { Vec::new() }, 0, at)
    }

    pub(super) fn empty(
        &mut self,
        mut slots: Vec<Server>,
        sessions: u64,
        at: Moment,
    ) -> Option<Standing> {
        if !slots.is_empty() {
            let slot = slots.remove(0);
            self.ask = Ask::Emptied { slot, rest: slots, sessions };
            return None;
        }
        if let Phase::Leaving { emptying, .. } = &mut self.phase
            && sessions == 0
        {
            emptying.clear();
            self.traffic.ends();
        }
        self.count(sessions, Standing::Absent, at)
    }

    /// Waits until no session is left; then this container is as `done` says.
    pub(super) fn count(&mut self, sessions: u64, done: Standing, at: Moment) -> Option<Standing> {
        match sessions {
            0 => {
                let over = at.desired == Desired::Absent && !self.addresses.may_be_left();
                if over && done == Standing::Absent {
                    self.phase = Phase::Idle;
                }
                self.rest(done, self.interval(at), at)
            }
            sessions => self.rest(Standing::Draining { sessions }, self.drain_pause(at), at),
        }
    }

    /// The turn is over.
    pub(super) fn rest(
        &mut self,
        standing: Standing,
        pause: Duration,
        at: Moment,
    ) -> Option<Standing> {
        self.failures = 0;
        if at.desired == Desired::Draining
            && matches!(standing, Standing::Idle | Standing::Absent)
            && let Some(left) = self.traffic.unseen(self.settings.drain_timeout, at.now)
        {
            self.ask = Ask::Rest(left);
            return Some(Standing::Draining { sessions: 0 });
        }
        if self.addresses.may_be_left() {
            self.ask = Ask::Rest(pause.min(SETTLING));
            let leaves = at.desired == Desired::Absent && standing == Standing::Absent;
            return Some(if leaves { Standing::Draining { sessions: 0 } } else { standing });
        }
        self.ask = Ask::Rest(pause);
        Some(standing)
    }
}
