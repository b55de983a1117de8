//! The loop: observe, decide, act, record, for as long as this scaler leads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::alerts::inlet::{self, Inlet};
use crate::config::{Config, load};
use crate::executor::Executor;
use crate::executor::docker::{DockerExecutor, Hosts};
use crate::executor::dry_run::DryRun;
use crate::metrics_page::Page;
use crate::notify::Notifier;
use crate::sources::Sources;
use crate::store::audit::Outcome;
use crate::store::lease::Lease;
use crate::store::{Store, in_words};
use crate::{listen, tls};

mod blind;
pub mod census;
mod hold;
mod inquiry;
pub mod leadership;
pub mod policies;
mod survey;
pub mod templates;
pub mod tick;

use leadership::{Candidate, Found};
use tick::Round;

/// An alert wakes the loop, but not more often than this.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
/// How long one round alone tries again what is refused: the next call goes on.
const GIVE_UP: Duration = Duration::from_secs(10);
/// A standby looks this often whether the store answers, for `/healthz`.
const STANDBY_PAUSE: Duration = Duration::from_secs(1);

/// Longest wait for the store at the end, each time.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs until SIGTERM or SIGINT. The configuration comes from `file`, again at every SIGHUP.
pub async fn run(file: PathBuf, dry_run: bool) -> Result<()> {
    let config = Arc::new(load(&file)?);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %file.display(),
        policies = config.policies.len(),
        hosts = config.docker.len(),
        "starting"
    );
    // Before anything that may take its time: to the first process of a container, a signal that it
    // does not ask for does not come.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut end = End::new()?;
    let wake = Arc::new(Notify::new());
    let start = async {
        let store = Store::open(&config.store.url).await?;
        let mut round = round(config.clone(), store.clone(), Arc::default(), dry_run).await?;
        round.wake = wake.clone();
        let listeners = listeners(&config, &round, &wake).await?;
        anyhow::Ok((store, round, listeners))
    };
    let (store, mut round, mut listeners) = tokio::select! {
        started = start => started?,
        name = end.comes() => {
            info!(signal = name, "stopping before the first round");
            return Ok(());
        }
    };
    let page = round.page.clone();
    let lead = watch::Sender::new(None);
    let mut leading = lead.subscribe();
    let ttl = config.timing.lease;
    let keeper = tokio::spawn(leadership::keep(store.clone(), holder(), ttl, lead, page.clone()));

    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(next) => {}
            () = wake.notified() => sleep(LEAST_PAUSE).await,
            _ = leading.changed() => {}
            _ = hangup.recv() => {
                tokio::select! {
                    () = reload(&file, &mut round, &page) => continue,
                    name = end.comes() => {
                        info!(signal = name, "stopping in the middle of a reload");
                        break;
                    }
                }
            }
            name = end.comes() => {
                info!(signal = name, "stopping");
                break;
            }
        }
        let began = Instant::now();
        let lease = leading.borrow_and_update().clone();
        let Some(pause) = go_round(&mut round, lease, &mut end).await else { break };
        next = began + pause;
    }
    let lease = leading.borrow().clone();
    keeper.abort();
    listeners.shutdown().await;
    let _ = timeout(LAST_WORDS, round.stand_by()).await;
    if let Some(lease) = lease {
        give_back(&store, &lease).await;
    }
    let _ = timeout(LAST_WORDS, store.close()).await;
    Ok(())
}

/// One round, leading or standing by: after how long the next one begins, counted from its beginning.
/// `None` when a signal ended it.
async fn go_round(round: &mut Round, lease: Option<Lease>, end: &mut End) -> Option<Duration> {
    let interval = round.config.timing.interval;
    let Some(lease) = lease else {
        let stood_by = tokio::select! {
            () = round.stand_by() => Some(STANDBY_PAUSE.min(interval)),
            name = end.comes() => {
                info!(signal = name, "stopping");
                None
            }
        };
        round.page.came_round(None);
        return stood_by;
    };
    // A round may be left anywhere: what is open is found in the store, as after a crash.
    let done = tokio::select! {
        done = round.tick(&lease) => done,
        name = end.comes() => {
            info!(signal = name, "stopping in the middle of a round");
            return None;
        }
    };
    let trouble = done.err().map(|error| in_words(error.as_ref()));
    if let Some(error) = &trouble {
        error!(error, "this round did not do all that it should have");
    }
    round.page.came_round(trouble);
    Some(interval)
}

async fn give_back(store: &Store, lease: &Lease) {
    let why = match timeout(LAST_WORDS, store.release_lease(lease)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => in_words(&error),
        Err(_) => format!("no answer within {LAST_WORDS:?}"),
    };
    warn!(why, "the lead is not given back; it runs out by itself");
}

/// One round, and as many more as its acts take to come to an end.
pub async fn once(file: &Path, dry_run: bool) -> Result<usize> {
    let config = Arc::new(load(file)?);
    let store = Store::open(&config.store.url).await?;
    let mut round = round(config.clone(), store.clone(), Arc::default(), dry_run).await?;
    // It decides but once: everybody has all the time to answer that there is.
    round.pacing.peers = config.timing.timeout * 2;
    let ttl = config.timing.lease;
    let lease = timeout(ttl + STANDBY_PAUSE * 2, take_lease(&store, ttl))
        .await
        .context("another scaler leads on this store: it does what is to be done")??;
    let mut end = End::new()?;
    let done = tokio::select! {
        done = to_the_end(&mut round, &lease) => done,
        name = end.comes() => Err(anyhow::anyhow!("{name} came before the end")),
    };
    round.stand_by().await;
    store.release_lease(&lease).await?;
    let acted = done?;
    let failed = failed(&store, &lease).await?;
    store.close().await;
    match failed.is_empty() {
        true => Ok(acted),
        false => bail!("not done: {}", failed.join("; ")),
    }
}

/// Decides once, and goes on until what was begun has come to its end, or cannot come to one.
async fn to_the_end(round: &mut Round, lease: &Lease) -> Result<usize> {
    let (store, config) = (round.store.clone(), round.config.clone());
    let grace = config.policies.iter().map(|p| p.drain_grace).max().unwrap_or_default();
    let began = Instant::now();
    let deadline = began + grace + Duration::from_secs(60);
    let (mut acted, mut blind) = (0, None);
    loop {
        let rounded = round.tick(lease).await?;
        acted += rounded.acted;
        // What the decision did not see counts, not what is seen while it is carried out.
        let blind = *blind.get_or_insert(rounded.blind);
        // Deciding again is for the next call; what is paused decides nothing.
        round.pause_all();
        if rounded.open == 0 || Instant::now() >= deadline {
            match blind {
                0 => return Ok(acted),
                1 => bail!("1 Docker host did not say what runs there; the log says why"),
                n => bail!("{n} Docker hosts did not say what runs there; the log says why"),
            }
        }
        sleep(LEAST_PAUSE).await;
        let refused =
            async || anyhow::Ok(store.open_intents().await?.iter().all(|e| e.problem.is_some()));
        let given_up = began.elapsed() > GIVE_UP && refused().await?;
        if given_up || !store.renew_lease(lease, config.timing.lease).await? {
            return Ok(acted);
        }
    }
}

/// Acts of this lead that came to nothing, or to no end.
async fn failed(store: &Store, lease: &Lease) -> Result<Vec<String>> {
    let rows = store.history(None, 1000).await?;
    let mine = rows.into_iter().filter(|row| row.epoch == lease.epoch && row.step.is_some());
    let failed = mine.filter(|row| {
        matches!(row.outcome, Outcome::Failed | Outcome::Abandoned | Outcome::Intended)
    });
    let told = failed.map(|row| {
        let container = row.container_name.unwrap_or_default();
        let problem = row.problem.unwrap_or_else(|| row.outcome.as_str().to_owned());
        format!("{}: {} {container}: {problem}", row.policy, row.action)
    });
    Ok(told.collect())
}

async fn take_lease(store: &Store, ttl: Duration) -> Result<Lease> {
    let mut candidate = Candidate::new(store.clone(), holder(), ttl);
    loop {
        if let Found::Taken(lease) = candidate.look().await? {
            return Ok(lease);
        }
        sleep(LEAST_PAUSE).await;
    }
}

async fn round(config: Arc<Config>, store: Store, page: Arc<Page>, dry_run: bool) -> Result<Round> {
    let (executor, sources) = ports(&config, &store, dry_run).await?;
    let notifier = Notifier::start(&config.notify)?;
    let mut round = Round::new(config, store, executor, sources, notifier, page);
    round.dry_run = dry_run;
    Ok(round)
}

async fn ports(
    config: &Config,
    store: &Store,
    dry_run: bool,
) -> Result<(Arc<dyn Executor>, Sources)> {
    let owner = match &config.labels.owner {
        Some(owner) => owner.clone(),
        None => store.owner().await?,
    };
    let patience = config.timing.timeout;
    let hosts = Hosts::new(&config.docker, patience)?;
    let sources = Sources::new(config, &hosts)?;
    let executor = DockerExecutor::new(hosts, patience).owned_by(owner);
    let executor: Arc<dyn Executor> =
        if dry_run { Arc::new(DryRun(executor)) } else { Arc::new(executor) };
    Ok((executor, sources))
}

async fn listeners(config: &Config, round: &Round, wake: &Arc<Notify>) -> Result<JoinSet<()>> {
    let mut listeners = JoinSet::new();
    if let Some(alerts) = &config.alerts {
        let inlet = Inlet {
            store: round.store.clone(),
            policies: round.published.subscribe(),
            wake: wake.clone(),
            page: round.page.clone(),
        };
        let tls = alerts.tls.as_ref().map(tls::server).transpose()?;
        let router = inlet::router(inlet, alerts);
        listeners.spawn(listen::bind("alerts", alerts.listen, tls, router).await?.1);
    }
    if let Some(status) = &config.status {
        // Slow sources may hold a round for a while; that is not yet ill.
        let patience = config.timing.interval * 3 + config.timing.timeout * 10;
        let router = inlet::status_router(round.page.clone(), patience, config.timing.lease * 3);
        listeners.spawn(listen::bind("status", status.listen, None, router).await?.1);
    }
    Ok(listeners)
}

/// Takes a new configuration, or keeps the last good one.
async fn reload(file: &Path, round: &mut Round, page: &Page) {
    let renewed = async {
        let config = load(file)?;
        let (executor, sources) = ports(&config, &round.store, round.dry_run).await?;
        anyhow::Ok((executor, sources, Notifier::start(&config.notify)?, config))
    };
    let renewed = renewed.await;
    page.reloaded(renewed.is_err());
    match renewed {
        Err(error) => {
            error!(error = format!("{error:#}"), "reload: the last good configuration holds on")
        }
        Ok((executor, sources, notifier, config)) => {
            let old = &round.config;
            let fixed = old.store != config.store
                || old.alerts != config.alerts
                || old.status != config.status
                || old.timing.lease != config.timing.lease;
            if fixed {
                warn!("[store], [alerts], [status] and loop.lease change with a restart only");
            }
            info!(policies = config.policies.len(), "configuration reloaded");
            round.notifier = notifier;
            round.renew(Arc::new(config), executor, sources);
        }
    }
}

/// A name that no other process has.
fn holder() -> String {
    format!("{}-{:016x}", std::process::id(), berth::net::random::bits())
}

/// The signals that end it.
struct End {
    term: Signal,
    int: Signal,
}

impl End {
    fn new() -> Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn comes(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
