//! The reason of a decision, in words.

use super::demand::{Demand, Driver, Reckoned};
use super::hints::Hints;
use super::{Bounds, Limited};
use crate::policy::{Direction, Law, Policy};
use std::fmt;

/// Everything that a reason tells of.
pub(super) struct Reason<'a> {
    pub(super) policy: &'a Policy,
    pub(super) demand: Demand<'a>,
    pub(super) bounds: Bounds,
    pub(super) hints: &'a Hints<'a>,
    pub(super) lost: u32,
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
            Some(driver) => {
                self.metric(driver, f)?;
                let steady = proposed == alive && self.want == alive;
                if steady && self.limited_by.is_empty() {
                    f.write_str(", within tolerance")?;
                }
                Ok(())
            }
            None if self.policy.metrics.is_empty() && self.want < alive => {
                f.write_str("the schedule is over")
            }
            None if self.policy.metrics.is_empty() => f.write_str("no alert asks for a change"),
            None if self.demand.blind.is_some() => f.write_str("no metric can be trusted"),
            None => f.write_str("no step applies"),
        }
    }

    fn metric(&self, driver: &Driver<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &driver.metric.name;
        write!(f, "{name} is {}", Short(driver.value))?;
        match &driver.metric.law {
            Law::Target { per_replica, look_ahead, .. } => {
                match driver.reckoned {
                    Some(Reckoned::Ahead(ahead)) => {
                        write!(f, ", in {} s about {}", look_ahead.as_secs(), Short(ahead))?;
                    }
                    Some(Reckoned::Level(level)) => write!(f, ", lately about {}", Short(level))?,
                    None => {}
                }
                let need = Short(driver.need);
                write!(f, ", which needs {need} at {} each", Short(*per_replica))
            }
            Law::Backlog { catch_up, .. } => {
                let need = Short(driver.need);
                write!(f, ", which needs {need} to be gone in {} s", catch_up.as_secs())
            }
            Law::Steps(_) => write!(f, ", which asks for {}", Short(driver.need)),
        }
    }
}

/// A number with as many places as a reader cares for.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.0.round() || self.0 >= 100.0 {
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
            Limited::Rate { to, secs, .. } => write!(f, "the limit per {secs} s allows {to}"),
            Limited::Cooldown { left_secs, .. } => write!(f, "cooling down for {left_secs} s more"),
            Limited::NotAllowed { direction } => {
                write!(f, "autoscale_action has no scale_{}", way(*direction))
            }
            Limited::Paused { direction } => write!(f, "scaling {} is paused", way(*direction)),
            Limited::DryRun => f.write_str("dry run"),
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
