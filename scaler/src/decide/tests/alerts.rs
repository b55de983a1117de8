//! Alerts: bounded steps, taken or left.

use super::*;

#[test]
fn alerts_that_come_together_are_one_step_and_the_next_waits_for_its_effect() {
    let mut policy = webapp(1, 9);
    policy.alert_step = 2;
    let mut w = World::new(policy, 2);
    for key in ["a", "b", "c"] {
        w.alert(key, Action::ScaleUp);
    }
    let decision = w.tick(&[]);
    assert_eq!(decision.reason, "scale out 2 → 4: alert \"too many sessions\" asks for scale_up");
    let all = |of: &Decision, what: HintOutcome| of.hints.iter().all(|(_, hint)| *hint == what);
    assert!(all(&decision, HintOutcome::Processed), "{decision:?}");
    w.wait(19).alert("d", Action::ScaleUp).alert("e", Action::ScaleUp);
    let decision = w.tick(&[]);
    let why = HintOutcome::Pending("the last start was only 19 s ago".to_owned());
    assert!(decision.to == 4 && all(&decision, why), "{decision:?}");
    w.wait(1).alert("d", Action::ScaleUp).alert("e", Action::ScaleUp);
    let decision = w.tick(&[]);
    assert!(decision.to == 6 && all(&decision, HintOutcome::Processed), "{decision:?}");
}

#[test]
fn at_the_bounds_alerts_are_skipped() {
    let mut w = World::new(webapp(2, 3), 3);
    w.alert("a", Action::ScaleUp);
    let why = HintOutcome::Skipped("already at the maximum of 3".to_owned());
    assert_eq!(w.tick(&[]).hints, [("a".to_owned(), why)]);
    let mut w = World::new(webapp(2, 3), 2);
    w.alert("a", Action::ScaleDown);
    let why = HintOutcome::Skipped("already at the minimum of 2".to_owned());
    assert_eq!(w.tick(&[]).hints, [("a".to_owned(), why)]);
}

#[test]
fn alerts_down_that_come_together_are_one_step_too() {
    let mut policy = webapp(1, 9);
    policy.down.limit = None;
    policy.down.window = Duration::ZERO;
    let mut w = World::new(policy, 8);
    for key in ["a", "b", "c"] {
        w.alert(key, Action::ScaleDown);
    }
    assert_eq!(w.tick(&[]).to, 7);
    w.wait(5).alert("d", Action::ScaleDown);
    let why = HintOutcome::Pending("the last stop was only 5 s ago".to_owned());
    assert_eq!(w.tick(&[]).hints, [("d".to_owned(), why)]);
}

#[test]
fn an_alert_starts_the_first_replica_from_zero() {
    let mut policy = sessions();
    policy.min = 0;
    let mut w = World::new(policy, 0);
    w.alert("a", Action::ScaleUpService);
    let decision = w.decide(vec![Reading::Missing]);
    assert_eq!((decision.from, decision.to), (0, 1));
    for _ in 0..60 {
        w.wait(5);
        assert_eq!(w.tick(&[0.0]).to, 1, "not gone again before the window is over");
    }
    assert_eq!(w.wait(5).tick(&[0.0]).to, 0);
    assert_eq!(w.wait(5).decide(vec![Reading::Missing]).action, Move::Hold);
}

#[test]
fn an_alert_goes_down_only_when_the_metrics_agree_and_nothing_was_just_started() {
    let mut w = World::new(sessions(), 3);
    w.tick(&[230.0]);
    w.alert("a", Action::ScaleDown);
    let pending = HintOutcome::Pending("the last start was only 10 s ago".to_owned());
    assert_eq!(w.wait(0).history.acts.len(), 1);
    w.now = w.now + Duration::from_secs(10);
    assert_eq!(w.tick(&[100.0]).hints[0].1, pending);
    w.wait(5).alert("a", Action::ScaleDown);
    let skipped = HintOutcome::Skipped("the metrics ask for 5".to_owned());
    assert_eq!(w.tick(&[230.0]).hints[0].1, skipped);
    w.wait(300).alert("a", Action::ScaleDown);
    let decision = w.tick(&[190.0]);
    assert_eq!((decision.to, &decision.hints[0].1), (4, &HintOutcome::Processed));
    w.wait(5).alert("b", Action::ScaleDown);
    let HintOutcome::Pending(why) = w.decide(vec![Reading::Stale]).hints.remove(0).1 else {
        panic!("must wait for the metric")
    };
    assert_eq!(why, "sessions is stale, so nothing is stopped");
}

#[test]
fn an_expired_alert_is_skipped() {
    let mut w = World::new(webapp(1, 4), 2);
    w.alert("a", Action::ScaleUp).wait(300);
    let decision = w.tick(&[]);
    assert_eq!(decision.action, Move::Hold);
    let why = "it is 300 s old and no longer counts".to_owned();
    assert_eq!(decision.hints[0].1, HintOutcome::Skipped(why));
}

#[test]
fn an_alert_waits_for_the_cool_down() {
    let mut policy = webapp(1, 9);
    policy.up.cooldown = Duration::from_secs(60);
    let mut w = World::new(policy, 2);
    w.alert("a", Action::ScaleUp);
    assert_eq!(w.tick(&[]).to, 3);
    w.wait(59).alert("b", Action::ScaleUp);
    let decision = w.tick(&[]);
    let why = "cooling down for 1 s more".to_owned();
    assert_eq!(decision.hints, [("b".to_owned(), HintOutcome::Pending(why))]);
    w.wait(1).alert("b", Action::ScaleUp);
    assert_eq!(w.tick(&[]).hints, [("b".to_owned(), HintOutcome::Processed)]);
}
