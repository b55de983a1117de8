//! What runs on each host, looked at by a task for each. A host that hangs keeps nobody waiting:
//! whoever was late once is not waited for until it has been quick again, and what it said last
//! holds while its answer is awaited.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::executor::{Executor, Instance, Sight, StepError};

/// How long an answer holds while the next one is awaited.
const HOLDS: Duration = Duration::from_secs(30);

/// The looks at all hosts.
#[derive(Default)]
pub(super) struct Survey {
    views: HashMap<String, View>,
    looks: JoinSet<Look>,
}

/// An answer of a host.
struct Look {
    host: String,
    asked: Instant,
    took: Duration,
    said: Result<Vec<Instance>, StepError>,
}

/// What is known of one host.
#[derive(Default)]
struct View {
    /// Since when its answer is awaited.
    asked: Option<Instant>,
    /// When the last answer was asked for, and what it was.
    last: Option<(Instant, Result<Vec<Instance>, StepError>)>,
    /// It is not waited for: its last answer was late, or is overdue.
    late: bool,
    /// Something was done on it then: what it said before may not show it.
    acted: Option<Instant>,
}

impl Survey {
    /// Something may have been done on a host: what it was asked before is not to be trusted.
    pub(super) fn acted_on(&mut self, host: &str) {
        self.views.entry(host.to_owned()).or_default().acted = Some(Instant::now());
    }

    /// Looks at every host of `executor`, and waits `patience` for those that were not late before.
    pub(super) async fn look(&mut self, executor: &Arc<dyn Executor>, patience: Duration) -> Sight {
        let (hosts, began) = (executor.hosts(), Instant::now());
        self.views.retain(|name, _| hosts.contains(name));
        self.take_what_came(patience);
        for host in &hosts {
            let view = self.views.entry(host.clone()).or_default();
            if view.asked.is_some() {
                continue;
            }
            view.asked = Some(began);
            let (executor, host) = (executor.clone(), host.clone());
            self.looks.spawn(async move {
                let said = executor.look(&host).await;
                Look { host, asked: began, took: began.elapsed(), said }
            });
        }
        while self.views.values().any(|view| view.asked.is_some() && !view.late) {
            match timeout_at(began + patience, self.looks.join_next()).await {
                Ok(Some(Ok(look))) => self.take(look, patience),
                // A panic in an executor: nobody knows at which host, so all are asked again.
                Ok(Some(Err(_)) | None) => {
                    self.looks.abort_all();
                    self.views.values_mut().for_each(|view| view.asked = None);
                }
                Err(_) => break,
            }
        }
        self.views.values_mut().for_each(|view| view.late |= view.asked.is_some());
        self.sight(&hosts, began)
    }

    fn take_what_came(&mut self, patience: Duration) {
        while let Some(look) = self.looks.try_join_next() {
            if let Ok(look) = look {
                self.take(look, patience);
            }
        }
    }

    fn take(&mut self, look: Look, patience: Duration) {
        let Some(view) = self.views.get_mut(&look.host) else { return };
        // One that is not asked any more belongs to hosts of another configuration.
        if view.asked != Some(look.asked) {
            return;
        }
        view.asked = None;
        view.late = look.took > patience;
        view.last = Some((look.asked, look.said));
    }

    fn sight(&self, hosts: &[String], now: Instant) -> Sight {
        let mut sight = Sight::default();
        for host in hosts {
            match self.views.get(host).map(|view| view.shows(now)) {
                Some(Ok(instances)) => {
                    sight.hosts.push(host.clone());
                    sight.instances.extend(instances.iter().cloned());
                }
                Some(Err(why)) => sight.blind.push((host.clone(), why)),
                None => {}
            }
        }
        sight
    }
}

impl View {
    /// What it shows, or why that is not known.
    fn shows(&self, now: Instant) -> Result<&[Instance], String> {
        match &self.last {
            Some((_, Err(why))) => Err(why.to_string()),
            Some((asked, Ok(instances)))
                if self.acted.is_none_or(|at| *asked >= at)
                    && now.saturating_duration_since(*asked) < HOLDS =>
            {
                Ok(instances)
            }
            _ => Err("its answer is awaited".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::{BoxFuture, Ending, Progress, Task};
    use std::sync::Mutex;

    /// Hosts that answer after so many seconds each.
    struct Slow(Mutex<HashMap<String, u64>>);

    impl Executor for Slow {
        fn hosts(&self) -> Vec<String> {
            let mut hosts: Vec<String> = self.0.lock().unwrap().keys().cloned().collect();
            hosts.sort();
            hosts
        }
        fn look<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, StepError>> {
            let secs = self.0.lock().unwrap()[host];
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(secs)).await;
                Ok(Vec::new())
            })
        }
        fn spec<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<String, StepError>> {
            Box::pin(std::future::pending())
        }
        fn rights(&self, _: &str) -> Vec<String> {
            Vec::new()
        }
        fn ending<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Ending, StepError>> {
            Box::pin(std::future::pending())
        }
        fn advance<'a>(&'a self, _: &'a Task) -> BoxFuture<'a, Result<Progress, StepError>> {
            Box::pin(std::future::pending())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(1);

    async fn at(secs: u64, start: Instant) {
        tokio::time::sleep_until(start + Duration::from_secs(secs)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_host_is_waited_for_once_and_seen_a_round_later() {
        let slow = |secs| Mutex::new(HashMap::from([("a".to_owned(), 0), ("b".to_owned(), secs)]));
        let both = Arc::new(Slow(slow(3)));
        let executor: Arc<dyn Executor> = both.clone();
        let (mut survey, start) = (Survey::default(), Instant::now());
        let hosts = |sight: Sight| sight.hosts.join(" ");
        assert_eq!(hosts(survey.look(&executor, PATIENCE).await), "a");
        assert_eq!(start.elapsed(), PATIENCE);
        at(5, start).await;
        assert_eq!(hosts(survey.look(&executor, PATIENCE).await), "a b");
        assert_eq!(start.elapsed(), Duration::from_secs(5), "what it said meanwhile holds");
        // Something is done there: what it was asked before does not show it.
        survey.acted_on("b");
        at(9, start).await;
        assert_eq!(hosts(survey.look(&executor, PATIENCE).await), "a");
        at(13, start).await;
        assert_eq!(hosts(survey.look(&executor, PATIENCE).await), "a b");
        // Quick again, it is waited for again.
        both.0.lock().unwrap().insert("b".to_owned(), 0);
        for secs in [17, 18] {
            at(secs, start).await;
            survey.look(&executor, PATIENCE).await;
        }
        survey.acted_on("b");
        assert_eq!(hosts(survey.look(&executor, PATIENCE).await), "a b");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_host_said_before_it_fell_silent_holds_for_a_while() {
        let hosts = Arc::new(Slow(Mutex::new(HashMap::from([("a".to_owned(), 0)]))));
        let executor: Arc<dyn Executor> = hosts.clone();
        let (mut survey, start) = (Survey::default(), Instant::now());
        assert_eq!(survey.look(&executor, PATIENCE).await.hosts, ["a"]);
        hosts.0.lock().unwrap().insert("a".to_owned(), 100_000);
        at(20, start).await;
        assert_eq!(survey.look(&executor, PATIENCE).await.hosts, ["a"]);
        at(31, start).await;
        let awaited = [("a".to_owned(), "its answer is awaited".to_owned())];
        assert_eq!(survey.look(&executor, PATIENCE).await.blind, awaited);
    }
}
