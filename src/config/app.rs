//! The variables of the app and of the init around it.

use std::time::Duration;

use super::env::Env;
use super::variables::{self as vars, Group};
use super::{dns, haproxy, traefik, value};
use crate::container::Settings;
use crate::container::readiness::{Get, ReadyCheck};
use crate::container::settings::Readiness;
use crate::init;
use crate::net::target::Target;

const PORT: &str = "a port from 1 to 65535";
const CHECK: &str = "tcp, tcp:PORT, http:/path, http:PORT/path, http://HOST/path, cmd:COMMAND, notify \
                     or none";

/// All that a container is told.
pub(super) fn container(env: &mut Env) -> Settings {
    let service_name = env.parsed(&vars::SERVICE_NAME, value::PROXY_NAME, value::proxy_name);
    let addr = env.parsed(&vars::APP_ADDR, "an IP address that HAProxy can reach", value::unicast);
    let port = env.parsed(&vars::APP_PORT, PORT, value::port);
    let drain_timeout = env.duration(&vars::DRAIN_TIMEOUT, Duration::ZERO);
    let sync_interval = env.duration(&vars::SYNC_INTERVAL, Duration::from_millis(100));
    let readiness = readiness(env);
    let tries_port = match &readiness.check {
        ReadyCheck::Tcp(port) | ReadyCheck::Http(Get { port, .. }) => port.is_none(),
        ReadyCheck::Cmd(_) | ReadyCheck::Notify | ReadyCheck::None => false,
    };
    let told =
        env.counts(Group::Haproxy) || env.is_set(&vars::APP_PORT) || env.is_set(&vars::READY_PORT);
    if tries_port && env.counts(Group::Dns) && !told {
        env.problem(
            &vars::APP_PORT,
            "is not set, expected the port that READY_CHECK tries: without HAProxy nobody tells it",
        );
    }
    let shared = haproxy::Shared {
        service_name: service_name.clone(),
        drain_timeout,
        addr,
        port,
        sync_interval,
    };
    let haproxy = haproxy::settings(env, shared);
    let dns = dns::settings(env, service_name.as_deref());
    let shared = traefik::Shared { service_name, addr, drain_timeout, sync_interval };
    let traefik = traefik::settings(env, shared);
    let stores =
        traefik.iter().flat_map(|traefik| traefik.stores.iter().map(|store| &store.target));
    let servers = haproxy.iter().flat_map(|haproxy| &haproxy.servers);
    let servers = servers.chain(dns.iter().flat_map(|dns| &dns.servers)).chain(stores);
    let facing = servers.filter_map(Target::address).next();
    let readiness = Readiness { facing, ..readiness };
    Settings { init: init(env), addr, port, readiness, drain_timeout, haproxy, dns, traefik }
}

fn readiness(env: &mut Env) -> Readiness {
    const SECOND: Duration = Duration::from_secs(1);
    let parse = |text: &str| text.parse().ok();
    Readiness {
        told_address: env.counts(Group::Haproxy),
        facing: None,
        check: env.value(&vars::READY_CHECK, CHECK, parse, ReadyCheck::Tcp(None)),
        port: env.parsed(&vars::READY_PORT, PORT, value::port),
        interval: env.duration(&vars::READY_INTERVAL, SECOND / 10),
        timeout: env.duration(&vars::READY_TIMEOUT, SECOND / 100),
        rise: env.value(&vars::READY_RISE, value::COUNT, value::count, 1),
        fall: env.value(&vars::READY_FALL, value::COUNT, value::count, 1),
    }
}

fn init(env: &mut Env) -> init::Settings {
    init::Settings {
        stop_timeout: env.duration(&vars::STOP_TIMEOUT, Duration::ZERO),
        signal_group: env.value(&vars::SIGNAL_GROUP, "0 or 1", value::flag, false),
        signal_rewrite: env.explained(&vars::SIGNAL_REWRITE),
        stop_signals: env.explained(&vars::STOP_SIGNALS),
        exit_remap: env.explained(&vars::EXIT_REMAP),
    }
}
