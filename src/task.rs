//! Tasks that outlive their own bugs, and are all of one type: tokio makes 5 to 8 kB of code for each
//! type of future that is spawned. Knows nothing of what a task does.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tracing::error;

/// Between a panic and the next start.
const PAUSE: Duration = Duration::from_secs(1);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs what `start` makes. When it panics, that is logged and it is started again; when it
/// returns, it is done. Aborting the handle aborts what runs.
pub fn keep_alive<F>(name: &'static str, start: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    keep(name, Box::new(move || Box::pin(start())))
}

fn keep(name: &'static str, start: Box<dyn Fn() -> Task + Send>) -> JoinHandle<()> {
    spawn(async move {
        let mut running = JoinSet::new();
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

/// Runs `task` beside everything else. It goes on when the handle is dropped.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let task: Task = Box::pin(task);
    tokio::spawn(task)
}

/// The same for a task that comes to something: what is returned says it, or an error when the task has
/// panicked.
pub fn outcome<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> oneshot::Receiver<T> {
    let (say, outcome) = oneshot::channel();
    spawn(async move {
        let _ = say.send(task.await);
    });
    outcome
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
