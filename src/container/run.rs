//! The loop of a container that registers: every event ends here, and only here is anything done.
//!
//! The app is started before anything else and outlives whatever goes wrong in here: when the loop
//! cannot run or breaks, what is held is given back, and the plain init takes over.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::container::Settings;
use crate::container::lifecycle::{Action, Event, Lifecycle, Limits, Stop};
use crate::container::look::Look;
use crate::container::readiness::{NotifySocket, ProbeRequest, ReadyCheck};
use crate::container::tasks::{self, Inbox};
use crate::init::Pid;
use crate::init::exit::Ended;
use crate::init::inherited::Inherited;
use crate::init::plain;
use crate::init::signal::{Received, Signal};
use crate::init::signals::Signals;
use crate::init::spawn::SpawnError;
use crate::init::supervisor::{self, SpawnOptions, Supervisor};
use crate::registers::Want;

/// An app that is there so long after its stop signal may have survived it,
const SURVIVED_AFTER: Duration = Duration::from_secs(10);
/// unless the signal was one that is followed by SIGKILL as a rule: after 10 s (Docker) or 30 s
/// (Kubernetes), and what is killed while it serves loses requests.
const SURVIVED_AN_END_AFTER: Duration = Duration::from_secs(35);
/// Longest time for giving everything back when the loop has broken.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the app, registers it as `settings` say, and returns the exit code to leave with.
///
/// # Errors
/// When the app cannot be started.
pub fn run(
    command: &[OsString],
    inherited: Inherited,
    mut options: SpawnOptions,
    settings: &Settings,
) -> Result<u8, SpawnError> {
    let notify = notify_socket(settings);
    if let Some(notify) = &notify {
        options.environment.push(("NOTIFY_SOCKET".into(), Some(notify.address().into())));
        // It names Berth, to whom the app's WATCHDOG=1 goes: with another pid the app would send none.
        options.environment.push(("WATCHDOG_PID".into(), None));
    }
    let mut supervisor = Supervisor::start(command, inherited, options)?;
    // Making a loop can panic too, as tokio does where descriptors run out.
    let lived = catch_unwind(AssertUnwindSafe(|| registered(&mut supervisor, settings, notify)));
    let (ended, stopping) = lived.unwrap_or_else(|_| {
        no_loop(&"a panic");
        (None, false)
    });
    let ended = ended
        .unwrap_or_else(|| plain::supervise(&mut supervisor, settings.init.stop_timeout, stopping));
    supervisor.finish();
    Ok(settings.init.exit_remap.apply(ended.code()))
}

/// The container's life until its app has ended. Where the loop cannot run, or breaks: no end, and
/// whether the app has been asked to stop.
fn registered(
    supervisor: &mut Supervisor,
    settings: &Settings,
    notify: Option<NotifySocket>,
) -> (Option<Ended>, bool) {
    let runtime = Builder::new_current_thread().enable_all().max_io_events_per_tick(64).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            no_loop(&error);
            return (None, false);
        }
    };
    let limits = Limits { drain: settings.drain_timeout, stop: settings.init.stop_timeout };
    let lifecycle = Lifecycle::new(limits);
    let want = watch::Sender::new(lifecycle.want());
    let (mut inbox, look) = {
        let _entered = runtime.enter();
        tasks::start(settings, &want, notify)
    };
    let mut container = Container {
        supervisor,
        lifecycle,
        want,
        look,
        probes: Vec::new(),
        ended: None,
        left: false,
        told_of_probe: false,
    };
    let lived =
        catch_unwind(AssertUnwindSafe(|| finish(&runtime, Box::pin(container.live(&mut inbox)))));
    let outcome = match lived {
        Ok(true) => (container.ended, false),
        _ => (None, container.break_off(&runtime, &mut inbox)),
    };
    runtime.shutdown_background();
    outcome
}

fn no_loop(error: &dyn Display) {
    error!(%error, "no event loop: the app runs on, but is not registered");
}

fn notify_socket(settings: &Settings) -> Option<NotifySocket> {
    let wanted = settings.readiness.check == ReadyCheck::Notify;
    let socket = wanted.then(|| NotifySocket::bind(std::env::var_os("NOTIFY_SOCKET")))?;
    socket.inspect_err(|error| warn!(%error, "no socket for READY_CHECK=notify")).ok()
}

/// One container: its app, its life cycle, and the tasks that tell it things.
struct Container<'a> {
    supervisor: &'a mut Supervisor,
    lifecycle: Lifecycle<Received>,
    want: watch::Sender<Want>,
    look: Look,
    probes: Vec<Probe>,
    ended: Option<Ended>,
    left: bool,
    told_of_probe: bool,
}

/// A check's command that runs.
struct Probe {
    pid: Pid,
    kill_at: Instant,
    reply: oneshot::Sender<io::Result<Ended>>,
}

impl Container<'_> {
    /// Lives until nothing is left to do; false when signals cannot be read.
    async fn live(&mut self, inbox: &mut Inbox) -> bool {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                error!(%error, "signals cannot be read");
                return false;
            }
        };
        while !self.left {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                Some(report) = inbox.reports.recv() => self.on(Event::Report(report)),
                received = signals.next() => match received {
                    Ok(received) => self.on_signal(received),
                    Err(error) => {
                        error!(%error, "signals cannot be read any more");
                        return false;
                    }
                },
                Ok(()) = inbox.ready.changed() => {
                    let ready = *inbox.ready.borrow_and_update();
                    self.on(if ready { Event::Ready } else { Event::Unready });
                }
                Some(()) = inbox.serves.recv() => self.on(Event::StillServes),
                Some(request) = inbox.probes.recv() => self.start_probe(request),
                () = until(deadline) => {
                    self.kill_late_probes();
                    self.on(Event::Tick);
                }
            }
        }
        true
    }

    /// After the loop broke: gives back what is held, says what is so, and hands over to the plain
    /// init. Returns whether the app has been asked to stop.
    fn break_off(&mut self, runtime: &Runtime, inbox: &mut Inbox) -> bool {
        let (owed, stopping) = (self.lifecycle.stop_owed(), self.lifecycle.is_stopping());
        let given_back = catch_unwind(AssertUnwindSafe(|| {
            let given_back =
                async { timeout(GIVE_BACK_TIMEOUT, self.give_back(inbox)).await.unwrap_or(false) };
            finish(runtime, Box::pin(given_back))
        }));
        match given_back {
            Ok(true) => error!("the app runs on, and is not registered any more"),
            _ => error!(
                "the app runs on, and may still be registered: nothing looks after that any more"
            ),
        }
        if let Some(received) = owed {
            self.supervisor.forward(received);
        }
        owed.is_some() || stopping
    }

    /// Whether every register has said that it holds nothing.
    async fn give_back(&mut self, inbox: &mut Inbox) -> bool {
        self.on(Event::AppEnded);
        while !self.left {
            let deadline = self.lifecycle.deadline();
            tokio::select! {
                biased;
                Some(report) = inbox.reports.recv() => self.on(Event::Report(report)),
                () = until(deadline) => self.on(Event::Tick),
            }
        }
        self.lifecycle.holds_nothing()
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
        } else if self.supervisor.stops(received) {
            self.on(Event::Stop(self.stop(received)));
        } else {
            self.supervisor.forward(received);
        }
    }

    fn stop(&self, received: Received) -> Stop<Received> {
        let ends = [Signal::TERM, Signal::INT, Signal::KILL].map(Some);
        let survived_after = match ends.contains(&self.supervisor.rewritten(received.signal)) {
            true => SURVIVED_AN_END_AFTER,
            false => SURVIVED_AFTER,
        };
        Stop { signal: received, survived_after }
    }

    fn on(&mut self, event: Event<Received>) {
        if event == Event::StillServes {
            info!("the app serves still, though it was asked to stop: it is registered again");
        }
        debug!(?event);
        for action in self.lifecycle.on(event, Instant::now()) {
            debug!(?action);
            match action {
                Action::Want(want) => {
                    self.want.send_replace(want);
                }
                Action::Stop(received) => self.supervisor.forward(received),
                Action::Look => self.look.start(),
                Action::LookAway => self.look.stop(),
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
                let _ = request.reply.send(Err(error));
            }
        }
    }

    fn finish_probe(&mut self, pid: Pid, ended: Ended) {
        if let Some(index) = self.probes.iter().position(|probe| probe.pid == pid) {
            let _ = self.probes.swap_remove(index).reply.send(Ok(ended));
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

/// Runs the future to its end; one type for all, since tokio makes 2 kB of code for each.
fn finish(runtime: &Runtime, future: Pin<Box<dyn Future<Output = bool> + '_>>) -> bool {
    runtime.block_on(future)
}

/// Waits for a deadline, for ever when there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
