//! What holds for every policy and every course of events.

use super::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// What happens between two decisions, and what is seen then.
#[derive(Clone, Debug)]
struct Event {
    wait: u64,
    readings: Vec<Option<f64>>,
    alert: Option<Action>,
    /// Which of two leaders decides, each with a memory of its own.
    other: bool,
}

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn rules() -> impl Strategy<Value = Rules> {
    let limit = (1..4_u32, 0.0..100.0, seconds(1..90)).prop_map(|(count, percent, period)| Limit {
        count,
        percent,
        period,
    });
    (option::of(0.0..0.4), seconds(0..120), seconds(0..60), option::of(limit), seconds(0..40))
        .prop_map(|(tolerance, window, cooldown, limit, idle)| Rules {
            tolerance,
            window,
            cooldown,
            limit,
            idle,
        })
}

fn law() -> impl Strategy<Value = Law> {
    let steps = vec![
        Step::Above { threshold: 300.0, add: 1 },
        Step::Above { threshold: 600.0, add: 3 },
        Step::Below { threshold: 100.0, remove: 1 },
    ];
    let catch_up = Duration::from_secs(30);
    prop_oneof![
        Just(target(50.0)),
        (5..300_u64).prop_map(|secs| Law::Target(Target::new(35.0, Duration::from_secs(secs)))),
        Just(Law::Target(Target {
            value: ValueOf::Average,
            surge: 0.0,
            ..Target::new(35.0, Duration::from_secs(20))
        })),
        Just(Law::Backlog { per_replica: 5.0, catch_up }),
        Just(Law::Steps(steps)),
    ]
}

/// A policy with one or two metrics, and how many replicas there are at first, within its bounds.
fn policies() -> impl Strategy<Value = (Policy, u32)> {
    (0..4_u32, 0..12_u32, rules(), rules(), vec(law(), 1..3), 0..16_u32).prop_map(
        |(min, more, up, down, laws, running)| {
            let max = min + more.max(1);
            let mut policy = Policy::new("webapp", "webapp", min, max);
            (policy.up, policy.down) = (up, down);
            let laws = laws.into_iter().zip(["one", "two"]);
            policy.metrics = laws.map(|(law, name)| metric(name, law)).collect();
            (policy, running.clamp(min, max))
        },
    )
}

fn load() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..1000.0, 1 => Just(0.0), 1 => 0.0..1e99]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let action = prop_oneof![Just(Action::ScaleUp), Just(Action::ScaleDown)];
    let readings = vec(option::weighted(0.9, load()), 2);
    let event = (1..60_u64, readings, option::weighted(0.2, action), any::<bool>());
    let event =
        event.prop_map(|(wait, readings, alert, other)| Event { wait, readings, alert, other });
    vec(event, 1..60)
}

impl World {
    fn lives(&mut self, event: &Event) -> Decision {
        self.wait(event.wait);
        if let Some(action) = event.alert {
            self.alert("alert", action);
        }
        let at = self.now;
        let reading = |v: &Option<f64>| v.map_or(Reading::Missing, |v| Reading::Value { v, at });
        let readings = event.readings.iter().take(self.policy.metrics.len());
        self.decide(readings.map(reading).collect())
    }
}

proptest! {
    #[test]
    fn never_outside_the_bounds_and_never_without_a_reason_even_with_two_leaders(
        (policy, running) in policies(), events in events(),
    ) {
        let mut w = World::new(policy, running);
        let mut theirs = History::default();
        for event in events {
            if event.other {
                std::mem::swap(&mut w.history, &mut theirs);
            }
            let decision = w.lives(&event);
            let (min, max) = (w.policy.min, w.policy.max);
            prop_assert!((min..=max).contains(&decision.to), "{decision:?}");
            prop_assert!((min..=max).contains(&decision.want), "{decision:?}");
            prop_assert!(!decision.reason.is_empty());
            prop_assert_eq!(decision.action.count(), decision.to.abs_diff(decision.from));
        }
    }

    #[test]
    fn more_load_never_means_fewer_replicas(
        (policy, running) in policies(), events in events(), (one, two) in (load(), load()),
    ) {
        let mut w = World::new(policy, running);
        for event in &events {
            w.lives(event);
        }
        let at = w.wait(5).now;
        let replicas = w.replicas;
        let count = w.policy.metrics.len();
        let to = |v: f64| {
            let readings = vec![Reading::Value { v, at }; count];
            let seen = Observation { readings, replicas, hints: Vec::new() };
            decide(&w.policy, &seen, &w.history, at).0.to
        };
        prop_assert!(to(one.min(two)) <= to(one.max(two)));
    }

    #[test]
    fn more_of_one_of_several_metrics_never_means_fewer_replicas(
        (policy, running) in policies(), events in events(), other in load(),
        (one, two) in (load(), load()), first in any::<bool>(),
    ) {
        let mut w = World::new(policy, running);
        let far = [(300.0, 30.0, 3), (120.0, 15.0, 1)];
        let below = far.map(|(_, threshold, remove)| Step::Below { threshold, remove });
        let above = far.map(|(threshold, _, add)| Step::Above { threshold, add });
        for metric in &mut w.policy.metrics {
            if let Law::Steps(steps) = &mut metric.law {
                *steps = below.into_iter().chain(above).collect();
            }
        }
        for event in &events {
            w.lives(event);
        }
        let at = w.wait(5).now;
        let count = w.policy.metrics.len();
        let to = |v: f64| {
            let pair = if first { [v, other] } else { [other, v] };
            let readings = pair[..count].iter().map(|&v| Reading::Value { v, at }).collect();
            let seen = Observation { readings, replicas: w.replicas, hints: Vec::new() };
            decide(&w.policy, &seen, &w.history, at).0
        };
        let (less, more) = (to(one.min(two)), to(one.max(two)));
        prop_assert!(less.to <= more.to, "{} / {}", less.reason, more.reason);
    }

    #[test]
    fn more_of_a_metric_that_moves_never_needs_fewer(
        start in vec(0.9..1.1, 1..40), slope in -0.3..0.3_f64, tick in 1..60_u64, ahead in 1..600_u64,
        (low, more) in (0.0..3.0, 0.0..0.5),
    ) {
        let mut policy = Policy::new("webapp", "webapp", 1, 10_000);
        policy.metrics =
            vec![metric("one", Law::Target(Target::new(1.0, Duration::from_secs(ahead))))];
        let mut w = World::new(policy, 400);
        let mut level = 300.0_f64;
        for noise in start {
            level = f64::clamp(level * (1.0 + slope), 1.0, 5000.0);
            w.wait(tick).tick(&[level * noise]);
        }
        let at = w.wait(tick).now;
        let to = |v: f64| {
            let readings = vec![Reading::Value { v, at }];
            let seen = Observation { readings, replicas: w.replicas, hints: Vec::new() };
            decide(&w.policy, &seen, &w.history, at).0
        };
        let (one, two) = (to(level * low), to(level * (low + more)));
        prop_assert!(one.to <= two.to, "{} {}", one.reason, two.reason);
    }

    #[test]
    fn what_fits_and_is_needed_moves_nothing(
        (mut policy, running) in policies(), shares in vec(0.0..0.999, 1..60),
    ) {
        let law = Target { look_ahead: Duration::ZERO, ..Target::new(35.0, Duration::ZERO) };
        let full = law.capacity / (1.0 + law.headroom);
        policy.metrics = vec![metric("one", Law::Target(law))];
        let mut w = World::new(policy, running.max(1));
        for share in shares {
            // From just filling them up to a sixth less: what is kept beyond the need.
            let load = f64::from(running.max(1)) * full * (1.0 - share / 6.0);
            let decision = w.wait(10).tick(&[load]);
            prop_assert_eq!(decision.action, Move::Hold, "{:?}", decision);
        }
    }

    #[test]
    fn what_was_started_is_not_stopped_within_the_window(
        (policy, running) in policies(), events in events(),
    ) {
        let mut w = World::new(policy, running);
        let mut started = None;
        for event in events {
            let decision = w.lives(&event);
            match decision.action {
                Move::Out { .. } => started = Some(w.now),
                Move::In { .. } => {
                    let since = started.map(|at| w.now.since(at));
                    prop_assert!(since.is_none_or(|s| s >= w.policy.down.window), "{decision:?}");
                }
                Move::Hold => {}
            }
        }
    }

    #[test]
    fn what_is_not_known_stops_nothing((policy, running) in policies(), events in events()) {
        let mut w = World::new(policy, running);
        for event in events {
            let seen = &event.readings[..w.policy.metrics.len()];
            let blind = seen.iter().any(Option::is_none);
            let decision = w.lives(&event);
            prop_assert!(!blind || decision.to >= decision.from, "{decision:?}");
        }
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing((policy, running) in policies(), events in events()) {
        let mut w = World::new(policy.clone(), running);
        let mut restarted = World::new(policy, running);
        for event in events {
            let stored = serde_json::to_string(&restarted.history).expect("can be stored");
            restarted.history = serde_json::from_str(&stored).expect("can be read back");
            prop_assert_eq!(w.lives(&event), restarted.lives(&event));
        }
    }
}
