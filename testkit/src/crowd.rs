//! Many containers at once, on addresses of their own and with one app behind them all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::agent::{Agent, Running};
use super::haproxy::Haproxy;
use super::{DEADLINE, Port};

/// Where the one app behind most of the agents here listens, for HAProxy's health checks: on the
/// addresses of all containers, and not on 127.0.0.1, where the templates point to.
pub static PORT: LazyLock<Port> = LazyLock::new(|| {
    let port = Port::free();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            for i in 0..CONTAINERS {
                let app = tokio::net::TcpListener::bind((address(i), port.0)).await.unwrap();
                tokio::spawn(async move { while app.accept().await.is_ok() {} });
            }
            std::future::pending::<()>().await;
        });
    });
    port
});

/// More than any test starts.
pub const CONTAINERS: usize = 500;

/// A template of so many slots.
pub fn template(slots: usize) -> String {
    let port = *PORT;
    format!(
        "backend webapp\n  server-template node 1-{slots} localhost:{port} check inter 5s disabled\n"
    )
}

/// One with such a template.
pub fn haproxy(binary: PathBuf, slots: usize) -> Haproxy {
    Haproxy::with_config(binary, &template(slots))
}

/// The address of container number `i`.
pub fn address(i: usize) -> String {
    format!("127.1.{}.{}", i / 200, i % 200 + 1)
}

/// Container number `i`, of an app that does nothing.
pub fn container(i: usize, stats: Port) -> Agent {
    Agent::new(&["sleep", "1000"])
        .env("HAPROXY_SERVER", "127.0.0.1")
        .env("HAPROXY_PORT", stats)
        .env("HAPROXY_BACKEND", "webapp")
        .env("READY_CHECK", "none")
        .env("DRAIN_TIMEOUT", "0")
        .env("APP_PORT", *PORT)
        .env("APP_ADDR", address(i))
}

/// The first so many containers.
pub fn start(count: usize, haproxy: &Haproxy) -> Vec<Running> {
    (0..count).map(|i| container(i, haproxy.stats).start()).collect()
}

/// Who is in which slot of the backend, in rotation or not; empty slots are left out.
pub fn taken(haproxy: &Haproxy) -> BTreeMap<String, String> {
    let servers = haproxy.servers().into_iter().filter(|server| &*server.backend == "webapp");
    servers
        .filter_map(|server| {
            let addr = server.addr.filter(|addr| addr.to_string().starts_with("127.1."))?;
            Some((server.name.to_string(), addr.to_string()))
        })
        .collect()
}

/// Whether so many containers are in rotation, each in one slot, and nothing else is.
pub fn all_in(haproxy: &Haproxy, count: usize) -> bool {
    let ready = haproxy.ready();
    let addresses: BTreeSet<_> = ready.iter().map(|slot| slot.addr).collect();
    ready.len() == count
        && addresses.len() == count
        && ready.iter().all(|slot| slot.weight > 0)
        && taken(haproxy).len() == count
}

/// Waits until so many are in rotation, and nothing else is.
#[track_caller]
pub fn come_in(haproxy: &Haproxy, count: usize) {
    let started = Instant::now();
    while !all_in(haproxy, count) {
        if started.elapsed() > DEADLINE {
            let servers = haproxy.servers();
            let odd: Vec<_> =
                servers.iter().filter(|s| s.admin.in_maint() || s.weight == 0).collect();
            panic!("{} of {count} are in; {:#?}", haproxy.ready().len(), odd);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
