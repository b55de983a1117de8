//! The one place where the time of day is read.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::timestamp::Timestamp;

/// The time of day.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
