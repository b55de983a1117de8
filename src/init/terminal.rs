//! The controlling terminal: who is in its foreground, and job control.
//!
//! A Berth that leads its session, or is PID 1 without a terminal, gives the app a session of its
//! own: there Ctrl-Z is harmless and a shell has its job control. Elsewhere the app gets a process
//! group of its own in Berth's session, and Berth plays its part under the shell that started it.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use crate::init::Pid;
use crate::init::signal::{Signal, SignalSet};
use crate::init::sys::{self, Place};

/// Where the app lives.
#[derive(Debug)]
pub(crate) enum Home {
    /// In a session of its own, with this as its controlling terminal.
    Session(Option<OwnedFd>),
    /// In a process group of its own.
    Group(Option<Terminal>),
}

impl Home {
    /// Chooses by where Berth itself lives.
    pub(crate) fn choose(is_pid_1: bool) -> Self {
        let tty = controlling_terminal();
        if sys::leads_session() || (is_pid_1 && tty.is_none()) {
            Self::Session(tty.inspect(give_up))
        } else {
            Self::Group(tty.map(|tty| Terminal::new(tty, is_pid_1)))
        }
    }

    /// For the app's spawn.
    pub(crate) fn place(&self) -> Place<'_> {
        match self {
            Self::Session(tty) => Place::Session(tty.as_ref().map(AsFd::as_fd)),
            Self::Group(terminal) => Place::Group(
                terminal
                    .as_ref()
                    .filter(|terminal| terminal.held)
                    .map(|terminal| terminal.tty.as_fd()),
            ),
        }
    }

    /// What is left to look after once the app runs.
    pub(crate) fn into_terminal(self) -> Option<Terminal> {
        match self {
            Self::Session(_) => None,
            Self::Group(terminal) => terminal,
        }
    }
}

fn controlling_terminal() -> Option<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    match options.open("/dev/tty") {
        Ok(tty) => Some(tty.into()),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => None,
        // A container without /dev/tty.
        Err(_) => sys::STDIO
            .into_iter()
            .find(|fd| sys::foreground(fd).is_some())
            .and_then(|fd| fd.try_clone_to_owned().ok()),
    }
}

/// Gives the terminal up as the leader of its session, and takes the HUP and CONT that this brings
/// on ourselves; not those that were pending before.
fn give_up(tty: &OwnedFd) {
    let own = SignalSet::of(&[Signal::HUP, Signal::CONT]).without(sys::pending());
    sys::give_up_terminal(tty);
    while sys::take_signal(own, Some(Duration::ZERO)).is_ok() {}
}

/// The terminal that the app's process group shares with the shell that started Berth.
#[derive(Debug)]
pub(crate) struct Terminal {
    tty: OwnedFd,
    is_pid_1: bool,
    /// Whether the app had the foreground when it was started or last stopped.
    held: bool,
}

impl Terminal {
    fn new(tty: OwnedFd, is_pid_1: bool) -> Self {
        // In a pipeline the other processes of Berth's group may need the terminal; there the app
        // gets the foreground when it asks for it.
        let held = sys::foreground(&tty) == Some(sys::own_group())
            && sys::STDIO[..2].iter().all(|fd| sys::foreground(fd).is_some());
        Self { tty, is_pid_1, held }
    }

    /// The app was stopped. Hands it the foreground that it asked for, or stops Berth's own group
    /// in turn, so that the shell sees its job stopped, until the shell continues it. Returns
    /// whether the app is to be continued.
    pub(crate) fn app_stopped(&mut self, app: Pid, by: Signal) -> bool {
        let foreground = sys::foreground(&self.tty);
        let by_terminal = [Signal::TSTP, Signal::TTIN, Signal::TTOU].contains(&by);
        if by != Signal::TSTP && by_terminal && foreground == Some(sys::own_group()) {
            sys::set_foreground(&self.tty, app);
            return true;
        }
        self.held = foreground == Some(app);
        if !by_terminal && !self.held {
            return false;
        }
        if !self.is_pid_1 {
            self.take_back(app);
            sys::stop_own_group();
            let _ = sys::take_signal(SignalSet::of(&[Signal::CONT]), Some(Duration::ZERO));
        }
        self.before_continue(app);
        true
    }

    /// Gives the app the foreground that it had when it was stopped, if Berth has it now.
    pub(crate) fn before_continue(&self, app: Pid) {
        if self.held && sys::foreground(&self.tty) == Some(sys::own_group()) {
            sys::set_foreground(&self.tty, app);
        }
    }

    /// Takes the foreground back from the app.
    pub(crate) fn take_back(&self, app: Pid) {
        if sys::foreground(&self.tty) == Some(app) {
            sys::set_foreground(&self.tty, sys::own_group());
        }
    }
}
