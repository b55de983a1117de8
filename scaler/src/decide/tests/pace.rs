//! How fast, and whether at all: limits, windows, cool-downs, pauses.

use super::*;

#[test]
fn limits_each_direction_by_count_or_percent_whichever_is_more() {
    let limit = |count, percent| Some(Limit { count, percent, period: Duration::from_secs(30) });
    let mut policy = sessions();
    policy.max = 100;
    policy.up.limit = limit(4, 100.0);
    policy.down.limit = limit(1, 50.0);
    policy.down.window = Duration::ZERO;
    let mut w = World::new(policy, 2);
    w.says(
        &[2000.0],
        "scale out 2 → 6: sessions is 2000, which needs 40 of 50 each; \
         the limit per 30 s allows 6",
    );
    assert_eq!(w.wait(5).tick(&[2000.0]).action, Move::Hold);
    assert_eq!(w.wait(25).tick(&[2000.0]).to, 12);
    assert_eq!(w.wait(30).tick(&[2000.0]).to, 24);
    assert_eq!(w.wait(30).tick(&[2000.0]).to, 42);
    w.wait(30).tick(&[50.0]);
    assert_eq!(w.wait(31).tick(&[50.0]).to, 10);
    assert_eq!(w.wait(5).tick(&[50.0]).action, Move::Hold);
    assert_eq!(w.wait(26).tick(&[50.0]).to, 5);
}

#[test]
fn keeps_evaluating_while_it_cools_down() {
    let mut policy = sessions();
    policy.up.cooldown = Duration::from_secs(60);
    policy.down.cooldown = Duration::from_secs(120);
    policy.down.window = Duration::ZERO;
    let mut w = World::new(policy, 2);
    assert_eq!(w.tick(&[140.0]).to, 3);
    w.wait(10).says(
        &[230.0],
        "hold 3, recommended 5: sessions is 230, which needs 4.6 of 50 each; \
         cooling down for 50 s more",
    );
    w.wait(40);
    w.tick(&[50.0]);
    w.wait(50).says(
        &[50.0],
        "hold 3, recommended 2: sessions is 50, which needs 1 of 50 each; \
         cooling down for 20 s more",
    );
}

#[test]
fn an_up_window_waits_for_a_lasting_wish() {
    let mut policy = sessions();
    policy.up.window = Duration::from_secs(30);
    let mut w = World::new(policy, 2);
    w.tick(&[90.0]);
    w.wait(5).says(
        &[230.0],
        "hold 2, recommended 5: sessions is 230, which needs 4.6 of 50 each; \
         the last 30 s asked for 2 at least once",
    );
    for _ in 0..5 {
        w.wait(5).tick(&[190.0]);
    }
    assert_eq!(w.wait(5).tick(&[230.0]).to, 4);
}

#[test]
fn pause_and_dry_run_go_on_recommending() {
    let mut w = World::new(Policy { pause: Pause::Up, ..sessions() }, 2);
    w.says(
        &[230.0],
        "hold 2, would go to 5: sessions is 230, which needs 4.6 of 50 each; scaling up is paused",
    );
    assert_eq!(w.tick(&[230.0]).want, 5);
    let mut w = World::new(Policy { dry_run: true, ..sessions() }, 2);
    w.says(&[230.0], "hold 2, would go to 5: sessions is 230, which needs 4.6 of 50 each; dry run");
    assert!(w.history.acts.is_empty(), "what was not done starts no cool-down");
}

#[test]
fn a_policy_does_only_what_its_actions_name() {
    let mut policy = sessions();
    policy.actions.list = vec![Action::ScaleUp];
    policy.down.window = Duration::ZERO;
    let mut w = World::new(policy, 5);
    w.tick(&[100.0]);
    w.wait(31).tick(&[100.0]);
    w.wait(5).says(
        &[80.0],
        "hold 5, recommended 2: sessions is 80, which needs 1.6 of 50 each; \
         autoscale_action has no scale_down",
    );
    w.alert("a", Action::ScaleDown);
    let why = "autoscale_action of the policy has no scale_down".to_owned();
    assert_eq!(w.tick(&[100.0]).hints[0].1, HintOutcome::Skipped(why));
}

#[test]
fn a_clock_set_back_does_not_lengthen_a_window() {
    let mut w = World::new(sessions(), 2);
    w.wait(86_400).tick(&[230.0]);
    w.now = MONDAY;
    w.tick(&[60.0]);
    w.wait(301).tick(&[60.0]);
    assert_eq!(w.wait(5).tick(&[60.0]).to, 2);
}

#[test]
fn an_act_that_came_to_nothing_is_taken_back() {
    let mut policy = sessions();
    policy.up.cooldown = Duration::from_secs(60);
    let mut w = World::new(policy, 2);
    let decision = w.tick(&[230.0]);
    w.history.retract(decision.at);
    w.replicas = Some(Replicas { running: 2, ..Replicas::default() });
    assert_eq!(w.wait(5).tick(&[230.0]).to, 5);
}

#[test]
fn a_threshold_that_asks_for_more_does_not_let_others_go_sooner() {
    let mut policy = webapp(1, 20);
    let below = [(30.0, 3), (100.0, 1)];
    let steps = below.map(|(threshold, remove)| Step::Below { threshold, remove });
    policy.metrics =
        vec![metric("sessions", target(50.0)), metric("rtime", Law::Steps(steps.to_vec()))];
    (policy.down.window, policy.down.idle) = (Duration::ZERO, Duration::from_secs(30));
    // The sessions keep 8 of 10; the threshold takes three at 20 and one at 80.
    for (rtime, recommended) in [(20.0, 8), (80.0, 9)] {
        let mut w = World::new(policy.clone(), 10);
        w.tick(&[320.0, rtime]);
        let said = w.wait(5).tick(&[320.0, rtime]);
        assert_eq!((said.to, said.want), (10, recommended), "{}", said.reason);
    }
}
