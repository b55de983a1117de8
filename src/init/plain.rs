//! The plain init: all that Berth is when there is nothing to register with.
//!
//! No runtime and no descriptor of its own: a loop over the signals that arrive.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use tracing::error;

use crate::init::exit::Ended;
use crate::init::inherited::Inherited;
use crate::init::settings::Settings;
use crate::init::signals::{self, Woken};
use crate::init::spawn::SpawnError;
use crate::init::supervisor::{SpawnOptions, Supervisor};

/// Runs the app and returns the exit code to leave with.
///
/// # Errors
/// When the app cannot be started.
pub fn run(
    command: &[OsString],
    inherited: Inherited,
    options: SpawnOptions,
    settings: &Settings,
) -> Result<u8, SpawnError> {
    let mut supervisor = Supervisor::start(command, inherited, options)?;
    let ended = supervise(&mut supervisor, settings.stop_timeout, false);
    supervisor.finish();
    Ok(settings.exit_remap.apply(ended.code()))
}

/// Forwards signals until the app ends, if it has not yet. It is killed `stop_timeout` after the
/// first stop signal (from now on, if it has got that `already`); zero = never.
pub fn supervise(supervisor: &mut Supervisor, stop_timeout: Duration, already: bool) -> Ended {
    let limited = !stop_timeout.is_zero();
    let mut kill_at = (limited && already).then(|| Instant::now() + stop_timeout);
    let (mut stopping, mut told) = (already, false);
    loop {
        // Before the first signal too: another loop may have broken off with news unread.
        supervisor.reap();
        if let Some(ended) = supervisor.ended() {
            return ended;
        }
        let received = match signals::wait(kill_at) {
            Woken::Signal(received) => received,
            Woken::Deadline => {
                supervisor.kill();
                kill_at = None;
                continue;
            }
            Woken::Blind(error) => {
                if !std::mem::replace(&mut told, true) {
                    error!(%error, "signals cannot be read: the app runs on, and gets none of them");
                }
                continue;
            }
        };
        supervisor.forward(received);
        if supervisor.stops(received) && !std::mem::replace(&mut stopping, true) && limited {
            kill_at = Some(Instant::now() + stop_timeout);
        }
    }
}
