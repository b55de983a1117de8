//! Many containers at once, on addresses of their own and with one app behind them all.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::Port;
use super::agent::Agent;
use super::haproxy::Haproxy;

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
