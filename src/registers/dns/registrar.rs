//! One container in DNS: look, decide ([`super::phase`]), send, rest.
//!
//! It never decides what is wanted and never touches the app. Dropping it at any await is safe:
//! what may have been put into DNS is noted before it is sent, and the next turn starts from what
//! the server shows.

mod look;
mod notice;
#[cfg(test)]
mod simulation;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::Rtype;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Client, Dns, Outcome};
use super::fault::Fault;
use super::lease::{Mark, Patrol};
use super::phase::{self, Moment, News, Phase, Seen, Step};
use super::settings::DnsConfig;
use super::wire::name::DnsName;
use super::wire::update::{Change, Update};
use crate::net::backoff::Backoff;
use crate::net::random;
use crate::net::resolve::Resolver;
use crate::registers::{Channels, Desired, Standing, Want};
use notice::Notices;

/// Pauses after a failure; never so long that a lease could run out in between.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// The app's stop waits this long for the record to be out. Clients keep it for its time to live
/// anyway.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

/// Registers in DNS for as long as the container lives.
pub async fn run(config: Arc<DnsConfig>, channels: Channels, resolver: Resolver) {
    let client = Client::new(Arc::clone(&config), resolver);
    Registrar::new(config, channels, client, random::bits).run().await;
}

struct Registrar<D> {
    config: Arc<DnsConfig>,
    client: D,
    channels: Channels,
    started: Instant,
    phase: Phase,
    /// Chosen once, since it tells our lease from those of neighbours at the same address.
    mark: Option<Mark>,
    /// The zone that the server has for `DNS_NAME`, when it is not configured, and the one that the
    /// PTR records are in.
    zone: Option<DnsName>,
    reverse_zone: Option<DnsName>,
    patrol: Patrol,
    backoff: Backoff,
    notices: Notices,
    /// Random bits.
    bits: fn() -> u64,
}

impl<D: Dns> Registrar<D> {
    fn new(config: Arc<DnsConfig>, channels: Channels, client: D, bits: fn() -> u64) -> Self {
        let longest = config.lease.map_or(LONGEST_RETRY, |lease| LONGEST_RETRY.min(lease / 8));
        Self {
            client,
            bits,
            notices: Notices::new(Arc::clone(&channels.register)),
            backoff: Backoff::new(FIRST_RETRY, longest),
            config,
            channels,
            started: Instant::now(),
            phase: Phase::default(),
            mark: None,
            zone: None,
            reverse_zone: None,
            patrol: Patrol::default(),
        }
    }

    async fn run(mut self) {
        let mut wants = self.channels.want.clone();
        let mut identity = self.channels.identity.subscribe();
        self.channels.report(wants.borrow().epoch, Standing::Absent);
        let mut patience = Instant::now();
        loop {
            if wants.has_changed().unwrap_or(false) {
                // The app's stop must not wait for a server that has not answered before.
                let patient = !self.notices.is_in_trouble();
                patience = Instant::now() + if patient { LEAVE_PATIENCE } else { Duration::ZERO };
            }
            let want = *wants.borrow_and_update();
            identity.mark_unchanged();
            let wait = tokio::select! {
                wait = self.patiently(want, patience) => wait,
                changed = wants.changed() => match changed {
                    Ok(()) => {
                        wants.mark_changed();
                        continue;
                    }
                    Err(_) => return,
                },
            };
            tokio::select! {
                () = sleep(wait) => {}
                _ = identity.changed() => {}
                changed = wants.changed() => match changed {
                    Ok(()) => wants.mark_changed(),
                    Err(_) => return,
                },
            }
        }
    }

    /// One turn, and word to the app's stop when that takes too long.
    async fn patiently(&mut self, want: Want, patience: Instant) -> Duration {
        let channels = self.channels.clone();
        let lost = || channels.report(want.epoch, Standing::Unreachable);
        let turn = self.turn(want);
        tokio::pin!(turn);
        let (wait, failed) = tokio::select! {
            turned = &mut turn => turned,
            () = sleep_until(patience), if want.desired != Desired::Serving => {
                lost();
                turn.await
            }
        };
        let left = patience.saturating_duration_since(Instant::now());
        if failed && want.desired != Desired::Serving && !left.is_zero() {
            // A network that is away for a moment is asked again while the stop can wait.
            return wait.min(left);
        }
        if failed {
            lost();
        }
        wait
    }

    /// One turn; says how long to wait before the next, and whether it failed.
    async fn turn(&mut self, want: Want) -> (Duration, bool) {
        match self.step(want).await {
            Ok(wait) => (wait, false),
            Err(fault) => {
                self.notices.trouble(&fault);
                (self.backoff.next(self.luck()), true)
            }
        }
    }

    async fn step(&mut self, want: Want) -> Result<Duration, Fault> {
        let seen = self.look(want.desired).await?;
        let at = self.moment();
        let phase = std::mem::take(&mut self.phase);
        let next = phase::next(phase, &seen, want.desired, &self.config, at);
        self.phase = next.phase;
        let mut trouble = match &seen {
            Seen::All(view) => view.trouble.clone(),
            _ => None,
        };
        for news in next.news {
            match news {
                News::NotShown(name) => trouble = Some(self.not_shown(name).await),
                news => self.notices.tell(news),
            }
        }
        if let Some(standing) = next.standing {
            self.notices.recovered();
            self.backoff.reset();
            self.channels.report(want.epoch, standing);
        }
        match next.step {
            Step::Rest(wait) => {
                if want.desired == Desired::Serving && matches!(self.phase, Phase::In(_)) {
                    self.finish(&seen, trouble).await?;
                }
                Ok(wait)
            }
            Step::Update(update) => self.update(&update).await,
            Step::Extra(update) => {
                let sent = self.client.update(&update).await;
                self.extra(&seen, sent).await
            }
            Step::Reverse(reverse, changes) => {
                let sent = self.update_reverse(&reverse, changes).await;
                self.extra(&seen, sent).await
            }
        }
    }

    /// Sends what the container cannot be in DNS, or out of it, without.
    async fn update(&mut self, update: &Update) -> Result<Duration, Fault> {
        let sent = self.client.update(update).await;
        self.phase.answered(sent.as_ref().ok().copied());
        let outcome = sent?;
        match (self.phase.in_vain(outcome), outcome) {
            (None, Outcome::Done) => Ok(Duration::ZERO),
            (None, Outcome::Conflict) => Ok(self.backoff.next(self.luck())),
            (Some(name), Outcome::Done) => Err(self.not_shown(name).await),
            (Some(name), Outcome::Conflict) => {
                Err(Fault::Contested(self.client.server().await?, name))
            }
        }
    }

    /// Takes note of what came of a step for what goes with the address.
    async fn extra(
        &mut self,
        seen: &Seen,
        sent: Result<Outcome, Fault>,
    ) -> Result<Duration, Fault> {
        self.phase.answered(sent.as_ref().ok().copied());
        let Err(fault) = sent else { return Ok(Duration::ZERO) };
        self.finish(seen, Some(fault)).await?;
        Ok(self.phase.rest(&self.config, self.moment()))
    }

    /// Ends a round of looks: the others' leases come last.
    async fn finish(&mut self, seen: &Seen, trouble: Option<Fault>) -> Result<(), Fault> {
        let swept = match seen {
            Seen::All(view) => self.sweep(&view.me).await,
            _ => Ok(()),
        };
        match trouble.or(swept.err()) {
            // Then the address cannot be looked after either: that is one trouble, not two.
            Some(fault) if fault.is_silence() => return Err(fault),
            trouble => self.notices.extras(trouble),
        }
        Ok(())
    }

    /// A server says NOERROR to a record beside a CNAME, and does not add it (RFC 2136 section
    /// 3.4.2.2).
    async fn not_shown(&mut self, name: DnsName) -> Fault {
        let alias = self.client.data(&name, Rtype::CNAME).await;
        match self.client.server().await {
            Ok(server) => {
                let alias = alias.is_ok_and(|found| !found.is_empty());
                Fault::Ignored { server, name, alias }
            }
            Err(fault) => fault,
        }
    }

    async fn update_reverse(
        &mut self,
        reverse: &DnsName,
        changes: Vec<Change>,
    ) -> Result<Outcome, Fault> {
        let zone = match &self.reverse_zone {
            Some(zone) if reverse.ends_with(zone) => zone.clone(),
            _ => self.client.zone_of(reverse).await?,
        };
        self.reverse_zone = Some(zone.clone());
        self.client.update(&Update { zone, prerequisites: Vec::new(), changes }).await
    }

    fn luck(&self) -> f64 {
        random::fraction_of((self.bits)())
    }

    fn moment(&self) -> Moment {
        Moment { now: Instant::now().into_std(), nonce: (self.bits)(), luck: self.luck() }
    }
}
