//! Where readings come from. A source answers all its questions of one tick together; what it
//! cannot answer is [`Reading::Missing`] or [`Reading::Error`], never a zero.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use tracing::{info, warn};

use crate::config::Config;
use crate::executor::docker::Hosts;
use crate::executor::{BoxFuture, Instance};
use crate::observation::Reading;
use crate::policy::{Query, ValueOf};
use crate::timestamp::Timestamp;

pub mod docker;
pub mod haproxy;
pub mod http_json;
pub mod prometheus;

/// One question to a source.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub query: &'a Query,
    /// Whether the sum over the replicas is asked for or their average, where the source has them
    /// one by one.
    pub value: ValueOf,
    /// The replicas that run.
    pub members: &'a [&'a Instance],
}

/// A source of readings.
pub trait Source: Send {
    /// One reading for each question, in their order.
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question<'a>],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>>;

    /// Sessions at each address, as far as the last reading told.
    fn sessions(&self) -> HashMap<IpAddr, u64> {
        HashMap::new()
    }
}

/// Every configured source by its name.
pub struct Sources {
    named: HashMap<String, Box<dyn Source>>,
    /// Those that could not answer at the last look.
    failing: HashSet<String>,
}

impl Sources {
    /// Reads certificates; connects to nobody yet.
    pub fn new(config: &Config, hosts: &Hosts) -> Result<Self> {
        let patience: Duration = config.timing.timeout;
        let mut named: HashMap<String, Box<dyn Source>> = HashMap::new();
        for source in &config.haproxy {
            let context = || format!("haproxy source {}", source.name);
            let haproxy = haproxy::HaProxy::new(source, patience).with_context(context)?;
            named.insert(source.name.clone(), Box::new(haproxy));
        }
        for source in &config.prometheus {
            let context = || format!("prometheus source {}", source.name);
            let prometheus = prometheus::Prometheus::new(source, patience).with_context(context)?;
            named.insert(source.name.clone(), Box::new(prometheus));
        }
        for source in &config.http {
            let context = || format!("http source {}", source.name);
            let http = http_json::HttpJson::new(source, patience).with_context(context)?;
            named.insert(source.name.clone(), Box::new(http));
        }
        let docker = docker::DockerStats::new(hosts.clone(), patience);
        named.insert("docker".to_owned(), Box::new(docker));
        Ok(Self::from_named(named))
    }

    /// Sources of one's own making.
    pub fn from_named(named: HashMap<String, Box<dyn Source>>) -> Self {
        Self { named, failing: HashSet::new() }
    }

    /// One reading for each question, in their order; all sources are asked at once.
    pub async fn read(&mut self, questions: &[Question<'_>], now: Timestamp) -> Vec<Reading> {
        let mut by_source: HashMap<&str, (Vec<usize>, Vec<Question<'_>>)> = HashMap::new();
        for (at, question) in questions.iter().enumerate() {
            let (places, asked) = by_source.entry(source_of(question.query)).or_default();
            places.push(at);
            asked.push(*question);
        }
        let mut readings = vec![Reading::Missing; questions.len()];
        let asked = self.named.iter_mut().filter_map(|(name, source)| {
            let (places, asked) = by_source.get(name.as_str())?;
            Some(async move { (name, places, source.read(asked, now).await) })
        });
        for (name, places, answers) in join_all(asked).await {
            told(&mut self.failing, name, &answers);
            for (at, answer) in places.iter().zip(answers) {
                readings[*at] = match answer {
                    Reading::Value { v, .. } | Reading::AtLeast { v, .. } if !v.is_finite() => {
                        Reading::Error(format!("{v} is no number to go by"))
                    }
                    answer => answer,
                };
            }
        }
        readings
    }

    /// Sessions at each address over all sources that know.
    pub fn sessions(&self) -> HashMap<IpAddr, u64> {
        let mut sessions = HashMap::new();
        for (ip, n) in self.named.values().flat_map(|source| source.sessions()) {
            *sessions.entry(ip).or_default() += n;
        }
        sessions
    }
}

/// Says once that a source can be read no more, and once that it can again.
fn told(failing: &mut HashSet<String>, source: &str, answers: &[Reading]) {
    let why = answers.iter().find_map(|answer| match answer {
        Reading::Error(why) => Some(why),
        _ => None,
    });
    match why {
        Some(why) if failing.insert(source.to_owned()) => {
            warn!(source, why, "cannot be read: nothing is stopped meanwhile");
        }
        None if failing.remove(source) => info!(source, "can be read again"),
        _ => {}
    }
}

fn source_of(query: &Query) -> &str {
    match query {
        Query::HaProxy { source, .. }
        | Query::Prometheus { source, .. }
        | Query::Http { source, .. } => source,
        Query::Docker { .. } => "docker",
        Query::External => "external",
    }
}
