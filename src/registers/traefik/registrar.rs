//! One container in one store of Traefik's: look, decide ([`super::phase`]), act, rest.
//!
//! It never decides what is wanted and never touches the app. Dropping it at any await is safe: the next
//! turn starts from what the store shows.

mod look;
mod notice;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::api::Api;
use super::client::Client;
use super::fault::Fault;
use super::phase::{self, Moment, Phase, Rules, Step};
use super::settings::{Settings, Store};
use crate::net::backoff::Backoff;
use crate::net::random;
use crate::net::resolve::Resolver;
use crate::registers::{Channels, Desired, Standing, Want};
use notice::Notices;

/// Pauses after a failure. The longest is short, since a store that comes back empty has nobody in it.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// The app's stop waits this long for the key to be gone. If the store is away, its lease ends it.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

/// Registers in one store for as long as the container lives.
pub async fn run(store: Store, settings: Arc<Settings>, channels: Channels, resolver: Resolver) {
    Registrar::new(store, settings, channels, resolver).run().await;
}

struct Registrar {
    settings: Arc<Settings>,
    rules: Rules,
    client: Client,
    api: Api,
    channels: Channels,
    phase: Phase,
    backoff: Backoff,
    notices: Notices,
}

impl Registrar {
    fn new(store: Store, settings: Arc<Settings>, channels: Channels, resolver: Resolver) -> Self {
        let rules = Rules::new(&settings);
        let path = rules.keys.api_path(store.kind.provider());
        let service = settings.service.as_str().into();
        Self {
            rules,
            api: Api::new(settings.api.clone(), path, resolver.clone()),
            client: Client::new(store, &settings, resolver),
            notices: Notices::new(Arc::clone(&channels.register), service),
            backoff: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            phase: Phase::default(),
            channels,
            settings,
        }
    }

    async fn run(mut self) {
        let mut wants = self.channels.want.clone();
        let mut identity = self.channels.identity.subscribe();
        self.channels.report(wants.borrow().epoch, Standing::Absent);
        let mut patience = Instant::now();
        loop {
            if wants.has_changed().unwrap_or(false) {
                // The app's stop must not wait for a store that has not answered before.
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
            // A store that is away for a moment is asked again while the stop can wait.
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
                (self.backoff.next(random::fraction()), true)
            }
        }
    }

    async fn step(&mut self, want: Want) -> Result<Duration, Fault> {
        let seen = self.look(want.desired).await?;
        if let Some(letters) = self.client.take_notifies() {
            self.notices.notifies(&letters);
        }
        let at = Moment { now: now(), luck: random::fraction() };
        let phase = std::mem::take(&mut self.phase);
        let next = phase::next(phase, &seen, want.desired, &self.rules, at);
        self.phase = next.phase;
        next.news.into_iter().for_each(|news| self.notices.tell(news));
        if let Some(key) = self.phase.in_vain(&self.rules) {
            return Err(Fault::Ignored(key));
        }
        if let Some(standing) = next.standing {
            self.notices.recovered();
            self.backoff.reset();
            self.channels.report(want.epoch, standing);
        }
        self.act(&next.step).await
    }

    /// Does a step; how long to wait before the next.
    async fn act(&mut self, step: &Step) -> Result<Duration, Fault> {
        let lease = self.rules.lease;
        let client = &mut self.client;
        let began = now();
        match step {
            Step::Rest(wait) => return Ok(*wait),
            Step::Add(pair) => client.add(pair).await?,
            Step::Put(pair) => client.put(pair, lease).await?,
            Step::Renew(pair) => client.renew(pair, lease).await?,
            Step::Route(keys) => client.set_all(keys).await?,
            Step::Remove(keys) => client.remove(keys).await?,
        }
        self.phase.done(step, began);
        if let Phase::Passing { .. } = self.phase {
            self.client.end_lease().await;
        }
        Ok(Duration::ZERO)
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
