//! The rules, one at a time, as a template would show them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::registers::haproxy::{AdminState, Command};

const ME: &str = "10.0.0.5:3128";
const NOW: Duration = Duration::from_secs(100);
/// For how long HAProxy has been running.
const UPTIME: Duration = Duration::from_secs(1000);

/// The slots of a template, and the memory of one agent that looks at it.
struct Slots {
    slots: Vec<Server>,
    memory: Memory,
    limit: Option<u32>,
}

impl Slots {
    /// One slot for each description: an address, then `maint`, `drain` or `ready`, and optionally
    /// `w0` (weight 0), `down` (for a minute), `rising` (down, and a check has passed), `untouched`
    /// (since HAProxy started) and `unchecked` (without health checks).
    fn new(descriptions: &[&str]) -> Self {
        let slots = descriptions.iter().zip(1..).map(|(text, id)| slot(id, text)).collect();
        Self { slots, memory: Memory::default(), limit: Some(3) }
    }

    fn plan(&mut self, desired: Desired) -> Step {
        self.plan_at(desired, NOW)
    }

    fn plan_at(&mut self, desired: Desired, now: Duration) -> Step {
        let me: SocketAddr = ME.parse().unwrap();
        let process = Process { pid: 1, uptime: UPTIME, node: None, stopping: false };
        let view = View { servers: &self.slots, process: Some(&process), read_at: now };
        let template = Template::of(&self.slots, &"webapp".into(), "node");
        self.memory.observe(&view, &template, me);
        let me = Me {
            endpoint: me,
            template: &template,
            limit: self.limit,
            reclaim_after: Duration::from_secs(30),
            memory: &self.memory,
        };
        let step = plan(&me, desired, &view, now);
        self.memory.will(&step, now);
        step
    }

    /// The step's commands, as HAProxy would read them.
    fn commands(&mut self, desired: Desired) -> Vec<String> {
        self.plan(desired).commands().iter().map(Command::to_string).collect()
    }
}

fn slot(id: u32, text: &str) -> Server {
    let mut words = text.split(' ');
    let addr: Option<IpAddr> = words.next().unwrap().parse().ok();
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
        addr,
        port: Some(3128),
        running: !has("down") && !has("rising") && !has("maint"),
        admin: AdminState(admin | AdminState::CONFIGURED_MAINT),
        weight: u32::from(!has("w0")),
        configured_weight: 1,
        has_name: false,
        unchanged: if has("untouched") { UPTIME } else { Duration::from_secs(60) },
        checks: match (has("unchecked"), has("untouched"), has("down")) {
            (true, ..) => Checks::None,
            (_, true, _) => Checks::Pending,
            (.., true) => Checks::Failed,
            _ => Checks::Seen,
        },
    }
}

#[test]
fn claims_an_empty_slot_in_maintenance_and_marks_it() {
    let mut template = Slots::new(&["10.0.0.1 ready", "0.0.0.0 maint", "10.0.0.2 maint"]);
    assert_eq!(
        template.commands(Desired::Serving),
        [
            "set server webapp/node2 state maint",
            "set server webapp/node2 weight 0%",
            "set server webapp/node2 addr 10.0.0.5 port 3128"
        ]
    );
}

#[test]
fn makes_its_claim_ready_once_a_read_shows_it() {
    let mut template = Slots::new(&["10.0.0.5 maint w0"]);
    assert_eq!(
        template.commands(Desired::Serving),
        ["set server webapp/node1 weight 100%", "set server webapp/node1 state ready"]
    );
    template.slots = vec![slot(1, "10.0.0.5 ready")];
    assert!(matches!(template.plan(Desired::Serving), Step::Hold { watching: false, .. }));
}

#[test]
fn leaves_a_slot_in_maintenance_with_an_address_to_the_operator() {
    let mut template = Slots::new(&["10.0.0.1 maint", "10.0.0.2 maint", "10.0.0.3 maint"]);
    assert_eq!(template.plan(Desired::Serving), Step::Full(Full::Taken { slots: 3 }));
    // Its owner does not fight him either.
    let mut template = Slots::new(&["10.0.0.5 ready"]);
    template.plan(Desired::Serving);
    template.slots = vec![slot(1, "10.0.0.5 maint")];
    assert!(matches!(template.plan(Desired::Serving), Step::LeaveToOperator(_)));
}

#[test]
fn claims_no_slot_beyond_the_count() {
    let mut template =
        Slots::new(&["10.0.0.1 ready", "10.0.0.2 ready", "10.0.0.3 ready", "0.0.0.0 maint"]);
    assert_eq!(template.plan(Desired::Serving), Step::Full(Full::Taken { slots: 3 }));
}

#[test]
fn takes_over_what_it_has_seen_down_for_long_enough() {
    let mut template = Slots::new(&["10.0.0.1 ready", "10.0.0.2 ready down"]);
    let full = Step::Full(Full::Taken { slots: 2 });
    // HAProxy says since a minute; that may be from before its last maintenance.
    assert_eq!(template.plan(Desired::Serving), full);
    let almost = NOW + Duration::from_millis(29_999);
    assert_eq!(template.plan_at(Desired::Serving, almost), full);
    let later = NOW + Duration::from_secs(30);
    let Step::Claim { slot, .. } = template.plan_at(Desired::Serving, later) else { panic!() };
    assert_eq!(&*slot.name, "node2");
}

#[test]
fn time_down_begins_anew_with_another_address_and_with_a_check_that_passed() {
    for between in ["10.0.0.3 ready down", "10.0.0.2 ready rising", "10.0.0.2 ready"] {
        let mut template = Slots::new(&["10.0.0.2 ready down"]);
        template.plan(Desired::Serving);
        template.slots = vec![slot(1, between)];
        template.plan_at(Desired::Serving, NOW + Duration::from_secs(20));
        template.slots = vec![slot(1, "10.0.0.2 ready down")];
        for seconds in [21, 50] {
            let step = template.plan_at(Desired::Serving, NOW + Duration::from_secs(seconds));
            assert_eq!(step, Step::Full(Full::Taken { slots: 1 }), "{between}");
        }
        let later = NOW + Duration::from_secs(51);
        assert!(matches!(template.plan_at(Desired::Serving, later), Step::Claim { .. }));
    }
    // It was UP between two looks.
    let mut template = Slots::new(&["10.0.0.2 ready down"]);
    template.slots[0].unchanged = Duration::from_secs(29);
    template.plan(Desired::Serving);
    let later = NOW + Duration::from_secs(40);
    assert_eq!(template.plan_at(Desired::Serving, later), Step::Full(Full::Taken { slots: 1 }));
}

#[test]
fn takes_over_a_claim_that_nobody_finishes() {
    let mut template = Slots::new(&["10.0.0.1 maint w0"]);
    assert_eq!(template.plan(Desired::Serving), Step::Full(Full::Taken { slots: 1 }));
    let later = NOW + Duration::from_secs(30);
    assert!(matches!(template.plan_at(Desired::Serving, later), Step::Claim { .. }));
}

#[test]
fn gives_back_every_slot_but_one_that_shows_its_address() {
    let mut template = Slots::new(&["10.0.0.5 ready", "10.0.0.5 maint w0", "0.0.0.0 maint"]);
    let Step::Release(releases) = template.plan(Desired::Serving) else { panic!() };
    assert_eq!(releases.iter().map(|r| &*r.slot.name).collect::<Vec<_>>(), ["node2"]);
    let Step::Release(releases) = template.plan(Desired::Absent) else { panic!() };
    assert_eq!(releases.len(), 2);
}

#[test]
fn goes_back_to_the_slot_it_had() {
    let mut template = Slots::new(&["0.0.0.0 maint", "10.0.0.5 ready", "0.0.0.0 maint"]);
    template.plan(Desired::Serving);
    template.slots = (1..=3).map(|id| slot(id, "127.0.0.1 maint untouched")).collect();
    let Step::Claim { slot, .. } = template.plan(Desired::Serving) else { panic!() };
    assert_eq!(&*slot.name, "node2");
}

#[test]
fn an_old_read_is_not_acted_upon() {
    let mut template = Slots::new(&["0.0.0.0 maint"]);
    let me = Me {
        endpoint: ME.parse().unwrap(),
        template: &Template::of(&template.slots, &"webapp".into(), "node"),
        limit: None,
        reclaim_after: Duration::from_secs(30),
        memory: &template.memory,
    };
    let view = View { servers: &template.slots, process: None, read_at: NOW };
    let later = NOW + MAX_AGE + Duration::from_millis(1);
    assert_eq!(plan(&me, Desired::Serving, &view, later), Step::Reread);
    assert!(matches!(template.plan(Desired::Serving), Step::Claim { .. }));
}

#[test]
fn drains_then_waits_then_gives_back() {
    let mut template = Slots::new(&["10.0.0.5 ready"]);
    assert!(matches!(template.plan(Desired::Draining), Step::Drain(_)));
    template.slots = vec![slot(1, "10.0.0.5 drain w0")];
    assert!(matches!(template.plan(Desired::Draining), Step::AwaitIdle(_)));
    assert!(matches!(template.plan(Desired::Absent), Step::Release(_)));
    template.slots = vec![slot(1, "0.0.0.0 maint")];
    assert_eq!(template.plan(Desired::Absent), Step::Nothing);
}

#[test]
fn a_line_that_gives_slots_back_fits_the_buffer_of_haproxy() {
    for length in [1, 100] {
        let slot = |id| Server {
            backend: "b".repeat(length).into(),
            name: format!("{}{id}", "n".repeat(length)).into(),
            ..slot(id, "0.0.0.0 ready")
        };
        let releases: Vec<_> = (1..=200).map(|id| Release { slot: slot(id), port: 3128 }).collect();
        let commands: Vec<_> =
            Step::Release(releases).commands().iter().map(ToString::to_string).collect();
        assert_eq!(commands.len() % 3, 0, "whole releases");
        assert!((4_000..8_000).contains(&commands.join("; ").len()), "{}", commands.len());
    }
}

/// Which of so many slots' holders see to a ghost in one of them.
fn janitors(ghost: usize, slots: usize) -> Vec<usize> {
    let sees = |me: &usize| {
        let mut shown: Vec<_> = (0..slots).map(|i| format!("10.1.0.{i} ready")).collect();
        shown[*me] = format!("{} ready", ME.trim_end_matches(":3128"));
        shown[ghost] = "0.0.0.0 ready down".into();
        let shown: Vec<_> = shown.iter().map(String::as_str).collect();
        let mut template = Slots { limit: None, ..Slots::new(&shown) };
        matches!(template.plan(Desired::Serving), Step::Hold { watching: true, .. })
    };
    (0..slots).filter(|me| *me != ghost).filter(sees).collect()
}

#[test]
fn a_ghost_falls_to_the_next_three_holders_after_it_and_to_the_first_after_the_last() {
    assert_eq!(janitors(0, 9), [1, 2, 3]);
    assert_eq!(janitors(4, 9), [5, 6, 7]);
    assert_eq!(janitors(7, 9), [0, 1, 8]);
}

#[test]
fn an_untouched_slot_is_known_by_what_haproxy_says_of_it() {
    let empty = |text: &str| {
        let mut template = Slots::new(&[text]);
        template.plan(Desired::Serving);
        matches!(template.plan_at(Desired::Serving, NOW + SETTLING), Step::Claim { .. })
    };
    for (text, expected) in [
        ("192.0.2.1 maint untouched", true),
        ("192.0.2.1 maint untouched unchecked", true),
        ("2001:db8::1 maint untouched", true),
        ("192.0.2.1 maint", false),
        ("192.0.2.1 maint unchecked", false),
        ("192.0.2.1 maint w0 untouched", false),
        ("192.0.2.1 ready untouched", false),
        ("- maint untouched", false),
    ] {
        assert_eq!(empty(text), expected, "{text}");
    }
    // An older change without health checks may be what a state file has brought back.
    let mut template = Slots::new(&["192.0.2.1 maint untouched unchecked"]);
    template.slots[0].unchanged = UPTIME + Duration::from_secs(60);
    template.plan(Desired::Serving);
    let step = template.plan_at(Desired::Serving, NOW + SETTLING);
    assert_eq!(step, Step::Full(Full::Taken { slots: 1 }));
}

#[test]
fn of_two_untouched_slots_that_differ_one_is_an_operators_unless_a_name_gives_them() {
    let two = ["192.0.2.1 maint untouched", "192.0.2.2 maint untouched"];
    for (has_name, claims) in [(false, false), (true, true)] {
        let mut template = Slots::new(&two);
        template.slots.iter_mut().for_each(|slot| slot.has_name = has_name);
        template.plan(Desired::Serving);
        let step = template.plan_at(Desired::Serving, NOW + SETTLING);
        assert_eq!(matches!(step, Step::Claim { .. }), claims);
    }
    let mut template = Slots::new(&[two[0], two[0], two[1]]);
    let Step::Claim { slot, .. } = template.plan(Desired::Serving) else { panic!() };
    assert_ne!(&*slot.name, "node3");
}

#[test]
fn every_endpoint_that_several_slots_show_is_nobodys() {
    let ghosts = ["192.0.2.1 ready down"; 2].into_iter().chain(["192.0.2.2 ready down"; 2]);
    let mut template = Slots::new(&ghosts.chain(["10.0.0.5 ready"]).collect::<Vec<_>>());
    template.limit = None;
    for after in [Duration::ZERO, SETTLING] {
        let step = template.plan_at(Desired::Serving, NOW + after);
        assert!(matches!(step, Step::Hold { .. }), "{step:?}");
    }
    let later = NOW + SETTLING + MAX_AGE;
    let Step::Release(releases) = template.plan_at(Desired::Serving, later) else { panic!() };
    assert_eq!(releases.len(), 4);
}

#[test]
fn a_live_agents_two_slots_are_not_taken_for_ghosts() {
    let mut template = Slots::new(&["10.0.0.9 ready", "10.0.0.9 ready"]);
    for after in [Duration::ZERO, SETTLING, MAX_AGE] {
        let step = template.plan_at(Desired::Serving, NOW + after);
        assert!(matches!(step, Step::Settle | Step::Full(_)), "{step:?}");
    }
}

#[test]
fn what_haproxy_itself_holds_back_is_left_and_not_fought() {
    let bars =
        [AdminState::INHERITED_MAINT, AdminState::INHERITED_DRAIN, AdminState::RESOLUTION_MAINT];
    for bar in bars {
        let mut template = Slots::new(&["10.0.0.5 ready"]);
        template.slots[0].admin.0 |= bar;
        template.plan(Desired::Serving);
        assert!(matches!(template.plan(Desired::Serving), Step::LeaveToOperator(_)), "{bar:#x}");
    }
}

#[test]
fn why_no_slot_can_be_claimed_is_told() {
    let mut template = Slots::new(&["- maint untouched"]);
    assert_eq!(template.plan(Desired::Serving), Step::Full(Full::NoAddress));
    template.slots[0].has_name = true;
    assert_eq!(template.plan(Desired::Serving), Step::Full(Full::Unresolved));
    let mut template = Slots::new(&["192.0.2.1 maint untouched", "0.0.0.0 maint"]);
    template.slots.iter_mut().for_each(|slot| slot.configured_weight = 0);
    assert_eq!(template.plan(Desired::Serving), Step::Full(Full::Weightless));
}
