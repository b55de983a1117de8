//! Registration in DNS, on a real BIND 9.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use berth::registers::{Desired, Standing};
use support::bind::{Bind, KEY, REVERSE, ZONE};
use support::container::{Container, Log, at, leases, records, shared, until};
use support::fake_dns::{FakeDns, ask, silence};

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
    assert_eq!(leases(&bind), 2);
    v4.reach(Desired::Draining, Standing::Idle).await;
    v6.reach(Desired::Absent, Standing::Absent).await;
    assert_eq!(records(&bind), ["webapp.berth.test. 30 IN A 192.0.2.1"]);
    assert_eq!(leases(&bind), 0);
    v4.serve().await;
    assert_eq!(shared(&bind), ["10.53.0.1", "192.0.2.1"]);
}

#[tokio::test]
async fn the_name_may_be_absolute_and_the_zone_found() {
    let Some(bind) = Bind::start() else { return };
    let mut one = Container::start(
        at(&bind, &[("DNS_ZONE", ""), ("DNS_NAME", "a.b.berth.test")]),
        Some("10.53.0.1"),
        None,
    );
    one.serve().await;
    assert_eq!(records(&bind), ["a.b.berth.test. 30 IN A 10.53.0.1"]);
    let mut apex = Container::start(at(&bind, &[("DNS_NAME", "@")]), Some("10.53.0.2"), None);
    apex.serve().await;
    assert_eq!(bind.dig(ZONE, "A"), ["10.53.0.2"]);
}

#[tokio::test]
async fn without_haproxy_the_address_is_the_one_that_faces_the_server() {
    let Some(bind) = Bind::start() else { return };
    let mut one = Container::start(at(&bind, &[]), None, Some(80));
    one.serve().await;
    assert_eq!(shared(&bind), ["127.0.0.1"]);
    assert_eq!(one.identity.borrow().addr, Some([127, 0, 0, 1].into()));
}

#[tokio::test]
async fn node_name_srv_and_ptr_come_and_go_with_the_container() {
    let Some(bind) = Bind::start() else { return };
    bind.nsupdate(REVERSE, "update add 1.0.53.10.in-addr.arpa 60 PTR foreign.test");
    let more = [
        ("DNS_NODE_NAME", "webapp-{slot}"),
        ("DNS_SRV", "_http._tcp"),
        ("DNS_PTR", "1"),
        ("HAPROXY_SERVER", "lb"),
    ];
    for lease in ["60", "0"] {
        let more = [&more[..], &[("DNS_LEASE", lease)]].concat();
        let mut one = Container::start(at(&bind, &more), Some("10.53.0.1"), Some(8080));
        one.serve().await;
        assert_eq!(records(&bind), ["webapp.berth.test. 30 IN A 10.53.0.1"]);
        one.identity.send_modify(|identity| identity.slot = Some("node3".into()));
        let ptr = || bind.dig("1.0.53.10.in-addr.arpa", "PTR");
        until("the PTR record", || ptr() == ["foreign.test.", "webapp-node3.berth.test."]).await;
        assert_eq!(
            records(&bind),
            [
                "_http._tcp.webapp.berth.test. 30 IN SRV 0 0 8080 webapp-node3.berth.test.",
                "webapp-node3.berth.test. 30 IN A 10.53.0.1",
                "webapp-node3.berth.test. 30 IN TXT \"berth1 holder=10.53.0.1 port=8080\"",
                "webapp.berth.test. 30 IN A 10.53.0.1",
            ]
        );
        one.identity.send_modify(|identity| identity.slot = Some("node4".into()));
        until("the PTR record to follow", || {
            ptr() == ["foreign.test.", "webapp-node4.berth.test."]
        })
        .await;
        assert!(!records(&bind).iter().any(|line| line.contains("node3")), "{:?}", records(&bind));
        one.reach(Desired::Draining, Standing::Idle).await;
        until("the PTR record to go", || ptr() == ["foreign.test."]).await;
        assert_eq!(records(&bind), [""; 0]);
    }
}

#[tokio::test]
async fn one_of_many_holds_the_nodes_name_and_the_next_gets_it() {
    let Some(bind) = Bind::start() else { return };
    let (log, _guard) = Log::capture();
    let config = at(&bind, &[("DNS_NODE_NAME", "webapp-leader"), ("DNS_LEASE", "8")]);
    let mut all: Vec<_> = (1..=8)
        .map(|last| Container::start(config.clone(), Some(&format!("10.53.0.{last}")), Some(80)))
        .collect();
    all.iter().for_each(|one| one.want(Desired::Serving));
    for one in &mut all {
        one.wait_for(Standing::Serving).await;
    }
    assert_eq!(shared(&bind).len(), 8);
    while !all.is_empty() {
        let mut holder = String::new();
        until("somebody to hold the name", || {
            let holders = bind.dig("webapp-leader.berth.test", "A");
            assert!(holders.len() <= 1, "{holders:?}");
            holder = holders.into_iter().next().unwrap_or_default();
            !holder.is_empty()
        })
        .await;
        if all.len() > 1 {
            let said = format!("holder=\"the container at {holder}\"");
            until("the losers to say who holds it", || log.count(&said) == all.len() - 1).await;
        }
        let holding = |one: &Container| one.identity.borrow().addr.unwrap().to_string() == holder;
        let index = all.iter().position(holding).unwrap();
        let mut one = all.remove(index);
        one.reach(Desired::Draining, Standing::Idle).await;
        // Three turns show all that can go wrong.
        all.truncate(if all.len() > 5 { 8 } else { 0 });
    }
}

#[tokio::test]
async fn a_name_that_has_other_records_is_left_alone() {
    let Some(bind) = Bind::start() else { return };
    let (log, _guard) = Log::capture();
    bind.nsupdate(ZONE, "update add leader.berth.test 60 A 192.0.2.1");
    let mut one =
        Container::start(at(&bind, &[("DNS_NODE_NAME", "leader")]), Some("10.53.0.1"), Some(80));
    one.serve().await;
    until("the reason", || log.count("records that are not Berth's") == 1).await;
    one.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(bind.dig("leader.berth.test", "A"), ["192.0.2.1"]);
}

#[tokio::test]
async fn neighbours_at_one_address_do_not_take_each_other_out() {
    let Some(bind) = Bind::start() else { return };
    let mut one = Container::start(at(&bind, &[]), Some("10.53.0.1"), Some(8001));
    let mut two = Container::start(at(&bind, &[]), Some("10.53.0.1"), Some(8002));
    one.serve().await;
    two.serve().await;
    assert_eq!(leases(&bind), 2);
    one.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!((shared(&bind), leases(&bind)), (vec!["10.53.0.1".to_owned()], 1));
    two.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!((shared(&bind).len(), leases(&bind)), (0, 0));
}

#[tokio::test]
async fn the_dead_are_swept_with_all_that_was_theirs() {
    let Some(bind) = Bind::start() else { return };
    let (log, _guard) = Log::capture();
    bind.nsupdate(ZONE, "update add webapp.berth.test 60 A 192.0.2.1");
    let more = [
        ("DNS_LEASE", "5"),
        ("DNS_NODE_NAME", "leader"),
        ("DNS_SRV", "_http._tcp"),
        ("DNS_PTR", "1"),
    ];
    let config = at(&bind, &more);
    let start =
        |last: u8| Container::start(config.clone(), Some(&format!("10.53.0.{last}")), Some(80));
    let mut dead = [start(1), start(2)];
    let (mut heir, mut mixed) = (start(3), start(4));
    for one in dead.iter_mut().chain([&mut heir, &mut mixed]) {
        one.serve().await;
    }
    until("the first to hold the name", || {
        bind.dig("1.0.53.10.in-addr.arpa", "PTR") == ["leader.berth.test."]
    })
    .await;
    dead.into_iter().for_each(Container::kill);
    until("the dead to be out and the name to be passed on", || {
        shared(&bind) == ["10.53.0.3", "10.53.0.4", "192.0.2.1"]
            && ["10.53.0.3", "10.53.0.4"]
                .map(|addr| vec![addr.to_owned()])
                .contains(&bind.dig("leader.berth.test", "A"))
    })
    .await;
    assert!(bind.dig("1.0.53.10.in-addr.arpa", "PTR").is_empty());
    assert_eq!(bind.dig("_http._tcp.webapp.berth.test", "SRV").len(), 1);
    assert_eq!(log.count("swept"), 2);
    // The living renew: over several leases nothing of theirs goes.
    let mut texts = BTreeSet::new();
    until("each to have renewed often", || {
        assert_eq!(shared(&bind), ["10.53.0.3", "10.53.0.4", "192.0.2.1"]);
        texts.extend(bind.records(ZONE).into_iter().filter(|line| line.contains("_lease")));
        ["10-53-0-3", "10-53-0-4"]
            .iter()
            .all(|of| texts.iter().filter(|t| t.contains(of)).count() > 4)
    })
    .await;
    assert_eq!(log.count("swept"), 2);
}

#[tokio::test]
async fn a_container_that_inherits_the_address_of_a_dead_one_stays() {
    let Some(bind) = Bind::start() else { return };
    let (log, _guard) = Log::capture();
    let config = at(&bind, &[("DNS_LEASE", "5")]);
    let start = |last: u8, port: u16| {
        Container::start(config.clone(), Some(&format!("10.53.0.{last}")), Some(port))
    };
    let (mut dead, mut twin, mut witness) = (start(1, 80), start(1, 81), start(2, 80));
    for one in [&mut dead, &mut twin, &mut witness] {
        one.serve().await;
    }
    dead.kill();
    twin.kill();
    // The same port takes the lease over; another port leaves it to run out beside its own.
    let mut heir = start(1, 80);
    heir.serve().await;
    until("what is left of the other to be swept", || log.count("swept") == 1).await;
    assert_eq!((shared(&bind), leases(&bind)), (vec!["10.53.0.1".into(), "10.53.0.2".into()], 2));
}

#[tokio::test]
async fn what_a_dead_one_left_behind_is_gone_before_the_app_is_ready_again() {
    let Some(bind) = Bind::start() else { return };
    let mut dead = Container::start(at(&bind, &[]), Some("10.53.0.1"), Some(80));
    dead.serve().await;
    dead.kill();
    let mut next = Container::start(at(&bind, &[]), Some("10.53.0.1"), Some(80));
    until("the leftover to go", || shared(&bind).is_empty()).await;
    next.serve().await;
    assert_eq!(shared(&bind), ["10.53.0.1"]);
}

#[tokio::test]
async fn more_records_than_a_datagram_holds_are_read_by_tcp() {
    let Some(bind) = Bind::start() else { return };
    let foreign: String = (1..=90)
        .map(|last| format!("update add webapp.berth.test 60 A 192.0.2.{last}\n"))
        .collect();
    bind.nsupdate(ZONE, &foreign);
    let mut one = Container::start(at(&bind, &[]), Some("10.53.0.1"), Some(80));
    one.serve().await;
    assert_eq!(shared(&bind).len(), 91);
    one.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(shared(&bind).len(), 90);
}

#[tokio::test]
async fn the_record_is_back_after_the_server_came_back_with_an_older_zone() {
    let Some(mut bind) = Bind::start() else { return };
    let config = at(&bind, &[("DNS_LEASE", "10"), ("DNS_NODE_NAME", "leader"), ("DNS_PTR", "1")]);
    let mut one = Container::start(config, Some("10.53.0.1"), Some(80));
    one.serve().await;
    let all_there = |bind: &Bind| {
        records(bind).len() == 3 && bind.dig("1.0.53.10.in-addr.arpa", "PTR").len() == 1
    };
    until("all records", || all_there(&bind)).await;
    bind.stop();
    bind.forget_updates();
    bind.run();
    assert_eq!(records(&bind), [""; 0]);
    until("all records again", || all_there(&bind)).await;
}

#[tokio::test]
async fn what_a_restored_backup_brings_back_is_swept_unless_it_lives() {
    let Some(mut bind) = Bind::start() else { return };
    let config = at(&bind, &[("DNS_LEASE", "5"), ("DNS_NODE_NAME", "leader"), ("DNS_PTR", "1")]);
    let start =
        |last: u8| Container::start(config.clone(), Some(&format!("10.53.0.{last}")), Some(80));
    let (mut one, mut two) = (start(1), start(2));
    one.serve().await;
    let ptr = || bind.dig("1.0.53.10.in-addr.arpa", "PTR");
    until("all that the first has", || ptr() == ["leader.berth.test."]).await;
    two.serve().await;
    bind.stop();
    let backup = bind.backup();
    bind.run();
    one.reach(Desired::Draining, Standing::Idle).await;
    until("the name to be passed on", || bind.dig("leader.berth.test", "A") == ["10.53.0.2"]).await;
    bind.stop();
    bind.restore(backup);
    bind.run();
    assert_eq!(shared(&bind), ["10.53.0.1", "10.53.0.2"]);
    assert_eq!(bind.dig("leader.berth.test", "A"), ["10.53.0.1"]);
    until("the dead one to be out", || shared(&bind) == ["10.53.0.2"]).await;
    until("the name to be passed on", || bind.dig("leader.berth.test", "A") == ["10.53.0.2"]).await;
    assert!(bind.dig("1.0.53.10.in-addr.arpa", "PTR").is_empty());
}

#[tokio::test]
async fn an_update_that_somebody_sends_again_lasts_no_longer_than_a_lease() {
    let Some(bind) = Bind::start() else { return };
    let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (ears, to) = (Arc::clone(&heard), bind.addr);
    let way = FakeDns::start(
        Box::new(move |request| {
            ears.lock().unwrap().push(request.to_vec());
            ask(to, request).into_iter().collect()
        }),
        silence(),
    );
    let more = [("DNS_SERVER", &*way.addr.to_string()), ("DNS_LEASE", "5")];
    let mut one = Container::start(at(&bind, &more), Some("10.53.0.1"), Some(80));
    let mut two = Container::start(at(&bind, &more[1..]), Some("10.53.0.2"), Some(80));
    two.serve().await;
    one.serve().await;
    one.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(shared(&bind), ["10.53.0.2"]);
    // Signed, and good for some minutes by its time: only what it demands of the zone can stop it.
    let update = |request: &&Vec<u8>| request[2] & 0x78 == 5 << 3;
    let first = heard.lock().unwrap().iter().find(update).unwrap().clone();
    ask(bind.addr, &first).unwrap();
    assert_eq!(shared(&bind), ["10.53.0.1", "10.53.0.2"]);
    until("it to be swept", || shared(&bind) == ["10.53.0.2"]).await;
}

#[tokio::test]
async fn thousands_at_one_name_are_no_trouble() {
    let Some(mut bind) = Bind::start() else { return };
    bind.stop();
    bind.configure(&format!("grant {KEY} zonesub ANY;"), "");
    let conf = bind.path("named.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, text.replace("options {", "options { max-records-per-type 0;")).unwrap();
    bind.run();
    let crowd = |blocks: std::ops::Range<u8>| {
        for block in blocks {
            let foreign: String = (0..100)
                .map(|last| format!("update add webapp.berth.test 60 A 192.0.{block}.{last}\n"))
                .collect();
            bind.nsupdate(ZONE, &foreign);
        }
    };
    crowd(0..30);
    let mut one = Container::start(at(&bind, &[]), Some("10.53.0.1"), Some(80));
    one.serve().await;
    assert_eq!(shared(&bind).len(), 3001);
    one.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(shared(&bind).len(), 3000);

    // Over 64 KiB no message holds them all, and nobody gets an answer.
    let (log, _guard) = Log::capture();
    crowd(30..42);
    one.reach(Desired::Serving, Standing::Unreachable).await;
    assert_eq!(log.count("has more records than a message holds"), 1, "{}", log.text());
    one.want(Desired::Draining);
    bind.nsupdate(ZONE, "update delete webapp.berth.test A");
    one.wait_for(Standing::Idle).await;
}

#[tokio::test]
async fn a_full_name_is_told_with_the_option_that_limits_it() {
    let Some(bind) = Bind::start() else { return };
    let (log, _guard) = Log::capture();
    let foreign: String = (1..=100)
        .map(|last| format!("update add webapp.berth.test 60 A 192.0.2.{last}\n"))
        .collect();
    bind.nsupdate(ZONE, &foreign);
    let mut one = Container::start(at(&bind, &[]), Some("10.53.0.1"), Some(80));
    one.reach(Desired::Serving, Standing::Unreachable).await;
    assert_eq!(log.count("says SERVFAIL to an update"), 1, "{}", log.text());
    assert_eq!(log.count("max-records-per-type"), 1);
    bind.nsupdate(ZONE, "update delete webapp.berth.test A 192.0.2.1");
    one.wait_for(Standing::Serving).await;
    assert_eq!(log.count("DNS answers again"), 1);
}
