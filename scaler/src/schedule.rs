//! Times at which a policy's bounds move: a cron start in a named time zone, and for how long.

use crate::timestamp::Timestamp;
use croner::Cron;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;

/// `[[policy.schedule]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    /// `duration`: how long the bounds stay moved.
    pub duration: Duration,
    /// `min`: the floor meanwhile.
    pub min: Option<u32>,
    /// `max`: the ceiling meanwhile, never above `autoscale_max_instance`.
    pub max: Option<u32>,
}

impl Schedule {
    /// From a five-field cron pattern and an IANA time zone; the error says which of the two is
    /// wrong and why.
    pub fn new(cron: &str, zone: &str, duration: Duration) -> Result<Self, ScheduleError> {
        let cron = Cron::from_str(cron).map_err(|e| ScheduleError::Cron(e.to_string()))?;
        let zone = TimeZone::get(zone).map_err(|e| ScheduleError::TimeZone(e.to_string()))?;
        // Looking for a day that never comes would take its time at every look.
        let start = jiff::Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
        cron.find_next_occurrence(&start, false)
            .map_err(|_| ScheduleError::Cron("it never comes".to_owned()))?;
        Ok(Self { cron, zone, duration, min: None, max: None })
    }

    /// When the window that `now` lies in began; `None` outside of it.
    pub fn active_since(&self, now: Timestamp) -> Option<Timestamp> {
        let zoned = jiff::Timestamp::from_millisecond(now.0).ok()?.to_zoned(self.zone.clone());
        let start = self.cron.find_previous_occurrence(&zoned, true).ok()?;
        let start = Timestamp(start.timestamp().as_millisecond());
        (now < start + self.duration).then_some(start)
    }
}

/// A schedule as it is stored with a decision.
#[derive(Serialize, Deserialize)]
struct Written {
    cron: String,
    time_zone: String,
    duration: Duration,
    min: Option<u32>,
    max: Option<u32>,
}

impl From<Schedule> for Written {
    fn from(s: Schedule) -> Self {
        let time_zone = s.zone.iana_name().unwrap_or("UTC").to_owned();
        let cron = s.cron.pattern.to_string();
        Self { cron, time_zone, duration: s.duration, min: s.min, max: s.max }
    }
}

impl TryFrom<Written> for Schedule {
    type Error = ScheduleError;

    fn try_from(w: Written) -> Result<Self, ScheduleError> {
        let schedule = Schedule::new(&w.cron, &w.time_zone, w.duration)?;
        Ok(Self { min: w.min, max: w.max, ..schedule })
    }
}

/// Which half of a schedule could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The cron pattern.
    #[error("cron: {0}")]
    Cron(String),
    /// The time zone's name.
    #[error("time_zone: {0}")]
    TimeZone(String),
}
