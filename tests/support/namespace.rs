//! Tests in a network namespace of their own.

use std::process::Command;

/// Says loudly what is not tested here; fails under CI.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    eprintln!("SKIPPED: {why}");
}

/// Runs this test again where the only network is a loopback interface of its own; true there.
pub fn alone(test: &str) -> bool {
    const MARK: &str = "BERTH_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let unshare = ["--net", "--", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    let works = Command::new("unshare").args(unshare).arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        skip("no network namespace: needs root, unshare and ip");
        return false;
    }
    let again = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .status();
    assert!(again.unwrap().success(), "{test} failed in a network namespace");
    false
}
