//! The one place where the time of day is read, and where it is noticed that somebody has set it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// The time of day.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Watches the time of day with the clock that nobody can set.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    last: (Timestamp, Instant),
}

/// How the time of day was set since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it showed at the last look.
    pub last: Timestamp,
    /// What it would show now.
    pub old: Timestamp,
    /// What it shows.
    pub new: Timestamp,
}

impl Step {
    /// By how many milliseconds it was set forward.
    pub fn millis(&self) -> i64 {
        self.new.0.saturating_sub(self.old.0)
    }
}

impl Watch {
    /// What is less is slewing, or a long time between the two looks at the clocks.
    const LEAST: Duration = Duration::from_secs(2);

    /// Begins with the time as it is.
    pub fn start(now: Timestamp, clock: Instant) -> Self {
        Self { last: (now, clock) }
    }

    /// Looks again.
    pub fn look(&mut self, now: Timestamp, clock: Instant) -> Option<Step> {
        let (last, before) = std::mem::replace(&mut self.last, (now, clock));
        let step = Step { last, old: last + clock.duration_since(before), new: now };
        let apart = Duration::from_millis(step.millis().unsigned_abs());
        (apart > Self::LEAST).then_some(step)
    }

    /// The time of day as it has gone on since the last look, whoever has set it meanwhile.
    pub fn time(&self, clock: Instant) -> Timestamp {
        self.last.0 + clock.duration_since(self.last.1)
    }

    /// Whether it was set since the last look, which this is not.
    pub fn was_set(mut self, now: Timestamp, clock: Instant) -> bool {
        self.look(now, clock).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_runs() {
        let (day, clock) = (Timestamp::from_secs(1_000_000), Instant::now());
        let (at, after) = (|secs: i64| Timestamp::from_secs(1_000_000 + secs), Duration::from_secs);
        let mut watch = Watch::start(day, clock);
        assert_eq!(watch.look(at(5), clock + after(5)), None);
        assert_eq!(watch.look(at(604), clock + after(605)), None, "slewed");
        let step = watch.look(at(4210), clock + after(610)).unwrap();
        assert_eq!((step.last, step.old, step.new), (at(604), at(609), at(4210)));
        assert_eq!(step.millis(), 3_601_000);
        assert_eq!(watch.look(at(4215), clock + after(615)), None, "once");
        assert_eq!(watch.look(at(615), clock + after(620)).unwrap().millis(), -3_605_000);
        assert_eq!(watch.time(clock + after(630)), at(625));
        assert!(!watch.was_set(at(625), clock + after(630)));
        assert!(
            watch.was_set(at(25), clock + after(630)) && watch.was_set(at(925), clock + after(630))
        );
    }
}
