//! What an init is told.

use std::time::Duration;

use crate::init::exit::ExitRemap;
use crate::init::signal::{SignalRewrite, StopSignals};

/// How the app is signalled and how its end is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// SIGKILL this long after the stop signal; zero = never.
    pub stop_timeout: Duration,
    /// Signal the app's whole process group.
    pub signal_group: bool,
    /// Signals that reach the app as others.
    pub signal_rewrite: SignalRewrite,
    /// Signals that ask the container to stop.
    pub stop_signals: StopSignals,
    /// Exit codes that leave as others.
    pub exit_remap: ExitRemap,
}
