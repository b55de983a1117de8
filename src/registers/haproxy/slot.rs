//! What to do next about a template's slots: the heart of claiming, holding and releasing.
//!
//! HAProxy has no compare-and-set on a slot, so ownership is what HAProxy shows: a slot is mine if
//! and only if its address and port are mine. The last writer holds it and everybody verifies.
//! [`plan`] compares what one read showed with what is wanted and names one step; the registrar
//! takes it and reads again. It never talks to anybody and never reads a clock.
//!
//! Agents mark what they do with weight 0: a claim in progress (in maintenance, with an address) and
//! a drain of their own. Any other weight of a slot that is out of rotation with an address is an
//! operator's doing, which is left alone, by its owner too. No two lines of commands, interleaved
//! in any way, leave behind what looks like an operator's doing, for [`Step::commands`] writes each
//! in the one order that allows for it.

mod memory;
mod placeholder;
mod step;
mod template;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use crate::few::Few;
use crate::registers::Desired;
use crate::registers::haproxy::{Checks, Process, Server, ServerStat};
use memory::Passing;

pub use memory::Memory;
pub use step::{Full, Release, Step};
pub use template::Template;

/// A read older than this is not acted upon: its agent was paused or HAProxy hung.
pub const MAX_AGE: Duration = Duration::from_secs(2);
/// How long a claim may stay invisible before another slot is tried; since 3.0 an address is
/// applied after the reply.
pub const SETTLING: Duration = Duration::from_millis(250);
/// How many holders see to one ghost; some of them may be dead without HAProxy knowing.
const JANITORS: usize = 3;

/// Who plans: one container at one HAProxy.
#[derive(Clone, Copy, Debug)]
pub struct Me<'a> {
    /// Address and port to advertise.
    pub endpoint: SocketAddr,
    /// The slots.
    pub template: &'a Template,
    /// So many of the first slots may be claimed; `None` = all.
    pub limit: Option<u32>,
    /// A slot that I have seen DOWN for this long may be taken over.
    pub reclaim_after: Duration,
    /// What this process remembers of earlier reads.
    pub memory: &'a Memory,
}

/// What one read showed.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The servers of every backend, or of mine alone.
    pub servers: &'a [Server],
    /// The process that answered, if it says.
    pub process: Option<&'a Process>,
    /// When the read began.
    pub read_at: Duration,
}

/// The next step from here; `now` and `read_at` are on one monotonic clock.
pub fn plan(me: &Me<'_>, desired: Desired, view: &View<'_>, now: Duration) -> Step {
    if now.saturating_sub(view.read_at) > MAX_AGE {
        return Step::Reread;
    }
    let slots = me.template.slots(view.servers);
    let mine = mine(me, view.servers);
    let keep = if desired == Desired::Absent { None } else { me.preferred(&mine) };
    let stale: Vec<_> = mine.into_iter().filter(|slot| Some(*slot) != keep).collect();
    if !stale.is_empty() {
        return me.release(&stale, &slots);
    }
    match (desired, keep) {
        (Desired::Absent, _) | (Desired::Draining, None) => Step::Nothing,
        (Desired::Draining, Some(slot)) => me.leave(slot),
        (Desired::Serving, Some(slot)) => me.serve(slot, &slots, now),
        (Desired::Serving, None) => me.claim(&slots, now),
    }
}

/// Gives back slots that I hold no longer, of an address that I had.
pub fn give_back(me: &Me<'_>, former: &[&Server], view: &View<'_>, now: Duration) -> Step {
    if now.saturating_sub(view.read_at) > MAX_AGE {
        return Step::Reread;
    }
    me.release(former, &me.template.slots(view.servers))
}

/// Whether the slot that I hold is as [`plan`] would hold it, by its one line. An app that asks for
/// no new work by itself (`http-check disable-on-404`, shown as NOLB) holds its slot all the same.
pub fn is_held(slot: &Server, line: &ServerStat) -> bool {
    let out = ["MAINT", "DRAIN"].iter().any(|out| line.status.starts_with(out));
    line.endpoint == slot.endpoint() && line.weight > 0 && !out
}

/// The port that the template gives to its slots, as its empty slots show it, else most of all.
pub fn template_port<'a>(slots: impl Iterator<Item = &'a Server>) -> Option<u16> {
    let mut counts = Few::<u16, (bool, usize)>::default();
    for slot in slots {
        if let Some(port) = slot.port {
            let entry = counts.or_insert(port, (false, 0));
            entry.0 |= slot.admin.in_maint() && slot.weight > 0;
            entry.1 += 1;
        }
    }
    counts.iter().max_by_key(|(_, seen)| **seen).map(|(port, _)| *port)
}

/// The slots that show my address. Those of other backends count only when the configuration has
/// them disabled, as a template has: a server line that somebody wrote with my address is his.
fn mine<'a>(me: &Me<'_>, servers: &'a [Server]) -> Vec<&'a Server> {
    servers
        .iter()
        .filter(|server| server.endpoint() == Some(me.endpoint))
        .filter(|server| {
            me.template.contains(server)
                || *server.backend != **me.template.backend()
                    && server.slot_number(me.template.prefix()).is_some()
                    && server.admin.configured_disabled()
        })
        .collect()
}

impl Me<'_> {
    fn may_claim(&self, slot: &Server) -> bool {
        self.template.allows(slot, self.limit)
    }

    /// Which of several slots with my address to keep: the one that I have held, then one that
    /// serves, then any.
    fn preferred<'a>(&self, mine: &[&'a Server]) -> Option<&'a Server> {
        mine.iter().copied().filter(|slot| self.may_claim(slot)).min_by_key(|slot| {
            (!self.memory.was_mine(slot), slot.admin.in_maint(), slot.weight == 0, slot.id)
        })
    }

    fn serve(&self, slot: &Server, slots: &[&Server], now: Duration) -> Step {
        let (maint, drain) = (slot.admin.in_maint(), slot.admin.in_drain());
        if !maint && !drain && slot.weight > 0 {
            let mut ghosts = self.ghosts_to_release(slot, slots);
            let watching = !ghosts.is_empty();
            ghosts.retain(|ghost| {
                let patience = if is_up(ghost) { self.reclaim_after } else { MAX_AGE };
                self.memory.is_overdue(ghost, Passing::Ghost, now, patience)
            });
            return match ghosts.is_empty() {
                true => Step::Hold { slot: slot.clone(), watching },
                false => self.release(&ghosts, slots),
            };
        }
        let ours = if slot.weight > 0 {
            let mine = self.memory.is_claiming(slot) || self.is_untouched(slot);
            maint && mine && !slot.admin.is_held_back()
        } else {
            !self.memory.has_left(slot) && (maint || drain || !self.memory.has_held(slot))
        };
        match ours {
            true => Step::MakeReady(slot.clone()),
            false => Step::LeaveToOperator(slot.clone()),
        }
    }

    fn leave(&self, slot: &Server) -> Step {
        if slot.admin.in_maint() || slot.admin.in_drain() {
            Step::AwaitIdle(slot.clone())
        } else {
            Step::Drain(slot.clone())
        }
    }

    fn claim(&self, slots: &[&Server], now: Duration) -> Step {
        if slots.iter().any(|slot| self.memory.awaits(slot, now)) {
            return Step::Settle;
        }
        let candidates: Vec<_> =
            slots.iter().copied().filter(|slot| self.may_claim(slot)).collect();
        if candidates.iter().all(|slot| slot.configured_weight == 0) && !candidates.is_empty() {
            return Step::Full(Full::Weightless);
        }
        let best = candidates
            .iter()
            .filter_map(|slot| Some((self.chance(slot, now)?, *slot)))
            .min_by_key(|(chance, slot)| (*chance, self.rank(slot)));
        match best {
            Some((_, slot)) => Step::Claim { slot: slot.clone(), endpoint: self.endpoint },
            None if self.memory.is_in_doubt(now) => Step::Settle,
            None => Step::Full(Full::of(&candidates)),
        }
    }

    /// Whether a slot can be claimed, the best first. After a blank restart everybody goes back to
    /// the slot it had, so that nobody races.
    fn chance(&self, slot: &Server, now: Duration) -> Option<Chance> {
        // HAProxy gives no address to a slot that has none yet.
        slot.addr?;
        let overdue = |what| self.memory.is_overdue(slot, what, now, self.reclaim_after);
        let empty = self.is_free(slot) || self.is_ghost(slot);
        let ghost = !slot.admin.in_maint() && self.memory.is_my_ghost(slot, self.endpoint);
        if ghost || empty && self.memory.was_mine(slot) {
            Some(Chance::Former)
        } else if empty {
            Some(if slot.admin.in_maint() { Chance::Free } else { Chance::Ghost })
        } else if overdue(Passing::Claim) {
            Some(Chance::Abandoned)
        } else {
            // HAProxy's own time can only lengthen mine: it may have been UP between two looks.
            let dead = overdue(Passing::Down) && slot.unchanged >= self.reclaim_after;
            dead.then_some(Chance::Dead)
        }
    }

    /// In maintenance and empty.
    fn is_free(&self, slot: &Server) -> bool {
        slot.admin.in_maint() && self.is_placeholder(slot)
    }

    /// Out of maintenance and empty: it would serve errors (a state file can do that).
    fn is_ghost(&self, slot: &Server) -> bool {
        !slot.admin.in_maint() && self.is_placeholder(slot)
    }

    /// The ghosts that it falls to the holder of `mine` to release: those of the slots before it,
    /// up to the third holder before it. So each is seen to by a few and not by hundreds. They give
    /// it time to be claimed, or they would race with who claims it.
    fn ghosts_to_release<'a>(&self, mine: &Server, slots: &[&'a Server]) -> Vec<&'a Server> {
        let at = slots.iter().position(|slot| slot.id == mine.id).unwrap_or(0);
        let (before, after) = slots.split_at(at);
        let mut holders = 0;
        let near = before.iter().rev().chain(after.iter().rev()).take_while(|slot| {
            holders += usize::from(slot.running && !self.is_placeholder(slot));
            holders < JANITORS
        });
        near.copied().filter(|slot| self.is_ghost(slot)).collect()
    }

    fn is_placeholder(&self, slot: &Server) -> bool {
        slot.endpoint() != Some(self.endpoint) && self.memory.is_empty(slot)
    }

    /// Whether a slot shows my address only because the template gives it to all of its slots.
    fn is_untouched(&self, slot: &Server) -> bool {
        let nobodys = self.memory.is_nobodys(self.endpoint);
        (self.memory.is_untouched(slot) || nobodys) && !self.memory.has_held_here(slot)
    }

    /// A number that differs from agent to agent and from attempt to attempt, so that agents that
    /// start together rarely meet at one slot.
    fn rank(&self, slot: &Server) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.endpoint, slot.id, self.memory.attempts()).hash(&mut hasher);
        hasher.finish()
    }

    /// Gives slots back on the port that empty slots have.
    fn release(&self, released: &[&Server], slots: &[&Server]) -> Step {
        let empty = || slots.iter().filter(|other| self.is_placeholder(other));
        let port = empty()
            .filter(|other| other.admin.in_maint())
            .chain(empty())
            .find_map(|other| other.port)
            .unwrap_or(self.endpoint.port());
        let release = |slot: &&Server| Release { slot: (*slot).clone(), port };
        Step::Release(released.iter().map(release).collect())
    }
}

/// Whether HAProxy's health checks reach somebody there.
fn is_up(slot: &Server) -> bool {
    slot.running && slot.checks == Checks::Seen
}

/// Why a slot can be claimed, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Chance {
    /// Empty, and I was the last to hold it.
    Former,
    /// In maintenance and empty.
    Free,
    /// Out of maintenance and empty.
    Ghost,
    /// Somebody's claim that nobody has finished.
    Abandoned,
    /// Found DOWN for long enough.
    Dead,
}
