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

/// Ends the process here and now when `BERTH_SCALER_CRASH_AT` names this point; halts it, until it is
/// told to go on, when `BERTH_SCALER_STOP_AT` does.
#[inline]
pub fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in POINTS");
    #[cfg(debug_assertions)]
    for (variable, signal) in [
        ("BERTH_SCALER_CRASH_AT", nix::sys::signal::SIGKILL),
        ("BERTH_SCALER_STOP_AT", nix::sys::signal::SIGSTOP),
    ] {
        if std::env::var(variable).is_ok_and(|at| at == name) {
            let _ = nix::sys::signal::raise(signal);
        }
    }
}
