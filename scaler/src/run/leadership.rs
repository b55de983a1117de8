//! Keeps the lead, or waits for it. A task of its own, so that a slow tick never loses the lease.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::crash;
use crate::store::Store;
use crate::store::lease::Lease;

/// Runs until nobody listens any more. The lease is `None` while somebody else leads, and from the
/// moment on at which it may have run out unrenewed.
pub async fn keep(store: Store, holder: String, ttl: Duration, lead: watch::Sender<Option<Lease>>) {
    let pause = ttl / 4;
    let mut renewed = Instant::now();
    loop {
        let asked = Instant::now();
        let held = lead.borrow().clone();
        let answer = timeout(pause, ask(&store, &holder, ttl, held.as_ref())).await;
        match (held, answer) {
            (None, Ok(Ok(Some(lease)))) => {
                info!(epoch = lease.epoch, "leading");
                renewed = asked;
                lead.send_replace(Some(lease));
                crash::point("lease_taken");
            }
            (Some(_), Ok(Ok(Some(_)))) => renewed = asked,
            (Some(lease), Ok(Ok(None))) => {
                warn!(epoch = lease.epoch, "another scaler leads now");
                lead.send_replace(None);
            }
            (held, Ok(Err(_)) | Err(_)) => {
                warn!("the store does not answer for the lease");
                if held.is_some() && renewed.elapsed() + pause >= ttl {
                    warn!("the lease may have run out: standing by");
                    lead.send_replace(None);
                }
            }
            (None, Ok(Ok(None))) => {}
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = lead.closed() => return,
        }
    }
}

async fn ask(
    store: &Store,
    holder: &str,
    ttl: Duration,
    held: Option<&Lease>,
) -> Result<Option<Lease>, sqlx::Error> {
    match held {
        None => store.take_lease(holder, ttl).await,
        Some(lease) => Ok(store.renew_lease(lease, ttl).await?.then(|| lease.clone())),
    }
}
