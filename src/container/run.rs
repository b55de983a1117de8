//! The loop of a container that registers: every event ends here, and only here is anything done.
//!
//! The app is started before anything else and outlives whatever goes wrong in here: when the loop
//! cannot run or breaks, the plain init takes over.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use crate::config::{Config, ReadyCheck};
use crate::container::lifecycle::{Action, Event, Lifecycle, Limits};
use crate::container::readiness::{self, NotifySocket, ProbeRequest};
use crate::init::Pid;
use crate::init::exit::Ended;
use crate::init::inherited::Inherited;
use crate::init::plain;
use crate::init::signal::{Received, Signal};
use crate::init::signals::Signals;
use crate::init::spawn::SpawnError;
use crate::init::supervisor::{self, SpawnOptions, Supervisor};
use crate::net::resolve::Resolver;
use crate::registers::dns;
use crate::registers::haproxy::Settings;
use crate::registers::haproxy::fleet;
use crate::registers::{Channels, Identity, Report, Want};
use crate::task;

/// Runs the app, registers it as `config` says, and returns the exit code to leave with.
///
/// # Errors
/// When the app cannot be started.
pub fn run(
    command: &[OsString],
    inherited: Inherited,
    mut options: SpawnOptions,
    config: &Config,
) -> Result<u8, SpawnError> {
    let notify = notify_socket(config);
    if let Some(notify) = &notify {
        options.environment.push(("NOTIFY_SOCKET".into(), Some(notify.address().into())));
    }
    let mut supervisor = Supervisor::start(command, inherited, options)?;
    let ended = catch_unwind(AssertUnwindSafe(|| registered(&mut supervisor, config, notify)));
    let ended = ended.unwrap_or_else(|_| {
        error!("a bug in berth: the app runs on, but is not registered any more");
        None
    });
    let ended = ended.unwrap_or_else(|| plain::supervise(&mut supervisor, config.app.stop_timeout));
    supervisor.finish();
    Ok(config.app.exit_remap.apply(ended.code()))
}

/// The container's life until its app has ended; `None` when the event loop broke before.
fn registered(
    supervisor: &mut Supervisor,
    config: &Config,
    notify: Option<NotifySocket>,
) -> Option<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(64)
        .build()
        .inspect_err(
            |error| error!(%error, "no event loop: the app runs on, but is not registered"),
        )
        .ok()?;
    let ended = runtime.block_on(Container::new(supervisor, config).live(config, notify));
    runtime.shutdown_background();
    ended
}

fn notify_socket(config: &Config) -> Option<NotifySocket> {
    let wanted = config.app.ready_check == ReadyCheck::Notify;
    let socket = wanted.then(NotifySocket::bind)?;
    socket.inspect_err(|error| warn!(%error, "no socket for READY_CHECK=notify")).ok()
}

/// One container: its app, its life cycle, and the tasks that tell it things.
struct Container<'a> {
    supervisor: &'a mut Supervisor,
    lifecycle: Lifecycle<Received>,
    want: watch::Sender<Want>,
    probes: Vec<Probe>,
    ended: Option<Ended>,
    left: bool,
    told_of_probe: bool,
}

/// A check's command that runs.
struct Probe {
    pid: Pid,
    kill_at: Instant,
    reply: oneshot::Sender<bool>,
}

impl<'a> Container<'a> {
    fn new(supervisor: &'a mut Supervisor, config: &Config) -> Self {
        let limits = Limits { drain: config.app.drain_timeout, stop: config.app.stop_timeout };
        let lifecycle = Lifecycle::new(limits);
        let want = watch::Sender::new(lifecycle.want());
        Self {
            supervisor,
            lifecycle,
            want,
            probes: Vec::new(),
            ended: None,
            left: false,
            told_of_probe: false,
        }
    }

    /// Lives until nothing is left to do; `None` when signals cannot be read.
    async fn live(mut self, config: &Config, notify: Option<NotifySocket>) -> Option<Ended> {
        let mut signals = Signals::new()
            .inspect_err(|error| error!(%error, "no signals: the app is not registered"))
            .ok()?;
        let (reports_in, mut reports) = mpsc::unbounded_channel();
        let (probes_in, mut probe_requests) = mpsc::channel(1);
        let mut ready = self.start_tasks(config, notify, reports_in, probes_in);
        while !self.left {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                Some(report) = reports.recv() => self.on(Event::Report(report)),
                received = signals.next() => match received {
                    Ok(received) => self.on_signal(received),
                    Err(error) => {
                        error!(%error, "no more signals: the app is not registered any more");
                        return None;
                    }
                },
                Ok(()) = ready.changed() => {
                    let ready = *ready.borrow_and_update();
                    self.on(if ready { Event::Ready } else { Event::Unready });
                }
                Some(request) = probe_requests.recv() => self.start_probe(request),
                () = until(deadline) => {
                    self.kill_late_probes();
                    self.on(Event::Tick);
                }
            }
        }
        self.ended
    }

    fn start_tasks(
        &self,
        config: &Config,
        notify: Option<NotifySocket>,
        reports: mpsc::UnboundedSender<Report>,
        probes: mpsc::Sender<ProbeRequest>,
    ) -> watch::Receiver<bool> {
        let identity = watch::Sender::new(Identity {
            addr: config.app.addr,
            port: config.app.port,
            slot: None,
        });
        let channels = Channels {
            register: "".into(),
            want: self.want.subscribe(),
            identity: identity.clone(),
            reports,
        };
        let resolver = Resolver::default();
        if let Some(haproxy) = &config.haproxy {
            let settings = Arc::new(Settings::new(haproxy, &config.app));
            for target in &haproxy.servers {
                let channels = channels.named(format!("haproxy {target}"));
                let (target, settings) = (target.clone(), Arc::clone(&settings));
                let resolver = resolver.clone();
                task::keep_alive("registrar", move || {
                    let (settings, resolver) = (Arc::clone(&settings), resolver.clone());
                    fleet::run(target.clone(), settings, channels.clone(), resolver)
                });
            }
        }
        if let Some(dns) = &config.dns {
            let dns = Arc::new(dns.clone());
            let channels = channels.named("dns");
            task::keep_alive("dns", move || {
                dns::run(Arc::clone(&dns), channels.clone(), resolver.clone())
            });
        }
        let (ready_in, ready) = watch::channel(false);
        let notify = Arc::new(notify);
        let app = config.app.clone();
        task::keep_alive("readiness", move || {
            let (app, identity) = (app.clone(), identity.subscribe());
            readiness::run(app, identity, ready_in.clone(), Arc::clone(&notify), probes.clone())
        });
        ready
    }

    fn deadline(&self) -> Option<Instant> {
        let probes = self.probes.iter().map(|probe| probe.kill_at);
        probes.chain(self.lifecycle.deadline()).min()
    }

    fn on_signal(&mut self, received: Received) {
        if received.signal == Signal::CHLD {
            for event in self.supervisor.reap() {
                match event {
                    supervisor::Event::App(ended) => {
                        info!(%ended, "the app has ended");
                        self.ended = Some(ended);
                        self.on(Event::AppEnded);
                    }
                    supervisor::Event::Probe(pid, ended) => self.finish_probe(pid, ended),
                }
            }
        } else if received.is_stop() && !received.is_own() {
            self.on(Event::Stop(received));
        } else {
            self.supervisor.forward(received);
        }
    }

    fn on(&mut self, event: Event<Received>) {
        debug!(?event);
        for action in self.lifecycle.on(event, Instant::now()) {
            debug!(?action);
            match action {
                Action::Want(want) => {
                    self.want.send_replace(want);
                }
                Action::Stop(received) => self.supervisor.forward(received),
                Action::Kill => {
                    warn!("the app did not stop within STOP_TIMEOUT: killed");
                    self.supervisor.kill();
                }
                Action::Exit => self.left = true,
            }
        }
    }

    fn start_probe(&mut self, request: ProbeRequest) {
        match self.supervisor.spawn_probe(request.command.as_ref()) {
            Ok(pid) => {
                let kill_at = Instant::now() + request.timeout;
                self.probes.push(Probe { pid, kill_at, reply: request.reply });
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told_of_probe, true) {
                    warn!(%error, "cannot run the check, which needs /bin/sh");
                }
                let _ = request.reply.send(false);
            }
        }
    }

    fn finish_probe(&mut self, pid: Pid, ended: Ended) {
        if let Some(index) = self.probes.iter().position(|probe| probe.pid == pid) {
            let _ = self.probes.swap_remove(index).reply.send(ended == Ended::Exited(0));
        }
    }

    fn kill_late_probes(&mut self) {
        let now = Instant::now();
        for probe in self.probes.iter().filter(|probe| probe.kill_at <= now) {
            self.supervisor.kill_probe(probe.pid);
        }
        // Its end is reported by the reaper; until then there is nothing more to be done to it.
        self.probes.retain(|probe| probe.kill_at > now);
    }
}

/// Waits for a deadline, for ever when there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
