//! Where readings come from. A source answers all its questions of one tick together; what it
//! cannot answer is [`Reading::Missing`] or [`Reading::Error`], never a zero.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
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

/// Every configured source by its name, each read by a task of its own. One that hangs keeps nobody
/// waiting: whoever was late once is not waited for until it has been quick again, and what it said
/// last holds while its answer is awaited.
pub struct Sources {
    named: HashMap<String, Reader>,
    reads: JoinSet<Read>,
    /// Those that could not answer at the last look.
    failing: HashSet<String>,
}

/// How long an answer holds while the next one is awaited.
const HOLDS: Duration = Duration::from_secs(30);

/// One source.
struct Reader {
    /// `None` while it is read.
    source: Option<Box<dyn Source>>,
    last: Option<Answers>,
    late: bool,
    asks_each: bool,
    sessions: HashMap<IpAddr, u64>,
}

/// What a source said, and when it was asked.
struct Answers {
    asked: Instant,
    questions: Vec<Question>,
    readings: Vec<Reading>,
}

/// What a task that reads a source ends with.
struct Read {
    name: String,
    source: Box<dyn Source>,
    answers: Answers,
    took: Duration,
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
        let named = named.into_iter().map(|(name, source)| (name, Reader::new(source))).collect();
        Self { named, reads: JoinSet::new(), failing: HashSet::new() }
    }

    /// Whether a source has to be told which replicas there are.
    pub fn asks_each(&self, source: &str) -> bool {
        self.named.get(source).is_some_and(|reader| reader.asks_each)
    }

    /// One reading for each question, in their order. All sources are asked at once, and those that
    /// were not late before are waited for by `patience`.
    pub async fn read(
        &mut self,
        questions: Vec<Question>,
        now: Timestamp,
        patience: Duration,
    ) -> Vec<Reading> {
        let began = Instant::now();
        let places: Vec<String> =
            questions.iter().map(|question| question.query.source.clone()).collect();
        self.take_what_came(patience);
        let held = self.held(&questions, began);
        let mut by_source: HashMap<String, Vec<Question>> = HashMap::new();
        for (name, question) in places.iter().zip(questions) {
            by_source.entry(name.clone()).or_default().push(question);
        }
        for (name, questions) in by_source {
            let reader = self.named.get_mut(&name);
            if let Some(source) = reader.and_then(|reader| reader.source.take()) {
                self.reads.spawn(read(name, source, questions, now, began));
            }
        }
        while self.named.values().any(|reader| reader.source.is_none() && !reader.late) {
            match timeout_at(began + patience, self.reads.join_next()).await {
                Ok(Some(Ok(read))) => self.take(read, patience),
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        for reader in self.named.values_mut() {
            reader.late |= reader.source.is_none();
        }
        self.fresh(&places, began).zip(held).map(|(fresh, held)| fresh.unwrap_or(held)).collect()
    }

    /// The answers to what was asked just now, each source's in their order.
    fn fresh<'s>(
        &'s self,
        places: &'s [String],
        asked: Instant,
    ) -> impl Iterator<Item = Option<Reading>> + 's {
        let mut next: HashMap<&str, usize> = HashMap::new();
        places.iter().map(move |name| {
            let last = self.named.get(name)?.last.as_ref().filter(|last| last.asked == asked)?;
            let at = next.entry(name).or_default();
            *at += 1;
            last.readings.get(*at - 1).cloned()
        })
    }

    /// What was said last of each question, as far as it still holds.
    fn held(&self, questions: &[Question], now: Instant) -> Vec<Reading> {
        let held = |question: &Question| {
            let Some(reader) = self.named.get(&question.query.source) else {
                return Reading::Missing;
            };
            // Nothing else will be looked at.
            if reader.source.is_some() && !reader.late {
                return awaited();
            }
            let last = reader.last.as_ref().filter(|l| now.duration_since(l.asked) < HOLDS);
            let found = last.and_then(|last| {
                let mut said = last.questions.iter().zip(&last.readings);
                said.find(|(asked, _)| asked.is_like(question))
            });
            found.map_or_else(awaited, |(_, reading)| reading.clone())
        };
        questions.iter().map(held).collect()
    }

    fn take_what_came(&mut self, patience: Duration) {
        while let Some(read) = self.reads.try_join_next() {
            if let Ok(read) = read {
                self.take(read, patience);
            }
        }
    }

    fn take(&mut self, read: Read, patience: Duration) {
        let Some(reader) = self.named.get_mut(&read.name) else { return };
        told(&mut self.failing, &read.name, &read.answers.readings);
        reader.late = read.took > patience;
        reader.sessions = read.source.sessions();
        reader.source = Some(read.source);
        reader.last = Some(read.answers);
    }

    /// Sessions at each address over all sources that know.
    pub fn sessions(&self) -> HashMap<IpAddr, u64> {
        let mut sessions = HashMap::new();
        for (ip, n) in self.named.values().flat_map(|reader| &reader.sessions) {
            *sessions.entry(*ip).or_default() += n;
        }
        sessions
    }
}

impl Reader {
    fn new(source: Box<dyn Source>) -> Self {
        let (asks_each, sessions) = (source.asks_each(), HashMap::new());
        Self { source: Some(source), last: None, late: false, asks_each, sessions }
    }
}

fn awaited() -> Reading {
    Reading::Error("its answer is awaited".to_owned())
}

/// Reads one source. One that panics has not answered, and is asked again.
async fn read(
    name: String,
    mut source: Box<dyn Source>,
    questions: Vec<Question>,
    now: Timestamp,
    asked: Instant,
) -> Read {
    let said = AssertUnwindSafe(source.read(&questions, now)).catch_unwind().await;
    let mut readings = said.unwrap_or_default();
    for reading in &mut readings {
        if let Reading::Value { v, .. } | Reading::AtLeast { v, .. } = reading
            && !v.is_finite()
        {
            *reading = Reading::Error(format!("{v} is no number to go by"));
        }
    }
    readings.resize(questions.len(), Reading::Error("it could not be read".to_owned()));
    let answers = Answers { asked, questions, readings };
    Read { name, source, answers, took: asked.elapsed() }
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
