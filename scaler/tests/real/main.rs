//! The scaler against real servers: Docker, HAProxy, MariaDB, Prometheus. Each test makes what it
//! needs on free ports in a directory of its own, and takes it away again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;
mod trust;

mod alerts;
mod apart;
mod clone;
mod commands;
mod crash;
mod docker;
mod fake_docker;
mod faults;
mod hang;
mod lost;
mod metrics;
mod notify;
mod podman;
mod scale;
mod simulate;
mod stop;
mod store;
mod time;
mod trouble;
