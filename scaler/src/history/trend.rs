//! Where a metric stands and where it goes: level, growth, jumps and noise, from a fast and a slow
//! moving average.

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is remembered of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// The metric's name.
    pub metric: String,
    /// Time of the last reading taken in.
    pub at: Timestamp,
    /// The fast average, in the metric's unit.
    pub fast: f64,
    /// The slow average.
    pub slow: f64,
    /// The variance of readings around the fast average.
    pub variance: f64,
    /// Where the metric stands: the fast average, or a reading that noise alone does not explain.
    pub level: f64,
    /// Growth per second beyond what noise alone explains; never below 0.
    pub growth: f64,
    /// The reading before the last one, once a reading has jumped; what was stored by earlier
    /// versions has none.
    #[serde(default)]
    pub jumped_from: Option<f64>,
    /// The last reading.
    #[serde(default)]
    pub last: Option<f64>,
    /// The deviation that the last reading was held against.
    #[serde(default)]
    pub deviation: f64,
    /// What came in and was not worked off yet, in the metric's unit times seconds.
    #[serde(default)]
    pub owed: f64,
}

impl Trend {
    /// The fast average's time constant, as a share of the slow one's.
    const FAST: f64 = 1.0 / 24.0;
    /// The variance's time constant, as a multiple of the slow one's.
    const LASTING: f64 = 2.5;
    /// Deviations above the average from which a reading counts as it is.
    const JUMP: f64 = 6.0;
    /// How far a jump is taken to go on, as a share of itself.
    const MOMENTUM: f64 = 0.5;
    /// Deviations from which a slope is one.
    const SIGNIFICANT: f64 = 4.0;
    /// Deviations to which an outlier counts for the variance.
    const OUTLIER: f64 = 3.0;
    /// The least deviation, as a share of the average.
    const LEAST: f64 = 0.01;
    /// The deviation before anything is known of it, as a share of the first reading.
    const FIRST: f64 = 0.05;
    /// The longest time in seconds that one reading stands for.
    const GAP: f64 = 30.0;
    /// Seconds of work that may be owed: who would wait for longer has given up.
    const PATIENCE: f64 = 300.0;

    /// Begins with the first reading, level.
    pub(crate) fn new(metric: &str, value: f64, at: Timestamp) -> Self {
        Self {
            metric: metric.to_owned(),
            at,
            fast: value,
            slow: value,
            variance: (value * Self::FIRST).powi(2),
            level: value,
            growth: 0.0,
            jumped_from: None,
            last: Some(value),
            deviation: value * Self::FIRST,
            owed: 0.0,
        }
    }

    /// Takes in a reading of a service whose `running` replicas work off `capacity` per second each; one
    /// that is not newer than the last changes nothing. A moving average with time constant τ trails a
    /// ramp by about τ, so two of them are apart by the slope times the difference of their lags; noise
    /// alone sets them apart by its deviation times the square root of half the fast one's weight. A jump
    /// moves both; it is no more of a slope than the largest reading that is none, and no less, so that
    /// more of a load is never taken for less.
    pub(crate) fn update(
        &mut self,
        value: f64,
        at: Timestamp,
        window: Duration,
        (running, capacity): (u32, f64),
    ) {
        let dt = at.secs_since(self.at);
        if dt <= 0.0 {
            return;
        }
        let tau = window.as_secs_f64().max(0.001);
        let weight = |tau: f64| 1.0 - (-dt / tau).exp();
        let lag = |weight: f64| dt * (1.0 - weight) / weight;
        let (fast, slow) = (weight(tau * Self::FAST), weight(tau));
        let deviation = self.variance.sqrt().max(self.fast * Self::LEAST);
        let (was, off) = (self.fast, value - self.fast);
        let far = Self::JUMP * deviation;
        let before = (1.0 - slow) * (was - self.slow);
        let rise = before + (fast - slow) * off.clamp(-far, far);
        // Worked out as a difference, since an absurd reading leaves nothing else of it.
        (self.fast, self.slow) = if off.abs() > far {
            (value, value - before)
        } else {
            (was + fast * off, self.slow + slow * (value - self.slow))
        };
        self.level = self.fast;
        self.jumped_from = self.last.filter(|_| off > far);
        let apart = lag(slow) - lag(fast);
        let noise = Self::SIGNIFICANT * deviation * (fast / 2.0).sqrt();
        let growth = if apart > 0.0 { (rise - noise) / apart } else { 0.0 };
        self.growth = growth.max(0.0);
        // The way back from far up says no more of the noise than the way there.
        let usual = self.variance.sqrt().max(was.min(self.fast) * Self::LEAST);
        let surprise = off.abs().min(Self::OUTLIER * usual);
        self.variance += weight(tau * Self::LASTING) * (surprise.powi(2) - self.variance);
        let owed = self.owed + (value - f64::from(running) * capacity) * dt.min(Self::GAP);
        self.owed = owed.clamp(0.0, Self::PATIENCE * f64::from(running.max(1)) * capacity);
        self.last = Some(value);
        self.deviation = deviation;
        self.at = at;
    }

    /// Where it will stand in `time`.
    pub(crate) fn ahead(&self, time: Duration) -> f64 {
        let grown = self.growth * time.as_secs_f64();
        self.level + grown.max(self.leap())
    }

    /// How much further a jump of the last reading is taken to go.
    pub(crate) fn leap(&self) -> f64 {
        self.jumped_from.map_or(0.0, |from| Self::MOMENTUM * (self.level - from).max(0.0))
    }
}
