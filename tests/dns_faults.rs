//! Registration in DNS with servers that refuse, hang, lie or are away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use berth::net::resolve::Resolver;
use berth::registers::{Desired, Standing};
use support::agent::Agent;
use support::bind::{Bind, KEY, ZONE, faketime, make_key, secret_in};
use support::container::{Container, Log, at, records, shared, until};
use support::fake_dns::{FakeDns, Reply, answer, ask, framed, silence};
use support::{Port, eventually};

/// The secret that BIND has under `KEY`.
fn secret(bind: &Bind) -> String {
    secret_in(&std::fs::read_to_string(bind.key_file()).unwrap()).to_owned()
}

/// Serves with some variables until the log has a line of trouble; that line.
async fn trouble(bind: &Bind, more: &[(&str, &str)]) -> String {
    let (log, _guard) = Log::capture();
    let mut one = Container::start(at(bind, more), Some("10.53.0.1"), Some(80));
    one.reach(Desired::Serving, Standing::Unreachable).await;
    // Tried again, it is not told again.
    one.wait_for(Standing::Unreachable).await;
    one.wait_for(Standing::Unreachable).await;
    let text = log.text();
    let mut warnings = text.lines().filter(|line| line.contains("WARN"));
    let warning = warnings.next().unwrap_or_else(|| panic!("no warning in {text}"));
    assert_eq!(warnings.next(), None);
    assert!(!text.contains(&secret(bind)), "the secret is in {text}");
    warning.to_owned()
}

#[track_caller]
fn says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no '{part}' in {line}");
    }
}

#[tokio::test]
async fn every_safe_algorithm_signs_from_a_file_and_from_a_line() {
    let algorithms = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];
    let Some(bind) = Bind::start() else { return };
    let keys: Vec<_> = algorithms
        .iter()
        .map(|algorithm| make_key(algorithm, &format!("key-{algorithm}")))
        .collect();
    let grants: String =
        algorithms.iter().map(|algorithm| format!("grant key-{algorithm} zonesub ANY; ")).collect();
    bind.configure(&grants, &keys.concat());
    bind.signal("HUP");
    for (algorithm, key) in algorithms.iter().zip(&keys) {
        let file = bind.path(algorithm);
        std::fs::write(&file, key).unwrap();
        let line = format!("{algorithm}:key-{algorithm}:{}", secret_in(key));
        for more in [
            [("DNS_TSIG_KEYFILE", file.to_str().unwrap()), ("DNS_TTL", "1")],
            [("DNS_TSIG_KEYFILE", ""), ("DNS_TSIG_KEY", line.as_str())],
        ] {
            let mut one = Container::start(at(&bind, &more), Some("10.53.0.1"), Some(80));
            one.serve().await;
            assert_eq!(shared(&bind), ["10.53.0.1"]);
            one.reach(Desired::Draining, Standing::Idle).await;
        }
    }
}

#[tokio::test]
async fn keys_that_the_server_does_not_take_are_explained() {
    let Some(bind) = Bind::start() else { return };
    let other = make_key("hmac-sha256", "other-key");
    let other = secret_in(&other);
    let wrong_secret = format!("hmac-sha256:{KEY}:{other}");
    let wrong_name = format!("hmac-sha256:other-key:{other}");
    let wrong_algorithm = format!("hmac-sha512:{KEY}:{}", secret(&bind));
    for (key, code, advice) in [
        (wrong_secret, "BADSIG", "another secret under the key's name"),
        (wrong_name, "BADKEY", "no key of this name and algorithm"),
        (wrong_algorithm, "BADKEY", "no key of this name and algorithm"),
    ] {
        let line = trouble(&bind, &[("DNS_TSIG_KEYFILE", ""), ("DNS_TSIG_KEY", &key)]).await;
        says(&line, &[&bind.addr.to_string(), code, advice]);
    }
    let line = trouble(&bind, &[("DNS_TSIG_KEYFILE", "")]).await;
    says(&line, &["says REFUSED to an update", "update-policy"]);
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let policy = format!("grant {KEY} name webapp.{ZONE} A;");
    let Some(bind) = Bind::start_with(&policy) else { return };
    std::fs::write(bind.path("broken.db"), "this is no zone\n").unwrap();
    bind.configure(
        &policy,
        "zone \"broken.test\" { type primary; file \"broken.db\"; };\n\
         zone \"secondary.test\" { type secondary; primaries { 127.0.0.1 port 1; }; };",
    );
    bind.signal("HUP");
    eventually("BIND to see the broken zone", || bind.log().contains("broken.db"));
    for (more, parts) in [
        (&[("DNS_LEASE", "60")][..], &["says REFUSED to an update", "DNS_LEASE=0"][..]),
        (
            &[("DNS_ZONE", "other.test")],
            &["says REFUSED to a question", "check that the server has"],
        ),
        (&[("DNS_ZONE", "broken.test")], &["says SERVFAIL", "server's log"]),
        (&[("DNS_ZONE", "secondary.test")], &["says SERVFAIL", "server's log"]),
    ] {
        says(&trouble(&bind, more).await, parts);
    }
    // Without a lease this policy is enough.
    let mut one = Container::start(at(&bind, &[("DNS_LEASE", "0")]), Some("10.53.0.1"), Some(80));
    one.serve().await;
    assert_eq!(records(&bind), ["webapp.berth.test. 30 IN A 10.53.0.1"]);
}

#[tokio::test]
async fn what_bind_says_only_when_asked_in_other_ways_is_explained_too() {
    // NOTAUTH, NOTZONE, NOTIMP, and a rule of nobody's.
    for (rcode, parts) in [
        (9, ["says NOTAUTH", "check DNS_ZONE, and that this server is its primary"]),
        (10, ["says NOTZONE", "outside the zone"]),
        (4, ["says NOTIMP", "takes no updates"]),
        (13, ["unsigned, so perhaps not its own word", "see the server's log"]),
    ] {
        let Some(bind) = Bind::start() else { return };
        let fake = proxy(&bind, move |request, _| {
            let update = request[2] & 0x78 == 5 << 3;
            update.then(|| answer(request, rcode, false, &[]))
        });
        let line = trouble(&bind, &[("DNS_SERVER", &fake.addr.to_string())]).await;
        says(&line, &parts);
    }
}

#[tokio::test]
async fn a_cname_in_the_way_is_found_out() {
    let Some(bind) = Bind::start() else { return };
    bind.nsupdate(ZONE, "update add webapp.berth.test 60 CNAME elsewhere.test");
    let line = trouble(&bind, &[]).await;
    says(&line, &["accepts the record of webapp.berth.test and does not show it", "CNAME"]);
}

#[tokio::test]
async fn trouble_with_the_nodes_name_or_the_reverse_zone_leaves_the_address_alone() {
    let Some(bind) = Bind::start() else { return };
    let (log, _guard) = Log::capture();
    // BIND's check-names refuses an address at such a name.
    let config = at(&bind, &[("DNS_NODE_NAME", "web_app"), ("DNS_LEASE", "10")]);
    let mut one = Container::start(config, Some("10.53.0.1"), Some(80));
    one.serve().await;
    until("the reason", || log.count("refuses a '_' in the owner of an address") == 1).await;
    let config = at(&bind, &[("DNS_PTR", "1"), ("DNS_LEASE", "10")]);
    let mut two = Container::start(config, Some("192.0.2.77"), Some(80));
    two.serve().await;
    until("the reason", || log.count("says REFUSED to a question") == 1).await;
    for one in [&mut one, &mut two] {
        one.wait_for(Standing::Serving).await;
    }
    assert_eq!(shared(&bind), ["10.53.0.1", "192.0.2.77"]);
    assert_eq!(log.count("not all that goes with it"), 2, "{}", log.text());
}

#[tokio::test]
async fn a_server_that_is_away_hangs_or_comes_back_is_told_once() {
    let Some(mut bind) = Bind::start() else { return };
    let (log, _guard) = Log::capture();
    bind.stop();
    let mut one = Container::start(at(&bind, &[("DNS_LEASE", "10")]), Some("10.53.0.1"), Some(80));
    one.reach(Desired::Serving, Standing::Unreachable).await;
    one.wait_for(Standing::Unreachable).await;
    says(&log.text(), &["Connection refused", "the app runs on", "check that it runs"]);
    bind.run();
    one.wait_for(Standing::Serving).await;
    assert_eq!(shared(&bind), ["10.53.0.1"]);
    assert_eq!((log.count("WARN"), log.count("DNS answers again")), (1, 1));
    bind.signal("STOP");
    one.wait_for(Standing::Unreachable).await;
    assert_eq!(log.count("WARN"), 2, "{}", log.text());
    // It does not hold the app's stop up; it catches up when it can.
    one.reach(Desired::Draining, Standing::Unreachable).await;
    bind.signal("CONT");
    one.wait_for(Standing::Idle).await;
    assert_eq!(records(&bind), [""; 0]);
    assert_eq!((log.count("WARN"), log.count("DNS answers again")), (2, 2), "{}", log.text());
}

#[tokio::test]
async fn the_next_server_of_the_list_takes_over() {
    let Some(mut bind) = Bind::start() else { return };
    let hanging = FakeDns::start(silence(), silence());
    let refusing =
        FakeDns::start(Box::new(|request| vec![answer(request, 5, false, &[])]), silence());
    let servers = format!("{},127.0.0.1:1,{},{}", hanging.addr, refusing.addr, bind.addr);
    let more = [("DNS_SERVER", servers.as_str()), ("DNS_LEASE", "0")];
    let mut one = Container::start(at(&bind, &more), Some("10.53.0.1"), Some(80));
    one.serve().await;
    let asked = hanging.by_udp();
    assert_eq!(shared(&bind), ["10.53.0.1"]);
    one.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(hanging.by_udp(), asked, "it stays with the one that answers");
    bind.stop();
}

#[tokio::test]
async fn the_primary_is_found_by_the_zones_soa_record() {
    let Some(bind) = Bind::start() else { return };
    let conf = bind.path("resolv.conf");
    std::fs::write(&conf, format!("nameserver [{}]:{}", bind.addr.ip(), bind.addr.port())).unwrap();
    let resolver = Resolver::with_files("/nonexistent", &conf);
    let port = bind.addr.port().to_string();
    let more = [("DNS_SERVER", ""), ("DNS_PORT", port.as_str())];
    let (addr, config) = (Some("10.53.0.1"), at(&bind, &more));
    let mut one = Container::start_with(config, addr, Some(80), resolver.clone());
    one.serve().await;
    assert_eq!(shared(&bind), ["10.53.0.1"]);

    let (log, _guard) = Log::capture();
    let config = at(&bind, &[("DNS_SERVER", ""), ("DNS_ZONE", "nowhere.test")]);
    let mut lost = Container::start_with(config, addr, Some(80), resolver);
    lost.reach(Desired::Serving, Standing::Unreachable).await;
    says(&log.text(), &["look for the primary of nowhere.test by its SOA record", "REFUSED"]);
}

#[tokio::test]
async fn a_resolver_is_not_taken_for_the_primary() {
    let Some(bind) = Bind::start() else { return };
    let cache = proxy(&bind, |_, reply| {
        let mut reply = reply()?;
        // Without the bit that says "authoritative"; the client has no key, so nothing else shows.
        reply[2] &= !0x04;
        Some(reply)
    });
    let server = cache.addr.to_string();
    let line = trouble(&bind, &[("DNS_SERVER", &server), ("DNS_TSIG_KEYFILE", "")]).await;
    says(&line, &["from a cache or not at all", "must be the zone's primary"]);
}

#[tokio::test]
async fn lost_datagrams_are_sent_again_and_truncated_answers_asked_for_by_tcp() {
    let Some(bind) = Bind::start() else { return };
    let seen = AtomicUsize::new(0);
    let lossy = proxy(&bind, move |request, _| match seen.fetch_add(1, Relaxed) % 3 {
        0 => Some(Vec::new()),
        1 => Some(answer(request, 0, true, &[])),
        _ => None,
    });
    let server = lossy.addr.to_string();
    let more = [("DNS_SERVER", server.as_str()), ("DNS_LEASE", "0")];
    let mut one = Container::start(at(&bind, &more), Some("10.53.0.1"), Some(80));
    one.serve().await;
    assert_eq!(shared(&bind), ["10.53.0.1"]);
    assert!(lossy.by_udp() > 2 && lossy.by_tcp() > 0);
    one.reach(Desired::Draining, Standing::Idle).await;
    assert!(shared(&bind).is_empty());
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_ends_well() {
    let Some(bind) = Bind::start() else { return };
    // The update is made, its answer is lost, and the same datagram comes again: it meets its own
    // result, a prerequisite that does not hold any more.
    let updates = AtomicUsize::new(0);
    let lossy = proxy(&bind, move |request, reply| {
        let reply = reply();
        let update = request[2] & 0x78 == 5 << 3;
        match update && updates.fetch_add(1, Relaxed).is_multiple_of(2) {
            true => Some(Vec::new()),
            false => reply,
        }
    });
    let server = lossy.addr.to_string();
    let more = [("DNS_SERVER", server.as_str()), ("DNS_NODE_NAME", "leader"), ("DNS_LEASE", "60")];
    let mut one = Container::start(at(&bind, &more), Some("10.53.0.1"), Some(80));
    one.serve().await;
    until("the node's name", || bind.dig("leader.berth.test", "A") == ["10.53.0.1"]).await;
    assert_eq!(records(&bind).len(), 3);
    one.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(records(&bind), [""; 0]);
}

#[tokio::test]
async fn unsigned_and_forged_answers_are_not_believed() {
    let Some(bind) = Bind::start() else { return };
    // A server on the way that drops the signature, and one that changes what was signed.
    let stripped = proxy(&bind, |request, _| Some(answer(request, 0, false, &[])));
    let changed = proxy(&bind, |_, reply| {
        let mut reply = reply()?;
        reply[3] ^= 0x20;
        Some(reply)
    });
    for (fake, parts) in [
        (stripped, ["answers without a signature", "not one on the way"]),
        (changed, ["a signature that is not by our key", "compare the key"]),
    ] {
        says(&trouble(&bind, &[("DNS_SERVER", &fake.addr.to_string())]).await, &parts);
        assert!(shared(&bind).is_empty());
    }
    // A forger who is faster than the server does not win.
    let raced = FakeDns::start(
        forward(bind.addr, |request, reply| {
            Some([vec![answer(request, 5, false, &[])], reply().into_iter().collect()].concat())
        }),
        silence(),
    );
    let server = raced.addr.to_string();
    let mut one =
        Container::start(at(&bind, &[("DNS_SERVER", &server)]), Some("10.53.0.1"), Some(80));
    one.serve().await;
    assert_eq!(shared(&bind), ["10.53.0.1"]);
}

#[tokio::test]
async fn an_answer_cannot_be_used_twice() {
    let Some(bind) = Bind::start() else { return };
    // From the second question on, everybody gets the first answer to it, signed by the server, under
    // the identifier of the new question.
    let told: Mutex<HashMap<Vec<u8>, Vec<u8>>> = Mutex::default();
    let replay = Arc::<AtomicBool>::default();
    let on = Arc::clone(&replay);
    let fake = proxy(&bind, move |request, reply| {
        let mut told = told.lock().unwrap();
        let question = request[2..request.len().min(40)].to_vec();
        match told.get(&question) {
            Some(old) if on.load(Relaxed) => Some([&request[..2], &old[2..]].concat()),
            _ => {
                let answer = reply()?;
                told.insert(question, answer.clone());
                Some(answer)
            }
        }
    });
    let (log, _guard) = Log::capture();
    let server = fake.addr.to_string();
    let more = [("DNS_SERVER", server.as_str()), ("DNS_LEASE", "5")];
    let mut one = Container::start(at(&bind, &more), Some("10.53.0.1"), Some(80));
    one.serve().await;
    replay.store(true, Relaxed);
    one.wait_for(Standing::Unreachable).await;
    says(&log.text(), &["a signature that is not by our key"]);
    replay.store(false, Relaxed);
    one.wait_for(Standing::Serving).await;
}

#[tokio::test]
async fn garbage_of_any_length_is_survived() {
    let Some(bind) = Bind::start() else { return };
    let garbage: [(Reply, Reply); 5] = [
        // Names that point to themselves, in the question and in a record.
        (
            Box::new(|request| {
                let mut message = answer(request, 0, false, &[]);
                message[12..14].copy_from_slice(&[0xc0, 12]);
                vec![message]
            }),
            silence(),
        ),
        (
            Box::new(|request| {
                let mut message = answer(request, 0, false, &[(1, vec![6, 6, 6, 6])]);
                let owner = message.len() - 16;
                message[owner + 1] = owner as u8;
                vec![message]
            }),
            silence(),
        ),
        (Box::new(|_| vec![vec![0xff; 1400]; 3]), silence()),
        // 100 kB behind a length of 65535, with counts that promise more records than there are.
        (
            Box::new(|request| vec![answer(request, 0, true, &[])]),
            Box::new(|request| {
                let mut message = answer(request, 0, false, &[]);
                message[6..12].fill(0xff);
                message.resize(65_535, 0xc0);
                vec![framed(message), vec![0; 35_000]]
            }),
        ),
        (
            Box::new(|request| vec![answer(request, 0, true, &[])]),
            Box::new(|request| vec![framed(request[..12].to_vec())]),
        ),
    ];
    for (udp, tcp) in garbage {
        let fake = FakeDns::start(udp, tcp);
        let line = trouble(&bind, &[("DNS_SERVER", &fake.addr.to_string())]).await;
        says(&line, &["the app runs on"]);
    }
}

#[test]
fn clocks_that_differ_are_told_with_both_times() {
    let Some(bind) = Bind::start() else { return };
    let Some(library) = faketime() else { return };
    for (offset, gap, way) in [("-3700", 3700, " s behind"), ("+90000", 90_000, " s ahead")] {
        let agent = Agent::new(&["sleep", "100"])
            .env("LD_PRELOAD", &library)
            .env("FAKETIME", offset)
            .env("DONT_FAKE_MONOTONIC", 1)
            .env("READY_CHECK", "none")
            .env("DNS_SERVER", bind.addr)
            .env("DNS_ZONE", ZONE)
            .env("DNS_NAME", "webapp")
            .env("DNS_TSIG_KEYFILE", bind.key_file().display())
            .start();
        eventually("the reason", || agent.log().contains("set the clocks right"));
        let log = agent.log();
        let line = log.lines().find(|line| line.contains("BADTIME")).unwrap();
        let told = line.split(way).next().unwrap().rsplit(' ').next().unwrap();
        // Some time may pass between the two clocks' readings.
        assert!(told.parse::<i64>().is_ok_and(|told| (told - gap).abs() <= 5), "{line}");
        assert_eq!(line.matches("Z there and ").count(), 1, "{line}");
    }
}

#[test]
fn the_app_and_haproxy_do_not_wait_for_dns() {
    use support::haproxy::{ARTICLE, Haproxy};
    let Some(bind) = Bind::start() else { return };
    bind.signal("STOP");
    let haproxy = Haproxy::start(ARTICLE);
    let port = Port::free();
    let mut agent = Agent::hello(&haproxy, "one", port)
        .env("DRAIN_TIMEOUT", "60s")
        .env("DNS_SERVER", bind.addr)
        .env("DNS_ZONE", ZONE)
        .env("DNS_NAME", "webapp")
        .env("DNS_TSIG_KEYFILE", bind.key_file().display())
        .start();
    eventually("served", || haproxy.get("/") == "hello from one\n");
    eventually("told", || agent.log().contains("no DNS update, the app runs on"));
    bind.signal("CONT");
    eventually("in DNS", || shared(&bind) == ["127.0.0.1"]);
    bind.signal("STOP");
    // Waiting for the drain to time out would take longer than the test waits.
    assert_eq!(agent.stop(), 143);
    assert!(haproxy.ready().is_empty());
    bind.signal("CONT");
}

/// A server that hands everything on to BIND; `change` gets the request by UDP and a way to BIND's
/// answer, and says what goes back instead of that (nothing when it is empty).
fn proxy(
    bind: &Bind,
    change: impl Fn(&[u8], &dyn Fn() -> Option<Vec<u8>>) -> Option<Vec<u8>> + Send + 'static,
) -> FakeDns {
    let to = bind.addr;
    let udp = forward(to, move |request, reply| {
        let answer = change(request, reply).or_else(reply)?;
        Some(Some(answer).filter(|answer| !answer.is_empty()).into_iter().collect())
    });
    let tcp = Box::new(move |request: &[u8]| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(&framed(request.to_vec())).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).unwrap();
        vec![framed(answer)]
    });
    FakeDns::start(udp, tcp)
}

fn forward(
    to: SocketAddr,
    change: impl Fn(&[u8], &dyn Fn() -> Option<Vec<u8>>) -> Option<Vec<Vec<u8>>> + Send + 'static,
) -> Reply {
    Box::new(move |request| change(request, &|| ask(to, request)).unwrap_or_default())
}
