//! Keeps the lead, or waits for it. A task of its own, so that a slow tick never loses the lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::crash;
use crate::metrics_page::Page;
use crate::store::lease::{Lease, Seen};
use crate::store::{Store, in_words};

/// Who would take the lead. It watches the lease's row, and takes the lead when that was given back
/// or has not changed, by this machine's monotonic clock, for as long as it says.
#[derive(Debug)]
pub struct Candidate {
    store: Store,
    holder: String,
    ttl: Duration,
    seen: Option<(Seen, Instant)>,
}

/// What a candidate found.
#[derive(Debug)]
pub enum Found {
    /// Nobody led: the lead is taken.
    Taken(Lease),
    /// Somebody has renewed or taken it since the last look.
    Led,
    /// The same row as at the last look.
    Silent,
}

impl Candidate {
    /// One that would lead under this name, renewing within `ttl`.
    pub fn new(store: Store, holder: String, ttl: Duration) -> Self {
        Self { store, holder, ttl, seen: None }
    }

    /// Looks once, and takes the lead if nobody has it.
    pub async fn look(&mut self) -> Result<Found, sqlx::Error> {
        let row = self.store.see_lease().await?;
        let now = Instant::now();
        let known = self.seen.as_ref().filter(|(seen, _)| *seen == row);
        let silent = known.map(|(_, since)| now.duration_since(*since));
        if row.free || silent.is_some_and(|silent| silent >= row.lasts) {
            let taken = self.store.take_lease(&self.holder, self.ttl, &row).await?;
            self.seen = None;
            return Ok(taken.map_or(Found::Led, Found::Taken));
        }
        if silent.is_some() {
            return Ok(Found::Silent);
        }
        // The first look does not show whether it is renewed.
        let first = self.seen.replace((row, now)).is_none();
        Ok(if first { Found::Silent } else { Found::Led })
    }
}

/// Runs until nobody listens any more. The lease is `None` while somebody else leads, and from the
/// moment on at which it may have run out unrenewed.
pub async fn keep(
    store: Store,
    holder: String,
    ttl: Duration,
    lead: watch::Sender<Option<Lease>>,
    page: Arc<Page>,
) {
    let pause = ttl / 4;
    let mut candidate = Candidate::new(store.clone(), holder, ttl);
    let mut renewed = Instant::now();
    let mut well = true;
    loop {
        let asked = Instant::now();
        let held = lead.borrow().clone();
        match timeout(pause, ask(&store, &mut candidate, ttl, held.as_ref())).await {
            Ok(Ok(found)) => {
                if !matches!(found, Found::Silent) {
                    page.led();
                }
                match (held, found) {
                    (None, Found::Taken(lease)) => {
                        info!(epoch = lease.epoch, "leading");
                        renewed = asked;
                        lead.send_replace(Some(lease));
                        crash::point("lease_taken");
                    }
                    (Some(_), Found::Taken(_)) => renewed = asked,
                    (Some(lease), _) => {
                        warn!(epoch = lease.epoch, "another scaler leads now");
                        lead.send_replace(None);
                    }
                    (None, _) => {}
                }
                well = true;
            }
            failed => {
                let why = match failed {
                    Ok(Err(error)) => in_words(&error),
                    _ => format!("no answer within {pause:?}"),
                };
                if std::mem::replace(&mut well, false) {
                    warn!(why, "the store does not answer for the lease");
                }
                if held.is_some() && renewed.elapsed() + pause >= ttl {
                    warn!("the lease may have run out: standing by");
                    lead.send_replace(None);
                }
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = lead.closed() => return,
        }
    }
}

async fn ask(
    store: &Store,
    candidate: &mut Candidate,
    ttl: Duration,
    held: Option<&Lease>,
) -> Result<Found, sqlx::Error> {
    match held {
        None => candidate.look().await,
        Some(lease) if store.renew_lease(lease, ttl).await? => Ok(Found::Taken(lease.clone())),
        Some(_) => Ok(Found::Led),
    }
}
