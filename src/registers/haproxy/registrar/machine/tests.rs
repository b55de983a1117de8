//! Lives of containers at one HAProxy, row by row: what was heard, and what follows.

use std::io;

use super::super::notice::News;
use super::*;
use crate::registers::haproxy::slot::Step;
use crate::registers::haproxy::{AdminState, Checks, Peers, Process, Slots, Swept};

const ME: &str = "10.0.0.5:3128";
const ANOTHER: &str = "10.0.0.9:3128";

/// A machine and the world around it.
struct Life {
    machine: Machine,
    desired: Desired,
    now: Duration,
    process: Option<Process>,
    local: IpAddr,
}

impl Life {
    fn new() -> Self {
        let settings = Settings {
            servers: Vec::new(),
            backend: None,
            backends: Vec::new(),
            slots: Slots::Template,
            service_name: None,
            prefix: "node".into(),
            limit: None,
            sync_interval: Duration::from_secs(1),
            reclaim_after: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            app_addr: None,
            app_port: None,
            tls: None,
        };
        Self {
            machine: Machine::new(Arc::new(settings)),
            desired: Desired::Absent,
            now: Duration::ZERO,
            process: None,
            local: [10, 0, 0, 5].into(),
        }
    }

    fn peers(&self) -> Peers {
        Peers { process: self.process.clone(), local: Some(self.local) }
    }

    /// One whose slot, node1, is in rotation and beyond the early checks.
    fn holding() -> Self {
        let mut life = Self::new();
        life.wishes(Desired::Serving);
        life.table(&["10.0.0.5 ready"]);
        for _ in EARLY_CHECKS {
            life.wakes(500);
            life.table(&["10.0.0.5 ready"]);
        }
        assert_eq!(life.wakes(1000), "verify node1");
        assert_eq!(life.line("UP", 0), "serving; rest 1000ms");
        life
    }

    /// What follows: news, standing, what is asked for.
    fn hears(&mut self, heard: Heard) -> String {
        let at = Moment { desired: self.desired, now: self.now, luck: 0.5 };
        let standing = self.machine.next(heard, at);
        let news = self.machine.news();
        let news = news.iter().filter(|news| !matches!(news, News::Known(_))).map(told);
        let standing = standing.map(|standing| format!("{standing:?}").to_lowercase());
        let parts: Vec<_> = news.chain(standing).chain([asked(self.machine.ask())]).collect();
        parts.join("; ")
    }

    fn wishes(&mut self, desired: Desired) -> String {
        self.desired = desired;
        self.hears(Heard::Woken)
    }

    fn wakes(&mut self, after_millis: u64) -> String {
        self.now += Duration::from_millis(after_millis);
        self.hears(Heard::Woken)
    }

    /// The slots node1, node2, …, each an address and words about it.
    fn table(&mut self, slots: &[&str]) -> String {
        let servers = slots.iter().zip(1..).map(|(text, id)| slot(id, text)).collect();
        self.hears(Heard::Table(Overview { servers, peers: self.peers() }))
    }

    /// The line of node1.
    fn line(&mut self, status: &str, sessions: u64) -> String {
        self.line_at(ME, status, sessions)
    }

    fn line_at(&mut self, endpoint: &str, status: &str, sessions: u64) -> String {
        let line = Some(ServerStat {
            status: status.to_owned(),
            sessions,
            queued: 0,
            weight: u64::from(status != "DRAIN"),
            endpoint: endpoint.parse().ok(),
            check: Some("L4TOUT".into()),
        });
        self.hears(Heard::Line { line, local: Some(self.local) })
    }

    fn routed(&mut self, local: &str) -> String {
        self.hears(Heard::Route(local.parse().ok()))
    }

    fn alive(&mut self) -> String {
        self.hears(Heard::Alive(self.peers()))
    }

    fn done(&mut self) -> String {
        self.hears(Heard::Done(self.peers()))
    }

    fn fails(&mut self) -> String {
        self.hears(Heard::Failed(ClientError::TimedOut(Duration::from_secs(2))))
    }

    fn is_refused(&mut self) -> String {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        self.hears(Heard::Failed(ClientError::Connect(refused)))
    }
}

/// A slot of template `webapp`: an address, and of `maint`, `drain`, `ready`, `w0` what is true.
fn slot(id: u32, text: &str) -> Server {
    let has = |word| text.split(' ').any(|found| found == word);
    let admin = match (has("maint"), has("drain")) {
        (true, _) => AdminState::FORCED_MAINT,
        (_, true) => AdminState::FORCED_DRAIN,
        _ => 0,
    };
    Server {
        backend: "webapp".into(),
        backend_id: 3,
        id,
        name: format!("node{id}").into(),
        addr: text.split(' ').next().unwrap().parse().ok(),
        port: Some(3128),
        running: !has("maint"),
        admin: AdminState(admin | AdminState::CONFIGURED_MAINT),
        weight: u32::from(!has("w0")),
        configured_weight: 1,
        has_name: false,
        unchanged: Duration::ZERO,
        checks: Checks::Seen,
    }
}

fn asked(ask: &Ask) -> String {
    match ask {
        Ask::Rest(time) => format!("rest {}ms", time.as_millis()),
        Ask::Route => "route".to_owned(),
        Ask::Ping => "ping".to_owned(),
        Ask::Table { backend: None, .. } => "read all".to_owned(),
        Ask::Table { backend: Some(backend), .. } => format!("read {backend}"),
        Ask::Verify(slot) => format!("verify {}", slot.name),
        Ask::Work(slot) => format!("count {}", slot.name),
        Ask::Emptied { slot, .. } => format!("count former {}", slot.name),
        Ask::Sweep(_) => "sweep".to_owned(),
        Ask::Change(Step::Claim { slot, .. }) => format!("claim {}", slot.name),
        Ask::Change(Step::MakeReady(slot)) => format!("make {} ready", slot.name),
        Ask::Change(Step::Drain(slot)) => format!("drain {}", slot.name),
        Ask::Change(Step::Release(all)) => {
            let names: Vec<_> = all.iter().map(|release| &*release.slot.name).collect();
            format!("release {}", names.join(" "))
        }
        Ask::Change(_) | Ask::Act(_) => panic!("{ask:?} changes nothing"),
    }
}

fn told(news: &News) -> String {
    match news {
        News::Trouble(error) => format!("'{error}'"),
        News::Claimed(slot) => format!("'{} in rotation'", slot.name),
        News::Changed(slot) => format!("'{} changed'", slot.name),
        News::Operator(slot) => format!("'{} out by an operator'", slot.name),
        News::InVain(slot) => format!("'{} in vain'", slot.name),
        News::Down(slot, _, check) => format!("'{} DOWN: {check}'", slot.name),
        News::Up(slot) => format!("'{} UP'", slot.name),
        News::Draining(slot) => format!("'{} draining'", slot.name),
        News::Moved(from, to) => format!("'{} is now {}'", from.ip(), to.ip()),
        News::Released(slot) => format!("'{} released'", slot.name),
        News::Second(slot) => format!("'{} is held there'", slot.name),
        other => format!("'{other:?}'").to_lowercase(),
    }
}

const EMPTY: &str = "0.0.0.0 maint";

#[test]
fn a_slot_is_claimed_read_back_put_in_and_verified() {
    let mut life = Life::new();
    assert_eq!(life.wakes(0), "read all");
    assert_eq!(life.table(&[EMPTY]), "absent; rest 1000ms");
    assert_eq!(life.wishes(Desired::Serving), "read webapp");
    assert_eq!(life.table(&[EMPTY]), "claim node1");
    assert_eq!(life.done(), "absent; rest 10ms");
    assert_eq!(life.wakes(10), "read webapp");
    assert_eq!(life.table(&["10.0.0.5 maint w0"]), "make node1 ready");
    assert_eq!(life.done(), "'node1 in rotation'; serving; rest 40ms");
    for pause in [40, 160, 500, 1000] {
        assert_eq!(life.wakes(40), "read webapp");
        assert_eq!(life.table(&["10.0.0.5 ready"]), format!("serving; rest {pause}ms"));
    }
    assert_eq!(life.wakes(1000), "verify node1");
    assert_eq!(life.line("UP", 0), "serving; rest 1000ms");
}

#[test]
fn a_lost_race_is_no_news_and_another_slot_is_claimed() {
    let mut life = Life::new();
    life.wishes(Desired::Serving);
    assert_eq!(life.table(&[EMPTY]), "claim node1");
    life.done();
    life.wakes(10);
    assert_eq!(life.table(&["10.0.0.9 maint w0", EMPTY]), "claim node2");
}

#[test]
fn a_full_read_comes_once_in_a_while() {
    let mut life = Life::holding();
    let verifies = (5..FULL_READ_EVERY).take_while(|_| {
        let verifies = life.wakes(1000) == "verify node1";
        verifies && life.line("UP", 0) == "serving; rest 1000ms"
    });
    assert_eq!(verifies.count() as u32, FULL_READ_EVERY - 5);
    assert_eq!(life.wakes(1000), "read webapp");
}

#[test]
fn a_slot_that_somebody_takes_out_or_over_is_read_at_once() {
    for (endpoint, status) in [(ME, "MAINT"), (ME, "DRAIN"), (ANOTHER, "UP"), ("nowhere", "UP")] {
        let mut life = Life::holding();
        life.wakes(1000);
        assert_eq!(life.line_at(endpoint, status, 0), "'node1 changed'; ping");
    }
    let mut life = Life::holding();
    life.wakes(1000);
    assert_eq!(
        life.hears(Heard::Line { line: None, local: None }),
        "'node1 changed'; ping",
        "it is gone"
    );
    assert_eq!(life.alive(), "read webapp");
    assert_eq!(life.table(&["10.0.0.9 ready", EMPTY]), "claim node2");
}

#[test]
fn an_app_that_asks_for_no_new_work_by_itself_holds_its_slot() {
    let mut life = Life::holding();
    for _ in 0..3 {
        life.wakes(1000);
        assert_eq!(life.line("NOLB", 0), "serving; rest 1000ms");
    }
}

#[test]
fn an_operators_doing_is_said_once() {
    let mut life = Life::holding();
    life.wakes(1000);
    life.line("MAINT", 0);
    life.alive();
    let operator = "10.0.0.5 maint";
    assert_eq!(life.table(&[operator]), "'node1 out by an operator'; serving; rest 1000ms");
    assert_eq!(life.wakes(1000), "read webapp");
    assert_eq!(life.table(&[operator]), "serving; rest 1000ms");
    life.wakes(1000);
    assert_eq!(life.table(&["10.0.0.5 ready"]), "'node1 in rotation'; serving; rest 40ms");
}

/// A claim that was read back and whose line into rotation is on its way.
fn making_ready() -> Life {
    let mut life = Life::new();
    life.wishes(Desired::Serving);
    life.table(&[EMPTY]);
    life.done();
    life.wakes(10);
    assert_eq!(life.table(&["10.0.0.5 maint w0"]), "make node1 ready");
    life
}

#[test]
fn what_an_operator_takes_out_before_it_was_seen_in_rotation_stays_out() {
    for out in ["10.0.0.5 maint", "10.0.0.5 drain", "10.0.0.5 ready w0"] {
        let mut life = making_ready();
        life.done();
        life.wakes(40);
        assert_eq!(life.table(&[out]), "'node1 out by an operator'; serving; rest 1000ms", "{out}");
    }
}

/// What another registrar holds at the process `pid`.
fn held(pid: u32, endpoint: &str, name: &str) -> Holding {
    let mut processes = Processes::default();
    processes.note(&process(pid), Duration::ZERO);
    Holding {
        process: processes.last().cloned().unwrap(),
        endpoint: endpoint.parse().unwrap(),
        slot: (&Server { name: name.into(), ..slot(1, "10.0.0.5 ready") }).into(),
    }
}

fn process(pid: u32) -> Process {
    Process { pid, uptime: Duration::from_secs(9), node: Some("lb".into()), stopping: false }
}

const OTHER: &str = "10.1.1.5:3128";

#[test]
fn a_slot_that_another_registrar_holds_at_the_same_haproxy_is_enough() {
    let mut life = Life::holding();
    life.process = Some(process(7));
    life.machine.beside(vec![held(7, OTHER, "node2")]);
    life.wakes(1000);
    life.line("MAINT", 0);
    life.alive();
    let table = ["10.0.0.5 ready", "10.1.1.5 ready"];
    assert_eq!(life.table(&table), "'node2 is held there'; release node1");
    assert_eq!(life.done(), "'node1 released'; absent; rest 10ms");
    assert_eq!(life.wakes(10), "read webapp", "a reply proves nothing");
    assert_eq!(life.table(&[EMPTY, "10.1.1.5 ready"]), "serving; rest 1000ms");
    assert_eq!(life.wakes(1000), "ping");
    assert_eq!(life.alive(), "serving; rest 1000ms");
    // The other one has lost it, perhaps for a moment.
    life.machine.beside(Vec::new());
    for _ in 0..2 {
        life.wakes(1000);
        assert_eq!(life.alive(), "serving; rest 1000ms");
    }
    life.wakes(1000);
    assert_eq!(life.alive(), "read webapp");
    assert_eq!(life.table(&[EMPTY, EMPTY]), "claim node1");
}

#[test]
fn at_one_address_of_ours_the_slot_is_shared_and_nothing_is_written() {
    let mut life = Life::new();
    life.process = Some(process(7));
    life.machine.beside(vec![held(7, ME, "node1")]);
    life.wishes(Desired::Serving);
    let table = ["10.0.0.5 ready", EMPTY];
    assert_eq!(life.table(&table), "'node1 is held there'; serving; rest 1000ms");
    assert_eq!(life.wishes(Desired::Draining), "read webapp");
    assert_eq!(life.table(&table), "drain node1", "as the other one does");
}

#[test]
fn neither_a_process_number_nor_an_address_alone_tells_one_haproxy() {
    for (pid, endpoint) in [(7, "10.1.1.6:3128"), (8, OTHER)] {
        let mut life = Life::new();
        life.process = Some(process(7));
        life.machine.beside(vec![held(pid, endpoint, "node2")]);
        life.wishes(Desired::Serving);
        assert_eq!(life.table(&[EMPTY, "10.1.1.5 ready"]), "claim node1", "{pid} {endpoint}");
    }
}

#[test]
fn half_a_line_into_rotation_is_not_an_operators_doing() {
    let mut life = making_ready();
    life.fails();
    life.wakes(50);
    life.alive();
    assert_eq!(life.table(&["10.0.0.5 maint"]), "make node1 ready");
}

#[test]
fn what_stays_out_of_rotation_is_said_once_and_tried_less_and_less() {
    let mut life = Life::new();
    life.wishes(Desired::Serving);
    let mut heard = Vec::new();
    for _ in 0..8 {
        life.table(&["10.0.0.5 maint w0"]);
        heard.push(life.done());
        life.wakes(1000);
    }
    assert_eq!(
        heard,
        [
            "'node1 in rotation'; serving; rest 40ms",
            "serving; rest 37ms",
            "serving; rest 75ms",
            "serving; rest 150ms",
            "'node1 in vain'; serving; rest 300ms",
            "serving; rest 600ms",
            "serving; rest 750ms",
            "serving; rest 750ms",
        ]
    );
}

#[test]
fn a_failure_is_said_once_and_only_a_sign_of_life_is_asked_for_then() {
    let mut life = Life::holding();
    life.wakes(1000);
    let said = "'no answer within 2s; are all its connections taken (stats maxconn)?'";
    assert_eq!(life.fails(), format!("{said}; rest 37ms"));
    assert_eq!(life.wakes(37), "ping");
    assert_eq!(life.fails(), "rest 75ms");
    assert_eq!(life.wakes(75), "ping");
    assert_eq!(life.fails(), "unreachable; rest 150ms");
    assert_eq!(life.wakes(150), "ping");
    assert_eq!(life.alive(), "read all");
    assert_eq!(
        life.table(&["10.0.0.5 ready"]),
        "'reachable'; 'node1 in rotation'; serving; rest 40ms"
    );
    assert_eq!(life.wakes(40), "read webapp", "no sign of life is needed any more");
}

#[test]
fn a_refused_change_is_not_over_because_a_read_succeeds() {
    let mut life = Life::new();
    life.wishes(Desired::Serving);
    life.table(&[EMPTY]);
    assert!(life.fails().starts_with("'no answer"));
    life.wakes(50);
    life.alive();
    // The claim may have been carried out all the same.
    assert_eq!(life.table(&[EMPTY]), "absent; rest 10ms");
    life.wakes(1000);
    assert_eq!(life.table(&[EMPTY]), "claim node1");
    assert_eq!(life.fails(), "rest 75ms");
    life.wakes(75);
    life.alive();
    assert_eq!(life.table(&["10.0.0.5 maint w0"]), "make node1 ready");
    assert_eq!(life.done(), "'reachable'; 'node1 in rotation'; serving; rest 40ms");
}

#[test]
fn a_slot_is_drained_and_given_back() {
    let mut life = Life::holding();
    assert_eq!(life.wishes(Desired::Draining), "read webapp");
    assert_eq!(life.table(&["10.0.0.5 ready"]), "drain node1");
    assert_eq!(life.done(), "'node1 draining'; draining { sessions: 0 }; rest 0ms");
    assert_eq!(life.wakes(0), "read webapp");
    let draining = "10.0.0.5 drain w0";
    assert_eq!(life.table(&[draining]), "count node1");
    assert_eq!(life.line("DRAIN", 2), "draining { sessions: 2 }; rest 50ms");
    life.wakes(50);
    life.table(&[draining]);
    assert_eq!(life.line("DRAIN", 0), "idle; rest 1000ms");
    assert_eq!(life.wishes(Desired::Absent), "read webapp");
    assert_eq!(life.table(&[draining]), "release node1");
    assert_eq!(life.done(), "'node1 released'; draining { sessions: 0 }; rest 10ms");
    life.wakes(10);
    assert_eq!(life.table(&[EMPTY]), "count former node1");
    assert_eq!(life.line_at("nowhere", "MAINT", 1), "draining { sessions: 1 }; rest 50ms");
    life.wakes(50);
    life.table(&[EMPTY]);
    assert_eq!(life.line_at("nowhere", "MAINT", 0), "absent; rest 1000ms");
    assert_eq!(life.wakes(1000), "route", "what is over is not looked at");
}

#[test]
fn a_slot_that_was_given_back_and_claimed_again_is_not_waited_for() {
    let mut life = Life::holding();
    life.wishes(Desired::Absent);
    life.table(&["10.0.0.5 ready"]);
    life.done();
    life.wakes(10);
    assert_eq!(life.table(&["10.0.0.9 ready"]), "count former node1");
    assert_eq!(life.line_at(ANOTHER, "UP", 7), "absent; rest 1000ms");
}

#[test]
fn sessions_that_last_for_hours_are_counted_less_and_less() {
    let mut life = Life::holding();
    life.wishes(Desired::Draining);
    for (after, pause) in [(0, 50), (600, 60), (5_400, 600), (100_000, 1000)] {
        life.wakes(after);
        life.table(&["10.0.0.5 drain w0"]);
        let expected = format!("draining {{ sessions: 1 }}; rest {pause}ms");
        assert_eq!(life.line("DRAIN", 1), expected);
    }
}

#[test]
fn a_process_that_was_replaced_while_it_served_gets_the_drains_time() {
    let process = |pid, uptime| {
        let uptime = Duration::from_secs(uptime);
        Some(Process { pid, uptime, node: None, stopping: false })
    };
    let mut life = Life::holding();
    life.process = process(1, 1000);
    life.wishes(Desired::Draining);
    life.table(&["10.0.0.5 ready"]);
    life.process = process(2, 2);
    life.now = Duration::from_secs(100);
    life.wishes(Desired::Draining);
    // Since second 98, and five long.
    assert_eq!(life.table(&[EMPTY]), "draining { sessions: 0 }; rest 3000ms");
    life.wakes(3001);
    assert_eq!(life.table(&[EMPTY]), "absent; rest 1000ms");
}

#[test]
fn who_leaves_does_not_wait_for_one_that_is_gone_but_for_one_that_is_busy() {
    let mut life = Life::holding();
    life.wishes(Desired::Draining);
    for _ in 0..9 {
        assert!(!life.fails().contains("unreachable"));
        life.wakes(1000);
    }
    assert_eq!(life.is_refused(), "'connect: connection refused'; unreachable; rest 750ms");
    let mut life = Life::holding();
    life.wishes(Desired::Absent);
    assert!(!life.fails().contains("unreachable"), "one failure is not the end");
    life.fails();
    assert_eq!(life.fails(), "unreachable; rest 150ms");
}

#[test]
fn a_wish_that_changes_in_the_middle_begins_anew() {
    let mut life = Life::new();
    life.wishes(Desired::Serving);
    assert_eq!(life.table(&[EMPTY]), "claim node1");
    assert_eq!(life.wishes(Desired::Absent), "read webapp", "whatever came of the claim");
    assert_eq!(life.table(&["10.0.0.5 maint w0"]), "release node1");
}

#[test]
fn an_address_that_changed_is_claimed_once_the_former_one_is_given_back() {
    let mut life = Life::holding();
    life.local = [10, 0, 0, 6].into();
    assert_eq!(life.wakes(1000), "verify node1");
    assert_eq!(life.line("UP", 0), "read webapp", "the line is in order, the connection tells");
    let moved = "'10.0.0.5 is now 10.0.0.6'; release node1";
    assert_eq!(life.table(&["10.0.0.5 ready", EMPTY]), moved);
    assert_eq!(life.done(), "'node1 released'; absent; rest 10ms");
    life.wakes(10);
    assert_eq!(life.table(&[EMPTY, EMPTY]), "claim node1");
    life.done();
    life.wakes(10);
    assert_eq!(life.table(&["10.0.0.6 maint w0", EMPTY]), "make node1 ready");
    life.done();
    // The former address may still show up late.
    life.wakes(40);
    assert_eq!(life.table(&["10.0.0.6 ready"]), "serving; rest 40ms");
    life.wakes(250);
    assert_eq!(life.table(&["10.0.0.5 ready"]), "release node1");
}

#[test]
fn a_former_address_in_another_slot_is_somebody_elses() {
    let mut life = Life::holding();
    life.local = [10, 0, 0, 6].into();
    life.wakes(1000);
    life.line("UP", 0);
    let table = ["10.0.0.9 ready", "10.0.0.5 ready", EMPTY];
    assert_eq!(life.table(&table), "'10.0.0.5 is now 10.0.0.6'; claim node3");
}

#[test]
fn who_leaves_drains_the_slot_of_his_former_address() {
    let mut life = Life::holding();
    life.local = [10, 0, 0, 6].into();
    assert_eq!(life.wishes(Desired::Draining), "read webapp");
    let moved = "'10.0.0.5 is now 10.0.0.6'; drain node1";
    assert_eq!(life.table(&["10.0.0.5 ready"]), moved);
    life.done();
    life.wakes(0);
    assert_eq!(life.table(&["10.0.0.5 drain w0"]), "count node1");
    life.local = [10, 0, 0, 6].into();
    assert_eq!(life.line("DRAIN", 0), "idle; rest 250ms");
    assert_eq!(life.wishes(Desired::Absent), "read webapp");
    assert_eq!(life.table(&["10.0.0.5 drain w0"]), "release node1");
    life.done();
    life.wakes(10);
    assert_eq!(life.table(&[EMPTY]), "count former node1");
    assert_eq!(life.line_at("nowhere", "MAINT", 0), "draining { sessions: 0 }; rest 250ms");
    life.wakes(250);
    assert_eq!(life.table(&[EMPTY]), "absent; rest 1000ms", "nothing shows late any more");
}

#[test]
fn an_address_that_is_configured_does_not_change() {
    let mut life = Life::holding();
    let settings = Settings::clone(&life.machine.settings);
    let app_addr = Some([10, 0, 0, 5].into());
    life.machine.settings = Arc::new(Settings { app_addr, ..settings });
    life.local = [10, 0, 0, 6].into();
    life.wakes(1000);
    assert_eq!(life.line("UP", 0), "serving; rest 1000ms");
}

#[test]
fn a_slot_that_may_have_been_put_in_is_drained_like_one_that_was() {
    let mut life = Life::new();
    life.wishes(Desired::Serving);
    assert_eq!(life.table(&["10.0.0.5 maint w0"]), "make node1 ready");
    // Nobody will ever hear what came of it.
    life.wishes(Desired::Draining);
    for _ in 0..9 {
        assert!(!life.fails().contains("unreachable"), "it may have requests");
        life.wakes(1000);
    }
}

#[test]
fn who_is_not_ready_looks_once_and_costs_haproxy_nothing_then() {
    let mut life = Life::new();
    assert_eq!(life.wakes(0), "read all");
    assert_eq!(life.table(&[EMPTY]), "absent; rest 1000ms");
    for _ in 0..100 {
        assert_eq!(life.wakes(1000), "route");
        assert_eq!(life.routed("10.0.0.5"), "rest 1000ms");
    }
    assert_eq!(life.wakes(1000), "route");
    assert_eq!(life.routed("10.0.0.6"), "read webapp", "the app is asked at another address");
    life.local = [10, 0, 0, 6].into();
    assert_eq!(life.table(&[EMPTY]), "'10.0.0.5 is now 10.0.0.6'; absent; rest 1000ms");
    assert_eq!(life.wishes(Desired::Serving), "read webapp");
}

#[test]
fn an_operators_mistake_is_said_once_and_looked_at_less_and_less() {
    let mut life = Life::new();
    life.wakes(0);
    let said = "'no backend has slots called node1, node2, …; there is no server-template \
                (HAPROXY_NODE_PREFIX is what their names begin with)'";
    assert_eq!(life.table(&[]), format!("{said}; absent; rest 30000ms"), "nobody waits for it");
    assert_eq!(life.wishes(Desired::Serving), "read all");
    for pause in [750, 1500, 3000, 6000, 12000, 22500, 22500] {
        assert_eq!(life.table(&[]), format!("absent; rest {pause}ms"));
        assert_eq!(life.wakes(pause), "read all");
    }
    assert_eq!(life.table(&[EMPTY]), "claim node1");
    assert!(life.done().starts_with("'reachable'; "));
}

#[test]
fn commands_that_are_refused_are_tried_less_and_less_but_not_by_who_leaves() {
    let refused = || ClientError::Refused { command: "set server state", reply: "no".into() };
    let mut life = Life::new();
    life.wishes(Desired::Serving);
    for pause in [750, 1500, 3000] {
        life.table(&[EMPTY]);
        assert!(life.hears(Heard::Failed(refused())).contains(&format!("rest {pause}ms")));
        life.now += Duration::from_secs(1);
        life.wakes(pause);
        life.alive();
    }
    life.wishes(Desired::Absent);
    life.alive();
    life.table(&["10.0.0.5 ready"]);
    assert_eq!(life.hears(Heard::Failed(refused())), "unreachable; rest 37ms");
}

#[test]
fn two_haproxys_at_one_address_get_all_back_and_nothing_more() {
    let process = |pid| {
        let uptime = Duration::from_secs(100);
        Some(Process { pid, uptime, node: None, stopping: false })
    };
    let mut life = Life::new();
    let swept = |life: &mut Life, pid, changed| {
        life.process = process(pid);
        let peers = life.peers();
        let follows = life.hears(Heard::Swept(Swept { peers, changed }));
        life.hears(Heard::Woken);
        follows
    };
    life.process = process(1);
    life.wishes(Desired::Serving);
    life.table(&[EMPTY]);
    // Each read goes to the one, each change to the other.
    for pids in [(2, 1), (2, 1)] {
        life.process = process(pids.0);
        life.done();
        life.wakes(300);
        life.process = process(pids.1);
        life.table(&[EMPTY]);
    }
    assert_eq!(asked(life.machine.ask()), "sweep");
    assert_eq!(swept(&mut life, 2, true), "absent; rest 50ms");
    let looks = (0..40).find(|n| swept(&mut life, 1 + n % 2, false).contains("rest 30000ms"));
    assert!(looks.is_some(), "then a look every half minute");
    for _ in 0..11 {
        swept(&mut life, 1, false);
    }
    assert_eq!(swept(&mut life, 1, false), "'united'; read all", "the other one is gone");
}

#[test]
fn an_address_that_haproxy_cannot_reach_is_said_once_after_a_while_and_when_it_is_over() {
    let mut life = Life::holding();
    let mut heard = Vec::new();
    for status in ["DOWN"; 14].into_iter().chain(["DOWN 1/2", "UP", "UP"]) {
        life.wakes(1000);
        heard.push(life.line(status, 0));
    }
    let said: Vec<_> = heard.iter().enumerate().filter(|(_, said)| said.contains('\'')).collect();
    assert_eq!(
        said,
        [
            (10, &"'node1 DOWN: L4TOUT'; serving; rest 1000ms".to_owned()),
            (15, &"'node1 UP'; serving; rest 1000ms".to_owned()),
        ]
    );
    let mut life = Life::holding();
    for status in ["DOWN", "UP"].repeat(5) {
        life.wakes(4000);
        assert_eq!(life.line(status, 0), "serving; rest 1000ms", "not for long");
    }
}
