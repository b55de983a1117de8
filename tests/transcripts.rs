//! What HAProxy 2.6, 2.8, 3.0 and 3.2 said, as `scripts/capture-transcripts.sh` took it down, and the
//! facts that the rules of claiming rely on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;

use berth::registers::haproxy::wire::codec::ReplyCodec;
use berth::registers::haproxy::wire::server;
use berth::registers::haproxy::{Checks, Server, ServerStat, StatTable};
use bytes::BytesMut;
use tokio_util::codec::Decoder;

const VERSIONS: [&str; 4] = ["2.6", "2.8", "3.0", "3.2"];

/// The commands of one transcript, each line of them with the replies that the codec makes of the
/// answer.
fn transcript(version: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let text = std::fs::read_to_string(root.join(version).join(format!("{name}.txt"))).unwrap();
    text.split("> ")
        .skip(1)
        .map(|exchange| {
            let (commands, answer) = exchange.split_once('\n').unwrap();
            let mut buffer = BytesMut::from(answer);
            let mut codec = ReplyCodec::new(1 << 20);
            let replies: Vec<_> =
                std::iter::from_fn(|| codec.decode(&mut buffer).unwrap()).collect();
            assert!(buffer.is_empty(), "{version} {name}: {commands}: {buffer:?} is left");
            (commands.to_owned(), replies)
        })
        .collect()
}

fn replies(version: &str, name: &str, commands: &str) -> Vec<Vec<String>> {
    let exchanges = transcript(version, name).into_iter();
    exchanges.filter(|(sent, _)| sent == commands).map(|(_, replies)| replies).collect()
}

fn slot(reply: &str, name: &str) -> Server {
    let servers = server::parse(reply).unwrap();
    servers.into_iter().find(|server| &*server.name == name).unwrap()
}

#[test]
fn every_answer_parses_and_there_is_one_for_each_command() {
    for version in VERSIONS {
        for name in [
            "fresh",
            "refusals",
            "claim",
            "claim-down",
            "release",
            "static-weights",
            "before-restart",
            "state-file",
            "state-file-later",
        ] {
            for (commands, replies) in transcript(version, name) {
                let sent: Vec<_> = commands.split(';').map(str::trim).collect();
                assert_eq!(sent.len(), replies.len(), "{version} {name}: {commands}");
                for (command, reply) in sent.iter().zip(&replies) {
                    let refused = reply.starts_with("Can't find") || reply.starts_with("No such");
                    if command.starts_with("show servers state") && !refused {
                        assert!(!server::parse(reply).unwrap().is_empty(), "{version}: {command}");
                    } else if command.starts_with("show stat") && !refused {
                        StatTable::parse(reply).unwrap();
                        ServerStat::parse(reply).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn an_untouched_slot_is_in_maintenance_and_unchecked() {
    for version in VERSIONS {
        let reply = &replies(version, "fresh", "show servers state literal")[0][0];
        let slot = slot(reply, "node1");
        assert_eq!(slot.admin.0, 5, "{version}");
        assert!(slot.admin.in_maint() && slot.admin.configured_disabled());
        assert_eq!(slot.checks, Checks::Pending);
        let stat = &replies(version, "fresh", "show stat literal 4 1")[0][0];
        let stat = ServerStat::parse(stat).unwrap().unwrap();
        assert_eq!((stat.status.as_str(), stat.work()), ("MAINT", 0));
        assert_eq!(stat.endpoint, slot.endpoint());
        assert_eq!(
            ServerStat::parse(&replies(version, "fresh", "show stat literal 4 99")[0][0]),
            Ok(None)
        );
    }
}

#[test]
fn a_template_without_a_port_has_none_to_tell() {
    for version in VERSIONS {
        let all = &replies(version, "fresh", "show servers state")[0][0];
        let servers = server::parse(all).unwrap();
        let of = |backend: &str| servers.iter().find(|s| &*s.backend == backend).unwrap();
        assert_eq!(of("noport").port, None, "{version}");
        assert_eq!(of("six").endpoint().unwrap().to_string(), "[::1]:3128");
    }
}

#[test]
fn a_state_file_restores_the_mark_of_a_claim_and_an_address_only_behind_a_host_name() {
    for version in VERSIONS {
        let named = &replies(version, "state-file", "show servers state named")[0][0];
        let claim = slot(named, "node1");
        assert_eq!(claim.addr.unwrap().to_string(), "127.0.5.1", "{version}");
        assert!(claim.admin.in_maint() && claim.weight == 0, "the mark is back: {claim:?}");
        let operator = slot(named, "node3");
        assert!(operator.admin.in_maint() && operator.weight == 1);
        assert!(slot(named, "node4").admin.in_drain());
        assert!(slot(named, "node5").addr.unwrap().is_unspecified(), "a release is kept");

        let literal = &replies(version, "state-file", "show servers state literal")[0][0];
        let ghost = slot(literal, "node2");
        assert_eq!(ghost.endpoint().unwrap().to_string(), "127.0.0.1:3128");
        assert!(!ghost.admin.in_maint(), "in rotation, and nobody behind it");
    }
}

#[test]
fn a_slot_that_was_down_counts_as_up_once_it_went_through_maintenance() {
    for version in VERSIONS {
        let exchanges = transcript(version, "claim-down");
        assert!(!slot(&exchanges[0].1[0], "node8").running, "{version}");
        let (_, last) = exchanges.last().unwrap();
        let slot = slot(&last[2], "node8");
        assert!(slot.running && slot.weight == 1 && !slot.admin.in_maint(), "{slot:?}");
    }
}

#[test]
fn weights_of_nothing_and_all_work_with_static_algorithms_too() {
    for version in VERSIONS {
        for (commands, replies) in transcript(version, "static-weights").iter().take(2) {
            assert_eq!(replies[..2], ["", ""], "{version}: {commands}");
        }
    }
}

#[test]
fn a_slot_that_a_state_file_has_just_brought_back_may_have_changed_in_the_future() {
    // From HAProxy 2.6, in the second after it had read its state file.
    let text = &replies("2.6", "fresh", "show servers state literal")[0][0];
    let line = text.lines().nth(2).unwrap();
    let cells: Vec<_> = line.split(' ').collect();
    let since = text.lines().nth(1).unwrap().split(' ').skip(1);
    let since = since.clone().position(|name| name == "srv_time_since_last_change").unwrap();
    let mut later = cells.clone();
    later[since] = "-2";
    let servers = server::parse(&text.replace(line, &later.join(" "))).unwrap();
    assert!(servers[0].unchanged.is_zero());
}
