//! Transcripts: what is seen on the left, what is said on the right.

use super::*;
use crate::observation::{Hint, Reading};
use crate::policy::{Action, Law, Limit, Metric, Pause, Query, Rules, Step, Target, ValueOf};
use crate::schedule::Schedule;
use std::time::Duration;

mod alerts;
mod odd;
mod pace;
mod properties;
mod replays;
mod schedule;

/// A service whose replicas do at once what is decided.
struct World {
    policy: Policy,
    history: History,
    replicas: Option<Replicas>,
    hints: Vec<Hint>,
    now: Timestamp,
}

/// 1 September 2025, a Monday, 00:00 UTC.
const MONDAY: Timestamp = Timestamp::from_secs(1_756_684_800);

impl World {
    fn new(policy: Policy, running: u32) -> Self {
        let replicas = Some(Replicas { running, ..Replicas::default() });
        Self { policy, history: History::default(), replicas, hints: Vec::new(), now: MONDAY }
    }

    fn wait(&mut self, secs: u64) -> &mut Self {
        self.now = self.now + Duration::from_secs(secs);
        self
    }

    fn decide(&mut self, readings: Vec<Reading>) -> Decision {
        let hints = std::mem::take(&mut self.hints);
        let seen = Observation { readings, replicas: self.replicas, hints };
        let (decision, history) = decide(&self.policy, &seen, &self.history, self.now);
        self.history = history;
        if let Some(replicas) = &mut self.replicas {
            // Draining ones and the lost come and go with the action; the rest runs at once.
            if let Move::Out { take_back, restart, .. } = decision.action {
                replicas.draining -= take_back;
                replicas.stopped -= restart;
            }
            if decision.to != decision.from {
                replicas.running = decision.to - replicas.starting - replicas.unhealthy;
            }
        }
        decision
    }

    /// One tick with a reading for each metric.
    fn tick(&mut self, values: &[f64]) -> Decision {
        let at = self.now;
        self.decide(values.iter().map(|&v| Reading::Value { v, at }).collect())
    }

    /// One tick with a reading that may be more.
    fn part(&mut self, v: f64) -> Decision {
        let why = "a process is young".to_owned();
        self.decide(vec![Reading::AtLeast { v, at: self.now, why }])
    }

    fn says(&mut self, values: &[f64], expected: &str) {
        let said = self.tick(values).reason;
        assert_eq!(said, expected, "at {}", self.now);
    }

    fn alert(&mut self, key: &str, action: Action) -> &mut Self {
        self.hints.push(Hint {
            key: key.to_owned(),
            action,
            at: self.now,
            expires: self.now + Duration::from_secs(300),
            min: None,
            max: None,
            title: "too many sessions".to_owned(),
        });
        self
    }
}

fn metric(name: &str, law: Law) -> Metric {
    Metric {
        name: name.to_owned(),
        query: Query::default(),
        law,
        stale_after: Duration::from_secs(60),
    }
}

/// Each reading as it is, held against what a replica can carry, with nothing to spare.
fn target(capacity: f64) -> Law {
    let law = Target::new(capacity, Duration::from_secs(20));
    Law::Target(Target { look_ahead: Duration::ZERO, capacity, headroom: 0.0, ..law })
}

/// Five minutes of memory on the way down, and no idling.
fn webapp(min: u32, max: u32) -> Policy {
    let mut policy = Policy::new("webapp", "webapp", min, max);
    policy.down.window = Duration::from_secs(300);
    policy.down.idle = Duration::ZERO;
    policy
}

/// 50 sessions per replica, one to ten of them, no limit on the way down.
fn sessions() -> Policy {
    let mut policy = webapp(1, 10);
    policy.metrics = vec![metric("sessions", target(50.0))];
    policy
}

#[test]
fn follows_demand_up_at_once_and_down_after_the_window() {
    let mut w = World::new(sessions(), 2);
    w.says(&[90.0], "hold 2: sessions is 90, which needs 1.8 of 50 each");
    w.wait(5).says(&[99.0], "hold 2: sessions is 99, which needs 2.0 of 50 each");
    w.wait(5).says(&[230.0], "scale out 2 → 5: sessions is 230, which needs 4.6 of 50 each");
    w.wait(5).says(
        &[60.0],
        "hold 5, recommended 2: sessions is 60, which needs 1.2 of 50 each; \
         the last 300 s needed up to 5",
    );
    w.wait(200).says(
        &[120.0],
        "hold 5, recommended 3: sessions is 120, which needs 2.4 of 50 each; \
         the last 300 s needed up to 5",
    );
    w.wait(299).says(
        &[60.0],
        "scale in 5 → 3: sessions is 60, which needs 1.2 of 50 each; the last 300 s needed up to 3",
    );
}

#[test]
fn waits_a_whole_window_after_its_first_sight_of_a_service() {
    let mut w = World::new(sessions(), 8);
    for _ in 0..60 {
        assert_eq!(w.tick(&[60.0]).action, Move::Hold);
        w.wait(5);
    }
    assert_eq!(w.wait(5).tick(&[60.0]).action, Move::In { stop: 6 });
}

#[test]
fn takes_a_gap_in_its_ticks_for_the_last_wish_and_not_for_quiet() {
    let mut w = World::new(sessions(), 8);
    w.tick(&[400.0]);
    w.wait(1000);
    assert_eq!(w.tick(&[60.0]).action, Move::Hold);
    for _ in 0..59 {
        assert_eq!(w.wait(5).tick(&[60.0]).action, Move::Hold);
    }
    assert_eq!(w.wait(10).tick(&[60.0]).action, Move::In { stop: 6 });
}

#[test]
fn counts_starting_replicas_as_capacity() {
    let mut w = World::new(sessions(), 2);
    w.replicas = Some(Replicas { running: 2, starting: 3, ..Replicas::default() });
    w.says(&[230.0], "hold 5: sessions is 230, which needs 4.6 of 50 each");
}

#[test]
fn an_error_is_never_a_zero() {
    for (reading, why) in [
        (Reading::Missing, "is missing"),
        (Reading::Stale, "is stale"),
        (Reading::Error("timed out".to_owned()), "cannot be read (timed out)"),
        (Reading::Value { v: f64::NAN, at: MONDAY }, "reads NaN, which is no amount"),
        (Reading::Value { v: -1.0, at: MONDAY }, "reads -1.0, which is no amount"),
        (Reading::Value { v: 2e100, at: MONDAY }, "reads 2e100, which is no amount"),
    ] {
        let mut w = World::new(sessions(), 5);
        w.tick(&[230.0]);
        for _ in 0..100 {
            w.wait(10);
            let decision = w.decide(vec![reading.clone()]);
            assert_eq!(
                decision.reason,
                format!("hold 5: no metric can be trusted; sessions {why}, so nothing is stopped")
            );
        }
    }
}

#[test]
fn what_is_remembered_of_any_reading_can_be_stored() {
    let mut w = World::new(sessions(), 5);
    for value in [0.0, 1e100, 2e100, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, 230.0] {
        w.wait(10).tick(&[value]);
        let stored = serde_json::to_string(&w.history).unwrap();
        assert_eq!(serde_json::from_str::<History>(&stored).unwrap(), w.history, "{value}");
    }
}

#[test]
fn an_old_value_counts_as_stale() {
    let mut w = World::new(sessions(), 5);
    let at = w.now;
    w.wait(61);
    let decision = w.decide(vec![Reading::Value { v: 10.0, at }]);
    assert!(decision.reason.contains("sessions is 61 s old, so nothing is stopped"));
}

#[test]
fn scales_out_on_what_is_known_and_in_only_when_all_is_known() {
    let mut policy = sessions();
    policy.metrics.push(metric("queue", target(10.0)));
    policy.down.window = Duration::ZERO;
    let mut w = World::new(policy, 4);
    let known = |w: &World, v| Reading::Value { v, at: w.now };
    let up = w.decide(vec![known(&w, 280.0), Reading::Missing]);
    assert_eq!((up.from, up.to), (4, 6));
    w.wait(5);
    let down = w.decide(vec![known(&w, 50.0), Reading::Missing]);
    assert_eq!(
        down.reason,
        "hold 6: sessions is 50, which needs 1 of 50 each; queue is missing, so nothing is stopped"
    );
    // The gap between the two was longer than any window: now both agree.
    w.wait(5).says(&[50.0, 25.0], "scale in 6 → 3: queue is 25, which needs 2.5 of 10 each");
}

#[test]
fn a_backlog_comes_on_top_of_the_demand() {
    let mut policy = sessions();
    let law = Law::Backlog { per_replica: 50.0, catch_up: Duration::from_secs(10) };
    policy.metrics.push(metric("waiting", law));
    let mut w = World::new(policy, 2);
    w.says(&[90.0, 900.0], "scale out 2 → 4: sessions is 90, which needs 3.6 of 50 each");
}

#[test]
fn an_average_counts_for_those_that_run() {
    let mut policy = webapp(1, 10);
    let Law::Target(law) = target(60.0) else { panic!("a target") };
    let law = Law::Target(Target { value: ValueOf::Average, ..law });
    policy.metrics = vec![metric("cpu", law)];
    let mut w = World::new(policy, 0);
    w.replicas = Some(Replicas { running: 4, starting: 2, ..Replicas::default() });
    // 4 × 90 % ÷ 60 % = 6, which is what there will be.
    assert_eq!(w.tick(&[90.0]).action, Move::Hold);
    w.replicas = Some(Replicas { starting: 6, ..Replicas::default() });
    assert_eq!(w.tick(&[0.0]).limited_by.len(), 1, "an average over nothing is not known");
}

#[test]
fn steps_count_from_those_that_run() {
    let mut policy = webapp(1, 20);
    policy.metrics = vec![metric(
        "rtime",
        Law::Steps(vec![
            Step::Above { threshold: 200.0, add: 1 },
            Step::Above { threshold: 800.0, add: 4 },
            Step::Below { threshold: 50.0, remove: 1 },
        ]),
    )];
    let mut w = World::new(policy, 4);
    w.says(&[900.0], "scale out 4 → 8: rtime is 900, which asks for 8");
    w.replicas = Some(Replicas { running: 4, starting: 4, ..Replicas::default() });
    w.wait(5).says(&[900.0], "hold 8: rtime is 900, which asks for 8");
    w.replicas = Some(Replicas { running: 8, ..Replicas::default() });
    w.wait(5).says(&[300.0], "scale out 8 → 9: rtime is 300, which asks for 9");
    w.wait(5).says(&[100.0], "hold 9: rtime is 100, which asks for 9");
    w.wait(5);
    for _ in 0..59 {
        w.wait(5);
        assert_eq!(w.tick(&[10.0]).action, Move::Hold);
    }
    w.wait(10);
    assert_eq!(w.tick(&[10.0]).to, 8);
}

#[test]
fn looks_ahead_along_the_slope() {
    let mut policy = sessions();
    let Law::Target(law) = &mut policy.metrics[0].law else { panic!("a target") };
    (law.look_ahead, law.surge) = (Duration::from_secs(20), 0.0);
    let mut w = World::new(policy, 4);
    // Two more each second.
    for n in 0..30 {
        w.wait(5).tick(&[100.0 + 10.0 * f64::from(n)]);
    }
    w.wait(5)
        .says(&[400.0], "hold 9: sessions is 400, in 20 s about 418 as it grows; with room for its noise of ±10.4 that \
         needs 8.7 of 50 each");
    // Once the slope that is measured falls too, nothing is taken off what is needed now.
    for n in 0..30 {
        w.wait(5).tick(&[400.0 - 10.0 * f64::from(n)]);
    }
    let falling = w.wait(5).tick(&[100.0]);
    assert_eq!(falling.want, 3, "a fall is not followed ahead: {}", falling.reason);
}

#[test]
fn a_jump_counts_at_once_and_noise_does_not() {
    let mut policy = sessions();
    policy.metrics[0].law = Law::Target(Target::new(50.0, Duration::from_secs(20)));
    let mut w = World::new(policy, 4);
    for n in 0..60 {
        let noise = if n % 3 == 0 { 24.0 } else { -12.0 };
        let decision = w.wait(5).tick(&[200.0 + noise]);
        assert_eq!(decision.to, 4, "{}", decision.reason);
        assert!(!decision.reason.contains(" in 20 s"), "{}", decision.reason);
    }
    let jump = w.wait(5).tick(&[450.0]);
    assert!(jump.to >= 9, "what noise does not explain is none: {}", jump.reason);
}

#[test]
fn min_and_max_hold_even_when_blind() {
    let mut w = World::new(sessions(), 0);
    let up = w.decide(vec![Reading::Missing]);
    assert!(up.reason.starts_with("scale out 0 → 1: fewer than the minimum of 1"), "{}", up.reason);
    let mut w = World::new(sessions(), 14);
    let down = w.decide(vec![Reading::Missing]);
    assert!(down.reason.starts_with("scale in 14 → 10: more than the maximum of 10"));
    assert_eq!(down.action, Move::In { stop: 4 });
    let mut w = World::new(sessions(), 9);
    w.says(
        &[5000.0],
        "scale out 9 → 10: sessions is 5000, which needs 100 of 50 each; the maximum is 10",
    );
}

#[test]
fn replaces_unhealthy_replicas_within_the_maximum() {
    let mut w = World::new(sessions(), 0);
    w.replicas = Some(Replicas { running: 3, unhealthy: 2, ..Replicas::default() });
    assert_eq!(w.tick(&[230.0]).to, 7);
    w.replicas = Some(Replicas { running: 7, unhealthy: 3, ..Replicas::default() });
    assert_eq!(w.wait(5).tick(&[500.0]).action, Move::Hold);
}

#[test]
fn when_more_than_half_is_unhealthy_it_is_no_lack_of_replicas() {
    let mut w = World::new(sessions(), 0);
    let of = |running, unhealthy| Some(Replicas { running, unhealthy, ..Replicas::default() });
    w.replicas = of(2, 2);
    w.says(
        &[110.0],
        "scale out 4 → 5: sessions is 110, which needs 2.2 of 50 each; \
         2 unhealthy, which carry nothing",
    );
    w.replicas = of(2, 3);
    for _ in 0..20 {
        let said = w.wait(30).tick(&[500.0]);
        assert_eq!((said.action, said.want), (Move::Hold, 5), "{}", said.reason);
        assert!(said.reason.ends_with("3 of 5 are unhealthy, which more of them would not mend"));
    }
    w.replicas = of(2, 3);
    w.wait(5).alert("down", Action::ScaleDown);
    let said = w.tick(&[0.0]);
    assert!(matches!(said.hints[0].1, HintOutcome::Pending(_)), "{said:?}");
    w.replicas = of(0, 1);
    assert_eq!(w.wait(5).tick(&[500.0]).action, Move::Hold, "not even a single one");
    w.replicas = of(3, 2);
    assert_eq!(w.wait(5).tick(&[150.0]).to, 5, "what is replaced already is not replaced again");
}

#[test]
fn a_number_that_may_be_too_low_starts_more_and_stops_nothing() {
    let mut w = World::new(sessions(), 4);
    w.says(&[190.0], "hold 4: sessions is 190, which needs 3.8 of 50 each");
    for _ in 0..30 {
        let said = w.wait(20).part(0.0);
        assert_eq!(said.action, Move::Hold, "{}", said.reason);
        assert!(said.reason.contains("sessions may be more: a process is young"), "{said:?}");
    }
    w.wait(5).alert("down", Action::ScaleDown);
    let said = w.part(0.0);
    assert!(matches!(said.hints[0].1, HintOutcome::Pending(_)), "{said:?}");
    let said = w.wait(5).part(300.0);
    assert_eq!(said.to, 7, "{}", said.reason);
}

#[test]
fn the_end_of_a_part_is_no_jump() {
    let mut policy = sessions();
    policy.metrics =
        vec![metric("sessions", Law::Target(Target::new(50.0, Duration::from_secs(20))))];
    let mut w = World::new(policy, 6);
    for _ in 0..20 {
        w.wait(5).tick(&[150.0]);
    }
    w.wait(5).part(0.0);
    let said = w.wait(5).tick(&[150.0]);
    assert!(said.to <= said.from, "{}", said.reason);
}

#[test]
fn takes_back_what_drains_then_restarts_then_creates() {
    let mut policy = sessions();
    policy.actions.list.push(Action::ServiceAvailability);
    let mut w = World::new(policy, 2);
    w.replicas = Some(Replicas { running: 2, draining: 1, stopped: 1, ..Replicas::default() });
    let action = w.tick(&[230.0]).action;
    assert_eq!(action, Move::Out { take_back: 1, restart: 1, create: 1 });
}

#[test]
fn service_availability_brings_back_what_is_lost_but_does_not_spin() {
    let mut policy = webapp(1, 10);
    policy.actions.list = vec![Action::ServiceAvailability];
    let mut w = World::new(policy, 3);
    w.replicas = Some(Replicas { running: 1, stopped: 2, ..Replicas::default() });
    w.says(&[], "scale out 1 → 3: 2 stopped or gone, service_availability brings back");
    w.replicas = Some(Replicas { running: 1, stopped: 2, ..Replicas::default() });
    w.wait(5).says(
        &[],
        "hold 1, recommended 3: 2 stopped or gone, service_availability brings back; \
         cooling down for 15 s more",
    );
    assert_eq!(w.wait(15).tick(&[]).to, 3);
}

#[test]
fn does_nothing_while_it_does_not_know_what_runs() {
    let mut w = World::new(sessions(), 2);
    w.replicas = None;
    w.alert("a", Action::ScaleUp);
    let decision = w.tick(&[500.0]);
    assert_eq!(decision.action, Move::Hold);
    assert!(matches!(decision.hints[0].1, HintOutcome::Pending(_)));
}
