//! The commands that need a store: `run`, `once`, `history`, `policies`, `pause`, `resume`.

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use berth::log::LogFormat;
use lexopt::prelude::*;
use tracing::level_filters::LevelFilter;

use crate::config::{Config, LoadError, load};
use crate::decide::Inputs;
use crate::policy::Pause;
use crate::run as rounds;
use crate::store::Store;
use crate::store::audit::Entry;
use crate::store::memory::{EVERY_POLICY, pause_word};
use crate::timestamp::Timestamp;

/// The names of these commands.
pub const NAMES: [&str; 7] = ["run", "once", "history", "policies", "pause", "resume", "replay"];

/// What they do, for the usage text.
pub const HELP: &str = "
  run [--dry-run]                   observe, decide, act and record until a signal ends it
  once [--dry-run]                  one round, to the end of its acts
  history [POLICY] [--limit N] [--json]   what was done and why
  replay ROW [--json]               decide again by what a row of the audit says was seen
  policies [--json]                 the policies of the file and the table
  pause [POLICY] [--up | --down]    stop acting, for one policy or all; it goes on deciding
  resume [POLICY]                   act again

These take --config FILE (default: BERTH_SCALER_CONFIG, or berth-scaler.toml). LOG_LEVEL (error,
warn, info, debug, trace) and LOG_FORMAT (text, json) set the log on stderr.

Exit codes: 64 for a wrong command line or configuration, 1 for what failed otherwise.
";

/// What failed though the command line and the configuration were right.
#[derive(Debug, thiserror::Error)]
#[error("{}", told_once(.0))]
pub struct Failure(anyhow::Error);

/// An error and its causes, less those that only repeat the one before.
pub fn told_once(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Arguments of one command.
#[derive(Debug, Default)]
struct Arguments {
    file: Option<PathBuf>,
    policy: Option<String>,
    json: bool,
    dry_run: bool,
    up: bool,
    down: bool,
    limit: Option<u32>,
}

/// Does the command called `name`, one of [`NAMES`].
pub fn run(name: &str, mut parser: lexopt::Parser) -> Result<()> {
    let allowed: &[&str] = match name {
        "run" | "once" => &["dry-run"],
        "history" => &["policy", "limit", "json"],
        "replay" => &["policy", "json"],
        "policies" => &["json"],
        "pause" => &["policy", "up", "down"],
        _ => &["policy"],
    };
    command(name, arguments(&mut parser, name, allowed)?)
}

fn arguments(parser: &mut lexopt::Parser, command: &str, allowed: &[&str]) -> Result<Arguments> {
    let mut given = Arguments::default();
    while let Some(argument) = parser.next()? {
        let takes = |name: &str| allowed.contains(&name);
        match argument {
            Short('c') | Long("config") => given.file = Some(parser.value()?.into()),
            Long("dry-run") if takes("dry-run") => given.dry_run = true,
            Long("json") if takes("json") => given.json = true,
            Long("up") if takes("up") => given.up = true,
            Long("down") if takes("down") => given.down = true,
            Short('n') | Long("limit") if takes("limit") => {
                given.limit = Some(parser.value()?.parse()?);
            }
            Value(name) if takes("policy") && given.policy.is_none() => {
                given.policy = Some(name.string()?);
            }
            other => return Err(other.unexpected()).with_context(|| command.to_owned()),
        }
    }
    Ok(given)
}

fn command(name: &str, given: Arguments) -> Result<()> {
    let file = given.file.clone().unwrap_or_else(|| {
        std::env::var_os("BERTH_SCALER_CONFIG")
            .map_or_else(|| "berth-scaler.toml".into(), PathBuf::from)
    });
    match name {
        "run" | "once" => {
            start_log()?;
            block_on(async {
                match name {
                    "run" => rounds::run(file, given.dry_run).await,
                    _ => rounds::once(&file, given.dry_run).await.map(drop),
                }
            })
        }
        "history" => with_store(file, |store, _| history(store, given)),
        "replay" => with_store(file, |store, _| replay(store, given)),
        "policies" => with_store(file, |store, config| policies(store, config, given.json)),
        "pause" => with_store(file, |store, config| pause(store, config, given, true)),
        _ => with_store(file, |store, config| pause(store, config, given, false)),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work).map_err(|error| match error.is::<LoadError>() {
        true => error,
        false => Failure(error).into(),
    })
}

fn with_store<F: Future<Output = Result<()>>>(
    file: PathBuf,
    work: impl FnOnce(Store, Config) -> F,
) -> Result<()> {
    let config = load(&file)?;
    block_on(async {
        let store = Store::open(&config.store.url).await?;
        let done = work(store.clone(), config).await;
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

async fn history(store: Store, given: Arguments) -> Result<()> {
    let rows = store.history(given.policy.as_deref(), given.limit.unwrap_or(50)).await?;
    let mut out = io::stdout().lock();
    if given.json {
        for row in rows {
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "nothing yet")?;
        return Ok(());
    }
    story(&mut out, &rows)?;
    Ok(())
}

/// Decides again what a row says was decided, and says whether it comes to the same.
async fn replay(store: Store, given: Arguments) -> Result<()> {
    let row = given.policy.as_deref().and_then(|row| row.parse::<i64>().ok());
    let row = row.context("expected the number of a row: history --json shows it as id")?;
    let Some(entry) = store.row(row).await? else { bail!("the audit has no row {row}") };
    let Some(inputs) = &entry.inputs else {
        bail!("row {row} does not say what was seen: it is no decision's")
    };
    let inputs = Inputs::read(inputs)
        .with_context(|| format!("row {row} was written by an earlier version, or is damaged"))?;
    let decision = inputs.decide(entry.decided_at);
    let mut out = io::stdout().lock();
    if given.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&decision)?)?;
    } else {
        writeln!(out, "{}  {}  {}", entry.decided_at, entry.policy, decision.reason)?;
    }
    if decision.reason != entry.reason {
        bail!("the row says otherwise: {}", entry.reason);
    }
    Ok(())
}

/// A line for each decision, and one below it for each container that it concerned.
fn story(out: &mut impl Write, rows: &[Entry]) -> io::Result<()> {
    let policies = rows.iter().map(|row| row.policy.chars().count());
    let width = policies.max().unwrap_or(0);
    let same = |a: &Entry, b: &Entry| {
        (&a.policy, a.decided_at, &a.reason) == (&b.policy, b.decided_at, &b.reason)
    };
    for decision in rows.chunk_by(same) {
        let first = &decision[0];
        let times =
            if first.repeats > 1 { format!(" (×{})", first.repeats) } else { String::new() };
        let reason = shown(&first.reason);
        writeln!(out, "{}  {:width$}  {reason}{times}", first.at, shown(&first.policy))?;
        let acts = decision.iter().filter_map(act).collect::<Vec<_>>();
        columns(out, "    ", &acts)?;
    }
    Ok(())
}

/// Without what a terminal would obey: peers' words are in it.
fn shown(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// What was done to a container and how it ended; `None` when nothing was to be done.
fn act(row: &Entry) -> Option<Vec<String>> {
    let (host, name) = (row.host.as_ref()?, row.container_name.as_ref()?);
    let took = row.duration_ms.map(|ms| format!(" after {:.1} s", ms as f64 / 1000.0));
    let problem = row.problem.as_ref().map(|problem| format!(": {}", shown(problem)));
    Some(vec![
        row.action.clone(),
        format!("{host}/{name}"),
        row.status.clone().unwrap_or_else(|| "-".to_owned()),
        format!(
            "{}{}{}",
            row.outcome.as_str(),
            took.unwrap_or_default(),
            problem.unwrap_or_default()
        ),
    ])
}

async fn policies(store: Store, config: Config, json: bool) -> Result<()> {
    let sources = config.sources();
    let pauses = store.pauses().await?;
    let (mut table_rows, mut wrong) = (Vec::new(), Vec::new());
    for row in store.policy_rows().await? {
        match row.parse(&sources) {
            Ok(policy) => table_rows.push(policy),
            Err(why) => wrong.push(format!("policy {} of the table: {why}", row.policy_name)),
        }
    }
    let from_table: Vec<String> = table_rows.iter().map(|p| p.name.clone()).collect();
    let mut merged = rounds::policies::file_and_table(&config.policies, table_rows, &mut wrong);
    rounds::policies::hold_back(&mut merged, &pauses, false);
    let mut out = io::stdout().lock();
    let mut lines = Vec::new();
    for policy in &merged {
        let origin = if from_table.contains(&policy.name) { "table" } else { "file" };
        let actions: Vec<&str> = policy.actions.list.iter().map(|a| a.as_str()).collect();
        let metrics: Vec<&str> = policy.metrics.iter().map(|m| m.name.as_str()).collect();
        if json {
            let policy = serde_json::json!({
                "policy_name": policy.name, "service_name": policy.service,
                "alert_service_name": policy.alert_service,
                "naming_convention": policy.naming_convention,
                "autoscale_min_instance": policy.min, "autoscale_max_instance": policy.max,
                "autoscale_action": actions, "metrics": metrics, "from": origin,
                "pause": pause_word(policy.pause), "dry_run": policy.dry_run,
            });
            writeln!(out, "{policy}")?;
            continue;
        }
        let or_none = |list: Vec<&str>| match list.is_empty() {
            true => "-".to_owned(),
            false => list.join(","),
        };
        lines.push(vec![
            policy.name.clone(),
            policy.service.clone(),
            format!("{}…{}", policy.min, policy.max),
            or_none(actions),
            or_none(metrics),
            origin.to_owned(),
            pause_word(policy.pause).to_owned(),
        ]);
    }
    if !json {
        let head = ["policy", "service", "replicas", "actions", "metrics", "from", "paused"];
        table(&mut out, &head, lines)?;
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => bail!("{}", wrong.join("\n")),
    }
}

async fn pause(store: Store, config: Config, given: Arguments, stop: bool) -> Result<()> {
    if let Some(name) = &given.policy {
        let table = store.policy_rows().await?;
        let known =
            config.policies.iter().map(|p| &p.name).chain(table.iter().map(|r| &r.policy_name));
        if !known.clone().any(|n| n == name) {
            // One that only labels make is not known here, so this is no more than a warning.
            eprintln!("no policy of the file or the table is called {name:?}");
        }
    }
    let direction = match (stop, given.up, given.down) {
        (false, ..) => Pause::None,
        (true, true, false) => Pause::Up,
        (true, false, true) => Pause::Down,
        (true, ..) => Pause::Both,
    };
    let name = given.policy.as_deref().unwrap_or(EVERY_POLICY);
    store.set_pause(name, direction).await?;
    let who = if name == EVERY_POLICY { "every policy" } else { name };
    let what = match direction {
        Pause::None => "resumed",
        Pause::Up => "paused upwards",
        Pause::Down => "paused downwards",
        Pause::Both => "paused",
    };
    writeln!(io::stdout(), "{what}: {who}, at {}", Timestamp(crate::clock::now().0))?;
    Ok(())
}

/// A headline and its lines.
fn table(out: &mut impl Write, head: &[&str], mut lines: Vec<Vec<String>>) -> io::Result<()> {
    lines.insert(0, head.iter().map(|&cell| cell.to_owned()).collect());
    columns(out, "", &lines)
}

/// Columns as wide as their widest cell; the last one runs free.
fn columns(out: &mut impl Write, indent: &str, lines: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let cells: Vec<String> = cells.collect();
        writeln!(out, "{indent}{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
