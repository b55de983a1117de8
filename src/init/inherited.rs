//! What Berth was started with and must hand on to the app unchanged.

use std::os::fd::OwnedFd;

use crate::init::signal::{Signal, SignalSet};
use crate::init::sys;

/// Signal mask, ignored signals and descriptors as they were before Berth touched them. Berth
/// itself changes the dispositions of SIGCHLD and (by way of std's spawn) SIGPIPE alone, so all
/// others reach the app by themselves.
#[derive(Debug)]
pub struct Inherited {
    pub(crate) mask: SignalSet,
    pub(crate) child_ignored: bool,
    pub(crate) pipe_ignored: bool,
    /// All above 2. Not 0, 1 and 2, which stay open: people write to `/proc/1/fd/1`.
    descriptors: Vec<OwnedFd>,
}

impl Inherited {
    /// Blocks every signal and looks at what was given. Must be the first statement of main: a PID 1
    /// with default dispositions loses every signal that arrives earlier.
    ///
    /// From here on SIGPIPE only pends, SIGCHLD pends even if it was ignored, and nothing that Berth
    /// opens lands on a standard descriptor that was closed.
    pub fn capture() -> Self {
        let mask = sys::set_mask(SignalSet::ALL);
        sys::occupy_closed_stdio();
        let child_ignored = sys::is_ignored(Signal::CHLD);
        if child_ignored {
            // With SIGCHLD ignored, children vanish without a status.
            sys::set_ignored(Signal::CHLD, false);
        }
        let pipe_ignored = sys::is_ignored(Signal::PIPE);
        Self { mask, child_ignored, pipe_ignored, descriptors: sys::open_descriptors() }
    }

    /// Lets signals act again as they did, for what is no init and may be interrupted.
    pub fn let_signals_act(&self) {
        sys::set_mask(self.mask);
    }

    /// Closes Berth's copies of the inherited descriptors, once the app has its own, so that their
    /// other ends see the app close them.
    pub(crate) fn close_descriptors(&mut self) {
        self.descriptors.clear();
    }
}
