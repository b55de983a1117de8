//! From readings to a number of replicas.

use super::Limited;
use super::forecast::{self, Forecast, Seen};
use crate::history::History;
use crate::observation::{Reading, Replicas};
use crate::policy::{Law, Metric, Policy, Step, Target, ValueOf};
use crate::timestamp::Timestamp;

/// Larger readings are nonsense; their square would be no number, and could not be remembered.
const MOST: f64 = 1e100;

/// What the metrics ask for.
pub(super) struct Demand<'a> {
    /// Replicas wanted by what is known, above the capacity only when the need does not fit into it.
    /// `None` when nothing is known.
    pub(super) want: Option<u32>,
    /// Replicas that the need takes, whatever there is.
    pub(super) least: u32,
    /// Replicas worth keeping, were they there.
    pub(super) keep: u32,
    /// Whether anything but thresholds is known.
    tracked: bool,
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

    /// Whether what is spare may idle for a while: thresholds alone have a quiet zone of their own.
    pub(super) fn may_idle(&self) -> bool {
        self.tracked
    }
}

/// The metric that asks for the most.
#[derive(Clone, Copy)]
pub(super) struct Driver<'a> {
    pub(super) metric: &'a Metric,
    pub(super) value: f64,
    /// What is expected of it, when that is something else than the value.
    pub(super) forecast: Option<Forecast>,
    /// Replicas, with fraction.
    pub(super) need: f64,
}

/// Replicas are worth keeping for this much more than the need.
const KEEP: f64 = 0.2;
/// So much more is ordered, so that growth is not followed one by one.
const ORDER: f64 = 0.05;

/// Looks at every metric. The largest need wins, backlogs come on top.
pub(super) fn assess<'a>(
    policy: &'a Policy,
    readings: &[Reading],
    replicas: Replicas,
    memory: &mut History,
    now: Timestamp,
) -> Demand<'a> {
    let pending = orders(policy, replicas, memory, now);
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
        let hidden = match readings.get(i) {
            Some(Reading::AtLeast { why, .. }) => Some(format!("may be more: {why}")),
            _ => None,
        };
        let whole = hidden.is_none();
        blind = blind.or(hidden.map(|why| (metric, why)));
        let this = Driver { metric, value, forecast: None, need: 0.0 };
        match &metric.law {
            Law::Target(law) => {
                let running = replicas.running;
                let seen = Seen { value, whole, at, now, running, pending: &pending };
                let (need, forecast) = forecast::need(law, &metric.name, &seen, &mut memory.trends);
                if driver.is_none_or(|d| need > d.need) {
                    driver = Some(Driver { forecast, need, ..this });
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
    combine(tracked, stepped, replicas.capacity(), blind)
}

/// The larger of what needs and what thresholds ask for.
fn combine<'a>(
    tracked: Option<Driver<'a>>,
    stepped: Option<(u32, Driver<'a>)>,
    capacity: u32,
    blind: Option<(&'a Metric, String)>,
) -> Demand<'a> {
    let keep = tracked.map_or(0, |d| whole(d.need * (1.0 + KEEP)));
    let least = tracked.map_or(0, |d| whole(d.need));
    let threshold = stepped.map_or(0, |(want, _)| want);
    let tracked = tracked.map(|d| match whole(d.need) > capacity {
        true => (whole(d.need * (1.0 + ORDER)), d),
        false => (keep.min(capacity), d),
    });
    let most = match (tracked, stepped) {
        (Some(t), Some(s)) if s.0 > t.0 => Some(s),
        (Some(t), _) => Some(t),
        (None, s) => s,
    };
    Demand {
        want: most.map(|(want, _)| want),
        least: least.max(threshold),
        keep: keep.max(threshold),
        tracked: tracked.is_some(),
        driver: most.map(|(_, driver)| driver),
        blind,
    }
}

/// Whole replicas for a need; what rounding errors leave of a whole number does not cost one.
fn whole(need: f64) -> u32 {
    (need - 1e-9).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// When the replicas that start will serve, oldest first: by when they were ordered, as far as that is
/// remembered. Those that are faster or slower than the start time says are what is seen of them.
fn orders(
    policy: &Policy,
    replicas: Replicas,
    memory: &History,
    now: Timestamp,
) -> Vec<(Timestamp, u32)> {
    let mut lots = memory.pending(policy.start_time, now);
    let mut known: u32 = 0;
    for (_, n) in lots.iter_mut().rev() {
        *n = (*n).min(replicas.starting - known);
        known += *n;
    }
    if known < replicas.starting {
        lots.push((now + policy.start_time, replicas.starting - known));
    }
    lots
}

/// The value of a reading that can be trusted, or why not, in words.
fn valid(
    metric: &Metric,
    reading: Option<&Reading>,
    replicas: Replicas,
    now: Timestamp,
) -> Result<(f64, Timestamp), String> {
    match reading {
        Some(&(Reading::Value { v, at } | Reading::AtLeast { v, at, .. })) => {
            let average = matches!(metric.law, Law::Target(Target { value: ValueOf::Average, .. }));
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
