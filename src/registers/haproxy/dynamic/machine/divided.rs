//! Several HAProxys at one address: this container's server is deleted, whoever answers. A server's name says
//! what it is, so nothing need be read before.

use std::time::Duration;

use super::super::step::Step;
use super::{LAST_LOOK, Machine, Phase};
use crate::net::backoff::jitter;
use crate::registers::haproxy::registrar::ask::{Ask, Moment};
use crate::registers::{Desired, Standing};

/// Looks, one soon after the other, that must be enough to meet every process.
const LOOKS: u32 = 12;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);

impl Machine {
    pub(super) fn is_divided(&self) -> bool {
        matches!(self.phase, Phase::Divided { .. })
    }

    /// Several processes answer in turn. Requests may be on any of them.
    pub(super) fn divide(&mut self, at: Moment) {
        self.traffic.replaced(at.now);
        (self.clear, self.held) = (None, false);
        self.phase = Phase::Divided { looks: 0, others: false };
        self.notices.divided();
    }

    /// Deletes once more, unless all is clean and nothing is wished.
    pub(super) fn sweep(&mut self, at: Moment) -> Option<Standing> {
        let Some(place) = self.place() else { return self.look(at) };
        if let Phase::Divided { looks, others } = &mut self.phase
            && *looks >= LOOKS
        {
            if at.desired != Desired::Serving {
                return self.rest(Standing::Absent, LAST_LOOK, at);
            }
            (*looks, *others) = (0, false);
        }
        self.ask = Ask::Act(Step::Delete(vec![place.slot]));
        None
    }

    pub(super) fn swept(&mut self, at: Moment) -> Option<Standing> {
        let Phase::Divided { looks, others } = &mut self.phase else { return self.begin(at) };
        *looks += 1;
        if *looks < LOOKS {
            let standing = match at.desired {
                Desired::Serving => Standing::Absent,
                Desired::Draining | Desired::Absent => Standing::Draining { sessions: 0 },
            };
            return self.rest(standing, PAUSE, at);
        }
        if *others {
            return self.rest(Standing::Absent, jitter(LAST_LOOK, at.luck), at);
        }
        self.processes.start_over();
        self.notices.united();
        self.phase = match at.desired {
            Desired::Serving => Phase::Joining,
            _ => Phase::leaving(at.now),
        };
        self.begin(at)
    }
}
