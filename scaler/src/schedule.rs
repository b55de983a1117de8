//! Times at which a policy's bounds move: a cron start in a named time zone, and for how long.

use crate::timestamp::Timestamp;
use croner::Cron;
use jiff::tz::TimeZone;
use std::str::FromStr;
use std::time::Duration;

/// `[[policy.schedule]]`.
#[derive(Clone, Debug, PartialEq)]
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

/// Which half of a schedule could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleError {
    /// The cron pattern.
    Cron(String),
    /// The time zone's name.
    TimeZone(String),
}
