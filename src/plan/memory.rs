//! What a registrar remembers between reads. All of it may be lost at any time: it saves moves and
//! tells an operator's doing from our own, and nothing depends on it being there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::SETTLING;
use crate::haproxy::Server;

/// Memory of one container at one HAProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    held: Option<Arc<str>>,
    drained: Option<Arc<str>>,
    claiming: Option<(Arc<str>, Duration)>,
    attempts: u32,
    template: Option<SocketAddr>,
    pending: BTreeMap<(Arc<str>, SocketAddr), Duration>,
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
        self.template = shared_endpoint(&slots, mine)
            .or_else(|| self.template.filter(|template| is_last_untouched(&slots, *template)));
        let seen = std::mem::take(&mut self.pending);
        self.pending = slots
            .iter()
            .filter(|slot| slot.admin.in_maint() && slot.weight == 0)
            .filter_map(|slot| Some((Arc::clone(&slot.name), slot.endpoint()?)))
            .filter(|(_, endpoint)| *endpoint != mine && !endpoint.ip().is_unspecified())
            .map(|key| {
                let since = seen.get(&key).copied().unwrap_or(now);
                (key, since)
            })
            .collect();
    }

    /// Notes that a claim was written.
    pub fn claimed(&mut self, slot: &Server, now: Duration) {
        self.attempts = self.attempts.wrapping_add(1);
        self.claiming = Some((Arc::clone(&slot.name), now));
    }

    /// Notes that the slot was seen in rotation with my address.
    pub fn held(&mut self, slot: &Server) {
        self.held = Some(Arc::clone(&slot.name));
        self.drained = None;
        self.claiming = None;
    }

    /// Notes that I put the slot into drain.
    pub fn drained(&mut self, slot: &Server) {
        self.drained = Some(Arc::clone(&slot.name));
    }

    /// The slot that was last held.
    pub fn last_held(&self) -> Option<&Arc<str>> {
        self.held.as_ref()
    }

    pub(super) fn has_held(&self, slot: &Server) -> bool {
        self.held.as_ref() == Some(&slot.name)
    }

    pub(super) fn has_drained(&self, slot: &Server) -> bool {
        self.drained.as_ref() == Some(&slot.name)
    }

    pub(super) fn claim_in_progress(&self, now: Duration) -> Option<Arc<str>> {
        let (slot, since) = self.claiming.as_ref()?;
        (now.saturating_sub(*since) < SETTLING).then(|| Arc::clone(slot))
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether somebody began a claim on this slot and has not finished it for `patience`.
    pub(super) fn is_abandoned(&self, slot: &Server, now: Duration, patience: Duration) -> bool {
        let pending = slot.admin.in_maint() && slot.weight == 0;
        let since = slot
            .endpoint()
            .and_then(|endpoint| self.pending.get(&(Arc::clone(&slot.name), endpoint)));
        pending && since.is_some_and(|since| now.saturating_sub(*since) >= patience)
    }

    /// Whether `endpoint` is what the template gives to its untouched slots.
    pub(super) fn is_template(&self, slot: &Server, endpoint: SocketAddr) -> bool {
        let lone = slot.admin.in_maint() && slot.unchecked && endpoint.ip().is_loopback();
        self.template == Some(endpoint) || lone && slot.weight > 0
    }
}

/// Whether one slot is left that shows the template's own endpoint, and it is in maintenance.
fn is_last_untouched(slots: &[&Server], template: SocketAddr) -> bool {
    let mut showing = slots.iter().filter(|slot| slot.endpoint() == Some(template));
    match (showing.next(), showing.next()) {
        (Some(slot), None) => slot.admin.in_maint() && slot.weight > 0,
        _ => false,
    }
}

/// The endpoint that several slots show at once, which no container's can: the template's own.
/// Claims in progress (weight 0) do not count.
fn shared_endpoint(slots: &[&Server], mine: SocketAddr) -> Option<SocketAddr> {
    let mut counts = BTreeMap::<SocketAddr, usize>::new();
    for slot in slots.iter().filter(|slot| slot.weight > 0) {
        if let Some(endpoint) = slot.endpoint().filter(|endpoint| !endpoint.ip().is_unspecified()) {
            *counts.entry(endpoint).or_default() += 1;
        }
    }
    counts.remove(&mine);
    counts.into_iter().filter(|(_, count)| *count > 1).max_by_key(|(_, c)| *c).map(|(e, _)| e)
}
