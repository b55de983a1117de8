//! Random faults, by a fixed seed, on real agents and a real HAProxy; what must always hold is looked
//! at all the time. `scripts/soak.sh 10m [SEED]` runs it for longer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;
#[path = "soak/world.rs"]
mod world;

use std::time::{Duration, Instant};

use support::haproxy::versions;
use world::World;

/// Between two times of quiet, at each of which everybody must have a slot.
const STORM: Duration = Duration::from_secs(8);

#[test]
fn what_must_hold_holds_under_random_faults() {
    let var = |name: &str| std::env::var(name).ok();
    let seed = var("BERTH_SOAK_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let default = if var("BERTH_TEST_FULL").is_some() { 60 } else { 8 };
    let seconds = var("BERTH_SOAK_SECONDS").map_or(default, |s| s.parse().expect("a number"));
    // Side by side, on every HAProxy at hand.
    let worlds: Vec<_> = versions()
        .into_iter()
        .map(|binary| {
            std::thread::spawn(move || {
                let end = Instant::now() + Duration::from_secs(seconds);
                let mut world = World::new(binary, seed);
                while Instant::now() < end {
                    let calm = end.min(Instant::now() + STORM);
                    while Instant::now() < calm {
                        world.fault();
                    }
                    world.quiet();
                }
                world.summary()
            })
        })
        .collect();
    let summaries = worlds.into_iter().map(|world| world.join().expect("the log is above"));
    println!("seed {seed}, {seconds} s:\n{}", summaries.collect::<String>());
}
