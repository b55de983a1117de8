//! Readings that no load explains: what they leave behind must be gone soon.

use super::replays::{requests, settled};

#[test]
fn one_absurd_reading_is_forgotten_within_minutes() {
    for absurd in [5e4, 1e9, 1e99] {
        let mut w = requests(13);
        settled(&mut w, 440.0);
        assert_eq!(w.wait(5).tick(&[absurd]).to, 100);
        for n in 0..60 {
            let noise = if n % 2 == 0 { 1.01 } else { 0.99 };
            w.wait(5).tick(&[440.0 * noise]);
        }
        let after = w.wait(5).tick(&[440.0]);
        assert!(after.to <= 13, "five minutes after {absurd:?}: {}", after.reason);
    }
}

#[test]
fn a_long_time_at_the_maximum_is_not_paid_back_for_hours() {
    let mut w = requests(10);
    w.policy.max = 10;
    // A day of a fifth more than ten can carry: who waited for longer than some minutes is gone.
    for _ in 0..1440 {
        w.wait(60).tick(&[600.0]);
    }
    for _ in 0..360 {
        w.wait(5).tick(&[300.0]);
    }
    let after = w.wait(5).tick(&[300.0]);
    assert!(after.to <= 9, "half an hour after: {}", after.reason);
}

#[test]
fn an_absurd_number_is_told_in_few_words() {
    let mut w = requests(13);
    settled(&mut w, 440.0);
    let said = w.wait(5).tick(&[1e99]).reason;
    assert!(said.contains("requests jumped from 436 to 1.0e99") && said.len() < 300, "{said}");
}
