//! The calendar: times as people read them. Reads no clock.

use std::fmt;
use std::time::Duration;

/// Time since 1970, displayed in UTC as RFC 3339 has it: `2026-11-23T23:59:07Z`, and with a precision
/// (`{:.6}`) with microseconds.
pub(crate) struct Utc(pub(crate) Duration);

impl fmt::Display for Utc {
    /// Days to dates by the usual shift of the year's start to March, so that leap days come last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0.as_secs() / 86_400, self.0.as_secs() % 86_400);
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day_of_month = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}")?;
        match f.precision() {
            Some(_) => write!(f, ".{:06}Z", self.0.subsec_micros()),
            None => f.write_str("Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_212_800, "1972-02-29T12:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (1_798_761_600, "2027-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(Duration::from_secs(seconds)).to_string(), text);
        }
        let time = Utc(Duration::from_micros(1_709_210_096_000_042));
        assert_eq!(format!("{time:.6}"), "2024-02-29T12:34:56.000042Z");
        // 48 bits are all that a DNS server can say.
        assert!(Utc(Duration::from_secs((1 << 48) - 1)).to_string().ends_with('Z'));
    }
}
