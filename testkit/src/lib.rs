//! What the tests and benches share: the binary under test, servers, agents, waiting for a condition.
//!
//! For this repository's tests alone; what cannot be had fails the test that asks for it.
#![allow(missing_docs, reason = "the names say it where nothing is written")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub mod agent;
pub mod bind;
pub mod broken;
pub mod container;
pub mod control;
pub mod crowd;
pub mod docker;
pub mod fake_dns;
pub mod haproxy;
pub mod images;
pub mod kv;
pub mod load;
pub mod namespace;
pub mod tap;
pub mod tls;
pub mod traefik;
pub mod weather;

/// The repository.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The binary under test: what `BERTH_BIN` names, such as the static one, else the one that was built
/// beside the test that runs.
pub fn binary() -> &'static str {
    static BINARY: LazyLock<String> = LazyLock::new(|| {
        let named = std::env::var("BERTH_BIN").unwrap_or_default();
        let path = if named.is_empty() { built("berth") } else { PathBuf::from(&named) };
        let path = path.canonicalize().unwrap_or_else(|error| panic!("BERTH_BIN={named}: {error}"));
        path.to_str().unwrap().to_owned()
    });
    &BINARY
}

/// A program that was built beside the test that runs.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{} is missing: run cargo build --bins --examples", path.display());
    path
}

/// Longest wait for anything that must happen.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Asserts that `condition` holds for a while.
#[track_caller]
pub fn stays(what: &str, condition: impl FnMut() -> bool) {
    stays_for(Duration::from_secs(2), what, condition);
}

/// Asserts that `condition` holds for so long.
#[track_caller]
pub fn stays_for(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < time {
        assert!(condition(), "no longer: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A TCP port that nobody listens on, below the range from which the kernel takes those of outgoing
/// connections; no other test gets it, in this process or another, before this one has ended.
#[derive(Clone, Copy, Debug)]
pub struct Port(pub u16);

impl Port {
    pub fn free() -> Self {
        loop {
            let port = 10_000 + (berth::net::random::bits() % 20_000) as u16;
            let Ok(taken) = token(port) else { continue };
            let free = |addr: &str| TcpListener::bind((addr, port)).is_ok();
            if free("0.0.0.0") && free("::1") {
                // Until the process ends.
                std::mem::forget(taken);
                return Self(port);
            }
        }
    }
}

/// What only one process can have for each port: an abstract socket's name, which ends with it.
fn token(port: u16) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("berth-test-port-{port}"))?)
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
