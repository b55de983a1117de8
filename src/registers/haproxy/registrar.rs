//! One container at one HAProxy: read, plan, take one step, read again.
//!
//! Every event (start, lost race, restart, reload, an operator's hand) takes this same path. The
//! registrar never decides what is wanted and never touches the app; dropping it at any await is
//! safe, because the next turn starts from what HAProxy shows.

mod discovery;
mod notice;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::backoff::{Backoff, jitter};
use crate::net::random;
use crate::registers::haproxy::slot::{Me, Memory, Step, View, plan};
use crate::registers::haproxy::{
    Client, ClientError, Overview, Process, Server, ServerStat, Settings,
};
use crate::registers::{Channels, Desired, Standing, Want};
use notice::Notices;

use discovery::find_backend;
pub use discovery::{Unfit, who_am_i};

/// Between writing a claim and reading it back.
const SETTLE: Duration = Duration::from_millis(10);
/// Full reads after a slot went into rotation, when a lost race is most likely to show.
const EARLY_CHECKS: [Duration; 3] =
    [Duration::from_millis(40), Duration::from_millis(160), Duration::from_millis(500)];
/// A full read instead of the cheap verify every so many verifies, for ghosts and stale slots.
const FULL_READ_EVERY: u32 = 30;
/// Between two looks at the sessions of a slot that is left, to begin with.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// Times in a row to put a slot into rotation until somebody should know that it stays out.
const IN_VAIN_AFTER: u32 = 5;

/// Turns that fail one after the other until this HAProxy counts as unreachable, which nobody who
/// leaves waits for: a single connection that breaks must not leave a slot behind.
const UNREACHABLE_AFTER: u32 = 3;

/// Why a turn got nowhere.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Registers with one HAProxy for as long as the container lives.
pub async fn run(client: Client, settings: Arc<Settings>, mut channels: Channels) {
    let mut registrar = Registrar::new(client, settings, channels.clone());
    // The life cycle must know of this register before it can hold anything.
    let epoch = channels.want.borrow().epoch;
    channels.report(epoch, Standing::Absent);
    loop {
        let want = *channels.want.borrow_and_update();
        let wait = tokio::select! {
            wait = registrar.turn(want) => wait,
            changed = channels.want.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = channels.want.changed() => if changed.is_err() { return },
        }
    }
}

struct Registrar {
    client: Client,
    settings: Arc<Settings>,
    channels: Channels,
    started: Instant,
    backend: Option<Arc<str>>,
    memory: Memory,
    /// The slot that the last full read showed as mine and in rotation, and how often it has been
    /// verified since.
    held: Option<(Server, u32)>,
    scrubbed: bool,
    /// How often in a row a slot of mine was put into rotation and then not seen there.
    insisted: u32,
    /// HAProxy may have requests for the app: a slot has been in rotation and is not given back.
    flowing: bool,
    /// Slots that were given back a moment ago, perhaps with requests that are not done.
    emptying: Vec<Server>,
    /// Since when I am not to be in rotation, by `started`.
    leaving_since: Option<Duration>,
    /// The process that answered last.
    process: Option<Process>,
    /// When it took over from another one that may have requests for the app, by `started`.
    replaced_at: Option<Duration>,
    backoff: Backoff,
    /// Turns that failed, one after the other.
    failures: u32,
    notices: Notices,
}

impl Registrar {
    fn new(client: Client, settings: Arc<Settings>, channels: Channels) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), settings.sync_interval);
        let notices = Notices::new(Arc::clone(&channels.register));
        Self {
            client,
            settings,
            channels,
            started: Instant::now(),
            backend: None,
            memory: Memory::default(),
            held: None,
            scrubbed: false,
            insisted: 0,
            flowing: false,
            emptying: Vec::new(),
            leaving_since: None,
            process: None,
            replaced_at: None,
            backoff,
            failures: 0,
            notices,
        }
    }

    /// One turn; says how long to wait before the next.
    async fn turn(&mut self, want: Want) -> Duration {
        self.leaving_since = match want.desired {
            Desired::Serving => None,
            _ => self.leaving_since.or_else(|| Some(self.started.elapsed())),
        };
        match self.step(want.desired).await {
            Ok((standing, wait)) => {
                self.failures = 0;
                self.channels.report(want.epoch, standing);
                wait
            }
            Err(error) => {
                self.held = None;
                self.backend = None;
                self.notices.trouble(&error);
                self.failures = self.failures.saturating_add(1);
                let gone = matches!(error, TurnError::Client(ClientError::Connect(_)));
                let busy = want.desired == Desired::Draining && self.flowing && !gone;
                if self.failures >= UNREACHABLE_AFTER && !busy {
                    self.channels.report(want.epoch, Standing::Unreachable);
                }
                self.backoff.next(random::fraction())
            }
        }
    }

    async fn step(&mut self, desired: Desired) -> Result<(Standing, Duration), TurnError> {
        if desired == Desired::Serving
            && let Some(wait) = self.verify().await?
        {
            return Ok((Standing::Serving, wait));
        }
        let read_at = self.started.elapsed();
        let (servers, endpoint, backend) = self.read().await?;
        let settings = Arc::clone(&self.settings);
        self.memory.observe(
            &servers,
            |server| server.backend == backend && server.slot_number(&settings.prefix).is_some(),
            endpoint,
            read_at,
        );
        let me = Me {
            endpoint,
            backend: &backend,
            prefix: &settings.prefix,
            limit: settings.limit,
            reclaim_after: settings.reclaim_after,
            memory: &self.memory,
        };
        let view = View { servers: &servers, read_at };
        let step = plan(&me, desired, &view, self.started.elapsed());
        self.scrubbed = true;
        self.take(step, desired).await
    }

    /// The cheap verify: whether the slot that I hold is still mine and in rotation. Says how long
    /// to wait before the next, or nothing when a full read is due.
    async fn verify(&mut self) -> Result<Option<Duration>, TurnError> {
        let Some((slot, verified)) = &mut self.held else { return Ok(None) };
        *verified += 1;
        let early = (*verified as usize) <= EARLY_CHECKS.len();
        if early || *verified % FULL_READ_EVERY == 0 {
            return Ok(None);
        }
        let stat = self.client.stat(slot).await?;
        let mine = stat.is_some_and(|stat| {
            stat.endpoint == slot.endpoint()
                && stat.weight > 0
                && !["MAINT", "DRAIN", "NOLB"].iter().any(|out| stat.status.starts_with(out))
        });
        if !mine {
            self.notices.changed();
        }
        Ok(mine.then_some(self.interval()))
    }

    /// Reads every backend as long as nothing is known, my own afterwards; finds out who I am.
    async fn read(&mut self) -> Result<(Vec<Server>, SocketAddr, Arc<str>), TurnError> {
        let known = self.backend.clone().filter(|_| self.scrubbed);
        if self.failures > 0 {
            self.client.ping().await?;
        }
        let Overview { servers, process, local } = self.client.overview(known.as_deref()).await?;
        self.note_process(process);
        let backend = match known {
            Some(backend) => backend,
            None => find_backend(&servers, &self.settings)?,
        };
        self.backend = Some(Arc::clone(&backend));
        let endpoint = discovery::endpoint(&servers, &backend, local, &self.settings)?;
        let (addr, port) = (endpoint.ip(), endpoint.port());
        self.channels.identity.send_if_modified(|identity| {
            let news = identity.addr.is_none() || identity.port.is_none();
            identity.addr.get_or_insert(addr);
            identity.port.get_or_insert(port);
            news
        });
        Ok((servers, endpoint, backend))
    }

    /// Takes a step; says where that leaves us and how long to wait before the next read.
    async fn take(
        &mut self,
        step: Step,
        desired: Desired,
    ) -> Result<(Standing, Duration), TurnError> {
        tracing::trace!(register = %self.channels.register, ?step);
        match step {
            Step::MakeReady(_) => self.insisted = self.insisted.saturating_add(1),
            Step::Reread | Step::Settle => {}
            _ => self.insisted = 0,
        }
        let insisting = self.insisted > 1;
        if !insisting && let Step::Claim { .. } | Step::MakeReady(_) | Step::Full { .. } = step {
            self.notices.changed();
        }
        self.memory.will(&step, self.started.elapsed());
        let commands = step.commands();
        if !commands.is_empty() {
            self.client.change(&commands).await?;
        }
        self.flowing |= matches!(step, Step::MakeReady(_) | Step::Hold { .. });
        let now = Duration::ZERO;
        let verified = match (&step, self.held.take()) {
            (Step::Hold { slot, .. }, Some((held, verified))) if held.name == slot.name => verified,
            _ => 0,
        };
        // That it can be read proves nothing where a change was refused a moment ago.
        if !matches!(step, Step::Reread | Step::Settle) {
            self.notices.reachable();
        }
        if !insisting && !matches!(step, Step::Reread | Step::Settle | Step::Full { .. }) {
            self.backoff.reset();
        }
        let (standing, wait) = match &step {
            Step::Reread => (Standing::Absent, now),
            Step::Settle => (Standing::Absent, SETTLE),
            Step::Claim { .. } => (Standing::Absent, jitter(SETTLE, random::fraction())),
            Step::MakeReady(slot) if insisting => {
                if self.insisted >= IN_VAIN_AFTER {
                    self.notices.in_vain(slot);
                }
                (Standing::Serving, self.backoff.next(random::fraction()))
            }
            Step::MakeReady(slot) => {
                self.notices.claimed(slot);
                self.publish(slot);
                (Standing::Serving, EARLY_CHECKS[0])
            }
            Step::Hold { slot, watching } => {
                self.notices.claimed(slot);
                self.publish(slot);
                self.held = Some((slot.clone(), if *watching { 0 } else { verified }));
                let early = EARLY_CHECKS.get(verified as usize).copied();
                (Standing::Serving, early.unwrap_or_else(|| self.interval()))
            }
            Step::LeaveToOperator(slot) => {
                self.notices.operator(slot);
                (Standing::Serving, self.interval())
            }
            Step::Drain(slot) => {
                self.notices.draining(slot);
                (Standing::Draining { sessions: 0 }, now)
            }
            Step::AwaitIdle(slot) => {
                let stat = self.client.stat(slot).await?;
                match stat.map_or(0, |stat| stat.work()) {
                    0 => (Standing::Idle, self.interval()),
                    sessions => (Standing::Draining { sessions }, self.drain_pause()),
                }
            }
            Step::Release(releases) => {
                self.notices.released(releases);
                if desired == Desired::Absent && self.flowing {
                    self.emptying = releases.iter().map(|release| release.slot.clone()).collect();
                }
                // Nothing is given back before a read shows it; until then nobody may leave.
                let standing = match desired {
                    Desired::Serving => Standing::Absent,
                    _ => Standing::Draining { sessions: 0 },
                };
                (standing, SETTLE)
            }
            Step::Full { slots } => {
                self.notices.full(*slots);
                (Standing::Absent, self.backoff.next(random::fraction()))
            }
            Step::Nothing => match self.still_running(desired).await? {
                0 => (Standing::Absent, self.interval()),
                sessions => (Standing::Draining { sessions }, self.drain_pause()),
            },
        };
        if desired == Desired::Draining
            && matches!(standing, Standing::Idle | Standing::Absent)
            && let Some(left) = self.unseen()
        {
            return Ok((Standing::Draining { sessions: 0 }, left));
        }
        Ok((standing, wait))
    }

    /// `SYNC_INTERVAL`, and never in step with the neighbours.
    fn interval(&self) -> Duration {
        jitter(self.settings.sync_interval, random::fraction())
    }

    /// A tenth of the time that leaving has taken so far: an app may be unready for hours, with
    /// sessions that last as long.
    fn drain_pause(&self) -> Duration {
        let since = self.leaving_since.unwrap_or_default();
        let tenth = self.started.elapsed().saturating_sub(since) / 10;
        tenth.min(self.settings.sync_interval).max(DRAIN_POLL)
    }

    /// Requests on the slots that were given back, until others claim them: clients that stick to a
    /// server (cookies, stick tables) are sent there even while it drains, up to its last moment.
    async fn still_running(&mut self, desired: Desired) -> Result<u64, ClientError> {
        if desired != Desired::Absent {
            return Ok(0);
        }
        let mut sessions = 0;
        if !self.settings.drain_timeout.is_zero() {
            for slot in &self.emptying {
                let stat = self.client.stat(slot).await?;
                let empty = |stat: &ServerStat| {
                    stat.endpoint.is_none_or(|endpoint| endpoint.ip().is_unspecified())
                };
                sessions += stat.filter(empty).map_or(0, |stat| stat.sessions);
            }
        }
        if sessions == 0 {
            self.emptying.clear();
            self.flowing = false;
        }
        Ok(sessions)
    }

    fn note_process(&mut self, process: Option<Process>) {
        let Some(now) = process else { return };
        let before = self.process.replace(now);
        if self.flowing && before.is_some_and(|before| before.pid != now.pid) {
            self.replaced_at = Some(self.started.elapsed().saturating_sub(now.uptime));
        }
    }

    /// How much longer to wait for requests that cannot be counted: a process that was reloaded
    /// works on behind the new one, and gets as long for it as a drain may take.
    fn unseen(&self) -> Option<Duration> {
        let until = self.replaced_at? + self.settings.drain_timeout;
        until.checked_sub(self.started.elapsed())
    }

    fn publish(&self, slot: &Server) {
        self.channels.identity.send_if_modified(|identity| {
            let news = identity.slot.is_none();
            identity.slot.get_or_insert(Arc::clone(&slot.name));
            news
        });
    }
}
