//! One round over all policies: finish what is open, look, decide, write down, act.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::blind::Blind;
use super::census::Census;
use super::hold::Holds;
use super::inquiry::Inquiries;
use super::survey::Survey;
use super::templates::Templates;
use crate::clock::{Watch, now};
use crate::config::Config;
use crate::crash;
use crate::executor::Executor;
use crate::history::History;
use crate::metrics_page::Page;
use crate::notify::Notifier;
use crate::policy::Policy;
use crate::sources::Sources;
use crate::store::audit::{Entry, Outcome};
use crate::store::lease::Lease;
use crate::store::{Store, is_of_one_row};

mod act;
mod bound;
mod lead;
mod other_way;
mod record;
mod scene;
mod turn;

use act::Acts;
pub use act::Pacing;
use scene::read;
use turn::{Stage, Turns};

/// Many containers that start slowly take their time; nothing takes this long.
const LONGEST: Duration = Duration::from_secs(900);
/// How often old rows are deleted, and what was complained of may be told anew.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// What a round works with, and what it keeps from one to the next.
pub struct Round {
    /// The configuration that holds.
    pub config: Arc<Config>,
    /// Where everything is kept.
    pub store: Store,
    /// Who acts.
    pub executor: Arc<dyn Executor>,
    /// Who measures.
    pub sources: Sources,
    /// Who is told.
    pub notifier: Notifier,
    /// What is shown.
    pub page: Arc<Page>,
    /// The policies that hold, for the inlet.
    pub published: watch::Sender<Option<Arc<Vec<Policy>>>>,
    /// Nothing is done, whatever the policies say.
    pub dry_run: bool,
    /// A round that takes longer is cut off.
    pub longest: Duration,
    /// How long others are waited for, and how acts are tried again.
    pub pacing: Pacing,
    /// Told when an act ends for which no round waits any more.
    pub wake: Arc<Notify>,
    finish_only: bool,
    watch: Watch,
    led: Led,
}

/// What only a leader knows; read from the store when the lead is taken.
#[derive(Default)]
struct Led {
    lease: Option<Lease>,
    memories: HashMap<String, History>,
    census: Census,
    survey: Survey,
    inquiries: Inquiries,
    blind: Blind,
    templates: Templates,
    holds: Holds,
    table: Vec<Policy>,
    complaints: HashSet<String>,
    turns: Turns,
    acts: Acts,
    /// What went wrong in this round with one row of the store.
    trouble: Option<anyhow::Error>,
    pauses: HashMap<String, (Instant, u32)>,
    avoid: HashMap<(String, String), Instant>,
    forgot_at: Option<Instant>,
}

/// What came of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounded {
    /// Intents that are still open.
    pub open: usize,
    /// Decisions that were acted upon.
    pub acted: usize,
    /// Docker hosts that did not answer.
    pub blind: usize,
}

impl Round {
    /// A round that has not led yet.
    pub fn new(
        config: Arc<Config>,
        store: Store,
        executor: Arc<dyn Executor>,
        sources: Sources,
        notifier: Notifier,
        page: Arc<Page>,
    ) -> Self {
        let published = watch::Sender::new(None);
        let dry_run = false;
        Self {
            config,
            store,
            executor,
            sources,
            notifier,
            page,
            published,
            dry_run,
            longest: LONGEST,
            pacing: Pacing::default(),
            wake: Arc::default(),
            finish_only: false,
            watch: Watch::start(now(), Instant::now().into_std()),
            led: Led::default(),
        }
    }

    /// Stops leading: the next lead starts from the store.
    pub async fn stand_by(&mut self) {
        self.watch = Watch::start(now(), Instant::now().into_std());
        if let Some(lease) = &self.led.lease {
            self.led.holds.flush(&self.store, lease).await;
        }
        self.led = Led::default();
        self.published.send_replace(None);
        self.page.lead(None);
    }

    /// Goes on with other ports and another configuration.
    pub fn renew(&mut self, config: Arc<Config>, executor: Arc<dyn Executor>, sources: Sources) {
        (self.config, self.executor, self.sources) = (config, executor, sources);
        // What the hosts of before have said is not to be taken for an answer of these.
        (self.led.survey, self.led.inquiries) = (Survey::default(), Inquiries::default());
    }

    /// Decides nothing any more; what is open is still finished.
    pub fn pause_all(&mut self) {
        self.finish_only = true;
    }

    /// One round. An error is the store's; what sources and hosts do wrong is part of the round.
    /// One that goes on for too long is cut off: whatever holds it up, such as a database whose host
    /// is gone, must not hold it for good. What it left open is looked for in the store, as after a
    /// crash.
    pub async fn tick(&mut self, lease: &Lease) -> Result<Rounded> {
        let longest = self.longest;
        match timeout(longest, self.whole(lease)).await {
            Ok(done) => done,
            Err(_) => {
                self.led = Led::default();
                bail!("cut off after {longest:?}")
            }
        }
    }

    async fn whole(&mut self, lease: &Lease) -> Result<Rounded> {
        let began = Instant::now();
        if self.led.lease.as_ref() != Some(lease) {
            self.take_over(lease).await?;
        }
        self.heed_clock(lease).await?;
        self.end_turns()?;
        still_leads(self.store.set_aside(lease).await?)?;
        let mut open = self.store.open_intents().await?;
        self.tidy_acts(&open);
        self.advance(lease, &mut open).await?;
        let touched = open.clone();
        open.retain(|entry| entry.outcome == Outcome::Intended);
        let sight = self.led.survey.look(&self.executor, self.pacing.peers).await;
        for (host, why) in &sight.blind {
            self.complain(format!("docker host {host}: {why}"));
        }
        let policies = self.policies(lease, &sight).await?;
        if let Some(before) = self.published.send_replace(Some(policies.clone())) {
            self.page.policies(&before, &policies);
        }
        // All of a round is at one time, which goes on as it was when somebody sets the clock meanwhile.
        let at = self.watch.time(Instant::now().into_std());
        self.take_census(lease, &sight, &policies, &touched, at).await?;
        self.find_other_ways(lease, &policies, &sight, &mut open).await?;
        let blind = sight.blind.len();
        if self.finish_only {
            return self.end(Rounded { open: open.len(), acted: 0, blind });
        }
        let Some(hints) = self.hints(lease, &policies, at).await? else {
            // What came since then is of another time: the next round, which heeds it, decides.
            return self.end(Rounded { open: open.len(), acted: 0, blind });
        };
        let patience = self.pacing.peers;
        let readings = read(&mut self.sources, &policies, &sight, at, patience).await;
        crash::point("observed");
        let stage = Stage { policies: &policies, sight: &sight, open: &open, at };
        let turned = self.take_turns(lease, &stage, readings, hints).await?;
        // Those that are under way may be done by now, too.
        let flies = |entry: &Entry| self.led.acts.is_flying(entry.id);
        let (mut acts, waiting): (Vec<Entry>, Vec<Entry>) = open.into_iter().partition(flies);
        acts.extend(turned.entries);
        self.advance(lease, &mut acts).await?;
        self.forget(lease, at).await?;
        acts.retain(|entry| entry.outcome == Outcome::Intended);
        self.page.round(began.elapsed(), blind);
        self.end(Rounded { open: waiting.len() + acts.len(), acted: turned.acted, blind })
    }

    /// A round in which a single row was in trouble has done all the rest.
    fn end(&mut self, rounded: Rounded) -> Result<Rounded> {
        self.led.trouble.take().map_or(Ok(rounded), Err)
    }

    /// The store's answer, if it gave one. Trouble with a single row, which somebody else may have
    /// locked, is told in the end and keeps nothing else from being done.
    fn bear<T>(&mut self, what: &str, answer: Result<T, sqlx::Error>) -> Result<Option<T>> {
        match answer {
            Ok(said) => Ok(Some(said)),
            Err(error) if is_of_one_row(&error) => {
                let trouble = anyhow::Error::from(error).context(what.to_owned());
                self.led.trouble.get_or_insert(trouble);
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| what.to_owned()),
        }
    }

    fn avoided(&self, service: &str) -> HashSet<String> {
        let at = Instant::now();
        let live = self.led.avoid.iter().filter(|((s, _), until)| s == service && at < **until);
        live.map(|((_, host), _)| host.clone()).collect()
    }

    /// Says each thing once an hour.
    fn complain(&mut self, what: String) {
        if !self.led.complaints.contains(&what) {
            warn!("{what}");
            self.led.complaints.insert(what);
        }
    }
}

/// A leader of the past does nothing more in its round.
fn still_leads(leads: bool) -> Result<()> {
    anyhow::ensure!(leads, "another scaler leads now");
    Ok(())
}
