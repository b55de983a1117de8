//! The executor: what runs, and one step towards what should.
//!
//! A step is level-triggered. [`Executor::advance`] looks at the container as it is now and does
//! the next thing; called again, by this process or by the one after a crash, it goes on from
//! there. So there is no way to recover but the way to work.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

pub mod docker;
pub mod dry_run;
pub mod plan;

/// A boxed future, so that executors can be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Labels that the scaler puts on what it makes.
pub mod label {
    /// The intent that made it: the audit row's id.
    pub const INTENT: &str = "berth.scaler.intent";
    /// Whose scaler made it.
    pub const OWNER: &str = "berth.scaler.owner";
    /// The container that it is a clone of.
    pub const CLONE_OF: &str = "berth.scaler.clone_of";
}

/// Starts and stops replicas somewhere.
pub trait Executor: Send + Sync {
    /// The names of its hosts, in the configuration's order.
    fn hosts(&self) -> Vec<String>;

    /// Everything there is on one host.
    fn look<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, StepError>>;

    /// What it takes to make another one like this container, in the executor's own form.
    fn spec<'a>(&'a self, host: &'a str, id: &'a str) -> BoxFuture<'a, Result<String, StepError>>;

    /// What a container that is made from this spec may do to its host beyond running on it, in
    /// words: what should not be had on another host for the asking.
    fn rights(&self, spec: &str) -> Vec<String>;

    /// Why a container that ran no longer does, going by what happened since its last start.
    fn ending<'a>(&'a self, host: &'a str, id: &'a str)
    -> BoxFuture<'a, Result<Ending, StepError>>;

    /// Looks at the container and does what comes next of the step.
    fn advance<'a>(&'a self, task: &'a Task) -> BoxFuture<'a, Result<Progress, StepError>>;
}

/// One container or whatever the executor calls it.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Name of its host.
    pub host: String,
    /// Its id.
    pub id: String,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it does.
    pub state: State,
    /// What its health check says.
    pub health: Health,
    /// When it was created, by this machine's clock: a host's own may be off.
    pub created: Timestamp,
}

impl Instance {
    /// Whether the scaler made it. What it did not make it stops, and never removes.
    pub fn is_clone(&self) -> bool {
        self.labels.contains_key(label::INTENT)
    }
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// It runs.
    Running,
    /// It exists and cannot serve: paused, or between two tries of its restart policy.
    Unable,
    /// It ended.
    Ended,
}

/// What a container's health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has none.
    Unchecked,
    /// Not known yet.
    Starting,
    /// Well.
    Healthy,
    /// Not well.
    Unhealthy,
}

/// Everything there is, and which hosts did not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// The hosts that answered.
    pub hosts: Vec<String>,
    /// Their containers.
    pub instances: Vec<Instance>,
    /// Hosts that did not answer, and why.
    pub blind: Vec<(String, String)>,
}

/// What is to be done with one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub kind: StepKind,
    /// On which host.
    pub host: String,
    /// The container; not known yet for one to be made.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// Where the spec of one to be made comes from: host and id of a known container.
    pub like: Option<(String, String)>,
    /// How long it may take to stop before it is killed; the container's own `StopTimeout` may
    /// make it longer.
    pub grace: Duration,
    /// When it was known that its stop signal had been sent. The grace runs from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signalled: Option<Timestamp>,
    /// A lost container, host and id, that could not be started: this one takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<(String, String)>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Make and start one.
    Create,
    /// Start one that ended.
    Start,
    /// Stop it, let it drain, then remove it.
    Stop,
    /// Stop it and keep it, to clone from.
    Park,
    /// Remove one that ended.
    Remove,
}

impl StepKind {
    /// The word in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Create => "create",
            StepKind::Start => "start",
            StepKind::Stop => "stop",
            StepKind::Park => "park",
            StepKind::Remove => "remove",
        }
    }

    /// Whether it leaves one replica fewer.
    pub fn takes_away(self) -> bool {
        matches!(self, StepKind::Stop | StepKind::Park)
    }
}

/// A step and what is known about it.
#[derive(Clone, Debug)]
pub struct Task {
    /// The audit row.
    pub intent: i64,
    /// The step.
    pub step: Step,
    /// When it was intended.
    pub at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// The spec of one to be made.
    pub spec: Option<String>,
    /// How long the stop signal is known to have been sent.
    pub signalled: Option<Duration>,
    /// Nobody has tried it before.
    pub fresh: bool,
}

/// How far a step has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What was asked for is so.
    Done {
        /// The container.
        id: Option<String>,
        /// What it is now.
        status: Status,
        /// Why what is left of it could not be removed. That is another step's affair.
        litter: Option<String>,
    },
    /// It is under way, as far as is known; look again.
    Waiting {
        /// What it is now.
        status: Status,
    },
}

impl Progress {
    /// Done, and nothing is left over.
    pub fn done(id: &str, status: Status) -> Self {
        Progress::Done { id: Some(id.to_owned()), status, litter: None }
    }
}

/// What a container that is acted upon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was asked for, and is not there yet.
    Creating,
    /// It is there, and its start has not been answered.
    Starting,
    /// It runs.
    Running,
    /// Its stop signal was asked for; nobody knows whether it came.
    Stopping,
    /// Its stop signal was sent, and it has its grace to end in.
    Draining,
    /// It does not run.
    Stopped,
    /// It is gone.
    Deleted,
}

impl Status {
    /// The word in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Starting => "starting",
            Status::Running => "running",
            Status::Stopping => "stopping",
            Status::Draining => "draining",
            Status::Stopped => "stopped",
            Status::Deleted => "deleted",
        }
    }
}

/// Why a step has not come further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The host does not answer: it is asked again.
    #[error("{0}")]
    Unreachable(String),
    /// The host said no: it is asked again, or another one is.
    #[error("{0}")]
    Refused(String),
    /// Asking again cannot help.
    #[error("{0}")]
    Hopeless(String),
}

/// Why a container no longer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Crashed,
    /// Somebody stopped or killed it.
    Stopped,
    /// Somebody deleted it without stopping it first.
    Deleted,
    /// The host no longer knows.
    Unknown,
}
