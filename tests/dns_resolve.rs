//! Host names, against a real BIND and servers that misbehave.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use berth::net::resolve::{Cause, LONGEST, Resolver};
use support::bind::{Bind, ZONE};
use support::fake_dns::{FakeDns, Reply, answer, asked, framed, label, silence};
use tempfile::TempDir;

const A: u16 = 1;
const CNAME: u16 = 5;

struct Files(TempDir);

impl Files {
    fn new(hosts: &str, servers: &[SocketAddr], more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut conf = more.to_owned();
        for server in servers {
            conf += &format!("\nnameserver [{}]:{}", server.ip(), server.port());
        }
        std::fs::write(dir.path().join("hosts"), hosts).unwrap();
        std::fs::write(dir.path().join("resolv.conf"), conf).unwrap();
        Self(dir)
    }

    fn resolver(&self) -> Resolver {
        Resolver::with_files(self.0.path().join("hosts"), self.0.path().join("resolv.conf"))
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn a_only(addr: [u8; 4]) -> Reply {
    Box::new(move |request| {
        let records = match asked(request) {
            A => vec![(A, addr.to_vec())],
            _ => Vec::new(),
        };
        vec![answer(request, 0, false, &records)]
    })
}

#[tokio::test]
async fn names_of_the_hosts_file_and_literals_need_no_server() {
    let dead = FakeDns::start(silence(), silence());
    let files = Files::new("10.0.0.5 lb\n10.0.0.4 lb\n", &[dead.addr], "search example.com");
    let resolver = files.resolver();
    for (name, want) in [
        ("lb", &["10.0.0.4", "10.0.0.5"][..]),
        ("LB.", &["10.0.0.4", "10.0.0.5"]),
        ("10.1.2.3", &["10.1.2.3"]),
        ("2001:db8::1", &["2001:db8::1"]),
        ("localhost", &["127.0.0.1", "::1"]),
        ("a.localhost.", &["127.0.0.1", "::1"]),
    ] {
        assert_eq!(resolver.resolve(name).await.unwrap(), ips(want), "{name}");
    }
    assert_eq!(dead.by_udp(), 0);
}

#[tokio::test]
async fn bind_answers_both_families_many_addresses_and_aliases() {
    let Some(bind) = Bind::start() else { return };
    let mut lines = String::from(
        "update add lb.berth.test 30 A 10.0.0.2\nupdate add lb.berth.test 30 A 10.0.0.1\n\
         update add lb.berth.test 30 AAAA 2001:db8::1\n\
         update add alias.berth.test 30 CNAME other.berth.test\n\
         update add other.berth.test 30 CNAME lb.berth.test\n\
         update add loop.berth.test 30 CNAME loop.berth.test\n",
    );
    // More than 512 octets hold: the answer comes truncated, then by TCP.
    for last in 1..=100 {
        lines += &format!("update add many.berth.test 30 A 10.0.1.{last}\n");
    }
    bind.nsupdate(ZONE, &lines);
    let files = Files::new("", &[bind.addr], "search nowhere.test berth.test");
    let resolver = files.resolver();
    let lb = ips(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
    for name in ["lb", "lb.berth.test", "lb.berth.test.", "alias", "LB"] {
        assert_eq!(resolver.resolve(name).await.unwrap(), lb, "{name}");
    }
    let many = resolver.resolve("many").await.unwrap();
    assert_eq!(many.len(), 100);
    assert!(many.is_sorted());
    let error = resolver.resolve("gone.berth.test.").await.unwrap_err();
    assert!(matches!(error.cause, Cause::NotFound(server) if server == bind.addr), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "look up gone.berth.test.: neither the hosts file nor {} has an address for it",
            bind.addr
        )
    );
    let error = resolver.resolve("lb.elsewhere.test.").await.unwrap_err();
    assert!(error.to_string().contains("REFUSED"), "{error}");
    resolver.resolve("loop").await.unwrap_err();
}

#[tokio::test]
async fn an_alias_that_the_server_does_not_follow_is_followed() {
    let server = FakeDns::start(
        Box::new(|request| {
            let records = match (label(request).as_str(), asked(request)) {
                ("alias", _) => vec![(CNAME, b"\x05other\x04test\0".to_vec())],
                ("other", A) => vec![(A, vec![10, 0, 0, 9])],
                _ => Vec::new(),
            };
            vec![answer(request, 0, false, &records)]
        }),
        silence(),
    );
    let files = Files::new("", &[server.addr], "");
    assert_eq!(files.resolver().resolve("alias.test").await.unwrap(), ips(&["10.0.0.9"]));
}

#[tokio::test]
async fn a_dead_server_is_passed_over_and_remembered() {
    let dead = FakeDns::start(silence(), silence());
    let good = FakeDns::start(a_only([10, 0, 0, 1]), silence());
    let files = Files::new("", &[dead.addr, good.addr], "options timeout:1");
    let resolver = files.resolver();
    for _ in 0..3 {
        assert_eq!(resolver.resolve("lb").await.unwrap(), ips(&["10.0.0.1"]));
    }
    assert_eq!(dead.by_udp(), 2, "one question for each family");
}

#[tokio::test]
async fn servers_that_refuse_or_are_not_there_are_named() {
    let refusing =
        FakeDns::start(Box::new(|request| vec![answer(request, 5, false, &[])]), silence());
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let files = Files::new("", &[nobody, refusing.addr], "");
    let error = files.resolver().resolve("lb").await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error.cause, Cause::Failed(_)));
    assert!(text.starts_with("look up lb: 127.0.0.1:1: Connection refused"), "{text}");
    assert!(text.contains(&format!("{} says REFUSED", refusing.addr)), "{text}");
}

#[tokio::test]
async fn a_forged_datagram_and_garbage_are_not_taken() {
    let server = FakeDns::start(
        Box::new(|request| {
            let right = answer(request, 0, false, &[(asked(request), vec![10, 0, 0, 1])]);
            let forged = |at: usize| {
                let mut forged = answer(request, 0, false, &[(A, vec![6, 6, 6, 6])]);
                forged[at] ^= 1;
                forged
            };
            // Another identifier, not an answer, another operation, another question.
            let mut question = right.clone();
            question[2] &= 0x7f;
            match asked(request) {
                A => vec![vec![], vec![0; 11], forged(0), forged(14), question, right],
                _ => vec![answer(request, 0, false, &[])],
            }
        }),
        silence(),
    );
    let files = Files::new("", &[server.addr], "");
    assert_eq!(files.resolver().resolve("lb").await.unwrap(), ips(&["10.0.0.1"]));
}

#[tokio::test]
async fn an_answer_without_end_costs_bounded_time_and_is_named() {
    // 100 kB by TCP behind a length of 65535, cut in the middle of a record.
    let endless: Reply = Box::new(|request| {
        let mut message = answer(request, 0, false, &[(A, vec![10, 0, 0, 1])]);
        message[6..8].copy_from_slice(&[0xff; 2]);
        message.resize(65_535, 0xc0);
        vec![framed(message), vec![0; 35_000]]
    });
    let server = FakeDns::start(Box::new(|request| vec![answer(request, 0, true, &[])]), endless);
    let files = Files::new("", &[server.addr], "options timeout:1 attempts:1");
    let error = files.resolver().resolve("lb").await.unwrap_err();
    assert!(error.to_string().contains("garbage"), "{error}");
    assert!(server.by_tcp() > 0);
}

#[tokio::test]
async fn an_answer_that_hangs_half_way_ends_by_itself() {
    let server = FakeDns::start(
        Box::new(|request| vec![answer(request, 0, true, &[])]),
        Box::new(|request| {
            // The connection stays open for as long as this sleeps.
            std::thread::sleep(Duration::from_secs(30));
            vec![request[..4].to_vec()]
        }),
    );
    let files = Files::new("", &[server.addr], "options timeout:1 attempts:1");
    let error = files.resolver().resolve("lb").await.unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn no_name_takes_longer_than_the_limit() {
    let dead = FakeDns::start(silence(), silence());
    let conf = "search a b c d e f\noptions timeout:30 attempts:5";
    let files = Files::new("", &[dead.addr, dead.addr], conf);
    let started = tokio::time::Instant::now();
    let error = files.resolver().resolve("lb").await.unwrap_err();
    assert!(started.elapsed() <= LONGEST + Duration::from_secs(1));
    assert!(error.to_string().contains("no answer within 15s"), "{error}");
}

#[tokio::test]
async fn one_family_is_enough() {
    let server = FakeDns::start(
        Box::new(|request| match asked(request) {
            A => vec![answer(request, 0, false, &[(A, vec![10, 0, 0, 1])])],
            _ => vec![],
        }),
        silence(),
    );
    let files = Files::new("", &[server.addr], "options timeout:30");
    // To wait for the other would be an error, since it takes longer than any name may.
    assert_eq!(files.resolver().resolve("lb").await.unwrap(), ips(&["10.0.0.1"]));
}

#[tokio::test]
async fn both_files_are_read_anew() {
    let first = FakeDns::start(a_only([10, 0, 0, 1]), silence());
    let second = FakeDns::start(a_only([10, 0, 0, 2]), silence());
    let files = Files::new("", &[first.addr], "");
    let resolver = files.resolver();
    assert_eq!(resolver.resolve("lb").await.unwrap(), ips(&["10.0.0.1"]));
    let conf = format!("nameserver [127.0.0.1]:{}", second.addr.port());
    std::fs::write(files.0.path().join("resolv.conf"), conf).unwrap();
    assert_eq!(resolver.resolve("lb").await.unwrap(), ips(&["10.0.0.2"]));
    std::fs::write(files.0.path().join("hosts"), "10.0.0.3 lb").unwrap();
    assert_eq!(resolver.resolve("lb").await.unwrap(), ips(&["10.0.0.3"]));
}
