//! Connections to Docker hosts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;

use crate::config;
use crate::executor::StepError;
use crate::http;
use crate::timestamp::Timestamp;

/// No request is given longer to begin its answer.
const LONGEST_ACT: Duration = Duration::from_secs(60);

/// Every configured host.
#[derive(Clone, Debug)]
pub struct Hosts(Arc<Vec<Host>>);

impl Hosts {
    /// Reads certificates; connects to nobody yet.
    pub fn new(hosts: &[config::Docker], patience: Duration) -> Result<Self> {
        let hosts = hosts.iter().map(|host| {
            Host::new(host, patience).with_context(|| format!("docker host {}", host.name))
        });
        Ok(Self(Arc::new(hosts.collect::<Result<_>>()?)))
    }

    /// The hosts in the configuration's order.
    pub fn iter(&self) -> impl Iterator<Item = &Host> {
        self.0.iter()
    }

    /// A host by its name.
    pub fn named(&self, name: &str) -> Result<&Host, StepError> {
        self.iter()
            .find(|host| host.name == name)
            .ok_or_else(|| StepError::Hopeless(format!("no docker host is called {name:?}")))
    }
}

/// One host.
#[derive(Debug)]
pub struct Host {
    /// `name` in the configuration.
    pub name: String,
    docker: Docker,
    /// What its clock showed, and when, by ours that nobody can set.
    told: Mutex<Option<(Timestamp, Instant)>>,
}

impl Host {
    fn new(host: &config::Docker, patience: Duration) -> Result<Self> {
        // Whoever asks sets the time for the whole answer; this is only for its first byte.
        let secs = patience.max(LONGEST_ACT).as_secs() + 1;
        let docker = match &host.host {
            // Not bollard's own: that one wants the socket to be there already, and at boot, or
            // while a daemon is upgraded, it is not.
            config::DockerHost::Unix(path) => {
                let uri = hyper::Uri::from(hyperlocal::Uri::new(path, "/"));
                let at = format!("unix://{}", uri.host().unwrap_or_default());
                via(hyperlocal::UnixConnector, at, secs)?
            }
            config::DockerHost::Tcp(at) => {
                let scheme = if host.tls.is_some() { "https" } else { "http" };
                via(http::connector(host.tls.as_ref())?, format!("{scheme}://{at}"), secs)?
            }
        };
        Ok(Self { name: host.name.clone(), docker, told: Mutex::default() })
    }

    /// What the host's own clock shows, as far as it says. It is asked now and then.
    pub async fn time(&self) -> Option<Timestamp> {
        const ASK_EVERY: Duration = Duration::from_secs(60);
        let told = || *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told().is_none_or(|(_, at)| at.elapsed() >= ASK_EVERY) {
            let time = self.docker.info().await.ok()?.system_time?;
            let time = Timestamp(time.parse::<jiff::Timestamp>().ok()?.as_millisecond());
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            *told = Some((time, Instant::now()));
        }
        told().map(|(time, at)| time + at.elapsed())
    }

    /// The client. It names no version of the API, so that each host speaks its own newest one;
    /// what is asked for here has been the same since version 1.24.
    pub fn client(&self) -> &Docker {
        &self.docker
    }
}

/// A client that reaches `at` by a connector; it connects when it is asked something.
fn via<C>(connector: C, at: String, secs: u64) -> Result<Docker>
where
    C: legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(Error::from) }
    };
    Ok(Docker::connect_with_custom_transport(transport, Some(at), secs, API_DEFAULT_VERSION)?)
}

/// What the host itself says cannot be done will not get better by asking again; all else may.
pub(crate) fn step_error(error: Error) -> StepError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            StepError::Refused(format!("docker says {status_code}: {message}"))
        }
        Error::RequestTimeoutError => StepError::Unreachable("no answer in time".to_owned()),
        // Without bollard's own words around it, which only say whose library it is.
        Error::HyperLegacyError { err } => StepError::Unreachable(http::chain(&err)),
        other => StepError::Unreachable(http::chain(&other)),
    }
}

/// Whether the host says that there is no such thing.
pub(crate) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// Whether the host says that something stands in the way.
pub(crate) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 409, .. })
}
