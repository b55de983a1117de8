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
    use proptest::prelude::*;

    proptest! {
        /// A number and a unit, or nothing: whatever else stands there is refused.
        #[test]
        fn a_duration_is_digits_and_a_unit(count in 0..1_000_000_u32, text in "[ -~ß]{0,9}") {
            let units = [("ms", 1), ("", 1000), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
            for (unit, millis) in units {
                let wanted = Duration::from_millis(u64::from(count) * millis);
                prop_assert_eq!(duration(&format!("{count}{unit}")), Some(wanted));
            }
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let is_one = digits > 0 && units.iter().any(|(unit, _)| *unit == &text[digits..]);
            prop_assert_eq!(duration(&text).is_some(), is_one, "{}", text);
        }

        #[test]
        fn a_count_is_digits_within_its_bounds(number in 0..200_000_u32, text in "[ -~ß]{0,6}") {
            let wanted = (1..=100_000).contains(&number).then_some(number);
            prop_assert_eq!(count(&number.to_string()), wanted);
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert!(digits || count(&text).is_none(), "{}", text);
        }

        /// Nothing that ends a word, a command or a line of HAProxy's.
        #[test]
        fn a_proxy_name_has_its_alphabet_alone(text in any::<String>(),
                                               good in "[A-Za-z0-9_.:-]{1,20}") {
            prop_assert_eq!(proxy_name(&good), Some(good.clone()));
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            prop_assert_eq!(proxy_name(&text).is_some(), text.chars().all(allowed));
            for bad in [' ', ';', '\n', '/', '#', '\\', '"', '\0', 'é'] {
                prop_assert_eq!(proxy_name(&format!("{good}{bad}{good}")), None);
            }
        }

        #[test]
        fn a_unicast_address_is_one_that_a_container_can_have(v4 in any::<[u8; 4]>(),
                                                              v6 in any::<[u8; 16]>()) {
            let one = !matches!(v4, [0 | 224..=239, ..] | [255, 255, 255, 255]);
            prop_assert_eq!(unicast(&IpAddr::from(v4).to_string()), one.then(|| v4.into()));
            let (mapped, v6) = (std::net::Ipv4Addr::from(v4).to_ipv6_mapped(), IpAddr::from(v6));
            prop_assert_eq!(unicast(&mapped.to_string()), one.then(|| v4.into()), "as IPv4");
            let found = unicast(&v6.to_string());
            let same = |addr: IpAddr| addr == v6.to_canonical() && !addr.is_multicast();
            prop_assert!(found.is_none_or(same));
        }

        #[test]
        fn a_flag_and_a_level_are_words(text in "[a-z0-9]{0,9}") {
            let flags = ["1", "true", "yes", "on", "0", "false", "no", "off"];
            prop_assert_eq!(flag(&text).is_some(), flags.contains(&&*text));
            prop_assert_eq!(log_level(&text.to_uppercase()), log_level(&text));
        }
    }

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
