//! Tasks that outlive their own bugs.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::error;

/// Between a panic and the next start.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs what `start` makes. When it panics, that is logged and it is started again; when it
/// returns, it is done. Aborting the handle aborts what runs.
pub fn keep_alive<F>(name: &'static str, start: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        let mut running = tokio::task::JoinSet::new();
        loop {
            running.spawn(start());
            match running.join_next().await {
                Some(Err(error)) if error.is_panic() => {
                    error!(task = name, "ended by a bug in berth; starting over");
                    tokio::time::sleep(PAUSE).await;
                }
                _ => return,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_not_the_end() {
        let starts = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&starts);
        let handle = keep_alive("test", move || {
            let counter = Arc::clone(&counter);
            async move { assert!(counter.fetch_add(1, Ordering::Relaxed) >= 2, "not yet") }
        });
        handle.await.unwrap();
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }
}
