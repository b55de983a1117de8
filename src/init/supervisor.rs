//! The app and every other child: spawned, signalled and reaped in one place.
//!
//! One reaper owns every pid (waitpid for any child), so nothing else in Berth may wait for a child:
//! not std, not tokio. The app itself is reaped last: as long as it lies there, a signal to it or to its
//! group reaches nobody else. Nothing here blocks but [`Supervisor::finish`] and job control.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::init::Pid;
use crate::init::exit::Ended;
use crate::init::inherited::Inherited;
use crate::init::signal::{Received, Signal, SignalRewrite, SignalSet, StopSignals};
use crate::init::signals;
use crate::init::spawn::{self, Environment, SpawnError};
use crate::init::sys::{self, Change, Place, Setup, Target, Waited};
use crate::init::terminal::{Home, Terminal};

/// Longest wait of PID 1 for what the app left behind.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// An app that ends well so soon after its start, and leaves processes, has gone into the background.
const START: Duration = Duration::from_secs(10);

/// How the app is run.
#[derive(Clone, Debug, Default)]
pub struct SpawnOptions {
    /// Changes to the environment of the app and of probes.
    pub environment: Environment,
    /// Signals go to the app's whole process group.
    pub signal_group: bool,
    /// Signals that reach the app as others.
    pub signal_rewrite: SignalRewrite,
    /// Signals that ask the app to stop.
    pub stop_signals: StopSignals,
}

/// What [`Supervisor::reap`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The app has ended. Comes once.
    App(Ended),
    /// A probe has ended.
    Probe(Pid, Ended),
}

/// The running app, with everything that descends from it.
#[derive(Debug)]
pub struct Supervisor {
    app: Pid,
    state: AppState,
    started: Instant,
    /// Whether the app was asked to stop.
    asked: bool,
    /// Where Berth was started; probes run there too.
    directory: Option<PathBuf>,
    probes: Vec<Pid>,
    terminal: Option<Terminal>,
    /// Whether the app leads a session of its own.
    leads_session: bool,
    is_pid_1: bool,
    events: Vec<Event>,
    inherited: Inherited,
    options: SpawnOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppState {
    Running,
    Stopped,
    Ended(Ended),
}

impl Supervisor {
    /// Starts the app; its first word is the program. Becomes subreaper where Berth is not PID 1, closes
    /// the descriptors that were inherited, which the app now has, and leaves the working directory, so
    /// that no mount is kept busy by Berth.
    ///
    /// # Errors
    /// When the app cannot be started.
    pub fn start(
        command: &[OsString],
        mut inherited: Inherited,
        options: SpawnOptions,
    ) -> Result<Self, SpawnError> {
        let is_pid_1 = std::process::id() == 1;
        if !is_pid_1 {
            sys::become_subreaper();
        }
        let home = Home::choose(is_pid_1);
        let setup = setup(&inherited, home.place());
        let app = spawn::spawn(command, &options.environment, &setup)?;
        inherited.close_descriptors();
        // Where it has no name, probes could not be put back into it.
        let directory = std::env::current_dir().ok();
        let _ = directory.as_ref().map(|_| std::env::set_current_dir("/"));
        Ok(Self {
            app,
            state: AppState::Running,
            started: Instant::now(),
            asked: false,
            directory,
            probes: Vec::new(),
            leads_session: matches!(home, Home::Session(_)),
            terminal: home.into_terminal(),
            is_pid_1,
            events: Vec::new(),
            inherited,
            options,
        })
    }

    /// The app's pid.
    pub fn app(&self) -> Pid {
        self.app
    }

    /// How the app has ended, once [`Supervisor::reap`] has met that.
    pub fn ended(&self) -> Option<Ended> {
        match self.state {
            AppState::Ended(ended) => Some(ended),
            AppState::Running | AppState::Stopped => None,
        }
    }

    /// Runs `sh -c script` with the app's environment in a process group of its own, without
    /// input and output (its errors go to Berth's), for [`Event::Probe`] to tell how it ended.
    ///
    /// # Errors
    /// When there is no shell, or processes or memory run out.
    pub fn spawn_probe(&mut self, script: &OsStr) -> std::io::Result<Pid> {
        let setup = setup(&self.inherited, Place::Group(None));
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(directory) = self.directory.as_ref().filter(|directory| directory.is_dir()) {
            command.current_dir(directory);
        }
        let probe = spawn::start(&mut command, &self.options.environment, &setup)?;
        self.probes.push(probe);
        Ok(probe)
    }

    /// Kills a probe with its whole process group, unless it has ended. [`Event::Probe`] follows.
    pub fn kill_probe(&self, probe: Pid) {
        if self.probes.contains(&probe) {
            send(Target::Group(probe), Signal::KILL);
        }
    }

    /// Reaps every child that has ended. To be called when SIGCHLD has arrived: once is enough for
    /// any number of children.
    pub fn reap(&mut self) -> Vec<Event> {
        self.collect();
        std::mem::take(&mut self.events)
    }

    /// Takes all news of children into `events`, up to the app's end, and tells whether any is left.
    fn collect(&mut self) -> bool {
        while self.ended().is_none() {
            match sys::wait_any(self.app) {
                Waited::Changed(pid, change) if pid == self.app => self.app_changed(change),
                Waited::Changed(pid, Change::Ended(ended)) => {
                    if let Some(index) = self.probes.iter().position(|probe| *probe == pid) {
                        self.probes.swap_remove(index);
                        self.events.push(Event::Probe(pid, ended));
                    }
                }
                Waited::Changed(..) => {}
                Waited::NoNews => return true,
                Waited::NoChild => return false,
            }
        }
        true
    }

    fn app_changed(&mut self, change: Change) {
        match change {
            Change::Ended(ended) => {
                self.state = AppState::Ended(ended);
                self.events.push(Event::App(ended));
            }
            Change::Continued => self.state = AppState::Running,
            Change::Stopped(by) => {
                self.state = AppState::Stopped;
                let terminal = self.terminal.as_mut();
                if terminal.is_some_and(|terminal| terminal.app_stopped(self.app, by)) {
                    send(self.target(), Signal::CONT);
                }
            }
        }
    }

    /// Whether a signal asks the app to stop.
    pub fn stops(&self, received: Received) -> bool {
        self.options.stop_signals.include(received)
    }

    /// What the app gets for a signal.
    pub fn rewritten(&self, signal: Signal) -> Option<Signal> {
        self.options.signal_rewrite.apply(signal)
    }

    /// Forwards a signal to the app, rewritten; neither SIGCHLD nor what Berth brought on itself.
    /// A stop signal to a stopped app is followed by CONT, without which it would not act on it.
    pub fn forward(&mut self, received: Received) {
        if received.signal == Signal::CHLD || received.is_own() {
            return;
        }
        // SIGCHLD may still pend behind this signal.
        self.collect();
        if self.ended().is_some() {
            return;
        }
        let Some(signal) = self.rewritten(received.signal) else { return };
        if let Some(terminal) = self.terminal.as_ref().filter(|_| signal == Signal::CONT) {
            terminal.before_continue(self.app);
        }
        // A terminal signals a whole group: ours, when the app is not in its foreground.
        let by_terminal = self.terminal.is_some() && received.sender.is_none();
        let target = if by_terminal { Target::Group(self.app) } else { self.target() };
        let suspends = self.suspends(received);
        // Of a whole group nobody may decline, and a session of its own has nobody who could continue
        // it, so there the kernel drops what can be declined.
        let for_all = suspends && (self.options.signal_group || self.leads_session);
        send(target, if for_all && signal == received.signal { Signal::STOP } else { signal });
        if self.stops(received) {
            self.asked = true;
            if self.state == AppState::Stopped {
                send(target, Signal::CONT);
            }
        }
        if suspends {
            sys::stop_self();
        }
    }

    /// Whether a signal is to suspend Berth with its app until CONT, as it would suspend the app alone: as
    /// an ordinary process, where no terminal's job control sees to that.
    fn suspends(&self, received: Received) -> bool {
        let suspending = [Signal::TSTP, Signal::TTIN, Signal::TTOU].contains(&received.signal);
        suspending && !self.is_pid_1 && self.terminal.is_none() && received.sender.is_some()
    }

    /// Kills the app, which did not stop in time.
    pub fn kill(&self) {
        if self.ended().is_none() {
            send(self.target(), Signal::KILL);
        }
    }

    fn target(&self) -> Target {
        if self.options.signal_group { Target::Group(self.app) } else { Target::Process(self.app) }
    }

    /// Ends what the app left behind. As PID 1: TERM to all, and a short wait for them, which ends
    /// early; the kernel kills the rest. Else TERM to the app's group, if signals are for that. Blocks
    /// for at most a second.
    pub fn finish(self) {
        if let Some(terminal) = &self.terminal {
            terminal.take_back(self.app);
        }
        for probe in &self.probes {
            self.kill_probe(*probe);
        }
        if !self.is_pid_1 && self.options.signal_group {
            send(Target::Group(self.app), Signal::TERM);
        }
        sys::reap(self.app);
        let left_some = reap_others();
        let at_once = self.state == AppState::Ended(Ended::Exited(0)) && !self.asked;
        if left_some && at_once && self.started.elapsed() < START {
            warn!(
                "the app ended right after its start, without an error, and left processes behind: did \
                 it put itself into the background? Run it in the foreground, as nginx does with \
                 -g 'daemon off;'"
            );
        }
        if !self.is_pid_1 {
            return;
        }
        send(Target::Everyone, Signal::TERM);
        send(Target::Everyone, Signal::CONT);
        let deadline = Instant::now() + FINISH_TIMEOUT;
        while reap_others() && Instant::now() < deadline {
            let _ = signals::wait_for(SignalSet::of(&[Signal::CHLD]), Some(deadline));
        }
    }
}

/// Reaps every child that has ended, once the app has been, and tells whether any is left.
fn reap_others() -> bool {
    const NOBODY: Pid = 0;
    loop {
        match sys::wait_any(NOBODY) {
            Waited::Changed(..) => {}
            Waited::NoNews => return true,
            Waited::NoChild => return false,
        }
    }
}

fn setup<'a>(inherited: &Inherited, place: Place<'a>) -> Setup<'a> {
    let Inherited { mask, child_ignored, pipe_ignored, .. } = *inherited;
    Setup { mask, child_ignored, pipe_ignored, place }
}

/// Failing is no news: the target has ended, or runs as another user.
fn send(target: Target, signal: Signal) {
    let result = sys::kill(target, signal);
    debug!(?target, %signal, ?result, "sent");
}
