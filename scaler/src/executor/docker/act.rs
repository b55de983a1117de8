//! The acts: a step looks at its container and does the next thing.
//!
//! ```text
//! create   missing ─► made ─► running                 a name that somebody else has: refused
//! start              ended ─► running                 missing: refused
//! stop     running ─► signalled ─► ended ─► missing   after its grace: killed
//! park     running ─► signalled ─► ended
//! remove             ended ─► missing
//! ```
//!
//! Whoever finds a container further along goes on from there; so a second try, or another scaler
//! after a crash, doubles nothing. An answer that did not come means neither yes nor no: the next
//! look tells.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, NetworkConnectRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use tracing::{debug, warn};

use super::events;
use super::hosts::{is_conflict, is_missing, step_error};
use super::spec::Spec;
use super::{inspect, within};
use crate::crash;
use crate::executor::{Progress, Status, StepError, StepKind, Task, label};

/// How long one host is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a question.
    pub(super) ask: Duration,
    /// For creating, starting and removing, which may take their time on storage.
    pub(super) act: Duration,
}

/// A container at one look.
enum Seen {
    /// There is none.
    Missing,
    /// It exists and does not run.
    Idle(Found),
    /// It runs, is paused, or is between two tries of its restart policy.
    Running(Found),
}

struct Found {
    id: String,
    /// The intent that made it; `None` for what the scaler did not make.
    made_by: Option<i64>,
    /// It was made and never started.
    never_ran: bool,
    /// Networks that it is in.
    networks: Vec<String>,
    /// The signal that asks it to stop.
    stop_signal: String,
    /// Its own time to end in, which nobody cuts short; the longest possible for "for ever".
    stop_timeout: Duration,
}

/// Does the next thing of a step.
pub(super) async fn advance(
    docker: &Docker,
    patience: Patience,
    owner: Option<&str>,
    task: &Task,
) -> Result<Progress, StepError> {
    use StepKind::{Create, Park, Remove, Start, Stop};
    let host = Act { docker, patience, owner, task };
    let seen = host.look(host.handle()?).await?;
    match (task.step.kind, seen) {
        (Create, Seen::Missing) => host.make().await,
        (Create, Seen::Idle(found) | Seen::Running(found))
            if found.made_by != Some(task.intent) =>
        {
            let name = &task.step.name;
            Err(StepError::Refused(format!("the name {name} is taken")))
        }
        (Create | Start, Seen::Running(found)) => Ok(Progress::done(&found.id, Status::Running)),
        (Create, Seen::Idle(found)) if found.never_ran => host.complete(found).await,
        // It was started, and has ended since: that is its own affair.
        (Create, Seen::Idle(found)) => Ok(Progress::done(&found.id, Status::Stopped)),
        (Start, Seen::Missing) => Err(StepError::Refused("it is gone".to_owned())),
        (Start, Seen::Idle(found)) => host.start(&found, false).await,
        (Stop | Park | Remove, Seen::Missing) => Ok(host.gone()),
        (Stop | Park, Seen::Running(found)) => host.stop(found).await,
        (Stop, Seen::Idle(found)) if found.made_by.is_some() => Ok(host.clear(&found).await),
        (Stop | Park, Seen::Idle(found)) => Ok(Progress::done(&found.id, Status::Stopped)),
        (Remove, Seen::Idle(found)) if found.made_by.is_some() => {
            host.remove(&found).await.map(|()| host.gone())
        }
        (Remove, Seen::Idle(_)) => Err(hopeless("the scaler did not make it")),
        (Remove, Seen::Running(_)) => Err(hopeless("it runs again")),
    }
}

/// One task on one host.
struct Act<'a> {
    docker: &'a Docker,
    patience: Patience,
    /// Whose its clones are.
    owner: Option<&'a str>,
    task: &'a Task,
}

impl Act<'_> {
    /// What the host knows it by: the id, or the name of one to be made.
    fn handle(&self) -> Result<&str, StepError> {
        match (&self.task.step.kind, &self.task.step.id) {
            (StepKind::Create, _) => Ok(&self.task.step.name),
            (_, Some(id)) => Ok(id),
            (_, None) => Err(hopeless("the step names no container")),
        }
    }

    async fn look(&self, handle: &str) -> Result<Seen, StepError> {
        let found = within(self.patience.ask, inspect(self.docker, handle)).await?;
        Ok(found.map_or(Seen::Missing, seen))
    }

    async fn make(&self) -> Result<Progress, StepError> {
        let spec = self.spec()?;
        let image = self.image(&spec).await;
        let mut body = spec.body;
        body.image = image;
        let labels = body.labels.get_or_insert_default();
        labels.insert(label::INTENT.to_owned(), self.task.intent.to_string());
        // The template may be a clone, and another scaler's.
        labels.remove(label::OWNER);
        labels.extend(self.owner.map(|owner| (label::OWNER.to_owned(), owner.to_owned())));
        if let Some((_, template)) = &self.task.step.like {
            labels.insert(label::CLONE_OF.to_owned(), template.clone());
        }
        let name = &self.task.step.name;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let creating = Progress::Waiting { status: Status::Creating };
        match self.act(self.docker.create_container(Some(options), body)).await {
            Ok(made) => {
                crash::point("created");
                let found = Found::just_made(made.id, self.task.intent);
                let first = networks_of(&self.spec()?);
                self.complete(Found { networks: first, ..found }).await
            }
            // The name is ours already, made by a request whose answer was lost, or somebody
            // else's: the next look tells.
            Err(Answer::Conflict(_) | Answer::None(_)) => Ok(creating),
            Err(Answer::No(why) | Answer::Missing(why)) => Err(StepError::Refused(why)),
        }
    }

    /// What to call the image: its name where that still means the same, else its id. On another
    /// host the same image may have another id; there the name has to do.
    async fn image(&self, spec: &Spec) -> Option<String> {
        let (Some(name), Some(id)) = (&spec.body.image, &spec.image) else {
            return spec.body.image.clone();
        };
        let called = async |image: &str| self.ask(self.docker.inspect_image(image)).await.ok()?.id;
        let means = called(name).await;
        if means.as_ref() == Some(id) || (means.is_some() && called(id).await.is_none()) {
            return Some(name.clone());
        }
        Some(id.clone())
    }

    fn spec(&self) -> Result<Spec, StepError> {
        let refuse = |why: &str| StepError::Refused(why.to_owned());
        let spec = self.task.spec.as_deref();
        let spec = spec.ok_or_else(|| refuse("there is nothing to clone it from"))?;
        serde_json::from_str(spec).map_err(|e| refuse(&e.to_string()))
    }

    /// Connects one that was made to the networks that it lacks, and starts it.
    async fn complete(&self, found: Found) -> Result<Progress, StepError> {
        for (network, endpoint) in self.spec()?.more_networks {
            if found.networks.contains(&network) {
                continue;
            }
            match self.connect(&network, endpoint, &found.id).await {
                // 403: it is in that network already.
                Ok(()) | Err(Answer::Conflict(_)) => {}
                Err(Answer::None(_)) => return Ok(Progress::Waiting { status: Status::Creating }),
                Err(Answer::No(why) | Answer::Missing(why)) => {
                    self.undo(&found).await;
                    return Err(StepError::Refused(why));
                }
            }
        }
        self.start(&found, true).await
    }

    async fn connect(
        &self,
        network: &str,
        endpoint: EndpointSettings,
        id: &str,
    ) -> Result<(), Answer> {
        let request =
            NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint) };
        self.act(self.docker.connect_network(network, request)).await
    }

    /// Only a definite no undoes what was made, and only after one more look.
    async fn start(&self, found: &Found, undo: bool) -> Result<Progress, StepError> {
        let starting = Ok(Progress::Waiting { status: Status::Starting });
        let why = match self.act(self.docker.start_container(&found.id, None)).await {
            Ok(()) => {
                crash::point("started");
                return Ok(Progress::done(&found.id, Status::Running));
            }
            Err(Answer::None(_)) => return starting,
            Err(Answer::No(why) | Answer::Missing(why) | Answer::Conflict(why)) => why,
        };
        match self.look(&found.id).await {
            Ok(Seen::Running(_)) => Ok(Progress::done(&found.id, Status::Running)),
            Ok(Seen::Idle(_)) if undo => {
                // Half a replica is none, and its name would be taken for good.
                self.undo(found).await;
                Err(StepError::Refused(why))
            }
            Ok(Seen::Idle(_) | Seen::Missing) => Err(StepError::Refused(why)),
            Err(_) => starting,
        }
    }

    async fn undo(&self, found: &Found) {
        if let Err(error) = self.remove(found).await {
            warn!(container = self.task.step.name, %error, "one that does not start is left over");
        }
    }

    /// Signals it once; when its grace is over, kills it.
    async fn stop(&self, found: Found) -> Result<Progress, StepError> {
        let draining = Ok(Progress::Waiting { status: Status::Draining });
        let grace = self.task.step.grace.max(found.stop_timeout);
        let (signal, late) = match self.task.signalled {
            Some(since) if since >= grace => ("SIGKILL", true),
            Some(_) => {
                crash::point("draining");
                return draining;
            }
            // Somebody may have sent it and not lived to say so: a second one would cut the drain.
            None if !self.task.fresh && self.was_signalled(&found).await? => return draining,
            None => (found.stop_signal.as_str(), false),
        };
        // Not `/stop`: some daemons kill at once when the asker's connection ends (moby 45731).
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = self.ask(self.docker.kill_container(&found.id, Some(options))).await;
        match sent {
            Ok(()) => {
                crash::point("stop_sent");
                draining
            }
            Err(_) if late => draining,
            // It has ended meanwhile, or is gone: the next look tells.
            Err(Answer::None(_) | Answer::Missing(_) | Answer::Conflict(_)) => {
                Ok(Progress::Waiting { status: Status::Stopping })
            }
            Err(Answer::No(why)) => Err(StepError::Refused(why)),
        }
    }

    async fn was_signalled(&self, found: &Found) -> Result<bool, StepError> {
        let asked = within(self.patience.ask, events::recent(self.docker)).await?;
        Ok(asked.signalled(&found.id, self.task.at, self.task.now, &found.stop_signal))
    }

    /// Removes what has ended. That it does not run is all that was asked for; what is left over
    /// is another step's.
    async fn clear(&self, found: &Found) -> Progress {
        match self.remove(found).await {
            Ok(()) => self.gone(),
            Err(error) => {
                debug!(container = self.task.step.name, %error, "not removed; tried again");
                Progress::Done {
                    id: Some(found.id.clone()),
                    status: Status::Stopped,
                    litter: Some(error.to_string()),
                }
            }
        }
    }

    /// Removes one of ours with its anonymous volumes.
    async fn remove(&self, found: &Found) -> Result<(), StepError> {
        let options = RemoveContainerOptionsBuilder::new().v(true).build();
        match self.act(self.docker.remove_container(&found.id, Some(options))).await {
            Ok(()) | Err(Answer::Missing(_)) => {
                crash::point("removed");
                Ok(())
            }
            // Somebody else removes it: one more look.
            Err(Answer::Conflict(why)) => match self.look(&found.id).await {
                Ok(Seen::Missing) => Ok(()),
                _ => Err(StepError::Refused(why)),
            },
            Err(Answer::No(why)) => Err(StepError::Refused(why)),
            Err(Answer::None(why)) => Err(StepError::Unreachable(why)),
        }
    }

    fn gone(&self) -> Progress {
        Progress::Done { id: self.task.step.id.clone(), status: Status::Deleted, litter: None }
    }

    async fn act<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Answer> {
        answer(self.patience.act, request).await
    }

    async fn ask<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Answer> {
        answer(self.patience.ask, request).await
    }
}

/// What a host says to a request, other than yes.
enum Answer {
    /// Nothing: it may be done or not.
    None(String),
    /// There is no such thing.
    Missing(String),
    /// Something stands in the way that may be the very thing that was asked for.
    Conflict(String),
    /// No.
    No(String),
}

async fn answer<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, Answer> {
    let Ok(answered) = tokio::time::timeout(limit, request).await else {
        return Err(Answer::None(format!("no answer within {limit:?}")));
    };
    answered.map_err(|error| {
        let (missing, conflict) = (is_missing(&error), is_conflict(&error));
        match step_error(error) {
            StepError::Refused(why) if missing => Answer::Missing(why),
            StepError::Refused(why) if conflict => Answer::Conflict(why),
            StepError::Refused(why) | StepError::Hopeless(why) => Answer::No(why),
            StepError::Unreachable(why) => Answer::None(why),
        }
    })
}

fn seen(of: ContainerInspectResponse) -> Seen {
    let state = of.state.unwrap_or_default();
    let config = of.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let networks = of.network_settings.and_then(|n| n.networks).unwrap_or_default();
    // -1 waits for ever.
    let stop_timeout = config.stop_timeout.map_or(Duration::ZERO, |seconds| {
        u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs)
    });
    let found = Found {
        id: of.id.unwrap_or_default(),
        made_by: labels.get(label::INTENT).map(|intent| intent.parse().unwrap_or_default()),
        never_ran: state.status == Some(ContainerStateStatusEnum::CREATED),
        networks: networks.into_keys().collect(),
        stop_signal: config.stop_signal.filter(|s| !s.is_empty()).unwrap_or("SIGTERM".to_owned()),
        stop_timeout,
    };
    if state.running == Some(true) || state.restarting == Some(true) {
        Seen::Running(found)
    } else {
        Seen::Idle(found)
    }
}

impl Found {
    fn just_made(id: String, intent: i64) -> Self {
        Self {
            id,
            made_by: Some(intent),
            never_ran: true,
            networks: Vec::new(),
            stop_signal: String::new(),
            stop_timeout: Duration::ZERO,
        }
    }
}

/// The networks that the request which creates it names.
fn networks_of(spec: &Spec) -> Vec<String> {
    let networking = spec.body.networking_config.as_ref();
    let endpoints = networking.and_then(|n| n.endpoints_config.as_ref());
    endpoints.map(|e| e.keys().cloned().collect()).unwrap_or_default()
}

fn hopeless(why: &str) -> StepError {
    StepError::Hopeless(why.to_owned())
}
