//! Which of HAProxy's processes answer at one address. Pure.
//!
//! A reload puts a new process in the place of the old one, which never comes back. Where two
//! alternate, several HAProxys are behind one address (a virtual one of Docker Swarm or Kubernetes, a
//! load balancer), and what is read from one may be written to the other.

use std::time::Duration;

use crate::registers::haproxy::Process;

/// Processes that are kept in mind at once.
const MAX_KNOWN: usize = 8;
/// So often within [`WITHIN`] an earlier process must answer again. A pair of HAProxys with one floating
/// address goes back too, and not so often.
const RETURNS: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);
/// Seconds that two estimates of one process's start may differ: uptimes are whole seconds, and an answer
/// may be late.
const SLACK: i128 = 4;

/// The processes that have answered, the last one last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::registers::haproxy) struct Processes {
    known: Vec<Known>,
    returns: Vec<Duration>,
}

/// A process, and when it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    process: Process,
    /// When it was started, in seconds on the observer's clock; mostly before that began.
    started: i128,
}

impl Known {
    fn new(process: &Process, now: Duration) -> Self {
        let started = i128::from(now.as_secs()) - i128::from(process.uptime.as_secs());
        Self { process: process.clone(), started }
    }

    /// Whether they are the same one.
    fn is(&self, other: &Self) -> bool {
        self.has_name_of(other) && (self.started - other.started).abs() <= SLACK
    }

    /// Whether this may be the other a while later that was halted in between: HAProxy 2.6 takes such
    /// a gap for a clock that was set, and does not count it.
    fn resumes(&self, other: &Self) -> bool {
        self.has_name_of(other)
            && self.process.uptime >= other.process.uptime
            && self.started >= other.started
    }

    fn has_name_of(&self, other: &Self) -> bool {
        self.process.pid == other.process.pid && self.process.node == other.process.node
    }
}

/// What an answer says of who gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registers::haproxy) enum Answerer {
    /// The same as before, or nobody knows.
    Same,
    /// Another one than before.
    Other,
}

impl Processes {
    /// Takes in who answered.
    pub(in crate::registers::haproxy) fn note(
        &mut self,
        process: &Process,
        now: Duration,
    ) -> Answerer {
        // One that was reloaded may take a last connection when the new one is there already.
        if process.stopping {
            return Answerer::Same;
        }
        let seen = Known::new(process, now);
        let first = self.known.is_empty();
        let last = self.known.len().saturating_sub(1);
        let resumed = || self.known.last().is_some_and(|last| seen.resumes(last)).then_some(last);
        let at = self.known.iter().rposition(|known| known.is(&seen)).or_else(resumed);
        if let Some(at) = at {
            self.known.remove(at);
            self.known.push(seen);
            if at == last {
                return Answerer::Same;
            }
            self.returns.push(now);
        } else {
            if self.known.len() == MAX_KNOWN {
                self.known.remove(0);
            }
            self.known.push(seen);
        }
        self.returns.retain(|at| now.saturating_sub(*at) <= WITHIN);
        if first { Answerer::Same } else { Answerer::Other }
    }

    /// The one that has answered last.
    pub(super) fn last(&self) -> Option<&Known> {
        self.known.last()
    }

    /// Whether the one that has answered last is this one, which another registrar knows, perhaps since
    /// a while ago.
    pub(super) fn is_last(&self, other: &Known) -> bool {
        self.last().is_some_and(|last| last.is(other) || last.resumes(other))
    }

    /// Whether several answer in turn.
    pub(in crate::registers::haproxy) fn alternate(&self) -> bool {
        self.returns.len() >= RETURNS
    }

    /// Forgets all but the last one.
    pub(in crate::registers::haproxy) fn start_over(&mut self) {
        self.returns.clear();
        self.known.drain(..self.known.len().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, node: &str, uptime: u64) -> Process {
        let node = Some(node.into());
        Process { pid, uptime: Duration::from_secs(uptime), node, stopping: false }
    }

    /// Whether these, one a second, alternate.
    fn alternate(seen: &[Process]) -> bool {
        let mut processes = Processes::default();
        for (process, now) in seen.iter().zip(0..) {
            processes.note(process, Duration::from_secs(now));
        }
        processes.alternate()
    }

    #[test]
    fn several_that_answer_in_turn_are_recognised() {
        let (a, b) = (|at: u64| process(7, "a", 100 + at), |at: u64| process(7, "b", 100 + at));
        assert!(alternate(&[a(0), b(1), a(2), b(3), a(4)]));
        assert!(alternate(&[a(0), a(1), b(2), b(3), a(4), b(5), b(6), a(7)]));
        assert!(!alternate(&[a(0), b(1), a(2)]), "a floating address went there and back");
        let (c, d) = (|at: u64| process(7, "c", 100 + at), |at: u64| process(7, "c", 500 + at));
        assert!(alternate(&[c(0), d(1), c(2), d(3), c(4)]), "told apart by their age alone");
    }

    #[test]
    fn reloads_and_restarts_are_no_alternation() {
        let reloads: Vec<_> = (0..50).map(|n| process(100 + n, "a", 0)).collect();
        assert!(!alternate(&reloads));
        let restarts: Vec<_> =
            (0..50).map(|n| process(1, "a", if n % 10 < 5 { n % 10 } else { 0 })).collect();
        assert!(!alternate(&restarts));
        let old = Process { stopping: true, ..process(1, "a", 1000) };
        let mixed: Vec<_> = (0..20).flat_map(|_| [old.clone(), process(2, "a", 1)]).collect();
        assert!(!alternate(&mixed), "one that stops is no HAProxy of its own");
    }

    #[test]
    fn one_that_was_halted_is_the_same_and_one_that_was_restarted_is_not() {
        let mut processes = Processes::default();
        let mut note =
            |uptime, now| processes.note(&process(7, "a", uptime), Duration::from_secs(now));
        assert_eq!(note(1, 0), Answerer::Same);
        assert_eq!(note(2, 9), Answerer::Same, "halted for eight seconds");
        assert_eq!(note(62, 69), Answerer::Same);
        assert_eq!(note(63, 3000), Answerer::Same);
        assert_eq!(note(1, 3010), Answerer::Other, "restarted");
        assert_eq!(note(500, 3011), Answerer::Other, "started before: another host's");
    }

    #[test]
    fn returns_that_lie_apart_do_not_add_up() {
        let mut processes = Processes::default();
        for n in 0..20 {
            let now = Duration::from_secs(60 * n);
            processes.note(&process(7, ["a", "b"][n as usize % 2], 100 + 60 * n), now);
            assert!(!processes.alternate());
        }
    }
}
