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

/// Ends the process here and now when `BERTH_SCALER_CRASH_AT` names this point.
#[inline]
pub fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in POINTS");
    #[cfg(debug_assertions)]
    if std::env::var("BERTH_SCALER_CRASH_AT").is_ok_and(|at| at == name) {
        let _ = nix::sys::signal::raise(nix::sys::signal::SIGKILL);
    }
}
