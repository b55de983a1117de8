//! The Docker Engine API, on one host or many.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use tokio::time::{Instant, timeout};

use super::{BoxFuture, Ending, Executor, Health, Instance, Progress, State, StepError, Task};
use crate::clock;
use crate::timestamp::Timestamp;

mod act;
mod events;
pub mod hosts;
mod rights;
mod spec;
mod strangers;
mod watch;

use act::Patience;
pub use hosts::Hosts;
use hosts::{Host, is_missing, step_error};
use spec::Spec;
use strangers::Strangers;
use watch::{LAST_WORDS, Watch};

/// For creating, starting and removing, which may take their time on storage.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between the end of a container and the event that tells of it.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// Containers of Docker hosts.
#[derive(Debug)]
pub struct DockerExecutor {
    hosts: Hosts,
    patience: Patience,
    /// What this scaler's clones are known by.
    owner: Option<String>,
    strangers: Strangers,
    /// Containers of whose end nothing is told, and since when it is asked for.
    untold: Mutex<HashMap<String, Instant>>,
    watch: Watch,
}

impl DockerExecutor {
    /// Works on `hosts`; a question takes at most `patience`.
    pub fn new(hosts: Hosts, patience: Duration) -> Self {
        let patience = Patience { ask: patience, act: PATIENCE.max(patience) };
        let strangers = Strangers::default();
        Self {
            hosts,
            patience,
            owner: None,
            strangers,
            untold: Mutex::default(),
            watch: Watch::default(),
        }
    }

    /// Marks its clones as `owner`'s, and leaves those of other owners alone.
    pub fn owned_by(mut self, owner: String) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Creating, starting and removing take at most `act` before they are looked at again.
    pub fn with_patience_for_acts(mut self, act: Duration) -> Self {
        self.patience.act = act;
        self
    }

    async fn list(&self, host: &Host) -> Result<Vec<Instance>, StepError> {
        self.watch.listen(&host.name, host.client());
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list = async {
            let docker = host.client();
            let listed = docker.list_containers(Some(options)).await.map_err(step_error)?;
            self.strangers.learn(docker, &host.name, &listed).await?;
            Ok(listed)
        };
        // A host that does not say what time it is has ours.
        let time = async { Ok(host.time().await) };
        let ask = self.patience.ask;
        let (listed, time) = tokio::join!(within(ask, list), within(ask, time));
        let now = clock::now();
        let behind = time.ok().flatten().map_or(0, |theirs| now.0.saturating_sub(theirs.0));
        let replica = |summary: ContainerSummary| {
            let mut instance = instance(&host.name, summary.clone())?;
            instance.created = instance.created.shifted(behind);
            let owner = self.owner.as_deref();
            self.strangers.unlabel(&host.name, owner, &summary, &mut instance.labels);
            Some(instance)
        };
        Ok(listed?.into_iter().filter_map(replica).collect())
    }

    /// How long the end of a container has been asked for.
    fn asked_for(&self, id: &str) -> Duration {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.retain(|_, since| since.elapsed() < LAST_WORDS * 10);
        untold.entry(id.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    /// Its end is settled.
    fn settled(&self, id: &str, ending: Ending) -> Ending {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        ending
    }
}

impl Executor for DockerExecutor {
    fn hosts(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.name.clone()).collect()
    }

    fn look<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, StepError>> {
        Box::pin(async { self.list(self.hosts.named(host)?).await })
    }

    fn spec<'a>(&'a self, host: &'a str, id: &'a str) -> BoxFuture<'a, Result<String, StepError>> {
        Box::pin(within(self.patience.ask, async move {
            let docker = self.hosts.named(host)?.client();
            let found = inspect(docker, id).await?;
            let found = found.ok_or_else(|| StepError::Refused("it is gone".to_owned()))?;
            serde_json::to_string(&Spec::of(found)?).map_err(|e| StepError::Refused(e.to_string()))
        }))
    }

    fn rights(&self, spec: &str) -> Vec<String> {
        Spec::rights(spec)
    }

    fn ending<'a>(
        &'a self,
        host: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Ending, StepError>> {
        Box::pin(within(self.patience.ask, async move {
            let docker = self.hosts.named(host)?.client();
            let recent = events::recent(docker).await?;
            let trail = self.watch.trail(host, id).and(recent.trail(id));
            let wait = |why: &str| Err(StepError::Unreachable(why.to_owned()));
            let ending = match trail.ending() {
                // A daemon that ends stops its containers in the same way; nothing is lost by
                // waiting whether it does.
                Some(Ending::Stopped)
                    if !trail.is_destroyed() && self.asked_for(id) < LAST_WORDS =>
                {
                    return wait("its daemon may be about to end");
                }
                Some(ending) => ending,
                // The daemon shows the end of a container a little before it tells of it.
                None if self.asked_for(id) < TOLD_WITHIN => return wait("its end is not told yet"),
                // It ended while nobody told of it: with the daemon, or with its host.
                None if self.watch.was_away(host) || recent.knows_all(docker).await => {
                    Ending::Crashed
                }
                None => Ending::Unknown,
            };
            Ok(self.settled(id, ending))
        }))
    }

    fn advance<'a>(&'a self, task: &'a Task) -> BoxFuture<'a, Result<Progress, StepError>> {
        Box::pin(async move {
            let docker = self.hosts.named(&task.step.host)?.client();
            act::advance(docker, self.patience, self.owner.as_deref(), task).await
        })
    }
}

async fn inspect(
    docker: &Docker,
    name: &str,
) -> Result<Option<ContainerInspectResponse>, StepError> {
    match docker.inspect_container(name, None).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(step_error(error)),
    }
}

fn instance(host: &str, summary: ContainerSummary) -> Option<Instance> {
    let state = match summary.state? {
        ContainerSummaryStateEnum::CREATED => State::Created,
        ContainerSummaryStateEnum::RUNNING => State::Running,
        ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING => State::Unable,
        _ => State::Ended,
    };
    let status = summary.status.unwrap_or_default();
    let health = match status.rsplit_once('(').map(|(_, health)| health) {
        Some("health: starting)") => Health::Starting,
        Some("healthy)") => Health::Healthy,
        Some("unhealthy)") => Health::Unhealthy,
        _ => Health::Unchecked,
    };
    let endpoints = summary.network_settings.and_then(|n| n.networks).unwrap_or_default();
    let ips = endpoints.into_values().flat_map(|e| [e.ip_address, e.global_ipv6_address]);
    Some(Instance {
        host: host.to_owned(),
        id: summary.id?,
        name: summary.names?.first()?.trim_start_matches('/').to_owned(),
        ips: ips.flatten().filter_map(|ip| ip.parse().ok()).collect(),
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
        state,
        health,
        created: Timestamp::from_secs(summary.created.unwrap_or_default()),
    })
}

/// The answer, if it comes within `limit`.
async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    timeout(limit, answer).await.map_err(|_| no_answer(limit))?
}

fn no_answer(limit: Duration) -> StepError {
    StepError::Unreachable(format!("no answer within {limit:?}"))
}
