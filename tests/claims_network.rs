//! A claim survives what happens to networks and names: on real HAProxys.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::agent::{Agent, Running, hello};
use support::crowd::{PORT, address, all_in, come_in, container, haproxy, start, taken, template};
use support::haproxy::{Haproxy, versions};
use support::namespace::{Apart, alone, ip, skip};
use support::{Port, eventually, stays};

#[test]
fn a_name_stands_for_all_its_addresses_and_a_replaced_load_balancer_is_found_by_it() {
    let private = ["unshare", "--mount", "--", "sh", "-c"];
    let works = std::process::Command::new(private[0]).args(&private[1..]).arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        return skip("no mount namespace: needs root and unshare");
    }
    // A name has one port.
    let port = Port::free();
    let at = |addr: &str| {
        let socket = format!("stats socket ipv4@{addr}:{port} level admin");
        Haproxy::with_global("haproxy".into(), &socket, &template(5))
    };
    let mut first = [at("127.0.0.2"), at("127.0.0.3")];
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 lb\n127.0.0.3 lb\n").unwrap();
    let with_hosts = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.display());
    let berth = [&with_hosts, support::binary(), "--", "sleep", "1000"];
    first[0].kill();
    let mut agent = Agent::line(&[&private[..], &berth[..]].concat())
        .env("HAPROXY_SERVER", "lb")
        .env("HAPROXY_PORT", port)
        .env("READY_CHECK", "none")
        .env("APP_PORT", *PORT)
        .env("APP_ADDR", address(0))
        .start();
    // One being away delays nothing on the other.
    come_in(&first[1], 1);
    first[0].restart();
    first.iter().for_each(|haproxy| come_in(haproxy, 1));
    first.iter_mut().for_each(Haproxy::kill);
    let replaced = at("127.0.0.4");
    // In place, since the file is mounted.
    std::fs::write(&hosts, "127.0.0.4 lb\n").unwrap();
    come_in(&replaced, 1);
    assert_eq!(agent.stop(), 143);
    assert!(replaced.ready().is_empty());
}

/// As a virtual address of Docker Swarm or Kubernetes does: another process for each connection.
#[test]
fn two_haproxys_behind_one_address_are_said_once_and_nothing_stays_in_either() {
    for version in versions() {
        for balance in ["roundrobin", "random"] {
            let both = [0, 1].map(|_| haproxy(version.clone(), 10));
            let port = Port::free();
            let [one, two] = both.each_ref().map(|haproxy| haproxy.stats);
            let _virtual = Haproxy::with_config(
                "haproxy".into(),
                &format!(
                    "backend webapp\nlisten virtual\n  mode tcp\n  bind 127.0.0.1:{port}\n  \
                     balance {balance}\n  server one 127.0.0.1:{one}\n  server two 127.0.0.1:{two}\n"
                ),
            );
            // One who is told the address of each is not disturbed for long.
            let list = format!("127.0.0.1:{one},127.0.0.1:{two}");
            let _right = container(9, one).env("HAPROXY_SERVER", list).start();
            both.iter().for_each(|haproxy| come_in(haproxy, 1));
            let mut agents: Vec<_> = (0..3).map(|i| container(i, port).start()).collect();
            let says = |agent: &Running| agent.log().contains("several HAProxys answer");
            eventually("all say so", || agents.iter().all(says));
            let alone = || {
                both.iter().all(|haproxy| {
                    all_in(haproxy, 1) && taken(haproxy).into_values().all(|at| at == address(9))
                })
            };
            eventually("nothing is left", alone);
            stays("so", alone);
            for agent in &mut agents {
                assert_eq!(agent.log().matches("several HAProxys answer").count(), 1);
                assert_eq!(agent.stop(), 143);
            }
            assert!(alone());
        }
    }
}

#[test]
fn a_firewall_before_the_stats_socket_changes_nothing_for_good() {
    if !alone("a_firewall_before_the_stats_socket_changes_nothing_for_good") {
        return;
    }
    let haproxy = haproxy("haproxy".into(), 30);
    let agents = start(20, &haproxy);
    come_in(&haproxy, 20);
    let before = taken(&haproxy);
    let nft = |rules: &str| {
        let status = std::process::Command::new("nft").arg(rules).status();
        assert!(status.is_ok_and(|status| status.success()), "nft {rules}");
    };
    nft(&format!(
        "add table inet t; add chain inet t in {{ type filter hook input priority 0; }}; \
         add rule inet t in tcp dport {} drop",
        haproxy.stats
    ));
    let complains = |agent: &Running| agent.log().contains("cannot register");
    eventually("all say so", || agents.iter().all(complains));
    nft("delete table inet t");
    let returned = |agent: &Running| agent.log().contains("answers again");
    eventually("all are through again", || agents.iter().all(returned));
    stays("the same slots", || taken(&haproxy) == before && all_in(&haproxy, 20));
}

#[test]
fn a_container_whose_network_is_gone_is_replaced_and_waits_when_it_is_back() {
    if !alone("a_container_whose_network_is_gone_is_replaced_and_waits_when_it_is_back") {
        return;
    }
    ip("link add outer type veth peer name inner");
    ip("address add 10.99.0.1/24 dev outer");
    ip("link set outer up");
    let port = Port::free();
    let haproxy = Haproxy::with_global(
        "haproxy".into(),
        &format!("stats socket ipv4@10.99.0.1:{port} level admin"),
        &template(1).replace("inter 5s", "inter 200ms fall 1"),
    );
    let app = [support::binary(), "--", &hello().display().to_string()];
    let first = Agent::line(&Apart::line("10.99.0.2/24", &app))
        .env("HAPROXY_SERVER", format!("10.99.0.1:{port}"))
        .env("ADDR", "0.0.0.0")
        .env("PORT", port)
        .env("APP_PORT", port)
        .start();
    Apart::plug(&first);
    let holds = |addr: &str| {
        let ready = haproxy.ready();
        ready.iter().all(|slot| slot.addr == addr.parse().ok() && slot.running) && ready.len() == 1
    };
    eventually("it is in", || holds("10.99.0.2"));
    let mut second = container(0, haproxy.stats).env("RECLAIM_AFTER", "2s").start();
    let waits = |agent: &Running| agent.log().contains("every slot is taken");
    eventually("the other one waits", || waits(&second));
    ip("link set outer down");
    eventually("the other one takes over", || holds(&address(0)));
    ip("link set outer up");
    eventually("now the first one waits", || waits(&first));
    stays("the slot is not taken back", || holds(&address(0)));
    second.stop();
    eventually("it is back", || holds("10.99.0.2"));
}
