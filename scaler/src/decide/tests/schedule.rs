//! Schedules: bounds that move for a while.

use super::*;

fn office_hours(min: Option<u32>, max: Option<u32>) -> Schedule {
    let ten_hours = Duration::from_secs(36_000);
    let mut s = Schedule::new("0 8 * * MON-FRI", "Europe/Paris", ten_hours).expect("right");
    (s.min, s.max) = (min, max);
    s
}

#[test]
fn a_schedule_moves_the_floor_and_gives_it_back() {
    let mut w =
        World::new(Policy { schedules: vec![office_hours(Some(4), None)], ..sessions() }, 1);
    // 8 o'clock in Paris is 6 o'clock in UTC in September.
    w.wait(6 * 3600 - 1);
    assert_eq!(w.tick(&[40.0]).to, 1);
    w.wait(1)
        .says(&[40.0], "scale out 1 → 4: fewer than the minimum of 4; the minimum is 4 (schedule)");
    for _ in 0..(10 * 60 - 1) {
        assert_eq!(w.wait(60).tick(&[40.0]).to, 4);
    }
    w.wait(61);
    for _ in 0..61 {
        assert_eq!(w.wait(5).tick(&[40.0]).to, 4);
    }
    assert_eq!(w.wait(5).tick(&[40.0]).to, 1);
}

#[test]
fn a_schedule_without_metrics_is_given_back_with_what_alerts_did_meanwhile() {
    let mut policy = webapp(1, 10);
    policy.schedules = vec![office_hours(Some(5), None)];
    let mut w = World::new(policy, 2);
    w.wait(7 * 3600);
    assert_eq!(w.tick(&[]).to, 5);
    w.wait(60).alert("a", Action::ScaleUp);
    assert_eq!(w.tick(&[]).to, 6);
    w.wait(10 * 3600);
    w.tick(&[]);
    w.wait(301).tick(&[]);
    let last = w.wait(31).tick(&[]);
    assert_eq!(last.to, 3, "two from before and one from the alert: {}", last.reason);
    assert_eq!(w.wait(60).tick(&[]).to, 3);
}

#[test]
fn a_schedule_may_lower_the_ceiling() {
    let mut w =
        World::new(Policy { schedules: vec![office_hours(None, Some(3))], ..sessions() }, 5);
    w.wait(7 * 3600);
    let decision = w.tick(&[450.0]);
    assert_eq!(
        decision.reason,
        "scale in 5 → 3: more than the maximum of 3; the maximum is 3 (schedule)"
    );
}
