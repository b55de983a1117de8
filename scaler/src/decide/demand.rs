//! From readings to a number of replicas.

use super::Limited;
use crate::history::Trend;
use crate::observation::{Reading, Replicas};
use crate::policy::{Law, Metric, Policy, Step, ValueOf};
use crate::timestamp::Timestamp;

/// Larger readings are nonsense; their square would be no number, and could not be remembered.
const MOST: f64 = 1e100;

/// What the metrics ask for.
pub(super) struct Demand<'a> {
    /// Replicas wanted by what is known: above the capacity only beyond the tolerance. `None` when
    /// nothing is known.
    pub(super) want: Option<u32>,
    /// What asks for the most.
    pub(super) driver: Option<Driver<'a>>,
    /// The first metric that cannot be trusted.
    pub(super) blind: Option<(&'a Metric, String)>,
}

impl Demand<'_> {
    /// What an untrusted metric holds back.
    pub(super) fn blind(&self) -> Option<Limited> {
        let (metric, why) = self.blind.as_ref()?;
        Some(Limited::Blind { metric: metric.name.clone(), why: why.clone() })
    }
}

/// The metric that asks for the most.
#[derive(Clone, Copy)]
pub(super) struct Driver<'a> {
    pub(super) metric: &'a Metric,
    pub(super) value: f64,
    /// What is reckoned with instead of the value, when that is something else.
    pub(super) reckoned: Option<Reckoned>,
    /// Replicas, with fraction.
    pub(super) need: f64,
}

/// What a metric is taken to be.
#[derive(Clone, Copy)]
pub(super) enum Reckoned {
    /// Its level without the noise.
    Level(f64),
    /// Where it grows to within the look-ahead.
    Ahead(f64),
}

/// Looks at every metric. The largest need wins, backlogs come on top.
pub(super) fn assess<'a>(
    policy: &'a Policy,
    readings: &[Reading],
    replicas: Replicas,
    trends: &mut Vec<Trend>,
    now: Timestamp,
) -> Demand<'a> {
    let mut driver: Option<Driver<'a>> = None;
    let mut backlog: Option<Driver<'a>> = None;
    let mut extra = 0.0;
    let mut stepped: Option<(u32, Driver<'a>)> = None;
    let mut blind = None;
    for (i, metric) in policy.metrics.iter().enumerate() {
        let (value, at) = match valid(metric, readings.get(i), replicas, now) {
            Ok(reading) => reading,
            Err(why) => {
                blind = blind.or(Some((metric, why)));
                continue;
            }
        };
        let this = Driver { metric, value, reckoned: None, need: 0.0 };
        match &metric.law {
            Law::Target { per_replica, value: of, look_ahead, slope_window, activation } => {
                let total = match of {
                    ValueOf::Total => value,
                    ValueOf::Average => value * f64::from(replicas.running),
                };
                let mut reckoned = None;
                if !look_ahead.is_zero() {
                    let trend = trend(trends, &metric.name, total, at);
                    trend.update(total, at, *slope_window);
                    let rise = trend.growth * look_ahead.as_secs_f64();
                    if rise > 0.0 {
                        reckoned = Some(Reckoned::Ahead(trend.level + rise));
                    } else if trend.level != total {
                        reckoned = Some(Reckoned::Level(trend.level));
                    }
                }
                let demand = match reckoned {
                    Some(Reckoned::Level(v) | Reckoned::Ahead(v)) => v,
                    None => total,
                };
                let idle = value <= *activation;
                let need = if idle { 0.0 } else { demand / per_replica };
                if driver.is_none_or(|d| need > d.need) {
                    driver = Some(Driver { reckoned, need, ..this });
                }
            }
            Law::Backlog { per_replica, catch_up } => {
                let need = value / (per_replica * catch_up.as_secs_f64());
                extra += need;
                if backlog.is_none_or(|d| need > d.need) {
                    backlog = Some(Driver { need, ..this });
                }
            }
            Law::Steps(steps) => {
                let want = step(steps, value, replicas);
                if want.is_some_and(|want| stepped.is_none_or(|(most, _)| want > most)) {
                    stepped = want.map(|want| (want, Driver { need: f64::from(want), ..this }));
                }
            }
        }
    }
    let tracked = match (driver, backlog) {
        (Some(d), Some(b)) => {
            Some(Driver { need: d.need + extra, ..if b.need > d.need { b } else { d } })
        }
        (None, Some(b)) => Some(Driver { need: extra, ..b }),
        (driver, None) => driver,
    };
    let tracked = tracked.map(|d| (whole(d.need, replicas.capacity(), policy.up.tolerance), d));
    let most = match (tracked, stepped) {
        (Some(t), Some(s)) if s.0 > t.0 => Some(s),
        (Some(t), _) => Some(t),
        (None, s) => s,
    };
    Demand { want: most.map(|(want, _)| want), driver: most.map(|(_, driver)| driver), blind }
}

/// Whole replicas for a need; no more than there are while the need is within the tolerance.
fn whole(need: f64, capacity: u32, tolerance: f64) -> u32 {
    // What rounding errors leave of a whole number does not cost a replica.
    let want = (need - 1e-9).ceil().clamp(0.0, f64::from(u32::MAX)) as u32;
    let within = need <= f64::from(capacity) * (1.0 + tolerance);
    if within { want.min(capacity) } else { want }
}

/// The value of a reading that can be trusted, or why not, in words.
fn valid(
    metric: &Metric,
    reading: Option<&Reading>,
    replicas: Replicas,
    now: Timestamp,
) -> Result<(f64, Timestamp), String> {
    match reading {
        Some(&Reading::Value { v, at }) => {
            let average = matches!(metric.law, Law::Target { value: ValueOf::Average, .. });
            if !(0.0..=MOST).contains(&v) {
                Err(format!("reads {v:?}, which is no amount"))
            } else if now.since(at) > metric.stale_after {
                Err(format!("is {} s old", now.since(at).as_secs()))
            } else if average && replicas.running == 0 {
                Err("is an average over no running replica".to_owned())
            } else {
                // A source's clock may be ahead of ours.
                Ok((v, at.min(now)))
            }
        }
        Some(Reading::Stale) => Err("is stale".to_owned()),
        Some(Reading::Missing) | None => Err("is missing".to_owned()),
        Some(Reading::Error(e)) => Err(format!("cannot be read ({e})")),
    }
}

fn trend<'t>(trends: &'t mut Vec<Trend>, name: &str, value: f64, at: Timestamp) -> &'t mut Trend {
    match trends.iter().position(|t| t.metric == name) {
        Some(i) => &mut trends[i],
        None => {
            trends.push(Trend::new(name, value, at));
            let last = trends.len() - 1;
            &mut trends[last]
        }
    }
}

/// A step up counts from those that run, so that the ones on their way are waited for. Between the
/// thresholds a metric with steps down wants what is there; one without has no opinion.
fn step(steps: &[Step], value: f64, replicas: Replicas) -> Option<u32> {
    let capacity = replicas.capacity();
    let mut want = None;
    for s in steps {
        let by = match *s {
            Step::Above { threshold, add } if value > threshold => {
                capacity.max(replicas.running.saturating_add(add))
            }
            Step::Below { threshold, remove } if value < threshold => {
                capacity.saturating_sub(remove)
            }
            Step::Above { .. } => continue,
            Step::Below { .. } => capacity,
        };
        // Of several steps in one direction the furthest counts.
        want = Some(match want {
            Some(other) if by <= capacity && other <= capacity => by.min(other),
            Some(other) => by.max(other),
            None => by,
        });
    }
    want
}
