//! The Docker Engine API, on one host or many.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, NetworkConnectRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{
    BoxFuture, Ending, Executor, Health, Instance, Progress, Sight, State, StepError, StepKind,
    Task, label,
};
use crate::timestamp::Timestamp;
use crate::{clock, crash};

pub mod hosts;
mod spec;

pub use hosts::Hosts;
use hosts::{Host, is_missing, step_error};
use spec::Spec;

/// Creating and starting may pull on storage; longer than a question.
const PATIENCE: Duration = Duration::from_secs(30);
/// A stop that the daemon has not ended this long after its grace is a kill that did not work.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// For all questions of one step together: an answer that begins may still not end.
const WHOLE: Duration = Duration::from_secs(120);

/// Between the end of a container and the event that tells of it.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Containers of Docker hosts.
#[derive(Debug)]
pub struct DockerExecutor {
    hosts: Hosts,
    patience: Duration,
    /// Intents whose stop signal this process has sent.
    signalled: Arc<Mutex<HashSet<i64>>>,
}

impl DockerExecutor {
    /// Works on `hosts`; a question takes at most `patience`.
    pub fn new(hosts: Hosts, patience: Duration) -> Self {
        Self { hosts, patience, signalled: Arc::default() }
    }

    async fn list(&self, host: &Host) -> Result<Vec<Instance>, StepError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list = async {
            let docker = host.client().await?;
            docker.list_containers(Some(options)).await.map_err(step_error)
        };
        let listed = within(self.patience, list).await?;
        Ok(listed.into_iter().filter_map(|summary| instance(&host.name, summary)).collect())
    }

    async fn create(&self, task: Task<'_>) -> Result<Progress, StepError> {
        let step = task.step;
        let docker = self.hosts.named(&step.host)?.client().await?;
        let docker = &docker.clone().with_timeout(PATIENCE);
        let id = match inspect(docker, &step.name).await? {
            Some(found) => {
                let running = is_running(&found);
                let (id, made_by) = (found.id.unwrap_or_default(), intent_of(&found.config));
                if made_by != Some(task.intent) {
                    return Err(StepError::Refused(format!("the name {} is taken", step.name)));
                }
                if running {
                    return Ok(Progress::Done { id: Some(id), status: "running" });
                }
                id
            }
            None => {
                let id = make(docker, &task).await?;
                crash::point("created");
                id
            }
        };
        if let Err(error) = docker.start_container(&id, None).await {
            // Half a replica is none, and its name would be taken for good.
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            if let Err(error) = docker.remove_container(&id, Some(options)).await {
                warn!(container = step.name, %error, "a container that does not start stays");
            }
            return Err(step_error(error));
        }
        crash::point("started");
        Ok(Progress::Done { id: Some(id), status: "running" })
    }

    async fn start(&self, task: Task<'_>) -> Result<Progress, StepError> {
        let docker = self.hosts.named(&task.step.host)?.client().await?;
        let id = id_of(&task)?;
        let Some(found) = inspect(docker, id).await? else {
            return Err(StepError::Refused("it is gone".to_owned()));
        };
        if !is_running(&found) {
            let docker = docker.clone().with_timeout(PATIENCE);
            docker.start_container(id, None).await.map_err(step_error)?;
            crash::point("started");
        }
        Ok(Progress::Done { id: Some(id.to_owned()), status: "running" })
    }

    /// Sends the stop once, waits without holding anybody, then removes.
    async fn stop(&self, task: Task<'_>) -> Result<Progress, StepError> {
        let host = self.hosts.named(&task.step.host)?;
        let docker = host.client().await?;
        let id = id_of(&task)?;
        let done = |status| Ok(Progress::Done { id: Some(id.to_owned()), status });
        let Some(found) = inspect(docker, id).await? else { return done("deleted") };
        if !is_running(&found) {
            if task.step.kind == StepKind::Park {
                return done("stopped");
            }
            remove(docker, id).await?;
            crash::point("removed");
            return done("deleted");
        }
        let overdue = task.now.since(task.at) > task.step.grace + STOP_MARGIN;
        if !self.has_signalled(task.intent) && !overdue {
            // The process before this one may have sent it: a second signal would cut the drain.
            let happened = happened(docker, id, task.at).await?;
            if !happened.iter().any(|action| action == "kill" || action == "signal") {
                self.send_stop(docker, &task, id);
                crash::point("stop_sent");
            }
            self.signalled().insert(task.intent);
        } else if overdue {
            docker.kill_container(id, None).await.map_err(step_error)?;
        } else {
            crash::point("draining");
        }
        Ok(Progress::Waiting { status: "draining" })
    }

    /// The daemon answers when the container has ended, which nobody waits for.
    fn send_stop(&self, docker: &Docker, task: &Task<'_>, id: &str) {
        let grace = task.step.grace;
        let docker = docker.clone().with_timeout(grace + STOP_MARGIN);
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let (id, intent, signalled) = (id.to_owned(), task.intent, self.signalled.clone());
        tokio::spawn(async move {
            let options = StopContainerOptionsBuilder::new().t(seconds).build();
            if let Err(error) = docker.stop_container(&id, Some(options)).await {
                debug!(container = id, %error, "stop; looked at again");
                signalled.lock().unwrap_or_else(PoisonError::into_inner).remove(&intent);
            }
        });
    }

    async fn remove_ended(&self, task: Task<'_>) -> Result<Progress, StepError> {
        let docker = self.hosts.named(&task.step.host)?.client().await?;
        let id = id_of(&task)?;
        if let Some(found) = inspect(docker, id).await? {
            if is_running(&found) {
                return Err(StepError::Refused("it runs again".to_owned()));
            }
            remove(docker, id).await?;
        }
        Ok(Progress::Done { id: Some(id.to_owned()), status: "deleted" })
    }

    fn signalled(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        self.signalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_signalled(&self, intent: i64) -> bool {
        self.signalled().contains(&intent)
    }
}

impl Executor for DockerExecutor {
    fn look(&self) -> BoxFuture<'_, Sight> {
        Box::pin(async {
            let looks = self.hosts.iter().map(async |host| (&host.name, self.list(host).await));
            let mut sight = Sight::default();
            for (host, found) in join_all(looks).await {
                match found {
                    Ok(instances) => {
                        sight.hosts.push(host.clone());
                        sight.instances.extend(instances);
                    }
                    Err(why) => sight.blind.push((host.clone(), why.to_string())),
                }
            }
            sight
        })
    }

    fn spec<'a>(&'a self, host: &'a str, id: &'a str) -> BoxFuture<'a, Result<String, StepError>> {
        Box::pin(within(self.patience, async move {
            let docker = self.hosts.named(host)?.client().await?;
            let found = inspect(docker, id).await?;
            let found = found.ok_or_else(|| StepError::Refused("it is gone".to_owned()))?;
            serde_json::to_string(&Spec::of(found)?).map_err(|e| StepError::Refused(e.to_string()))
        }))
    }

    /// `docker stop` leaves the events kill, die and stop; `docker rm -f` kill, die and destroy; a
    /// crash leaves die alone.
    fn ending<'a>(
        &'a self,
        host: &'a str,
        id: &'a str,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Ending, StepError>> {
        Box::pin(within(self.patience, async move {
            let docker = self.hosts.named(host)?.client().await?;
            let happened = happened(docker, id, since).await?;
            // What counts is the last time that it ended.
            let last_start = happened.iter().rposition(|action| action == "start");
            let since = happened.get(last_start.map_or(0, |at| at + 1)..).unwrap_or_default();
            let has = |action: &str| since.iter().any(|a| a == action);
            Ok(match (has("stop"), has("destroy"), has("kill"), has("die")) {
                (true, ..) => Ending::Stopped,
                (_, true, ..) => Ending::Deleted,
                (.., true, _) => Ending::Stopped,
                (.., true) => Ending::Crashed,
                _ => match inspect(docker, id).await? {
                    // The daemon shows the end of a container a little before it tells of it.
                    Some(found) if ended_just_now(&found) => {
                        return Err(StepError::Unreachable("its end is not told yet".to_owned()));
                    }
                    _ => Ending::Unknown,
                },
            })
        }))
    }

    fn advance<'a>(&'a self, task: Task<'a>) -> BoxFuture<'a, Result<Progress, StepError>> {
        Box::pin(within(WHOLE, async move {
            match task.step.kind {
                StepKind::Create => self.create(task).await,
                StepKind::Start => self.start(task).await,
                StepKind::Stop | StepKind::Park => self.stop(task).await,
                StepKind::Remove => self.remove_ended(task).await,
            }
        }))
    }
}

async fn make(docker: &Docker, task: &Task<'_>) -> Result<String, StepError> {
    let refuse = |why: &str| StepError::Refused(why.to_owned());
    let spec = task.spec.ok_or_else(|| refuse("there is nothing to clone it from"))?;
    let spec: Spec = serde_json::from_str(spec).map_err(|e| refuse(&e.to_string()))?;
    let mut body = spec.body;
    let labels = body.labels.get_or_insert_default();
    labels.insert(label::INTENT.to_owned(), task.intent.to_string());
    if let Some((_, template)) = &task.step.like {
        labels.insert(label::CLONE_OF.to_owned(), template.clone());
    }
    let options = CreateContainerOptionsBuilder::new().name(&task.step.name).build();
    let made = docker.create_container(Some(options), body).await.map_err(step_error)?;
    for (network, endpoint) in spec.more_networks {
        let request =
            NetworkConnectRequest { container: made.id.clone(), endpoint_config: Some(endpoint) };
        docker.connect_network(&network, request).await.map_err(step_error)?;
    }
    Ok(made.id)
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

async fn remove(docker: &Docker, id: &str) -> Result<(), StepError> {
    let options = RemoveContainerOptionsBuilder::new().v(true).build();
    match docker.clone().with_timeout(PATIENCE).remove_container(id, Some(options)).await {
        Err(error) if !is_missing(&error) => Err(step_error(error)),
        _ => Ok(()),
    }
}

/// The events of a container from `since` to now, oldest first. A `kill` by a signal that is not
/// meant to end anything, such as SIGHUP to reload, is a `signal` here.
async fn happened(docker: &Docker, id: &str, since: Timestamp) -> Result<Vec<String>, StepError> {
    let filters = HashMap::from([("type", vec!["container"]), ("container", vec![id])]);
    let seconds = |at: i64| format!("{}.{:03}000000", at.div_euclid(1000), at.rem_euclid(1000));
    let options = EventsOptionsBuilder::new()
        .since(&seconds(since.0))
        .until(&seconds(clock::now().0))
        .filters(&filters)
        .build();
    collect(docker.events(Some(options))).await
}

async fn collect(
    events: impl Stream<Item = Result<bollard::models::EventMessage, bollard::errors::Error>>,
) -> Result<Vec<String>, StepError> {
    /// A daemon keeps 256.
    const MAX_EVENTS: usize = 1000;
    let mut events = std::pin::pin!(events.take(MAX_EVENTS));
    let mut actions = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.map_err(step_error)?;
        let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
        let deadly = |signal: &String| ["2", "3", "9", "15"].contains(&signal.as_str());
        actions.extend(event.action.map(|action| match attributes.get("signal") {
            Some(signal) if action == "kill" && !deadly(signal) => "signal".to_owned(),
            _ => action,
        }));
    }
    Ok(actions)
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

fn is_running(found: &ContainerInspectResponse) -> bool {
    let running = |state: &bollard::models::ContainerState| {
        state.running == Some(true) || state.restarting == Some(true)
    };
    found.state.as_ref().is_some_and(running)
}

fn ended_just_now(found: &ContainerInspectResponse) -> bool {
    let at = found.state.as_ref().and_then(|s| s.finished_at.as_ref()?.parse().ok());
    let at = at.map(|at: jiff::Timestamp| Timestamp(at.as_millisecond()));
    at.is_some_and(|at| clock::now().since(at) < TOLD_WITHIN)
}

fn intent_of(config: &Option<bollard::models::ContainerConfig>) -> Option<i64> {
    config.as_ref()?.labels.as_ref()?.get(label::INTENT)?.parse().ok()
}

fn id_of<'a>(task: &Task<'a>) -> Result<&'a str, StepError> {
    let id = task.step.id.as_deref();
    id.ok_or_else(|| StepError::Refused("the step names no container".to_owned()))
}

/// The answer, if it comes within `limit`.
async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let late = || StepError::Unreachable(format!("no answer within {limit:?}"));
    timeout(limit, answer).await.map_err(|_| late())?
}
