//! The values that variables hold, each parsed into a type of its own.

use std::net::IpAddr;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

pub(super) use crate::net::target::{number, port};

/// What [`count`] expects.
pub(super) const COUNT: &str = "a whole number from 1 to 100000";
/// What [`proxy_name`] expects.
pub(super) const PROXY_NAME: &str = "letters, digits, '-', '_', '.' and ':'";

/// `250ms`, `5s`, `2m`, `1h`, or a plain number of seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = number(digits)?;
    let unit = match &text[digits.len()..] {
        "ms" => Duration::from_millis(1),
        "" | "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    unit.checked_mul(number)
}

/// A level that `tracing` knows, in other loggers' words too: the app may read the same variable.
pub(super) fn log_level(text: &str) -> Option<LevelFilter> {
    match text.to_ascii_lowercase().as_str() {
        "fatal" | "critical" => Some(LevelFilter::ERROR),
        "warning" => Some(LevelFilter::WARN),
        "notice" => Some(LevelFilter::INFO),
        "verbose" => Some(LevelFilter::DEBUG),
        level => level.parse().ok(),
    }
}

/// A small positive number.
pub(super) fn count(text: &str) -> Option<u32> {
    number(text).filter(|count| (1..=100_000).contains(count))
}

/// 0 or 1, as words too.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An address that one container can own.
pub(super) fn unicast(text: &str) -> Option<IpAddr> {
    let addr = text.parse::<IpAddr>().ok()?.to_canonical();
    let broadcast = addr == IpAddr::from([255, 255, 255, 255]);
    let nowhere = match addr {
        IpAddr::V4(addr) => addr.octets()[0] == 0,
        // A link-local one needs an interface beside it, which HAProxy cannot be told.
        IpAddr::V6(addr) => addr.is_unspecified() || addr.is_unicast_link_local(),
    };
    (!nowhere && !addr.is_multicast() && !broadcast).then_some(addr)
}

/// A name that HAProxy accepts for proxies and servers, hence nothing that could end a command
/// (configuration manual, 2.2 "Quoting and escaping" and the naming rules of section 4).
pub(super) fn proxy_name(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    text.bytes().all(allowed).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("250ms", Some(250)),
            ("5s", Some(5000)),
            ("5", Some(5000)),
            ("2m", Some(120_000)),
            ("0", Some(0)),
            ("", None),
            ("s", None),
            ("1.5s", None),
            ("-1", None),
            ("5 s", None),
            ("5d", None),
            ("5ß", None),
            ("99999999999", None),
        ] {
            assert_eq!(duration(text), want.map(Duration::from_millis), "{text}");
        }
    }
}
