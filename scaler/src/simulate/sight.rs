//! What the laws are shown of a load: late, with gaps or with noise, as sources show it.

use super::load::Noise;
use std::collections::VecDeque;

/// How well the laws see; by default as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// They are shown what was served instead of what was asked for, as the use of a processor is: it
    /// stops growing where the replicas are full.
    pub served: bool,
    /// Each reading is this old, in seconds.
    pub delay: u32,
    /// So large a share of the readings is missing.
    pub missing: f64,
    /// The deviation of each reading from the truth, as a share of it.
    pub noise: f64,
}

/// The readings of one law, the same for every law that looks as often.
pub(super) struct Readings<'a> {
    sight: &'a Sight,
    noise: Noise,
    /// Readings that are not old enough yet, and the one before them, by the second of their end.
    past: VecDeque<(u64, f64)>,
}

impl<'a> Readings<'a> {
    pub(super) fn new(sight: &'a Sight) -> Self {
        Self { sight, noise: Noise(0x0b5e), past: VecDeque::new() }
    }

    /// What is shown at the end of the second `now`, when the rate was `rate`.
    pub(super) fn show(&mut self, now: u64, rate: f64) -> Option<f64> {
        self.past.push_back((now, rate));
        let shown = now.saturating_sub(u64::from(self.sight.delay));
        while self.past.get(1).is_some_and(|(at, _)| *at <= shown) {
            self.past.pop_front();
        }
        let (lost, noise) = (self.noise.uniform(), self.noise.normal());
        let rate = self.past.front().map_or(rate, |(_, rate)| *rate);
        (lost >= self.sight.missing).then(|| (rate * (1.0 + self.sight.noise * noise)).max(0.0))
    }
}
