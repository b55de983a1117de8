//! What the commands do: `run` and `once` act, the others read and write the store. They need no
//! secret but the store's.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use berth::log::LogFormat;
use tracing::level_filters::LevelFilter;

use crate::config::{LoadError, Outline, Sources, outline};
use crate::policy::Policy;
use crate::run as rounds;
use crate::run::policies::{Effect, Labels};
use crate::store::{Store, in_words};

mod check;
mod history;
mod pause;
mod policies;
mod replay;
mod table;

pub use check::check;
pub use history::history;
pub use pause::{pause, whom};
pub use policies::policies;
pub use replay::replay;

/// What failed though the command line and the configuration were right.
#[derive(Debug, thiserror::Error)]
#[error("{}", told_once(.0))]
pub struct Failure(anyhow::Error);

/// A command line that could be read and cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misused(pub String);

/// An error and its causes, less those that only repeat the one before.
pub fn told_once(error: &anyhow::Error) -> String {
    in_words(error.as_ref())
}

/// Prints for whom it may concern: that nobody reads on, as after `| head`, is no failure.
pub fn show(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    match print(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure(anyhow::Error::from(error).context("standard output")))
        }
        _ => Ok(()),
    }
}

/// Scales until a signal ends it.
pub fn run(file: PathBuf, dry_run: bool) -> Result<()> {
    start_log()?;
    block_on(rounds::run(file, dry_run))
}

/// One round, to the end of its acts; an error when one of them came to nothing.
pub fn once(file: &Path, dry_run: bool) -> Result<()> {
    start_log()?;
    block_on(rounds::once(file, dry_run)).map(drop)
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // What still hangs in a thread of its own is not waited for.
    runtime.shutdown_background();
    done.map_err(|error| {
        match error.is::<LoadError>() || error.is::<Misused>() || error.is::<Failure>() {
            true => error,
            false => Failure(error).into(),
        }
    })
}

fn with_store(file: &Path, work: impl AsyncFnOnce(Store, Outline) -> Result<()>) -> Result<()> {
    let outline = outline(file)?;
    block_on(async {
        let store = Store::open(&outline.store.url).await?;
        let done = work(store.clone(), outline).await;
        store.close().await;
        done
    })
}

fn start_log() -> Result<()> {
    let level = match std::env::var("LOG_LEVEL") {
        Err(_) => LevelFilter::INFO,
        Ok(word) => word.parse().ok().with_context(|| {
            format!("LOG_LEVEL: expected error, warn, info, debug or trace, not {word:?}")
        })?,
    };
    let format = match std::env::var("LOG_FORMAT").as_deref() {
        Err(_) | Ok("text") => LogFormat::Text,
        Ok("json") => LogFormat::Json,
        Ok(word) => bail!("LOG_FORMAT: expected text or json, not {word:?}"),
    };
    berth::log::init(level, format);
    Ok(())
}

/// A policy and where it comes from.
struct Listed {
    policy: Policy,
    /// `file`, `table` or `labels`.
    from: &'static str,
    /// `host/name` of the container that new ones are made like.
    template: Option<String>,
}

/// Every policy that there is, as far as the file and the store tell.
#[derive(Default)]
struct Listing {
    policies: Vec<Listed>,
    /// What labels asked for.
    effects: Vec<Effect>,
    /// What is wrong in the file and the table.
    wrong: Vec<String>,
}

impl Listing {
    fn names(&self) -> BTreeSet<String> {
        self.policies.iter().map(|listed| listed.policy.name.clone()).collect()
    }
}

async fn listing(store: &Store, outline: &Outline) -> Result<Listing> {
    let mut wrong = outline.wrong.clone();
    let mut table = Vec::new();
    for row in store.policy_rows().await? {
        match row.parse(&Sources::any()) {
            Ok(policy) => table.push(policy),
            Err(why) => wrong.push(format!("policy {} of the table: {why}", row.policy_name)),
        }
    }
    let from_table: BTreeSet<String> = table.iter().map(|p| p.name.clone()).collect();
    let merged = rounds::policies::file_and_table(&outline.policies, table, &mut wrong);
    let before: BTreeSet<String> = merged.iter().map(|p| p.name.clone()).collect();
    let templates = store.templates().await?;
    let labels: HashMap<&str, Labels> =
        templates.iter().map(|t| (t.service.as_str(), t.labels.clone())).collect();
    let mut effects = Vec::new();
    let trust = outline.labels.trust;
    let mut merged = rounds::policies::with_labels(merged, &labels, trust, &mut effects);
    rounds::policies::hold_back(&mut merged, &store.pauses().await?, false);
    let policies = merged.into_iter().map(|policy| Listed {
        from: match (from_table.contains(&policy.name), before.contains(&policy.name)) {
            (true, _) => "table",
            (false, true) => "file",
            (false, false) => "labels",
        },
        template: templates
            .iter()
            .find(|t| t.service == policy.service)
            .map(|t| format!("{}/{}", t.host, t.name)),
        policy,
    });
    Ok(Listing { policies: policies.collect(), effects, wrong })
}

/// The error for a policy's name that nobody knows.
fn unknown(name: &str, known: BTreeSet<String>) -> anyhow::Error {
    let known: Vec<String> = known.into_iter().collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Misused(format!("no policy is called {name:?}; there are: {known}")).into()
}

/// Without what a terminal would obey: peers' words are in it.
fn shown(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
