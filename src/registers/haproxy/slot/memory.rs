//! What a registrar remembers between reads. All of it may be lost at any time: it saves moves and
//! tells an operator's doing from our own, and nothing depends on it being there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{SETTLING, Step};
use crate::registers::haproxy::{Checks, Server};

/// Memory of one container at one HAProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The slot that I was the last to hold, as far as I know.
    former: Option<Arc<str>>,
    /// The slot seen in rotation with my address since I last wrote.
    held: Option<Arc<str>>,
    /// The slot whose weight an operator set to 0, before whatever he does next.
    left: Option<Arc<str>>,
    /// The slot that I wrote a claim on and have not seen in rotation since, whom I took it from,
    /// and when.
    claiming: Option<(Arc<str>, Option<SocketAddr>, Duration)>,
    attempts: u8,
    /// The address that the template gives to its slots, and whether several show it now.
    template: Option<(SocketAddr, bool)>,
    /// The address that a few slots show, as the template's would, and since when.
    likeness: Option<(SocketAddr, Duration)>,
    /// What should not last, others' claims in progress and ghosts, and since when it is seen.
    passing: BTreeMap<(Arc<str>, SocketAddr, bool), Duration>,
}

impl Memory {
    /// Takes in what a read showed: the template's own address, and claims that are in progress.
    /// `is_slot` says which servers are slots of the template.
    pub fn observe(
        &mut self,
        servers: &[Server],
        is_slot: impl Fn(&Server) -> bool,
        mine: SocketAddr,
        now: Duration,
    ) {
        let slots: Vec<_> = servers.iter().filter(|server| is_slot(server)).collect();
        let shared = self.shared_endpoint(&slots, mine, now).map(|endpoint| (endpoint, true));
        self.template = shared.or(self.template.map(|(endpoint, _)| (endpoint, false)));
        let seen = std::mem::take(&mut self.passing);
        self.passing = slots
            .iter()
            .filter_map(|slot| {
                let (maint, endpoint) = (slot.admin.in_maint(), slot.endpoint()?);
                let empty = endpoint.ip().is_unspecified() || self.template_is(endpoint);
                let passing = if maint { slot.weight == 0 && !empty } else { empty };
                let key = (Arc::clone(&slot.name), endpoint, maint);
                (passing && endpoint != mine).then_some(key)
            })
            .map(|key| {
                let since = seen.get(&key).copied().unwrap_or(now);
                (key, since)
            })
            .collect();
    }

    /// The endpoint that the template gives to its slots, when many of them show it, or a few for
    /// long enough: for a moment a few may show an agent's, when it gives them back and HAProxy
    /// applies that late.
    fn shared_endpoint(
        &mut self,
        slots: &[&Server],
        mine: SocketAddr,
        now: Duration,
    ) -> Option<SocketAddr> {
        let before = self.likeness.take();
        let (endpoint, count) = shared_endpoint(slots)?;
        let nowhere = self.former.is_none() && self.claiming.is_none();
        if self.template_is(endpoint) || count > FEW || (endpoint == mine && nowhere) {
            return Some(endpoint);
        }
        let since = before.filter(|(like, _)| *like == endpoint).map_or(now, |(_, since)| since);
        self.likeness = Some((endpoint, since));
        (now.saturating_sub(since) >= SETTLING).then_some(endpoint)
    }

    /// Notes that a step is about to be taken; whether it succeeds may never be known.
    pub fn will(&mut self, step: &Step, now: Duration) {
        match step {
            Step::Claim { slot, .. } => {
                self.attempts = self.attempts.wrapping_add(1);
                self.claiming = Some((Arc::clone(&slot.name), self.shown(slot), now));
                // Whoever is seen there next has come anew.
                self.passing.retain(|(name, _, _), _| *name != slot.name);
                self.held = None;
                self.left = None;
            }
            Step::MakeReady(slot) => {
                self.former = Some(Arc::clone(&slot.name));
                self.held = None;
            }
            Step::Hold { slot, .. } => self.holds(slot),
            Step::LeaveToOperator(slot) if slot.weight == 0 => {
                self.left = Some(Arc::clone(&slot.name));
            }
            _ => {}
        }
    }

    fn holds(&mut self, slot: &Server) {
        self.former = Some(Arc::clone(&slot.name));
        self.held = Some(Arc::clone(&slot.name));
        self.attempts = 0;
        self.left = None;
        self.claiming = None;
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

    pub(super) fn has_left(&self, slot: &Server) -> bool {
        self.left.as_ref() == Some(&slot.name)
    }

    pub(super) fn is_claiming(&self, slot: &Server) -> bool {
        self.claiming.as_ref().is_some_and(|(name, ..)| *name == slot.name)
    }

    /// Whether I claimed this slot a moment ago and nobody has got it: it is empty, or shows whom I
    /// took it from.
    pub(super) fn awaits(&self, slot: &Server, now: Duration) -> bool {
        self.claiming.as_ref().is_some_and(|(name, from, since)| {
            let shows = self.shown(slot);
            let still = shows.is_none() || shows == *from;
            *name == slot.name && still && now.saturating_sub(*since) < SETTLING
        })
    }

    /// What a slot shows; nothing when that is known to be no container's address.
    fn shown(&self, slot: &Server) -> Option<SocketAddr> {
        let empty = |at: &SocketAddr| at.ip().is_unspecified() || self.template_is(*at);
        slot.endpoint().filter(|endpoint| !empty(endpoint))
    }

    /// Whether a few slots may be as empty as the template made them; it will soon be known.
    pub(super) fn is_in_doubt(&self, now: Duration) -> bool {
        self.likeness.is_some_and(|(like, since)| {
            !self.template_is(like) && now.saturating_sub(since) < SETTLING
        })
    }

    pub(super) fn attempts(&self) -> u8 {
        self.attempts
    }

    /// Whether this slot has been somebody's unfinished claim, or a ghost, for `patience`.
    pub(super) fn is_overdue(&self, slot: &Server, now: Duration, patience: Duration) -> bool {
        let key = slot
            .endpoint()
            .map(|endpoint| (Arc::clone(&slot.name), endpoint, slot.admin.in_maint()));
        let since = key.and_then(|key| self.passing.get(&key));
        since.is_some_and(|since| now.saturating_sub(*since) >= patience)
    }

    /// Lets [`SETTLING`] pass.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        if let Some((.., since)) = &mut self.claiming {
            *since = Duration::ZERO;
        }
        if let Some((_, since)) = &mut self.likeness {
            *since = Duration::ZERO;
        }
    }

    /// Lets any time pass that a rule may wait for.
    #[cfg(test)]
    pub(super) fn grow_old(&mut self) {
        self.settle();
        self.passing.values_mut().for_each(|since| *since = Duration::ZERO);
    }

    /// Whether `endpoint` is known to be what the template gives to its slots.
    pub(super) fn template_is(&self, endpoint: SocketAddr) -> bool {
        self.template.is_some_and(|(template, _)| template == endpoint)
    }

    /// Whether `slot`, which shows `endpoint`, is as empty as the template made it. The only one in
    /// rotation may be another app of this host, which listens where the template points: it is UP.
    pub(super) fn is_empty(&self, slot: &Server, endpoint: SocketAddr) -> bool {
        match self.template {
            Some((template, shared)) if template == endpoint => {
                shared || !slot.running || slot.admin.in_maint()
            }
            _ => {
                let untouched = slot.admin.in_maint() && slot.weight > 0;
                let untouched = untouched && slot.checks == Checks::Pending;
                untouched && endpoint.ip().is_loopback()
            }
        }
    }
}

/// So many slots may show one endpoint for a moment and not be the template's.
const FEW: usize = 4;

/// The endpoint that most slots share, and how many show it. A few in rotation are an agent's own:
/// it may be on several for a moment, when HAProxy took its commands late.
fn shared_endpoint(slots: &[&Server]) -> Option<(SocketAddr, usize)> {
    #[derive(Default)]
    struct Count {
        all: usize,
        in_rotation: usize,
    }
    let mut counts = BTreeMap::<SocketAddr, Count>::new();
    for slot in slots.iter().filter(|slot| slot.weight > 0) {
        if let Some(endpoint) = slot.endpoint().filter(|endpoint| !endpoint.ip().is_unspecified()) {
            let count = counts.entry(endpoint).or_default();
            count.all += 1;
            count.in_rotation += usize::from(!slot.admin.in_maint());
        }
    }
    counts
        .into_iter()
        .map(|(endpoint, count)| (endpoint, if count.in_rotation > 0 { FEW } else { 1 }, count.all))
        .filter(|(_, least, all)| all > least)
        .max_by_key(|(_, _, all)| *all)
        .map(|(endpoint, _, all)| (endpoint, all))
}
