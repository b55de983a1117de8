//! Which slots are empty although they show an address.
//!
//! A release writes the unspecified address. Beside that, two things are known for certain: HAProxy
//! says which slots nobody has touched since it started, and no two containers share an endpoint, so
//! one that several slots show is nobody's. The template gives its own to all of its slots, and a
//! state file may bring back others with the template's address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::SETTLING;
use crate::few::Few;
use crate::registers::haproxy::{AdminState, Checks, Server};

/// So many slots may show one endpoint for a moment and not be empty: when an agent gives back
/// slots, and HAProxy applies that late.
const FEW: usize = 4;
/// HAProxy's times are whole seconds, and of two moments.
const ROUNDING: Duration = Duration::from_secs(1);

/// The endpoints that several slots show, and what else HAProxy says of empty slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Placeholders {
    shared: Few<SocketAddr, Shared>,
    /// What the template gives to its slots: several untouched ones have shown it.
    given: Option<SocketAddr>,
    /// Endpoints that one untouched slot shows, and since when: for a moment a slot looks so too while
    /// its agent puts it into rotation.
    alone: Few<SocketAddr, Duration>,
    /// For how long HAProxy had been running at the last read, and when that was.
    uptime: Option<Duration>,
    read_at: Duration,
}

/// An endpoint that several slots show, or have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shared {
    /// Since when.
    since: Duration,
    /// Several show it now.
    now: bool,
    /// It is nobody's.
    nobodys: bool,
    /// So many have shown it that it is not a live agent's own.
    many: bool,
}

const BARELY: Shared = Shared { since: Duration::ZERO, now: false, nobodys: false, many: false };

/// How many slots show an endpoint.
#[derive(Default)]
struct Count {
    all: usize,
    untouched: usize,
    /// One of them takes requests.
    in_use: bool,
}

impl Placeholders {
    /// Takes in what a read showed. A claim in progress, which has weight 0, counts for nothing: its
    /// agent may hold another slot. `stranger` says that my own address cannot be mine in any slot.
    pub(super) fn observe(
        &mut self,
        slots: &[&Server],
        uptime: Option<Duration>,
        stranger: Option<SocketAddr>,
        now: Duration,
    ) {
        (self.uptime, self.read_at) = (uptime, now);
        let mut counts = BTreeMap::<SocketAddr, Count>::new();
        for slot in slots {
            if let Some(endpoint) = slot.shows().filter(|endpoint| !endpoint.ip().is_unspecified())
            {
                let count = counts.entry(endpoint).or_default();
                count.all += usize::from(slot.weight > 0);
                count.untouched += usize::from(self.is_untouched(slot));
                count.in_use |= slot.running && !slot.admin.in_maint();
            }
        }
        let before = std::mem::take(&mut self.shared);
        let alone = std::mem::take(&mut self.alone);
        for (endpoint, count) in counts {
            if (count.all, count.untouched) == (1, 1) && self.given.is_none() {
                self.alone.insert(endpoint, alone.get(&endpoint).copied().unwrap_or(now));
            }
            let known = before.get(&endpoint).copied();
            if count.all > 1 {
                let mut shared = known.unwrap_or(Shared { since: now, now: true, ..BARELY });
                // Whoever was alone with it began anew.
                shared.since = if shared.now { shared.since } else { now };
                shared.now = true;
                if count.untouched > 1 {
                    self.given = Some(endpoint);
                }
                shared.many |= count.all > FEW || stranger == Some(endpoint);
                let sure = count.untouched > 1 || shared.many;
                // One that takes requests may be a live agent's, with another that it has not seen yet.
                if count.in_use && !sure && !shared.nobodys {
                    continue;
                }
                shared.nobodys |= sure || now.saturating_sub(shared.since) >= SETTLING;
                if shared.nobodys {
                    shared.since = Duration::ZERO;
                }
                self.shared.insert(endpoint, shared);
            } else if let Some(shared) = known.filter(|shared| shared.nobodys && !count.in_use) {
                self.shared.insert(endpoint, Shared { now: false, ..shared });
            }
        }
    }

    /// Whether a slot is empty. One in rotation that HAProxy's checks find UP may be another app of
    /// this host, which listens where the template points, or one of two of an agent that has not
    /// looked at all slots yet.
    pub(super) fn is_empty(&self, slot: &Server) -> bool {
        let Some(endpoint) = slot.shows() else { return slot.admin.in_maint() };
        if endpoint.ip().is_unspecified() {
            return true;
        }
        if !self.is_nobodys(endpoint) {
            // What differs from what the template gives has been prepared by an operator.
            return self.given.is_none() && self.is_untouched(slot) && self.rests(slot, endpoint);
        }
        let down = !slot.running && slot.checks == Checks::Failed;
        let shared = self.shared.get(&endpoint).filter(|shared| shared.now);
        let sure = shared.is_some_and(|shared| shared.many || slot.checks == Checks::None);
        slot.admin.in_maint() || down || sure
    }

    /// Whether an endpoint has the template's address: so does what a state file brings back, with the
    /// port that the slot had.
    pub(super) fn has_given_address(&self, endpoint: SocketAddr) -> bool {
        self.given.is_some_and(|given| given.ip() == endpoint.ip())
    }

    /// Whether the only slot with this endpoint has been untouched for long enough. A name may give
    /// each slot another address, all with one port; else one of two is an operator's.
    fn rests(&self, slot: &Server, endpoint: SocketAddr) -> bool {
        let since = self.alone.get(&endpoint);
        let one_port = self.alone.iter().all(|(other, _)| other.port() == endpoint.port());
        (slot.has_name && one_port || self.alone.len() == 1)
            && since.is_some_and(|since| self.read_at.saturating_sub(*since) >= SETTLING)
    }

    /// Whether an endpoint is known to be no container's: HAProxy's unspecified one, or shared.
    pub(super) fn is_nobodys(&self, endpoint: SocketAddr) -> bool {
        let known = self.shared.get(&endpoint).is_some_and(|shared| shared.nobodys);
        known || self.given == Some(endpoint) || endpoint.ip().is_unspecified()
    }

    /// Whether nobody has touched a slot since HAProxy started: it is as the configuration made it.
    /// Without health checks an older change may be one that a state file has brought back.
    pub(super) fn is_untouched(&self, slot: &Server) -> bool {
        let made = AdminState::FORCED_MAINT | AdminState::CONFIGURED_MAINT;
        let rests = slot.admin.0 & made == made && !slot.admin.in_drain() && slot.weight > 0;
        let since_start = |uptime: Duration| slot.unchanged + ROUNDING >= uptime;
        let not_before = |uptime: Duration| slot.unchanged <= uptime + ROUNDING + ROUNDING;
        rests
            && match slot.checks {
                Checks::Pending => self.uptime.is_none_or(since_start),
                Checks::None => self.uptime.is_some_and(|at| since_start(at) && not_before(at)),
                Checks::Seen | Checks::Failed => false,
            }
    }

    /// Whether some slot may be empty; it will soon be known.
    pub(super) fn is_in_doubt(&self, now: Duration) -> bool {
        let shared = self.shared.values().filter(|shared| shared.now && !shared.nobodys);
        let mut since = shared.map(|shared| &shared.since).chain(self.alone.values());
        since.any(|since| now.saturating_sub(*since) < SETTLING)
    }

    /// Lets [`SETTLING`] pass.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        self.shared.values_mut().for_each(|shared| shared.since = Duration::ZERO);
        self.alone.values_mut().for_each(|since| *since = Duration::ZERO);
    }
}
