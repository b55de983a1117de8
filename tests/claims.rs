//! A claim survives races, crashes, restarts, reloads and operators: on real HAProxys.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use berth::registers::haproxy::{Checks, Server};
use support::agent::{Agent, Running, signal};
use support::crowd::{PORT, address, all_in, come_in, container, haproxy, start, taken, template};
use support::haproxy::{Haproxy, versions};
use support::tap::Tap;
use support::{Port, eventually, stays, stays_for};

#[test]
fn two_hundred_agents_started_at_once_fill_two_hundred_slots() {
    for version in versions() {
        let haproxy = haproxy(version, 200);
        let _agents = start(200, &haproxy);
        come_in(&haproxy, 200);
        let slots = taken(&haproxy);
        stays("the same slots", || taken(&haproxy) == slots);
    }
}

#[test]
fn a_hundred_slots_serve_a_hundred_of_a_hundred_and_twenty_and_the_others_in_turn() {
    for version in versions() {
        let haproxy = haproxy(version, 100);
        let mut agents = start(120, &haproxy);
        let waits = |agent: &Running| agent.log().contains("every slot is taken");
        let waiting = || -> Vec<usize> {
            let taken: Vec<_> = taken(&haproxy).into_values().collect();
            (0..120).filter(|i| !taken.contains(&address(*i))).collect()
        };
        come_in(&haproxy, 100);
        eventually("who waits says so", || waiting().iter().all(|i| waits(&agents[*i])));
        let before = waiting();
        assert_eq!(before.len(), 20);
        let leaver = (0..120).find(|i| !before.contains(i)).unwrap();
        agents[leaver].stop();
        eventually("one of them gets in", || {
            all_in(&haproxy, 100) && waiting().contains(&leaver) && waiting().len() == 20
        });
        let got_in: Vec<_> = before.iter().filter(|i| !waiting().contains(i)).collect();
        assert_eq!(got_in.len(), 1, "{got_in:?}");
        assert!(before.iter().all(|i| agents[*i].is_running()), "the apps run on");
    }
}

#[test]
fn the_default_number_of_stats_connections_will_do() {
    for version in versions() {
        let haproxy = Haproxy::with_global(version, "stats maxconn 10", &template(100));
        let agents = start(100, &haproxy);
        come_in(&haproxy, 100);
        drop(agents);
    }
}

#[test]
fn the_slot_of_a_dead_container_goes_to_one_who_needs_it() {
    for version in versions() {
        let backend = "backend webapp\n  server-template node 1-2 localhost:3128 check inter 200ms fall 1 disabled\n";
        let haproxy = Haproxy::with_config(version, backend);
        let (app, port) = (support::agent::hello(), Port::free());
        let start = |i| {
            Agent::new(&[app.to_str().unwrap()])
                .env("HAPROXY_SERVER", "127.0.0.1")
                .env("HAPROXY_PORT", haproxy.stats)
                .env("RECLAIM_AFTER", "2s")
                .env("ADDR", address(i))
                .env("PORT", port)
                .env("APP_PORT", port)
                .env("APP_ADDR", address(i))
                .start()
        };
        let (mut dying, _living) = (start(0), start(1));
        come_in(&haproxy, 2);
        let waiting = start(2);
        eventually("it waits", || waiting.log().contains("every slot is taken"));
        let before = taken(&haproxy);
        stays("nobody alive is robbed", || taken(&haproxy) == before);
        dying.crash();
        eventually("taken over", || taken(&haproxy).into_values().any(|addr| addr == address(2)));
        come_in(&haproxy, 2);
        assert!(taken(&haproxy).into_values().all(|addr| addr != address(0)));
    }
}

#[test]
fn a_new_container_with_a_dead_ones_address_scrubs_every_backend() {
    let slots = |name| template(4).replace("webapp", name);
    let others = format!("backend fixed\n  server node1 {}:{}\n", address(0), *PORT);
    let config = [template(4), slots("api"), slots("old"), others].concat();
    let haproxy = Haproxy::with_config("haproxy".into(), &config);
    let mut before = container(0, haproxy.stats).env("HAPROXY_BACKEND", "api").start();
    let shows = |backend: &str| {
        let servers = haproxy.servers();
        let addr = Some(address(0).parse().unwrap());
        servers.iter().filter(|s| &*s.backend == backend && s.addr == addr).count()
    };
    eventually("in api", || shows("api") == 1);
    before.crash();
    haproxy.command(&format!("set server old/node3 addr {} port {}", address(0), *PORT));
    haproxy.command(&format!("set server webapp/node2 addr {} port {}", address(0), *PORT));
    haproxy.command("set server webapp/node2 state ready");
    assert_eq!((shows("api"), shows("old"), shows("webapp")), (1, 1, 1));
    let _agent = container(0, haproxy.stats).start();
    eventually("scrubbed", || (shows("api"), shows("old"), shows("webapp")) == (0, 0, 1));
    assert_eq!(shows("fixed"), 1, "what somebody wrote by hand is his");
}

#[test]
fn everybody_is_back_where_he_was_after_a_blank_restart() {
    for version in versions() {
        let mut haproxy = haproxy(version, 60);
        let _agents = start(50, &haproxy);
        come_in(&haproxy, 50);
        let before = taken(&haproxy);
        haproxy.restart();
        come_in(&haproxy, 50);
        assert_eq!(taken(&haproxy), before);
    }
}

/// A HAProxy with a state file, whose template has this address.
fn with_state_file(binary: PathBuf, addr: &str) -> Haproxy {
    let port = *PORT;
    let proxies = format!(
        "backend webapp\n  load-server-state-from-file global\n  \
         server-template node 1-30 {addr}:{port} check inter 200ms fall 1 disabled\n"
    );
    let haproxy = Haproxy::with_global(binary, "server-state-file {dir}/state", &proxies);
    std::fs::write(haproxy.dir().join("state"), "1\n").unwrap();
    haproxy
}

fn save_state(haproxy: &Haproxy) {
    std::fs::write(haproxy.dir().join("state"), haproxy.command("show servers state")).unwrap();
}

#[test]
fn a_restored_state_is_put_right() {
    for version in versions() {
        for addr in ["localhost", "127.0.0.1"] {
            let mut haproxy = with_state_file(version.clone(), addr);
            let mut agents = start(20, &haproxy);
            come_in(&haproxy, 20);
            let before = taken(&haproxy);
            save_state(&haproxy);
            haproxy.kill();
            agents[0].crash();
            haproxy.restart();
            eventually("the living are back", || {
                let taken: Vec<_> = taken(&haproxy).into_values().collect();
                (1..20).all(|i| taken.iter().filter(|addr| **addr == address(i)).count() == 1)
            });
            // Where its address is gone, the dead one's slot is a ghost; nobody needs it.
            let ghost = |slot: &Server| {
                slot.addr.is_none_or(|addr| !addr.to_string().starts_with("127.1."))
            };
            eventually("no ghost stays", || !haproxy.ready().iter().any(ghost));
            if addr == "localhost" {
                assert!(taken(&haproxy).iter().all(|(slot, addr)| before[slot] == *addr));
            }
        }
    }
}

#[test]
fn a_haproxy_that_stood_still_for_ten_seconds_changes_nothing() {
    for version in versions() {
        // A table that does not fit HAProxy's buffer: 3.2 crashes if one of its readers gives up.
        let haproxy = haproxy(version, 400);
        let agents = start(20, &haproxy);
        come_in(&haproxy, 20);
        let (before, pid) = (taken(&haproxy), haproxy.pid());
        signal(pid as i32, "STOP");
        let complains = |agent: &Running| agent.log().contains("cannot register");
        eventually("the agents see it", || agents.iter().all(complains));
        stays_for(Duration::from_secs(10), "one line", || {
            agents.iter().all(|agent| agent.log().matches("cannot register").count() == 1)
        });
        signal(pid as i32, "CONT");
        let returned = |agent: &Running| agent.log().contains("answers again");
        eventually("the agents see that", || agents.iter().all(returned));
        stays("the same slots", || taken(&haproxy) == before && all_in(&haproxy, 20));
        assert!(haproxy.command("show info").contains(&format!("\nPid: {pid}\n")));
    }
}

#[test]
fn nothing_is_written_while_nothing_is_wrong_and_one_line_is_read() {
    let mut haproxy = haproxy("haproxy".into(), 30);
    let tap = Tap::start(haproxy.stats);
    let _agents: Vec<_> = (0..20).map(|i| container(i, tap.port).start()).collect();
    come_in(&haproxy, 20);
    let is_verify = |command: &&String| command.starts_with("show stat #");
    let is_write = |command: &String| command.starts_with("set ");
    assert!(tap.take().iter().any(is_write), "the tap sees what is written");
    let verifies = |count: usize| {
        let mut seen = Vec::new();
        eventually("verified again and again", || {
            seen.extend(tap.take());
            seen.iter().filter(is_verify).count() >= count
        });
        seen
    };
    // Lost races show at the first of each one's.
    verifies(20 * 5);
    let seen = verifies(20 * 5);
    assert!(!seen.iter().any(is_write), "{seen:?}");
    let lines = seen.iter().filter(is_verify).count();
    assert!(lines * 10 > seen.len() * 9, "{lines} of {}", seen.len());
    haproxy.restart();
    come_in(&haproxy, 20);
    assert!(tap.take().iter().any(is_write));
}

#[test]
fn what_an_operator_takes_out_stays_out_and_nobody_takes_it() {
    for version in versions() {
        let quickly = template(2).replace("inter 5s", "inter 100ms");
        let haproxy = Haproxy::with_config(version, &quickly);
        let mut agents: Vec<_> = (0..2).map(|i| container(i, haproxy.stats).start()).collect();
        come_in(&haproxy, 2);
        agents.push(container(2, haproxy.stats).start());
        eventually("one waits", || agents.iter().any(|a| a.log().contains("every slot is taken")));
        let checked = |slot: &Server| slot.checks == Checks::Seen;
        eventually("all are checked", || haproxy.servers().iter().all(checked));
        let before = taken(&haproxy);
        for (out, back) in [
            ("state maint", "state ready"),
            ("state drain", "state ready"),
            ("weight 0%", "weight 100%"),
        ] {
            haproxy.command(&format!("set server webapp/node1 {out}"));
            let at_work = || {
                let ready = haproxy.ready();
                ready
                    .iter()
                    .filter(|slot| slot.weight > 0)
                    .map(|s| s.name.to_string())
                    .collect::<Vec<_>>()
            };
            let only_second: Vec<String> = vec!["node2".into()];
            eventually("it is out", || at_work() == only_second);
            stays(out, || at_work() == only_second && taken(&haproxy) == before);
            haproxy.command(&format!("set server webapp/node1 {back}"));
            come_in(&haproxy, 2);
            assert_eq!(taken(&haproxy), before);
        }
    }
}

#[test]
fn what_an_operator_takes_out_at_the_first_moment_stays_out() {
    for version in versions() {
        for out in ["state maint", "state drain", "weight 0%"] {
            let haproxy = haproxy(version.clone(), 1);
            let tap = Tap::start(haproxy.stats);
            tap.hold_behind("state ready");
            let agent = container(0, tap.port).start();
            eventually("its line into rotation has passed", || tap.is_holding());
            let at_work = || haproxy.ready().iter().any(|slot| slot.weight > 0);
            eventually("it is in", at_work);
            eventually("it has the answer", || agent.log().contains("in rotation"));
            haproxy.command(&format!("set server webapp/node1 {out}"));
            tap.let_go();
            eventually("it leaves that to the operator", || agent.log().contains("by an operator"));
            stays(out, || !at_work());
        }
    }
}

#[test]
fn several_load_balancers_are_registered_with_each_on_its_own() {
    let haproxys = [haproxy("haproxy".into(), 5), haproxy("haproxy".into(), 9)];
    let away = haproxy("haproxy".into(), 5);
    signal(away.pid() as i32, "STOP");
    let list = [&haproxys[0], &away, &haproxys[1]].map(|lb| format!("127.0.0.1:{}", lb.stats));
    let mut agents: Vec<_> = (0..5)
        .map(|i| container(i, away.stats).env("HAPROXY_SERVER", list.join(",")).start())
        .collect();
    for haproxy in &haproxys {
        come_in(haproxy, 5);
    }
    signal(away.pid() as i32, "CONT");
    come_in(&away, 5);
    agents[0].stop();
    haproxys.iter().for_each(|haproxy| come_in(haproxy, 4));
}

#[test]
fn a_reload_may_change_the_template_while_the_old_process_lives_on() {
    for version in versions() {
        let mut haproxy = haproxy(version, 30);
        let agents = start(20, &haproxy);
        come_in(&haproxy, 20);
        // Whoever is asked on this connection is the old process, for as long as it is open.
        let mut held = std::net::TcpStream::connect(("127.0.0.1", haproxy.stats.0)).unwrap();
        held.write_all(b"prompt\n").unwrap();
        held.read_exact(&mut [0; 3]).unwrap();
        let old = haproxy.pid();
        let resize = |haproxy: &Haproxy, from: usize, to: usize| {
            let file = haproxy.dir().join("haproxy.cfg");
            let config = std::fs::read_to_string(&file).unwrap();
            let resized = config.replace(&format!("node 1-{from} "), &format!("node 1-{to} "));
            assert_ne!(config, resized);
            std::fs::write(&file, resized).unwrap();
        };
        resize(&haproxy, 30, 15);
        haproxy.reload();
        come_in(&haproxy, 15);
        let waits = |agent: &&Running| agent.log().contains("every slot is taken");
        eventually("five wait", || agents.iter().filter(waits).count() >= 5);
        let state = std::fs::read_to_string(format!("/proc/{old}/stat")).unwrap();
        assert!(!state.contains(") Z "), "the old process lives on: {state}");
        resize(&haproxy, 15, 40);
        haproxy.reload();
        come_in(&haproxy, 20);
    }
}

#[test]
fn after_a_reload_of_the_master_everybody_is_with_the_new_worker() {
    for version in versions() {
        let haproxy = Haproxy::with_master(version, &template(30));
        let _agents = start(20, &haproxy);
        come_in(&haproxy, 20);
        let before = taken(&haproxy);
        let worker =
            |info: &str| info.lines().find(|line| line.starts_with("Pid: ")).map(str::to_owned);
        let old = worker(&haproxy.command("show info")).unwrap();
        // Whoever is asked on this connection is the old worker, for as long as it is open.
        let mut held = std::net::TcpStream::connect(("127.0.0.1", haproxy.stats.0)).unwrap();
        held.write_all(b"prompt\n").unwrap();
        held.read_exact(&mut [0; 3]).unwrap();
        signal(haproxy.pid() as i32, "USR2");
        eventually("the new worker answers", || {
            let info = haproxy.try_command("show info").unwrap_or_default();
            worker(&info).is_some_and(|new| new != old)
        });
        come_in(&haproxy, 20);
        assert_eq!(taken(&haproxy), before);
        held.write_all(b"show info; quit\n").unwrap();
        let mut info = String::new();
        held.read_to_string(&mut info).unwrap();
        assert_eq!(worker(&info).as_ref(), Some(&old), "the old worker lives on");
    }
}
