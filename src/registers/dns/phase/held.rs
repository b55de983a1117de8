//! What may be in DNS of one container, and when it is looked at again.

use std::time::{Duration, Instant};

use super::Moment;
use crate::net::backoff::jitter;
use crate::registers::dns::claim::Claim;
use crate::registers::dns::settings::DnsConfig;
use crate::registers::dns::wire::name::DnsName;

/// How often the records are looked at, at most.
const VERIFY_INTERVAL: Duration = Duration::from_secs(20);
/// Shortest rest.
pub(super) const AGAIN: Duration = Duration::from_millis(50);

/// What may be in DNS of one container.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::registers::dns) struct Held {
    pub(super) claim: Claim,
    /// What it becomes when the update that is under way succeeds, and when it meets a conflict.
    pub(super) after: Option<(Claim, Claim)>,
    /// The lease's text that was sent last, and when, until the server shows it; then it is `shown`.
    pub(super) sent: Option<(Vec<u8>, Instant)>,
    pub(super) shown: Option<Vec<u8>>,
    pub(super) renewed_at: Option<Instant>,
    /// Targets of PTR records that may be there.
    pub(super) ptrs: Vec<DnsName>,
    /// Updates in a row without what they asked for, and the name at which it is missing.
    pub(super) vain: u32,
    pub(super) missing: DnsName,
    /// Steps in a row for what goes with the address.
    pub(super) extras: u32,
}

impl Held {
    pub(super) fn new(claim: Claim) -> Self {
        Self {
            missing: claim.shared.clone(),
            claim,
            after: None,
            sent: None,
            shown: None,
            renewed_at: None,
            ptrs: Vec::new(),
            vain: 0,
            extras: 0,
        }
    }

    pub(super) fn note_ptrs(&mut self, targets: impl Iterator<Item = DnsName>) {
        for target in targets {
            if !self.ptrs.contains(&target) {
                self.ptrs.push(target);
            }
        }
    }

    /// An update can succeed and its answer get lost: the lease is renewed when its text shows.
    pub(super) fn note_renewal(&mut self, texts: &[Vec<u8>]) {
        if let Some((text, sent_at)) = self.sent.take_if(|(text, _)| texts.contains(text)) {
            self.renewed_at = Some(sent_at);
            self.shown = Some(text);
        }
    }

    pub(super) fn has_written(&self, text: &[u8]) -> bool {
        let sent = self.sent.as_ref().map(|(sent, _)| sent);
        [sent, self.shown.as_ref()].into_iter().flatten().any(|ours| ours == text)
    }

    /// Time until the lease should be renewed: well before half of it is over, so that a lost packet
    /// or a restart of the server costs nothing.
    pub(super) fn renewal_in(&self, rules: &DnsConfig, now: Instant) -> Option<Duration> {
        let lease = rules.lease?;
        let age = self.renewed_at.map_or(lease, |renewed_at| now.duration_since(renewed_at));
        Some((lease / 4).saturating_sub(age))
    }

    pub(super) fn rest(&self, rules: &DnsConfig, at: Moment) -> Duration {
        let interval = rules.lease.map_or(VERIFY_INTERVAL, |lease| VERIFY_INTERVAL.min(lease / 8));
        let verify = jitter(interval, at.luck);
        self.renewal_in(rules, at.now).map_or(verify, |due| due.min(verify)).max(AGAIN)
    }
}
