//! A decision is made again from what its row says; reasons say what the law went by.

use super::*;

/// The default law on requests, 35 meant and 50 at most per replica, 20 s to start.
pub(super) fn requests(running: u32) -> World {
    let mut policy = Policy::new("webapp", "webapp", 1, 100);
    policy.metrics = vec![metric("requests", Law::Target(Target::new(35.0, policy.start_time)))];
    World::new(policy, running)
}

/// Ticks of five seconds at about one level.
pub(super) fn settled(w: &mut World, level: f64) {
    for n in 0..120 {
        let noise = if n % 2 == 0 { 1.01 } else { 0.99 };
        w.wait(5).tick(&[level * noise]);
    }
}

#[test]
fn every_reason_of_the_law() {
    let mut w = requests(13);
    settled(&mut w, 440.0);
    w.wait(5).says(
        &[445.0],
        "hold 13: requests is 445, lately about 442; with 17 % to spare that needs 10.4 of 50 each",
    );
    w.wait(5).says(
        &[810.0],
        "scale out 13 → 30: requests jumped from 445 to 810, taken to go on to about 992; about 7650 \
         will wait when new ones answer, so 40 % more to work them off: that needs 27.8 of 50 each",
    );
    for _ in 0..9 {
        w.wait(5).tick(&[440.0]);
    }
    w.wait(5).says(
        &[440.0],
        "hold 30, recommended 13: requests is 440; with 17 % to spare that needs 10.3 of 50 each; \
         17 are spare, idle for 2 of 30 s of the fleet",
    );
    for _ in 0..9 {
        w.wait(5).tick(&[440.0]);
    }
    w.wait(5).says(
        &[440.0],
        "scale in 30 → 13: requests is 440; with 17 % to spare that needs 10.3 of 50 each",
    );
}

#[test]
fn what_will_be_waiting_is_worked_off() {
    let mut w = requests(4);
    settled(&mut w, 140.0);
    w.replicas = Some(Replicas { running: 4, ..Replicas::default() });
    let busy = w.wait(5).tick(&[600.0]).reason;
    assert!(busy.contains("will wait when new ones answer, so 40 % more"), "{busy}");
}

#[test]
fn an_average_that_is_full_says_that_more_may_be_asked_for() {
    let mut w = requests(4);
    let law =
        Target { value: ValueOf::Average, surge: 0.0, ..Target::new(70.0, w.policy.start_time) };
    w.policy.metrics = vec![metric("cpu", Law::Target(law))];
    settled(&mut w, 60.0);
    let full = w.wait(5).tick(&[100.0]);
    assert!(full.reason.contains("all are full, so more may be asked for"), "{}", full.reason);
    assert!(full.to >= 6, "{}", full.reason);
}

#[test]
fn a_decision_is_made_again_from_what_was_written() {
    let ten_hours = Duration::from_secs(36_000);
    let mut office = Schedule::new("0 8 * * MON-FRI", "Europe/Paris", ten_hours).expect("right");
    office.min = Some(4);
    let mut w = requests(4);
    w.policy.schedules = vec![office];
    settled(&mut w, 150.0);
    w.wait(7 * 3600).alert("a", Action::ScaleUp);
    let seen = Observation {
        readings: vec![Reading::Value { v: 333.3, at: w.now }],
        replicas: w.replicas,
        hints: w.hints.clone(),
    };
    let written = Inputs::written(&w.policy, &seen, &w.history).expect("can be written");
    let (decision, _) = decide(&w.policy, &seen, &w.history, w.now);
    let again = Inputs::read(&written).expect("can be read").decide(w.now);
    assert_eq!(again, decision);
    assert!(Inputs::read("{\"observation\":{},\"history\":{}}").is_err(), "no policy in it");
}

#[test]
fn what_an_earlier_version_remembered_is_read_on() {
    let stored = r#"{"peaks":[],"dips":[],"acts":[],"trends":[{"metric":"requests","at":1756684800000,
        "fast":400.0,"slow":390.0,"variance":16.0,"level":400.0,"growth":0.1}],"base":null}"#;
    let mut w = requests(13);
    w.history = serde_json::from_str(stored).expect("can be read");
    let decision = w.wait(5).tick(&[410.0]);
    assert_eq!(decision.action, Move::Hold, "{}", decision.reason);
    assert!(decision.reason.contains("in 20 s about 407 as it grows"), "{}", decision.reason);
}
