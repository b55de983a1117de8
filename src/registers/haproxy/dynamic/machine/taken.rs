//! What follows a step: where it leaves the container, and when to look again.

use std::time::Duration;

use super::super::step::{Slot, Step};
use super::{FULL_READ, LAST_LOOK, Machine, Phase, SHORTEST_READ};
use crate::net::backoff::jitter;
use crate::registers::haproxy::registrar::ask::{Ask, Moment};
use crate::registers::haproxy::slot::SETTLING;
use crate::registers::haproxy::{ClientError, Server};
use crate::registers::{Desired, Standing};

/// Times in a row to put a server into rotation until somebody should know that it stays out.
const IN_VAIN_AFTER: u32 = 5;

/// So often it is tried to delete a server that has no sessions and yet connections, a bit later each time.
const PATIENT: u32 = 9;
/// So often before one is taken over that an earlier process has left.
const TRIED: u32 = 4;
const MOMENT: Duration = Duration::from_millis(8);

impl Machine {
    /// Has the commands of a step sent, if it has any.
    pub(super) fn take(&mut self, step: Step, at: Moment) -> Option<Standing> {
        let slot = match &step {
            Step::Add(place, _) => Some(place.slot.clone()),
            Step::Finish(server, _) | Step::LeaveToOperator(server) => Some(server.into()),
            _ => None,
        };
        if let Some(slot) = slot {
            self.addresses.in_slot(slot);
        }
        // What may have happened is noted before it is asked for: the answer may never be heard.
        match &step {
            Step::Add(..) | Step::Finish(..) => {
                self.insisted = self.insisted.saturating_add(1);
                if self.insisted == 1 {
                    self.notices.changed();
                }
                (self.held, self.clear, self.kept) = (false, None, 0);
                self.traffic.begins();
            }
            Step::Drain(_) | Step::Delete(_) => self.held = false,
            _ => {}
        }
        if step.commands().is_empty() {
            return self.taken(step, at);
        }
        self.ask = Ask::Act(step);
        None
    }

    /// A step is taken: where that leaves us, and how long to wait before the next read.
    pub(super) fn taken(&mut self, step: Step, at: Moment) -> Option<Standing> {
        self.notices.reachable();
        self.patience.reset();
        if self.insisted <= 1 {
            self.backoff.reset();
        }
        match step {
            Step::Add(place, _) => self.joined(place.slot, at),
            Step::Finish(server, _) => self.joined((&server).into(), at),
            Step::Hold(server) => self.hold(server, Vec::new(), at),
            Step::LeaveToOperator(server) => {
                (self.phase, self.insisted) = (Phase::Joining, 0);
                self.notices.operator(&server);
                self.rest(Standing::Serving, self.interval(at), at)
            }
            Step::Moved(server) => self.moved(&server, at),
            Step::Drain(server) => {
                self.notices.draining(&server);
                self.ask = Ask::Work(server);
                Some(Standing::Draining { sessions: 0 })
            }
            Step::AwaitIdle(server) => {
                self.ask = Ask::Work(server);
                None
            }
            Step::Delete(slots) => {
                (self.looked_around, self.kept) = (true, 0);
                self.notices.given_back(slots);
                self.nothing(at)
            }
            Step::Bury(slots) => {
                self.notices.buried(slots.len());
                self.rest(Standing::Serving, self.interval(at), at)
            }
            Step::Nothing => {
                self.looked_around = true;
                self.nothing(at)
            }
        }
    }

    /// The server was put into rotation, for the first time or again.
    fn joined(&mut self, slot: Slot, at: Moment) -> Option<Standing> {
        if self.insisted <= 1 {
            self.notices.joined(slot);
            self.phase = Phase::Holding { server: None, full_at: at.now };
            return self.rest(Standing::Serving, self.interval(at), at);
        }
        if self.insisted >= IN_VAIN_AFTER {
            self.notices.in_vain(slot);
        }
        let pause = self.backoff.next(at.luck);
        self.rest(Standing::Serving, pause, at)
    }

    /// The server is in rotation; `dead` are others that are not to be there any more.
    pub(super) fn hold(&mut self, server: Server, dead: Vec<Slot>, at: Moment) -> Option<Standing> {
        self.notices.reachable();
        self.patience.reset();
        self.backoff.reset();
        self.addresses.in_slot((&server).into());
        self.notices.joined((&server).into());
        self.traffic.begins();
        (self.held, self.insisted, self.failures) = (true, 0, 0);
        let patience = self.settings.reclaim_after;
        let usual = at.now + jitter(patience.clamp(SHORTEST_READ, FULL_READ), at.luck);
        let due = self.watch.next(patience).map_or(usual, |due| due.min(usual));
        let full_at = due.max(at.now + SHORTEST_READ / 4);
        self.phase = Phase::Holding { server: Some(server), full_at };
        if dead.is_empty() {
            return self.rest(Standing::Serving, self.interval(at), at);
        }
        self.ask = Ask::Act(Step::Bury(dead));
        Some(Standing::Serving)
    }

    /// The server of this container's name is at another address.
    fn moved(&mut self, server: &Server, at: Moment) -> Option<Standing> {
        let shown = server.shows().map_or_else(|| "no address".to_owned(), |at| at.to_string());
        let why = format!(
            "server {}/{} shows {shown}, which is not the address in its name; delete it, or give it back \
             its address",
            server.backend, server.name
        );
        self.phase = Phase::Joining;
        self.unfit(why, at)
    }

    /// HAProxy refused a command of a step.
    pub(super) fn refused(
        &mut self,
        step: Step,
        why: &ClientError,
        at: Moment,
    ) -> Option<Standing> {
        let ClientError::Refused { reply, .. } = why else { return self.fail(why, at) };
        match step {
            // Its turn comes with the next full read.
            Step::Bury(_) => self.rest(Standing::Serving, self.interval(at), at),
            // It takes no new requests any more, and the last ones are not done.
            Step::Delete(_) if reply.contains("still has connections") => self.kept(at),
            // It was not there a moment ago, or is not any more.
            Step::Add(..) if reply.starts_with("Already exists") => self.again(at),
            Step::Finish(..) | Step::Drain(_) if reply.starts_with("No such server") => {
                self.again(at)
            }
            _ => {
                if at.desired == Desired::Serving {
                    self.phase = Phase::Joining;
                }
                self.unfit(why.to_string(), at)
            }
        }
    }

    /// The server is in maintenance and could not be deleted. One of an earlier process is taken over when it
    /// stays.
    fn kept(&mut self, at: Moment) -> Option<Standing> {
        self.kept = self.kept.saturating_add(1);
        self.ask = match (&self.phase, at.desired) {
            (_, Desired::Serving) => {
                self.looked_around |= self.kept >= TRIED;
                Ask::Rest(MOMENT * self.kept.min(TRIED))
            }
            (Phase::Leaving { server: Some(server), .. }, _) => Ask::Work(server.clone()),
            _ => Ask::Rest(self.drain_pause(at)),
        };
        None
    }

    fn again(&mut self, at: Moment) -> Option<Standing> {
        self.clear = None;
        self.ask = Ask::Rest(self.backoff.next(at.luck));
        None
    }

    /// Nothing is there.
    fn nothing(&mut self, at: Moment) -> Option<Standing> {
        if at.desired == Desired::Serving {
            self.clear = Some(at.now);
            return self.begin(at);
        }
        if at.desired == Desired::Absent {
            self.traffic.ends();
            if !self.addresses.may_be_left() {
                self.phase = Phase::Idle;
            }
        }
        self.rest(Standing::Absent, self.interval(at), at)
    }

    /// Waits until no session is left on a server that takes no new ones. One that cannot be deleted
    /// although it has none is kept by idle connections: HAProxy closes its own in a moment, and those of
    /// clients lose nothing when the app ends.
    pub(super) fn count(&mut self, sessions: u64, at: Moment) -> Option<Standing> {
        if (1..=PATIENT).contains(&self.kept) && (sessions, at.desired) == (0, Desired::Absent) {
            return self.rest(Standing::Draining { sessions }, MOMENT * self.kept, at);
        }
        let standing = match (sessions, at.desired) {
            (0, Desired::Absent) => Standing::Absent,
            (0, _) => Standing::Idle,
            (sessions, _) => Standing::Draining { sessions },
        };
        self.rest(standing, self.drain_pause(at), at)
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
        let hurry = self.addresses.may_be_left();
        self.ask = Ask::Rest(if hurry { pause.min(SETTLING) } else { pause.min(LAST_LOOK) });
        let leaves = at.desired == Desired::Absent && standing == Standing::Absent;
        Some(if hurry && leaves { Standing::Draining { sessions: 0 } } else { standing })
    }
}
