//! Templates as people write them: with which addresses, names, numbers and options.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth::registers::haproxy::Server;
use support::agent::{Agent, Running, hello};
use support::bind::{Bind, ZONE};
use support::crowd::{PORT, address, all_in, come_in, container, taken};
use support::haproxy::{Haproxy, versions};
use support::{Port, eventually, stays, stays_for};

/// A backend with this template, whose port is that of the containers' app.
fn with(binary: &Path, template: &str) -> Haproxy {
    let backend = format!("backend webapp\n  server-template {template}\n");
    Haproxy::with_config(binary.into(), &backend.replace("PORT", &PORT.to_string()))
}

/// Whether HAProxy is of that version or later.
fn is_at_least(binary: &Path, version: &str) -> bool {
    let said = std::process::Command::new(binary).arg("-v").output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    let found = said.split("version ").nth(1).unwrap().split('-').next().unwrap().to_owned();
    let numbers = |text: &str| -> Vec<u32> { text.split('.').flat_map(str::parse).collect() };
    numbers(&found) >= numbers(version)
}

fn is_full(agent: &Running) -> bool {
    agent.log().contains("every slot is taken")
}

#[test]
fn a_template_is_used_to_its_last_slot_whatever_its_address() {
    for version in versions() {
        for template in [
            "node 1-1 192.0.2.1:PORT check inter 5s disabled",
            "node 1-3 192.0.2.1:PORT check inter 5s disabled",
            "node 1-1 192.0.2.1:PORT disabled",
            "node 1-2 192.0.2.1 disabled",
            "node 1-2 [2001:db8::1]:PORT check inter 5s disabled",
            "node 1-2 localhost:PORT disabled",
        ] {
            let haproxy = with(&version, template);
            let slots = haproxy.servers().len();
            let mut agents = Vec::new();
            for i in 0..slots {
                agents.push(container(i, haproxy.stats).start());
                eventually(template, || taken(&haproxy).values().any(|at| *at == address(i)));
            }
            come_in(&haproxy, slots);
            agents.push(container(slots, haproxy.stats).start());
            eventually("one too many waits", || is_full(&agents[slots]));
            stays(template, || all_in(&haproxy, slots));
        }
    }
}

#[test]
fn what_an_operator_prepares_or_takes_out_is_nobodys_to_claim() {
    for version in versions() {
        for checks in ["check inter 100ms", ""] {
            let haproxy = with(&version, &format!("node 1-5 192.0.2.1:PORT {checks} disabled"));
            haproxy.command("set server webapp/node2 addr 198.51.100.7 port 80");
            let first = container(0, haproxy.stats).start();
            come_in(&haproxy, 1);
            let (held, _) = taken(&haproxy).pop_first().unwrap();
            // Beyond the first seconds of HAProxy's life, which it counts in whole ones.
            stays_for(Duration::from_secs(3), "in", || all_in(&haproxy, 1));
            haproxy.command(&format!("set server webapp/{held} state maint"));
            eventually("its agent sees it", || first.log().contains("by an operator"));
            let _others = [1, 2].map(|i| {
                let agent = container(i, haproxy.stats).start();
                eventually("in", || taken(&haproxy).len() == i + 1);
                agent
            });
            // Of two that are left one is the operator's, and it cannot know which.
            let waits = container(3, haproxy.stats).start();
            eventually("nothing is left", || is_full(&waits));
            stays("the operator's slots", || {
                let shows = |name: &str, addr: &str| {
                    let slot = |s: &Server| *s.name == *name && s.addr == addr.parse().ok();
                    haproxy.servers().iter().any(slot)
                };
                shows("node2", "198.51.100.7") && shows(&held, &address(0))
            });
        }
    }
}

/// A HAProxy with a state file, so that ghosts come back: the port of a slot is restored, and its
/// address only behind a host name.
fn with_state_file(binary: &Path, template: &str) -> Haproxy {
    let backend = format!(
        "backend webapp\n  load-server-state-from-file global\n  server-template {template}\n"
    );
    let haproxy = Haproxy::with_global(binary.into(), "server-state-file {dir}/state", &backend);
    std::fs::write(haproxy.dir().join("state"), "1\n").unwrap();
    haproxy
}

#[test]
fn no_ghost_stays_whatever_port_a_state_file_restores() {
    for version in versions() {
        for (slots, checks) in
            [(40, "check inter 200ms fall 1"), (40, ""), (4, "check inter 200ms")]
        {
            let at = Port::free();
            let template = format!("node 1-{slots} 127.0.0.9:{at} {checks} disabled");
            let mut haproxy = with_state_file(&version, &template);
            let count = slots * 3 / 4;
            let mut agents: Vec<_> =
                (0..count).map(|i| container(i, haproxy.stats).start()).collect();
            come_in(&haproxy, count);
            let state = haproxy.command("show servers state");
            std::fs::write(haproxy.dir().join("state"), state).unwrap();
            haproxy.kill();
            let dead = slots / 10;
            agents[..dead].iter_mut().for_each(Running::crash);
            haproxy.restart();
            eventually("the living are in and no ghost is", || all_in(&haproxy, count - dead));
            stays("so", || all_in(&haproxy, count - dead));
        }
    }
}

#[test]
fn slots_that_begin_as_down_stay_with_their_holders_and_go_to_others_once_they_are_dead() {
    for version in versions().into_iter().filter(|binary| is_at_least(binary, "3.1")) {
        let haproxy = with(
            &version,
            "node 1-2 localhost:PORT check inter 3s rise 2 fall 1 disabled init-state fully-down",
        );
        // Longer than RECLAIM_AFTER, as HAProxy counts.
        stays_for(Duration::from_secs(4), "empty", || taken(&haproxy).is_empty());
        let start = |i| container(i, haproxy.stats).env("RECLAIM_AFTER", "2s").start();
        let mut agents: Vec<_> = (0..3).map(start).collect();
        let up = || haproxy.ready().iter().filter(|slot| slot.running).count() == 2;
        eventually("both are up", up);
        stays_for(Duration::from_secs(5), "nobody is robbed", || {
            agents.iter().all(|agent| !agent.log().contains("changed by somebody else"))
        });
        let holder = taken(&haproxy).into_values().next().unwrap();
        let dies = (0..3).find(|i| address(*i) == holder).unwrap();
        agents[dies].crash();
        // The app behind the containers' addresses is the test's own and goes on.
        let slot = taken(&haproxy).into_iter().find(|(_, at)| *at == holder).unwrap().0;
        haproxy.command(&format!("set server webapp/{slot} health down"));
        haproxy.command(&format!("disable health webapp/{slot}"));
        eventually("taken over", || taken(&haproxy).into_values().all(|at| at != holder));
    }
}

#[test]
fn a_name_that_does_not_resolve_yet_spoils_no_slot() {
    let Some(bind) = Bind::start() else { return };
    for (round, version) in versions().into_iter().enumerate() {
        let global = format!(
            "resolvers dns\n  nameserver d {}\n  hold valid 1s\n  hold nx 1s\n  resolve_retries 1\n  \
             timeout retry 300ms\n  timeout resolve 500ms\n",
            bind.addr
        );
        for (kind, what) in [("A", "host"), ("SRV", "_http._tcp")] {
            let name = format!(
                "{what}{}.{ZONE}",
                if kind == "A" { format!("{round}") } else { format!(".r{round}") }
            );
            let port = if kind == "A" { format!(":{}", *PORT) } else { String::new() };
            let template = format!(
                "{global}backend webapp\n  server-template node 1-3 {name}{port} check inter 1s \
                 disabled init-addr none resolvers dns\n"
            );
            let haproxy = Haproxy::with_config(version.clone(), &template);
            let before: Vec<_> =
                haproxy.servers().iter().map(|s| (s.admin, s.weight, s.addr)).collect();
            let agents: Vec<_> = (0..2).map(|i| container(i, haproxy.stats).start()).collect();
            let says = |agent: &Running| agent.log().contains("does not resolve yet");
            eventually("said", || agents.iter().all(says));
            stays("once, and nothing is changed", || {
                let now: Vec<_> =
                    haproxy.servers().iter().map(|s| (s.admin, s.weight, s.addr)).collect();
                now == before && agents.iter().all(|agent| agent.log().lines().count() == 1)
            });
            let mut lines = String::new();
            for i in 0..3 {
                let host = if kind == "A" { name.clone() } else { format!("t{round}-{i}.{ZONE}") };
                lines += &format!("update add {host}. 60 A 192.0.2.{}\n", i + 1);
                if kind == "SRV" {
                    lines += &format!("update add {name}. 60 SRV 1 1 {} {host}.\n", *PORT);
                }
            }
            bind.nsupdate(ZONE, &lines);
            come_in(&haproxy, 2);
            stays("in", || all_in(&haproxy, 2));
        }
    }
}

#[test]
fn a_template_has_the_numbers_that_it_has() {
    for (template, count, expected) in [
        ("node 101-103 127.0.0.1:PORT disabled", 3, &["node101", "node102", "node103"][..]),
        ("node 101-103 127.0.0.1:PORT disabled", 2, &["node101", "node102"]),
        ("node 0-2 127.0.0.1:PORT disabled", 3, &["node0", "node1", "node2"]),
        (
            "node 1-2 127.0.0.1:PORT disabled\n  server-template node2 1-12 127.0.0.1:PORT disabled",
            100,
            &["node1", "node2"],
        ),
        (
            "node2 1-12 127.0.0.1:PORT disabled\n  server-template node 1-2 127.0.0.1:PORT disabled",
            100,
            &["node1", "node2"],
        ),
    ] {
        let haproxy = with(Path::new("haproxy"), template);
        let start = |i| container(i, haproxy.stats).env("NODE_COUNT", count).start();
        let agents: Vec<_> = (0..expected.len() + 1).map(start).collect();
        eventually("all in but one", || all_in(&haproxy, expected.len()));
        eventually("one waits", || agents.iter().filter(|agent| is_full(agent)).count() == 1);
        let slots: Vec<_> = taken(&haproxy).into_keys().collect();
        assert_eq!(slots, expected, "{template}");
    }
}

#[test]
fn of_two_prefixes_each_has_its_own_backend() {
    let backends = "backend api\n  server-template web2 1-3 127.0.0.1:PORT disabled\n\
                    backend webapp\n  server-template web 1-3 127.0.0.1:PORT disabled\n";
    let config = backends.replace("PORT", &PORT.to_string());
    let haproxy = Haproxy::with_config("haproxy".into(), &config);
    let start = |i, prefix| {
        let agent = container(i, haproxy.stats).without("HAPROXY_BACKEND");
        agent.env("HAPROXY_NODE_PREFIX", prefix).start()
    };
    let _agents = [start(0, "web"), start(1, "web2")];
    let of = |backend: &str| haproxy.ready().iter().filter(|s| &*s.backend == backend).count();
    eventually("one in each", || (of("webapp"), of("api")) == (1, 1));
}

#[test]
fn a_backend_or_prefix_that_is_not_there_is_said_with_what_is() {
    let haproxy = with(Path::new("haproxy"), "websrv 1-3 127.0.0.1:PORT disabled");
    for (env, prefix, said) in [
        (("SERVICE_NAME", "shop"), "websrv", "no backend is called 'shop'"),
        (("HAPROXY_BACKEND", "shop"), "websrv", "in a backend 'shop'; backends with slots: webapp"),
        (("HAPROXY_BACKEND", "webapp"), "node", "backends with slots: webapp (websrv1, …)"),
        (("APP_PORT", "80"), "node", "webapp (websrv1, …) (HAPROXY_NODE_PREFIX is"),
    ] {
        let agent = container(0, haproxy.stats)
            .without("HAPROXY_BACKEND")
            .env("HAPROXY_NODE_PREFIX", prefix)
            .env(env.0, env.1)
            .start();
        eventually(said, || agent.log().contains(said));
        stays("once, and nothing is claimed", || {
            haproxy.ready().is_empty() && agent.log().lines().count() == 1
        });
    }
}

#[test]
fn a_service_waits_for_its_own_backend() {
    let mut haproxy = with(Path::new("haproxy"), "node 1-3 127.0.0.1:PORT disabled");
    let agent =
        container(0, haproxy.stats).without("HAPROXY_BACKEND").env("SERVICE_NAME", "shop").start();
    eventually("said", || agent.log().contains("backends with slots: webapp"));
    stays("another's slots are left alone", || haproxy.ready().is_empty());
    let file = haproxy.dir().join("haproxy.cfg");
    let config = std::fs::read_to_string(&file).unwrap();
    let more = format!("backend shop\n  server-template node 1-3 127.0.0.1:{} disabled\n", *PORT);
    std::fs::write(&file, config + &more).unwrap();
    haproxy.reload();
    eventually("in its own", || haproxy.ready().iter().any(|slot| &*slot.backend == "shop"));
}

#[test]
fn slots_that_track_a_server_in_maintenance_are_held_back_by_haproxy() {
    for version in versions() {
        let config = format!(
            "backend hc\n  server hc {}:{} check inter 100ms\nbackend webapp\n  \
             server-template node 1-3 localhost:{} track hc/hc disabled\n",
            address(0),
            *PORT,
            *PORT
        );
        let haproxy = Haproxy::with_config(version, &config);
        let tracked = "held out of rotation by HAProxy";
        let agent = container(0, haproxy.stats).start();
        let is_in = || haproxy.ready().iter().any(|s| &*s.backend == "webapp" && s.weight > 0);
        eventually("in", is_in);
        haproxy.command("set server hc/hc state maint");
        eventually("said", || agent.log().contains(tracked));
        assert!(agent.log().contains("the server that it tracks is in maintenance"));
        let late = container(1, haproxy.stats).start();
        eventually("said by who comes then", || late.log().contains(tracked));
        stays("once", || {
            late.log().lines().count() == 1 && agent.log().matches(tracked).count() == 1
        });
        haproxy.command("set server hc/hc state ready");
        eventually("both are in", || haproxy.ready().len() == 3);
        eventually("both say so", || {
            [&late, &agent].iter().all(|a| a.log().ends_with_in_rotation())
        });
    }
}

#[test]
fn a_template_that_is_not_disabled_is_cleared_of_what_nobody_is_behind() {
    for version in versions() {
        for checks in ["check inter 1s", ""] {
            let haproxy = with(&version, &format!("node 1-12 127.0.0.1:PORT {checks}"));
            let _agents: Vec<_> = (0..3).map(|i| container(i, haproxy.stats).start()).collect();
            come_in(&haproxy, 3);
        }
    }
}

trait Log {
    fn ends_with_in_rotation(&self) -> bool;
}

impl Log for String {
    fn ends_with_in_rotation(&self) -> bool {
        self.lines().last().is_some_and(|line| line.contains("in rotation"))
    }
}

#[test]
fn an_app_that_asks_for_no_new_work_keeps_its_slot_in_silence() {
    for version in versions() {
        let port = Port::free();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("up"), "").unwrap();
        let backend = format!(
            "backend webapp\n  option httpchk\n  http-check send meth GET uri /up\n  \
             http-check disable-on-404\n  server-template node 1-2 localhost:{port} check inter 200ms \
             disabled\n"
        );
        let haproxy = Haproxy::with_config(version, &backend);
        let app = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory"];
        let (files, number) = (dir.path().display().to_string(), port.to_string());
        let agent = Agent::new(&[&app[..], &[&*files, &*number]].concat())
            .at(&haproxy)
            .env("APP_PORT", port)
            .start();
        let status = |word: &str| haproxy.command("show stat").lines().any(|l| l.contains(word));
        eventually("in", || status("L7OK"));
        let lines = || agent.log().lines().filter(|line| line.contains("register=")).count();
        std::fs::remove_file(dir.path().join("up")).unwrap();
        eventually("no new work", || status(",NOLB,"));
        let before = lines();
        stays_for(Duration::from_secs(4), "nothing to say", || lines() == before);
    }
}

#[test]
fn slots_of_weight_0_are_no_slots() {
    let haproxy = with(Path::new("haproxy"), "node 1-3 127.0.0.2:PORT disabled weight 0");
    let agent = container(0, haproxy.stats).env("RECLAIM_AFTER", "1s").start();
    eventually("said", || agent.log().contains("the template has weight 0"));
    stays("once, and nothing is changed", || {
        let untouched = |slot: &Server| slot.addr == "127.0.0.2".parse().ok();
        haproxy.servers().iter().all(untouched) && agent.log().lines().count() == 1
    });
}

#[test]
fn a_template_of_sockets_is_said_to_take_no_address() {
    let path = PathBuf::from("/nowhere/app.sock");
    let haproxy = with(Path::new("haproxy"), &format!("node 1-3 unix@{} disabled", path.display()));
    let agent = Agent::new(&[hello().to_str().unwrap()])
        .at(&haproxy)
        .env("APP_PORT", Port::free())
        .env("READY_CHECK", "none")
        .start();
    eventually("said", || agent.log().contains("the template has no IP address"));
    assert!(haproxy.servers().iter().all(|slot| slot.weight == 1), "nothing is changed");
}
