//! What a play must count, whatever the law.

use super::frontier::is_beaten;
use super::law::{Law, Seen, peers};
use super::ours::{Ours, default_policy};
use super::plot::{Series, svg};
use super::*;

fn setup() -> Setup {
    Setup {
        capacity: 50.0,
        target: 35.0,
        start: 20,
        drain: 10,
        min: 1,
        max: 1000,
        sight: Sight::default(),
    }
}

/// Always the same number, and what it was shown.
struct Fixed(u32, Vec<f64>);

impl Law for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    fn interval(&self) -> u32 {
        5
    }

    fn decide(&mut self, _: &Setup, seen: &Seen) -> u32 {
        self.1.push(seen.rate.unwrap_or(f64::NAN));
        self.0
    }
}

#[test]
fn requests_beyond_the_capacity_wait() {
    let load = Load::new("flat", 0, 1, vec![70.0; 100]);
    let mut moments = Vec::new();
    let outcome = watch(&setup(), &load, &mut Fixed(2, Vec::new()), 0, |m| moments.push(m));
    assert_eq!((outcome.slow_secs, outcome.acts, moments.len()), (0, 0, 100));
    assert!(outcome.mean_wait_secs() > 0.0, "random arrivals meet each other below the capacity");
    let load = Load::new("flat", 0, 1, vec![120.0; 100]);
    let outcome = play(&setup(), &load, &mut Fixed(2, Vec::new()), 0);
    assert_eq!(outcome.slow_secs, 95, "four at first, two from the fifth second on");
}

#[test]
fn what_is_served_is_all_that_a_full_service_shows() {
    let load = Load::new("flat", 0, 1, vec![500.0; 20]);
    let mut law = Fixed(10, Vec::new());
    let few = Setup { max: 2, sight: Sight { served: true, ..Sight::default() }, ..setup() };
    play(&few, &load, &mut law, 0);
    assert_eq!(law.1, [100.0; 4]);
}

#[test]
fn nothing_before_the_first_second_that_counts_is_counted() {
    let load = Load::built_in("step").expect("there is one");
    let mut law = Ours::new(default_policy(&setup(), None), 5);
    let all = play(&setup(), &load, &mut law, 0);
    let mut law = Ours::new(default_policy(&setup(), None), 5);
    let late = play(&setup(), &load, &mut law, 1700);
    assert!(all.slow_secs > 0 && late.slow_secs == 0, "{all:?} {late:?}");
    assert!(late.instance_secs < all.instance_secs && late.acts < all.acts);
}

#[test]
fn the_law_is_faster_and_calmer_than_the_hpa_on_a_step() {
    let load = Load::built_in("step").expect("there is one");
    let ours = play(&setup(), &load, &mut Ours::new(default_policy(&setup(), None), 5), 0);
    for mut peer in peers().into_iter().take(2) {
        let theirs = play(&setup(), &load, peer.as_mut(), 0);
        assert!(ours.slow_secs * 2 < theirs.slow_secs, "{}: {theirs:?}", peer.name());
    }
}

#[test]
fn beaten_is_who_is_neither_faster_nor_cheaper() {
    let outcome =
        |slow_secs, instance_secs| Outcome { slow_secs, instance_secs, ..Outcome::default() };
    let rows = [(5, 5), (4, 6), (6, 6), (5, 5)].map(|(s, i)| (String::new(), outcome(s, i)));
    let beaten: Vec<bool> = rows.iter().map(|(_, o)| is_beaten(o, &rows)).collect();
    assert_eq!(beaten, [false, false, true, false]);
}

#[test]
fn a_plot_keeps_the_shortest_queue_and_no_markup_of_a_name() {
    let calm = Moment { rate: 100.0, capacity: 200.0, queue: 0.0, running: 4 };
    let mut moments = vec![calm; 86_400];
    moments[40_000].queue = 777.0;
    let picture = svg("<b>&\u{7}", &[Series { name: "a<b".to_owned(), moments }]);
    assert!(picture.contains("&lt;b&gt;&amp;\u{fffd}<") && picture.contains("a&lt;b"));
    assert!(!picture.contains("NaN"));
    assert!(picture.contains("of every 100 s the most demand, the least capacity"));
    assert!(picture.contains("text-anchor=\"end\" fill=\"#333\">day 1<"), "not over the edge");
    // Of 800 waiting at most, 777 are three hundredths of the way down.
    let (top, height) = (352.0, 110.0);
    let y = format!(" {:.1}", top + height * (1.0 - 777.0 / 800.0));
    assert!(picture.contains(&y), "the one second with a queue is drawn at{y}");
}

#[test]
fn readings_are_late_missing_or_off_as_asked() {
    let load = Load::new("rise", 0, 1, (0..400).map(|n| n as f32).collect());
    let shown = |sight: Sight| {
        let mut law = Fixed(10, Vec::new());
        play(&Setup { sight, ..setup() }, &load, &mut law, 0);
        law.1
    };
    let exact = shown(Sight::default());
    let late = shown(Sight { delay: 15, ..Sight::default() });
    assert_eq!(late[3..], exact[..77], "three ticks old");
    let missing = shown(Sight { missing: 0.25, ..Sight::default() });
    let lost = missing.iter().filter(|rate| rate.is_nan()).count();
    assert!((10..30).contains(&lost), "{lost} of 80");
    let noisy = shown(Sight { noise: 0.3, ..Sight::default() });
    let off = noisy.iter().zip(&exact).map(|(n, e)| (n / e - 1.0).powi(2)).sum::<f64>() / 80.0;
    assert!((0.2..0.4).contains(&off.sqrt()), "{off}");
}
