//! The built binary in DNS where the zone or the network is odd: wildcards, a frozen zone, an address
//! that changes, leases that nobody should have written. On a real BIND 9.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use support::agent::{Agent, Running, hello};
use support::bind::{Bind, KEY, REVERSE, ZONE};
use support::container::{leases, records, shared};
use support::namespace::alone;
use support::{Port, eventually, stays};

/// An app that is ready at once, in DNS alone, at an address that is not this host's.
fn app(bind: &Bind, more: &[(&str, &str)]) -> Running {
    let agent = Agent::new(&["sleep", "1000"])
        .env("READY_CHECK", "none")
        .env("APP_ADDR", "10.53.0.1")
        .env("APP_PORT", 80)
        .env("DNS_SERVER", bind.addr)
        .env("DNS_ZONE", ZONE)
        .env("DNS_NAME", "webapp")
        .env("DNS_TSIG_KEYFILE", bind.key_file().display());
    more.iter().fold(agent, |agent, (name, value)| agent.env(name, value)).start()
}

#[test]
fn what_a_wildcard_makes_up_is_no_record_of_anybody() {
    let Some(bind) = Bind::start() else { return };
    for wildcards in [
        "update add *.berth.test 60 TXT \"v=spf1 -all\"",
        "update add *.webapp.berth.test 60 TXT \"v=spf1 -all\"",
        "update add *.berth.test 60 A 192.0.2.1",
        "update add *.berth.test 60 TXT \"v=spf1 -all\"\nupdate add *.berth.test 60 TXT two\n\
         update add *.berth.test 60 A 192.0.2.1\nupdate add *.berth.test 60 A 192.0.2.2",
        "update add *.berth.test 60 CNAME elsewhere.test",
    ] {
        bind.nsupdate(ZONE, wildcards);
        let before = records(&bind);
        for (node, name) in [("leader", "leader"), ("a.webapp", "a.webapp")] {
            let mut agent = app(&bind, &[("DNS_NODE_NAME", node)]);
            eventually("its address is in DNS", || shared(&bind) == ["10.53.0.1"]);
            let holder = format!("{name}.berth.test. 30 IN A 10.53.0.1");
            eventually("it holds the node's name", || records(&bind).contains(&holder));
            assert_eq!(leases(&bind), 1);
            assert_eq!(agent.stop(), 143);
            assert_eq!((records(&bind), leases(&bind)), (before.clone(), 0), "{wildcards}");
            assert!(!agent.log().contains("WARN"), "{}", agent.log());
        }
        let names = wildcards.lines().map(|line| line.split(' ').nth(2).unwrap());
        let gone: Vec<_> = names.map(|name| format!("update delete {name}")).collect();
        bind.nsupdate(ZONE, &gone.join("\n"));
    }
}

#[test]
fn a_name_with_records_of_another_kind_is_in_use_and_that_is_told_once() {
    let Some(bind) = Bind::start() else { return };
    bind.nsupdate(ZONE, "update add leader.berth.test 60 HINFO a b");
    let mut agent = app(&bind, &[("DNS_NODE_NAME", "leader"), ("DNS_LEASE", "5")]);
    let told = || agent.log().matches("records that are not Berth's").count();
    eventually("it says so", || told() == 1);
    stays("it is in DNS and says no more", || shared(&bind) == ["10.53.0.1"] && told() == 1);
    bind.nsupdate(ZONE, "update delete leader.berth.test");
    eventually("it takes the name", || bind.dig("leader.berth.test", "A") == ["10.53.0.1"]);
    assert_eq!(agent.stop(), 143);
}

#[test]
fn an_alias_in_the_way_is_named_and_little_is_sent() {
    let Some(bind) = Bind::start() else { return };
    bind.nsupdate(ZONE, "update add webapp.berth.test 60 CNAME elsewhere.test");
    let agent = app(&bind, &[]);
    let told = || agent.log().matches("there is a CNAME at that name").count();
    eventually("it says so", || told() == 1);
    let updates = || bind.log().matches("adding an RR at 'webapp.berth.test' A").count();
    stays("it says no more, and asks seldom", || told() == 1 && updates() < 12);
    bind.nsupdate(ZONE, "update delete webapp.berth.test CNAME");
    eventually("it is in DNS", || shared(&bind) == ["10.53.0.1"]);
}

#[test]
fn a_frozen_zone_is_told_with_the_command_that_ends_it() {
    let Some(mut bind) = Bind::start() else { return };
    bind.stop();
    let port = bind.let_rndc_in();
    bind.run();
    bind.rndc(port, &["freeze", ZONE]);
    let agent = app(&bind, &[]);
    eventually("it says so", || agent.log().contains("rndc thaw"));
    bind.rndc(port, &["thaw", ZONE]);
    eventually("it is in DNS", || shared(&bind) == ["10.53.0.1"]);
    assert_eq!(agent.log().matches("WARN").count(), 1, "{}", agent.log());
}

#[test]
fn an_address_that_changes_is_followed_at_the_stop_too() {
    if !alone("an_address_that_changes_is_followed_at_the_stop_too") {
        return;
    }
    let ip = |line: &str| {
        let status = std::process::Command::new("ip").args(line.split(' ')).status();
        assert!(status.is_ok_and(|status| status.success()), "ip {line}");
    };
    ip("link add outer type veth peer name inner");
    ip("address add 10.99.0.1/24 dev outer");
    ip("link set outer up");
    let (port, server) = (Port::free(), SocketAddr::from((Ipv4Addr::new(10, 99, 0, 1), 5300)));
    let Some(bind) = Bind::start_at(server, &format!("grant {KEY} zonesub ANY;")) else { return };
    let plugged = "until ip link set inner up 2>/dev/null; do sleep 0.02; done; \
                   ip address add 10.99.0.2/24 dev inner && ip link set lo up && exec \"$@\"";
    let apart = ["unshare", "--net", "--", "sh", "-c", plugged, "sh"];
    let app = [support::binary(), "--", &hello().display().to_string()];
    let mut agent = Agent::line(&[&apart[..], &app[..]].concat())
        .env("ADDR", "0.0.0.0")
        .env("PORT", port)
        .env("APP_PORT", port)
        .env("DNS_SERVER", bind.addr)
        .env("DNS_ZONE", ZONE)
        .env("DNS_NAME", "webapp")
        .env("DNS_NODE_NAME", "leader")
        .env("DNS_LEASE", "20")
        .env("DNS_TSIG_KEYFILE", bind.key_file().display())
        .start();
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let pid = agent.pid().to_string();
    eventually("it has a network of its own", || network(&pid) != network("self"));
    ip(&format!("link set inner netns {pid}"));
    let inside = |line: &str| {
        let status = std::process::Command::new("nsenter")
            .args(["-n", "-t", &pid, "ip"])
            .args(line.split(' '))
            .status();
        assert!(status.is_ok_and(|status| status.success()), "ip {line}");
    };
    let only = |addr: &str| {
        let there = shared(&bind) == [addr] && bind.dig("leader.berth.test", "A") == [addr];
        let label = addr.replace('.', "-");
        there
            && leases(&bind) == 1
            && bind.records(ZONE).iter().any(|line| line.starts_with(&label))
    };
    eventually("it is in DNS", || only("10.99.0.2"));
    // Away, and back with another address, as `docker network disconnect` and `connect` do.
    inside("address del 10.99.0.2/24 dev inner");
    inside("address add 10.99.0.3/24 dev inner");
    eventually("the new address is in and the old one out", || only("10.99.0.3"));
    // Within a moment, and nobody has looked since. One of another prefix does not go with the first.
    inside("address add 10.99.0.4/25 dev inner");
    inside("address del 10.99.0.3/24 dev inner");
    assert_eq!(agent.stop(), 143);
    assert_eq!((records(&bind), leases(&bind)), (Vec::<String>::new(), 0));
}

#[test]
fn what_a_lease_lists_outside_the_zone_is_not_touched() {
    let Some(bind) = Bind::start() else { return };
    // The key may change the other zone, and somebody may write any text at a lease's name.
    bind.nsupdate(REVERSE, "update add victim.53.10.in-addr.arpa 60 A 10.53.0.9");
    bind.nsupdate(
        ZONE,
        "update add webapp.berth.test 60 A 10.53.0.9\n\
         update add 10-53-0-9._lease.webapp.berth.test 60 TXT \
         \"berth1 port=80 lease=5 nonce=1 node=victim.53.10.in-addr.arpa\"",
    );
    let _agent = app(&bind, &[("DNS_LEASE", "5")]);
    eventually("the dead one is swept", || shared(&bind) == ["10.53.0.1"]);
    assert_eq!(bind.dig("victim.53.10.in-addr.arpa", "A"), ["10.53.0.9"]);
}

#[test]
fn a_lease_of_no_time_is_not_expired_at_first_sight() {
    let Some(bind) = Bind::start() else { return };
    let lease = |nonce: u32| {
        format!(
            "update delete 10-53-0-9._lease.webapp.berth.test TXT\n\
             update add webapp.berth.test 60 A 10.53.0.9\n\
             update add 10-53-0-9._lease.webapp.berth.test 60 TXT \"berth1 port=80 lease=0 nonce={nonce}\""
        )
    };
    bind.nsupdate(ZONE, &lease(0));
    let agent = app(&bind, &[("DNS_LEASE", "5")]);
    eventually("it is in DNS", || shared(&bind).contains(&"10.53.0.1".to_owned()));
    // Renewed all the time, as by somebody who lives, while the other looks at it several times.
    let (mut nonce, mut own) = (0, BTreeSet::new());
    eventually("it has renewed its own, and looked around, a few times", || {
        nonce += 1;
        bind.nsupdate(ZONE, &lease(nonce));
        assert!(!agent.log().contains("swept"), "{}", agent.log());
        own.extend(bind.records(ZONE).into_iter().filter(|line| line.contains("10-53-0-1._lease")));
        own.len() > 3
    });
    eventually("it is swept when it is not renewed", || shared(&bind) == ["10.53.0.1"]);
}
