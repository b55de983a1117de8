//! Several HAProxys at one address: what shows this container is given back, whoever answers.

use std::time::Duration;

use super::super::ask::{Ask, Moment, Sweep};
use super::{LAST_LOOK, Machine, Phase};
use crate::net::backoff::jitter;
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
        self.holding = None;
        self.phase = Phase::Divided { looks: 0, others: false, found: false };
        self.notices.divided();
    }

    /// Looks once more, unless all is clean and nothing is wished.
    pub(super) fn sweep(&mut self, at: Moment) -> Option<Standing> {
        if let Phase::Divided { looks, others, found } = &mut self.phase
            && *looks >= LOOKS
        {
            if at.desired != Desired::Serving {
                return self.rest(Standing::Absent, LAST_LOOK, at);
            }
            (*looks, *others, *found) = (0, false, false);
        }
        self.ask = Ask::Sweep(Sweep {
            backend: self.backend.clone(),
            prefix: self.settings.prefix.clone(),
            endpoints: self.addresses.all(),
        });
        None
    }

    pub(super) fn swept(&mut self, changed: bool, at: Moment) -> Option<Standing> {
        let Phase::Divided { looks, others, found } = &mut self.phase else {
            return self.begin(at);
        };
        *looks += 1;
        *found |= changed;
        if *looks < LOOKS || *found {
            if *looks >= LOOKS {
                (*looks, *found) = (0, false);
            }
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
        self.backend = None;
        self.notices.united();
        self.phase = match at.desired {
            Desired::Serving => Phase::Claiming { insisted: 0 },
            _ => Phase::Leaving { since: at.now, emptying: Vec::new() },
        };
        self.begin(at)
    }
}
