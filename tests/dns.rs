//! Registration in DNS, on a real BIND 9.

#![allow(clippy::unwrap_used)]

#[path = "support/bind.rs"]
mod bind;
#[path = "support/container.rs"]
mod container;

use berth::dns::config::DnsConfig;
use berth::register::{Desired, Standing};
use bind::{Bind, REVERSE, ZONE};
use container::{Container, config, until};

/// A configuration for `bind`'s zone; `more` comes on top.
fn at(bind: &Bind, more: &[(&str, &str)]) -> DnsConfig {
    let (server, key) = (bind.addr.to_string(), bind.key_file());
    let mut vars = vec![
        ("DNS_SERVER", server.as_str()),
        ("DNS_ZONE", ZONE),
        ("DNS_TSIG_KEYFILE", key.to_str().unwrap()),
        ("SERVICE_NAME", "webapp"),
    ];
    vars.retain(|(name, _)| more.iter().all(|(other, _)| name != other));
    vars.extend_from_slice(more);
    config(&vars)
}

/// Records of the zone that were not there from the start, and no leases.
fn records(bind: &Bind) -> Vec<String> {
    let all = bind.records(ZONE).into_iter();
    all.filter(|line| {
        !line.starts_with("ns.") && !line.contains(" NS ") && !line.contains("_lease")
    })
    .collect()
}

#[tokio::test]
async fn an_address_is_in_dns_exactly_while_its_container_serves() {
    let Some(bind) = Bind::start() else { return };
    bind.nsupdate(ZONE, "update add webapp.berth.test 60 A 192.0.2.1");
    let mut v4 = Container::start(at(&bind, &[]), Some("10.53.0.1"), Some(80));
    let mut v6 = Container::start(at(&bind, &[("DNS_TTL", "7")]), Some("2001:db8::1"), Some(80));
    v4.wait_for(Standing::Absent).await;
    assert_eq!(records(&bind), ["webapp.berth.test. 60 IN A 192.0.2.1"]);
    v4.serve().await;
    v6.serve().await;
    assert_eq!(
        records(&bind),
        [
            "webapp.berth.test. 30 IN A 10.53.0.1",
            "webapp.berth.test. 30 IN A 192.0.2.1",
            "webapp.berth.test. 7 IN AAAA 2001:db8::1",
        ]
    );
    v4.reach(Desired::Draining, Standing::Idle).await;
    v6.reach(Desired::Absent, Standing::Absent).await;
    assert_eq!(records(&bind), ["webapp.berth.test. 30 IN A 192.0.2.1"]);
    assert!(!bind.records(ZONE).iter().any(|line| line.contains("_lease")));
    v4.serve().await;
    assert_eq!(bind.dig("webapp.berth.test", "A"), ["10.53.0.1", "192.0.2.1"]);
}

#[tokio::test]
async fn node_name_srv_and_ptr_come_and_go_with_the_container() {
    let Some(bind) = Bind::start() else { return };
    let more = [
        ("DNS_NODE_NAME", "webapp-{slot}"),
        ("DNS_SRV", "_http._tcp"),
        ("DNS_PTR", "1"),
        ("HAPROXY_SERVER", "lb"),
    ];
    let mut one = Container::start(at(&bind, &more), Some("10.53.0.1"), Some(8080));
    one.serve().await;
    assert_eq!(bind.dig("webapp.berth.test", "A"), ["10.53.0.1"]);
    one.identity.send_modify(|identity| identity.slot = Some("node3".into()));
    until("the PTR record", || !bind.dig_with(&["+short", "-x", "10.53.0.1"]).is_empty()).await;
    assert_eq!(
        records(&bind),
        [
            "_http._tcp.webapp.berth.test. 30 IN SRV 0 0 8080 webapp-node3.berth.test.",
            "webapp-node3.berth.test. 30 IN A 10.53.0.1",
            "webapp-node3.berth.test. 30 IN TXT \"berth1 holder=10.53.0.1 port=8080\"",
            "webapp.berth.test. 30 IN A 10.53.0.1",
        ]
    );
    assert_eq!(bind.dig_with(&["+short", "-x", "10.53.0.1"]), "webapp-node3.berth.test.\n");
    one.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(records(&bind), [""; 0]);
    assert_eq!(bind.records(REVERSE).len(), 2);
}
