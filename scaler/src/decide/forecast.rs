//! What a service will have to carry once a replica that is ordered now serves, and how many that
//! takes.

use crate::history::Trend;
use crate::policy::{Target, ValueOf};
use crate::timestamp::Timestamp;

/// Deviations of the noise that are kept free, where that is more than the headroom.
const NOISE: f64 = 1.5;
/// Seconds within which what will be waiting is to be worked off.
const CATCH_UP: f64 = 5.0;

/// From this share of the capacity on an average says no more than that all are full: how much is
/// asked for is not seen.
const FULL: f64 = 0.95;
/// How much more there may be then.
const UNSEEN: f64 = 0.5;

/// A reading and what it is held against.
pub(super) struct Seen<'a> {
    /// The reading, and when it was true.
    pub(super) value: f64,
    /// Whether nothing of it is hidden.
    pub(super) whole: bool,
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
    /// Replicas that serve.
    pub(super) running: u32,
    /// Those that start: when each lot will serve, oldest first.
    pub(super) pending: &'a [(Timestamp, u32)],
}

/// What is expected, and why.
#[derive(Clone, Copy)]
pub(super) struct Forecast {
    pub(super) course: Course,
    pub(super) room: Room,
}

impl Forecast {
    /// That of a reading that is taken as it is.
    pub(super) const PLAIN: Self = Self { course: Course::Steady, room: Room::Share };
}

/// Where a metric stands and goes.
#[derive(Clone, Copy)]
pub(super) enum Course {
    /// It is as it reads.
    Steady,
    /// Its level without the noise.
    Level(f64),
    /// It grows to this within the look-ahead.
    Grows(f64),
    /// It has jumped from the one, and is taken to go on to the other.
    Jumped(f64, f64),
}

/// What is kept free beyond it, or added.
#[derive(Clone, Copy)]
pub(super) enum Room {
    /// The headroom.
    Share,
    /// More than that, for noise of this deviation.
    Noise(f64),
    /// More than that, to work off what will be waiting: how much, and by what share more.
    Queue(f64, f64),
    /// More than that, since all are full and more may be asked for than is seen.
    Unseen,
}

/// Replicas that a reading needs, with fraction, and how it is come to. A `look_ahead` of zero takes
/// each reading as it is.
pub(super) fn need(
    law: &Target,
    name: &str,
    seen: &Seen<'_>,
    trends: &mut Vec<Trend>,
) -> (f64, Option<Forecast>) {
    let running = f64::from(seen.running);
    let total = match law.value {
        ValueOf::Total => seen.value,
        ValueOf::Average => seen.value * running,
    };
    let idle = seen.value <= law.activation;
    // A part is no level: the whole would look like a jump afterwards.
    if law.look_ahead.is_zero() || !seen.whole {
        let need = total * (1.0 + law.headroom) / law.capacity;
        return (if idle { 0.0 } else { need }, None);
    }
    let trend = trend(trends, name, total, seen.at);
    trend.update(total, seen.at, law.slope_window, (seen.running, law.capacity));
    let ahead = trend.ahead(law.look_ahead);
    let course = match trend.jumped_from {
        Some(from) if ahead > trend.level => Course::Jumped(from, ahead),
        _ if ahead > trend.level => Course::Grows(ahead),
        _ if trend.level != total => Course::Level(trend.level),
        _ => Course::Steady,
    };
    if idle {
        return (0.0, None);
    }
    let share = law.headroom * ahead;
    let noise = NOISE * trend.deviation;
    let waiting = waiting(trend, law, ahead, seen);
    let surge = (waiting / CATCH_UP).min(law.surge * ahead);
    let full = law.value == ValueOf::Average && seen.value >= FULL * law.capacity;
    let unseen = if full { UNSEEN * ahead } else { 0.0 };
    let (more, room) = if unseen > surge.max(share).max(noise) {
        (unseen, Room::Unseen)
    } else if surge > share.max(noise) {
        (surge, Room::Queue(waiting, surge / ahead))
    } else if noise > share {
        (noise, Room::Noise(trend.deviation))
    } else {
        (share, Room::Share)
    };
    ((ahead + more) / law.capacity, Some(Forecast { course, room }))
}

/// What will be waiting when a replica that is ordered now serves, if what is expected comes.
fn waiting(trend: &Trend, law: &Target, ahead: f64, seen: &Seen<'_>) -> f64 {
    let mut queue = trend.owed;
    let (mut count, mut time) = (seen.running, seen.now);
    let mut until = |due: Timestamp, more: u32| {
        let short = ahead - f64::from(count) * law.capacity;
        queue = (queue + short * due.secs_since(time).max(0.0)).max(0.0);
        count = count.saturating_add(more);
        time = time.max(due);
    };
    for (due, more) in seen.pending {
        until(*due, *more);
    }
    until(seen.now + law.start_time, 0);
    queue
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
