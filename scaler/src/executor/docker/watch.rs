//! One subscription to each host's events. A daemon keeps 256 of them, which on a busy host are
//! gone in seconds; what is heard at once is not lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::events::{self, Trail};
use crate::timestamp::Timestamp;

/// Between two tries to be heard.
const PAUSE: Duration = Duration::from_millis(500);
/// Containers whose ends are remembered; beyond that the daemon's own memory has to do.
const MOST: usize = 20_000;
/// How long a daemon takes to stop its containers when it ends itself.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(20);
/// What ended while a host was away is asked for soon after it is back.
const SOON: Duration = Duration::from_secs(60);

/// Listens to hosts, for as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Watch {
    hosts: Mutex<HashMap<String, Listener>>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Listener {
    heard: Arc<Mutex<Heard>>,
    task: AbortHandle,
}

/// What one host has told.
#[derive(Debug, Default)]
struct Heard {
    /// And when something last happened to it, by the host's time.
    trails: HashMap<String, (Trail, Timestamp)>,
    /// The host's time of the last event.
    last: Option<Timestamp>,
    /// Since when it is heard again after it was not.
    back: Option<Instant>,
    lost: bool,
}

impl Watch {
    /// Listens to a host from now on, if nobody does yet.
    pub(super) fn listen(&self, host: &str, docker: &Docker) {
        let mut hosts = locked(&self.hosts);
        if hosts.get(host).is_some_and(|listener| !listener.task.is_finished()) {
            return;
        }
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let task = locked(&self.tasks).spawn(listen(docker.clone(), heard.clone()));
        hosts.insert(host.to_owned(), Listener { heard, task });
    }

    /// What was heard of a container since its last start.
    pub(super) fn trail(&self, host: &str, id: &str) -> Trail {
        self.heard(host, |heard| heard.trails.get(id).map(|(trail, _)| *trail))
            .flatten()
            .unwrap_or_default()
    }

    /// Whether the host has been away a moment ago.
    pub(super) fn was_away(&self, host: &str) -> bool {
        let away = |heard: &Heard| heard.back.is_some_and(|back| back.elapsed() < SOON);
        self.heard(host, away).unwrap_or(false)
    }

    fn heard<T>(&self, host: &str, ask: impl FnOnce(&Heard) -> T) -> Option<T> {
        let hosts = locked(&self.hosts);
        hosts.get(host).map(|listener| ask(&locked(&listener.heard)))
    }
}

impl Heard {
    fn begin(&mut self) {
        if std::mem::take(&mut self.lost) {
            self.back = Some(Instant::now());
        }
    }

    fn take(&mut self, message: EventMessage) {
        let Some(event) = events::event(message) else { return };
        if self.trails.len() >= MOST {
            self.trails.clear();
        }
        self.last = self.last.max(Some(event.at));
        let (trail, at) = self.trails.entry(event.id.clone()).or_default();
        trail.take(&event);
        *at = event.at;
    }

    /// A daemon that ends stops its containers as `docker stop` does, and says so to whoever still
    /// listens. What it told last counts only if it tells it again.
    fn lose(&mut self) {
        if std::mem::replace(&mut self.lost, true) {
            return;
        }
        if let Some(last) = &mut self.last {
            *last = *last - LAST_WORDS;
            self.trails.retain(|_, (_, at)| *at < *last);
        }
    }
}

/// Never ends by itself.
async fn listen(docker: Docker, heard: Arc<Mutex<Heard>>) {
    loop {
        // What happened meanwhile is told once more, as far as the daemon remembers it.
        let since = locked(&heard).last.map(|last| format!("{}", last.0.div_euclid(1000)));
        let kinds = ["start", "kill", "die", "stop", "destroy"].map(str::to_owned);
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("event".to_owned(), kinds.to_vec()),
        ]);
        let mut options = EventsOptionsBuilder::new().filters(&filters);
        if let Some(since) = &since {
            options = options.since(since);
        }
        if docker.ping().await.is_ok() {
            locked(&heard).begin();
            let mut messages = std::pin::pin!(docker.events(Some(options.build())));
            while let Some(Ok(message)) = messages.next().await {
                locked(&heard).take(message);
            }
            debug!("a host's events have ended; asked for again");
        }
        locked(&heard).lose();
        sleep(PAUSE).await;
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
