//! Where readings come from. A source answers all its questions of one tick together; what it
//! cannot answer is [`Reading::Missing`] or [`Reading::Error`], never a zero.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use tracing::{info, warn};

use crate::config::Config;
use crate::executor::docker::Hosts;
use crate::observation::Reading;
use crate::ports::{Question, Source, SourceKind, World};
use crate::timestamp::Timestamp;

pub mod docker;
pub mod haproxy;
pub mod http;
mod over_http;
pub mod prometheus;

/// Every kind of source. A new one is its own file and a line here.
pub static KINDS: [&SourceKind; 4] =
    [&haproxy::KIND, &prometheus::KIND, &http::KIND, &docker::KIND];

/// Every configured source by its name.
pub struct Sources {
    named: HashMap<String, Box<dyn Source>>,
    /// Those that could not answer at the last look.
    failing: HashSet<String>,
}

impl Sources {
    /// Reads certificates; connects to nobody yet.
    pub fn new(config: &Config, hosts: &Hosts) -> Result<Self> {
        let mut named: HashMap<String, Box<dyn Source>> = HashMap::new();
        for source in &config.sources {
            let patience = source.timeout.unwrap_or(config.timing.timeout);
            let open = source.settings.open(&World { patience, hosts });
            let open = open.with_context(|| format!("{} source {}", source.kind, source.name))?;
            named.insert(source.name.clone(), open);
        }
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
            let (places, asked) = by_source.entry(question.query.source.as_str()).or_default();
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
