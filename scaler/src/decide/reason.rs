//! The reason of a decision, in words.

use super::demand::{Demand, Driver};
use super::forecast::{Course, Forecast, Room};
use super::hints::Hints;
use super::{Bounds, Limited};
use crate::policy::{Direction, Law, Policy, Target};
use std::fmt;

/// Everything that a reason tells of.
pub(super) struct Reason<'a> {
    pub(super) policy: &'a Policy,
    pub(super) demand: Demand<'a>,
    pub(super) bounds: Bounds,
    pub(super) hints: &'a Hints<'a>,
    pub(super) lost: u32,
    pub(super) unhealthy: u32,
    pub(super) alive: u32,
    pub(super) want: u32,
    pub(super) proposed: u32,
    pub(super) to: u32,
    pub(super) limited_by: &'a [Limited],
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alive, want, proposed, to, .. } = *self;
        if to > alive {
            write!(f, "scale out {alive} → {to}: ")?;
        } else if to < alive {
            write!(f, "scale in {alive} → {to}: ")?;
        } else if proposed != alive {
            write!(f, "hold {alive}, would go to {proposed}: ")?;
        } else if want != alive {
            write!(f, "hold {alive}, recommended {want}: ")?;
        } else {
            write!(f, "hold {alive}: ")?;
        }
        self.cause(f)?;
        if self.unhealthy > 0 {
            write!(f, "; {} unhealthy, which carry nothing", self.unhealthy)?;
        }
        for limit in self.limited_by {
            write!(f, "; {limit}")?;
        }
        Ok(())
    }
}

impl Reason<'_> {
    fn cause(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alive, proposed, .. } = *self;
        if alive < self.bounds.min {
            return write!(f, "fewer than the minimum of {}", self.bounds.min);
        }
        if alive > self.bounds.max {
            return write!(f, "more than the maximum of {}", self.bounds.max);
        }
        let direction = if proposed < alive { Direction::Down } else { Direction::Up };
        let by_metric = self.demand.want.is_some_and(|w| w >= self.want);
        if self.lost > 0 && !by_metric {
            let lost = self.lost;
            return write!(f, "{lost} stopped or gone, service_availability brings back");
        }
        if let Some(hint) = self.hints.asking(direction)
            && (direction == Direction::Down || !by_metric)
        {
            return write!(f, "alert {:?} asks for {}", hint.title, hint.action);
        }
        match &self.demand.driver {
            Some(driver) => self.metric(driver, f),
            None if self.policy.metrics.is_empty() && self.want < alive => {
                f.write_str("the schedule is over")
            }
            None if self.policy.metrics.is_empty() => f.write_str("no alert asks for a change"),
            None if self.demand.blind.is_some() => f.write_str("no metric can be trusted"),
            None => f.write_str("no step applies"),
        }
    }

    fn metric(&self, driver: &Driver<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = (&driver.metric.name, Short(driver.value));
        let need = Short(driver.need);
        match &driver.metric.law {
            Law::Target(law) => self.target(law, driver, f),
            Law::Backlog { catch_up, .. } => {
                let secs = catch_up.as_secs();
                write!(f, "{name} is {value}, which needs {need} to be gone in {secs} s")
            }
            Law::Steps(_) => write!(f, "{name} is {value}, which asks for {need}"),
        }
    }

    fn target(&self, law: &Target, driver: &Driver<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = (&driver.metric.name, Short(driver.value));
        let forecast = driver.forecast.unwrap_or(Forecast::PLAIN);
        match forecast.course {
            Course::Steady => write!(f, "{name} is {value}")?,
            Course::Level(level) => write!(f, "{name} is {value}, lately about {}", Short(level))?,
            Course::Grows(to) => {
                let (secs, to) = (law.look_ahead.as_secs(), Short(to));
                write!(f, "{name} is {value}, in {secs} s about {to} as it grows")?;
            }
            Course::Jumped(from, to) => {
                let (from, to) = (Short(from), Short(to));
                write!(f, "{name} jumped from {from} to {value}, taken to go on to about {to}")?;
            }
        }
        let (need, capacity) = (Short(driver.need), Short(law.capacity));
        match forecast.room {
            Room::Share if law.headroom == 0.0 => {
                write!(f, ", which needs {need} of {capacity} each")
            }
            Room::Share => {
                let spare = Short(law.headroom * 100.0);
                write!(f, "; with {spare} % to spare that needs {need} of {capacity} each")
            }
            Room::Noise(by) => {
                let by = Short(by);
                write!(f, "; with room for its noise of ±{by} that needs {need} of {capacity} each")
            }
            Room::Unseen => {
                write!(f, "; all are full, so more may be asked for: {need} of {capacity} each")
            }
            Room::Queue(waiting, share) => {
                let (waiting, more) = (Short(waiting.round()), Short((share * 100.0).round()));
                write!(
                    f,
                    "; about {waiting} will wait when new ones answer, so {more} % more to work \
                     them off: that needs {need} of {capacity} each"
                )
            }
        }
    }
}

/// A number with as many places as a reader cares for.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 1e12 {
            write!(f, "{:.1e}", self.0)
        } else if self.0 == self.0.round() || self.0 >= 100.0 {
            write!(f, "{:.0}", self.0)
        } else if self.0 >= 1.0 {
            write!(f, "{:.1}", self.0)
        } else {
            write!(f, "{:.3}", self.0)
        }
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_schedule = |scheduled: &bool| if *scheduled { " (schedule)" } else { "" };
        match self {
            Limited::Min { min, scheduled } => {
                write!(f, "the minimum is {min}{}", of_schedule(scheduled))
            }
            Limited::Max { max, scheduled } => {
                write!(f, "the maximum is {max}{}", of_schedule(scheduled))
            }
            Limited::Blind { metric, why } => write!(f, "{metric} {why}, so nothing is stopped"),
            Limited::Window { direction: Direction::Up, holds, secs } => {
                write!(f, "the last {secs} s asked for {holds} at least once")
            }
            Limited::Window { direction: Direction::Down, holds, secs } => {
                write!(f, "the last {secs} s needed up to {holds}")
            }
            Limited::Idle { spare, secs, of_secs } => {
                write!(f, "{spare} are spare, idle for {secs} of {of_secs} s of the fleet")
            }
            Limited::Rate { to, secs, .. } => write!(f, "the limit per {secs} s allows {to}"),
            Limited::Cooldown { left_secs, .. } => write!(f, "cooling down for {left_secs} s more"),
            Limited::NotAllowed { direction } => {
                write!(f, "autoscale_action has no scale_{}", way(*direction))
            }
            Limited::Paused { direction } => write!(f, "scaling {} is paused", way(*direction)),
            Limited::DryRun => f.write_str("dry run"),
            Limited::Unhealthy { unhealthy, of } => {
                write!(f, "{unhealthy} of {of} are unhealthy, which more of them would not mend")
            }
            Limited::ReplicasUnknown => {
                f.write_str("not every host could be asked what runs there")
            }
        }
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "up",
        Direction::Down => "down",
    }
}
