//! A key that is in the store, or may be, and when it is looked at again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Moment, News, Rules};
use crate::net::backoff::jitter;
use crate::registers::traefik::api::Shown;

/// Shortest rest.
const AGAIN: Duration = Duration::from_millis(50);
/// How often Traefik is asked while it shows the container, or does not answer.
const API_INTERVAL: Duration = Duration::from_secs(15);
/// A container in the store that Traefik has not shown for so long is worth a word: after an outage of the
/// store Traefik waits up to eight seconds before it tries again.
const UNSEEN_AFTER: Duration = Duration::from_secs(10);

/// A key that is in the store, or may be.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::registers::traefik) struct Held {
    pub(super) at: SocketAddr,
    /// When its lease began last.
    pub(super) renewed_at: Option<Instant>,
    /// Whether the service has had our route.
    pub(super) has_routed: bool,
    /// Changes in a row that the store took and does not show.
    pub(super) vain: u32,
    looked: bool,
    ask_api_at: Option<Instant>,
    unseen_since: Option<Instant>,
    complained: bool,
}

impl Held {
    pub(super) fn new(at: SocketAddr) -> Self {
        Self {
            at,
            renewed_at: None,
            has_routed: false,
            vain: 0,
            looked: false,
            ask_api_at: None,
            unseen_since: None,
            complained: false,
        }
    }

    /// Whether keys of others with this address are to be looked for: once, when our own is there.
    pub(super) fn asks_strays(&self) -> bool {
        !self.looked && self.renewed_at.is_some()
    }

    pub(super) fn looked(&mut self) {
        self.looked = true;
    }

    pub(super) fn asks_api(&self, now: Instant) -> bool {
        self.looked && self.ask_api_at.is_none_or(|at| at <= now)
    }

    /// Time until a third of the lease is over: two of three renewals may come to nothing.
    pub(super) fn renewal_in(&self, rules: &Rules, now: Instant) -> Duration {
        let age = self.renewed_at.map_or(rules.lease, |at| now.saturating_duration_since(at));
        (rules.lease / 3).saturating_sub(age)
    }

    pub(super) fn rest(&self, rules: &Rules, at: Moment) -> Duration {
        let verify = jitter(rules.sync_interval, at.luck);
        self.renewal_in(rules, at.now).min(verify).max(AGAIN)
    }

    /// Takes in what Traefik shows.
    pub(super) fn shown(&mut self, shown: &Shown, rules: &Rules, at: Moment) -> Option<News> {
        let pause = match shown {
            Shown::No => rules.sync_interval,
            Shown::Yes | Shown::Silent(_) => API_INTERVAL,
        };
        self.ask_api_at = Some(at.now + jitter(pause, at.luck));
        match shown {
            Shown::Yes => {
                self.unseen_since = None;
                self.complained = false;
                Some(News::TakenUp)
            }
            Shown::No => {
                let since = *self.unseen_since.get_or_insert(at.now);
                let late = at.now.saturating_duration_since(since) >= UNSEEN_AFTER;
                let first = late && !std::mem::replace(&mut self.complained, late);
                first.then_some(News::NotTakenUp)
            }
            Shown::Silent(why) => {
                self.unseen_since = None;
                Some(News::ApiSilent(why.clone()))
            }
        }
    }
}
