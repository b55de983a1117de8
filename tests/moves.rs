//! A container whose address changes while it runs: on real HAProxys, in networks of their own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::IpAddr;

use support::agent::{Agent, Running, hello};
use support::haproxy::{Haproxy, versions};
use support::namespace::{Apart, alone, ip};
use support::tls::{Ca, with_tls_on};
use support::{Port, eventually, stays};

/// Where HAProxy is, beside the container's network.
const HERE: &str = "10.99.0.1";

/// The network between HAProxy and one container, whose end is called `inner`; a new one each time.
fn cable() {
    let quietly = |words: &str| {
        let done = std::process::Command::new("ip").args(words.split(' ')).output();
        done.is_ok_and(|done| done.status.success())
    };
    // With the network of a container its end goes too, a moment after the last process.
    quietly("link del outer");
    eventually("a cable", || quietly("link add outer type veth peer name inner"));
    ip(&format!("address add {HERE}/24 dev outer"));
    ip("link set outer up");
}

/// A container at 10.99.0.2 that is told nothing of its address.
fn container(port: Port, env: &[(&str, String)]) -> Running {
    let app = hello();
    let berth = [support::binary(), "--", app.to_str().unwrap()];
    let agent = Agent::line(&Apart::line("10.99.0.2/24", &berth))
        .env("ADDR", "0.0.0.0")
        .env("PORT", port)
        .env("NAME", "one")
        .env("READY_CHECK", "none")
        .env("APP_PORT", port);
    let agent = env.iter().fold(agent, |agent, (name, value)| agent.env(name, value)).start();
    Apart::plug(&agent);
    agent
}

/// A template without health checks, which finds out nothing by itself, and a stats socket.
fn haproxy(binary: std::path::PathBuf) -> (Haproxy, String) {
    let stats = Port::free();
    let socket = format!("stats socket ipv4@{HERE}:{stats} level admin");
    let backend = "backend webapp\n  server-template node 1-4 localhost:3128 disabled\n";
    (Haproxy::with_global(binary, &socket, backend), format!("{HERE}:{stats}"))
}

/// The slots that show an address of the network, in rotation or not.
fn shown(haproxy: &Haproxy) -> Vec<String> {
    let servers = haproxy.servers().into_iter();
    let ours =
        servers.filter(|slot| slot.addr.is_some_and(|addr| addr.to_string().starts_with("10.")));
    ours.map(|slot| format!("{} {}", slot.name, slot.addr.unwrap())).collect()
}

fn in_rotation(haproxy: &Haproxy) -> Vec<IpAddr> {
    haproxy.ready().iter().filter_map(|slot| slot.addr).collect()
}

/// Takes one address away and gives another within milliseconds, as `docker network disconnect` and
/// `connect` do one after the other.
fn swap(agent: &Running, from: &str, to: &str) {
    let line = format!(
        "ip address add {to}/24 dev inner; ip address del {from}/24 dev inner; \
                        ip address replace {to}/24 dev inner"
    );
    Apart::run(agent, &line);
}

#[test]
fn a_changed_address_is_registered_and_the_former_one_is_given_back() {
    if !alone("a_changed_address_is_registered_and_the_former_one_is_given_back") {
        return;
    }
    for version in versions() {
        cable();
        let (haproxy, server) = haproxy(version);
        let port = Port::free();
        let mut agent = container(port, &[("HAPROXY_SERVER", server)]);
        let mut from = "10.99.0.2";
        eventually("it is in", || {
            in_rotation(&haproxy) == ["10.99.0.2".parse::<IpAddr>().unwrap()]
        });
        for to in ["10.99.0.3", "10.99.0.4", "10.99.0.2"] {
            swap(&agent, from, to);
            eventually("it is in at the new one", || {
                in_rotation(&haproxy) == [to.parse::<IpAddr>().unwrap()]
            });
            stays("nowhere else", || {
                shown(&haproxy).len() == 1 && in_rotation(&haproxy).len() == 1
            });
            assert_eq!(haproxy.get("/"), "hello from one\n");
            from = to;
        }
        assert_eq!(agent.log().matches("address has changed").count(), 3);
        assert_eq!(agent.stop(), 143);
        assert_eq!(shown(&haproxy), Vec::<String>::new());
    }
}

#[test]
fn a_stop_right_after_a_change_gives_the_former_one_back() {
    if !alone("a_stop_right_after_a_change_gives_the_former_one_back") {
        return;
    }
    cable();
    for version in versions() {
        let (haproxy, server) = haproxy(version);
        for _ in 0..3 {
            let mut agent = container(Port::free(), &[("HAPROXY_SERVER", server.clone())]);
            eventually("it is in", || in_rotation(&haproxy).len() == 1);
            stays("it is in", || in_rotation(&haproxy).len() == 1);
            swap(&agent, "10.99.0.2", "10.99.0.3");
            assert_eq!(agent.stop(), 143);
            assert_eq!(shown(&haproxy), Vec::<String>::new());
            assert!(haproxy.ready().is_empty());
            drop(agent);
            cable();
        }
    }
}

#[test]
fn a_changed_address_is_registered_over_tls_too() {
    if !alone("a_changed_address_is_registered_over_tls_too") {
        return;
    }
    cable();
    let ca = Ca::new(&[HERE]);
    let (haproxy, port) = with_tls_on(HERE, "haproxy".into(), &ca);
    let mut env: Vec<_> = ca.env();
    env.push(("HAPROXY_SERVER", format!("{HERE}:{port}")));
    let mut agent = container(Port::free(), &env);
    let is_at = |addr: &str| in_rotation(&haproxy) == [addr.parse::<IpAddr>().unwrap()];
    eventually("it is in", || is_at("10.99.0.2"));
    swap(&agent, "10.99.0.2", "10.99.0.3");
    eventually("it is in at the new one", || is_at("10.99.0.3"));
    stays("nowhere else", || shown(&haproxy).len() == 1);
    assert_eq!(agent.stop(), 143);
    assert_eq!(shown(&haproxy), Vec::<String>::new());
}
