//! Tests in a network namespace of their own.

use std::process::Command;

use super::agent::Running;
use super::eventually;

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

/// `ip` with these words, in the present namespace.
#[track_caller]
pub fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {line}");
}

/// A process with a network of its own, whose only way out is a device called `inner`.
pub struct Apart;

impl Apart {
    /// The command line that runs `command` once the device is there, with this address.
    pub fn line<'a>(addr: &str, command: &[&'a str]) -> Vec<&'a str> {
        let plugged = format!(
            "until ip link set inner up 2>/dev/null; do sleep 0.02; done; \
             ip address add {addr} dev inner && ip link set lo up && exec \"$@\""
        );
        // Lives as long as the test, which makes few of them.
        let plugged: &'static str = Box::leak(plugged.into_boxed_str());
        [&["unshare", "--net", "--", "sh", "-c", plugged, "sh"], command].concat()
    }

    /// Gives it the device.
    pub fn plug(process: &Running) {
        let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        let pid = process.pid().to_string();
        eventually("it has a network of its own", || network(&pid) != network("self"));
        ip(&format!("link set inner netns {pid}"));
    }

    /// Runs a shell line in its network.
    #[track_caller]
    pub fn run(process: &Running, line: &str) {
        let network = format!("--net=/proc/{}/ns/net", process.pid());
        let done = Command::new("nsenter").args([&network, "sh", "-c", line]).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
