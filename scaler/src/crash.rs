//! Where a test makes the scaler die, as by `kill -9`. In a release build there is nothing here.

/// Every point, in the order in which a scale-out and a scale-in pass them.
pub const POINTS: [&str; 11] = [
    "lease_taken",
    "alert_stored",
    "observed",
    "decided",
    "intent_written",
    "created",
    "started",
    "stop_sent",
    "draining",
    "removed",
    "outcome_written",
];

/// Every write of who leads, one transaction each.
pub const WRITES: [&str; 12] = [
    "decision",
    "progress",
    "outcome",
    "alert_skipped",
    "alerts_ended",
    "memories",
    "repeats",
    "census",
    "templates",
    "set_aside",
    "shift",
    "forget",
];

/// When a write is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All of its statements are done, and none counts yet.
    Before,
    /// The lease's row is locked for it.
    Locked,
    /// It counts.
    After,
}

/// A point of a write, called `before_`, `locked_` or `after_` and its name.
#[inline]
pub fn write(moment: Moment, what: &'static str) {
    debug_assert!(WRITES.contains(&what), "{what} is not in WRITES");
    #[cfg(debug_assertions)]
    match moment {
        Moment::Before => reached(&format!("before_{what}")),
        Moment::Locked => reached(&format!("locked_{what}")),
        Moment::After => reached(&format!("after_{what}")),
    }
    let _ = moment;
}

/// Ends the process here and now when `BERTH_SCALER_CRASH_AT` names this point; halts it, until it is
/// told to go on, when `BERTH_SCALER_STOP_AT` does.
#[inline]
pub fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in POINTS");
    #[cfg(debug_assertions)]
    reached(name);
}

#[cfg(debug_assertions)]
fn reached(name: &str) {
    for (variable, signal) in [
        ("BERTH_SCALER_CRASH_AT", nix::sys::signal::SIGKILL),
        ("BERTH_SCALER_STOP_AT", nix::sys::signal::SIGSTOP),
    ] {
        if std::env::var(variable).is_ok_and(|at| at == name) {
            let _ = nix::sys::signal::raise(signal);
        }
    }
}
