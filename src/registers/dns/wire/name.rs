//! Domain names: as the variables give them, and those that are derived.

use std::net::IpAddr;

use domain::base::name::{RelativeName, ToName};

pub use crate::net::DnsName;

/// Where the leases of a service are: `10-0-0-5._lease.webapp.example.com`.
const LEASE_LABEL: &str = "_lease";

/// Parses a zone's name; what is wrong is a complaint that follows the variable's name.
pub(crate) fn zone(text: &str) -> Result<DnsName, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    check(name)?;
    DnsName::vec_from_str(name).map_err(|_| too_long(text))
}

/// Parses a name: absolute when it ends with a dot or with the zone's name, else relative to the
/// zone; `@` is the zone itself. Without a zone it must be absolute, and has at least two labels.
pub(crate) fn owner(text: &str, within: Option<&DnsName>) -> Result<DnsName, String> {
    if text == "@" {
        return within.cloned().ok_or_else(|| "is '@', expected DNS_ZONE with it".to_owned());
    }
    let bare = text.strip_suffix('.').unwrap_or(text);
    check(bare)?;
    let absolute = DnsName::vec_from_str(bare).map_err(|_| too_long(text))?;
    let Some(within) = within else {
        return match bare.contains('.') {
            true => Ok(absolute),
            false => Err(format!("is '{text}', expected a full name, or DNS_ZONE with it")),
        };
    };
    match (absolute.ends_with(within), text.ends_with('.')) {
        (true, _) => Ok(absolute),
        (false, true) => Err(format!("is '{text}', expected a name in the zone {within}")),
        (false, false) => below(bare, within).ok_or_else(|| too_long(text)),
    }
}

/// Parses the `_service._proto` of an SRV record (RFC 2782).
pub(crate) fn service(text: &str) -> Option<String> {
    let (service, proto) = text.split_once('.')?;
    let label = |label: &str| label.len() > 1 && label.starts_with('_') && check(label).is_ok();
    (label(service) && label(proto) && !proto.contains('.')).then(|| text.to_owned())
}

/// `labels` in front of `name`, when that is not too long.
pub(crate) fn below(labels: &str, name: &DnsName) -> Option<DnsName> {
    let labels = RelativeName::vec_from_str(labels).ok()?;
    labels.chain(name).ok()?.try_to_name().ok()
}

/// Where the leases of the containers at `addr` are that serve as `name`.
pub(crate) fn of_leases(addr: IpAddr, name: &DnsName) -> Option<DnsName> {
    let label = match addr {
        IpAddr::V4(addr) => addr.to_string().replace('.', "-"),
        IpAddr::V6(addr) => format!("{:032x}", u128::from(addr)),
    };
    below(&format!("{label}.{LEASE_LABEL}"), name)
}

/// Where the PTR records of an address are (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub(crate) fn reverse(addr: IpAddr) -> Option<DnsName> {
    DnsName::reverse_from_addr(addr).ok()
}

fn check(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for label in name.split('.') {
        if label.len() > 63 {
            let (length, start) = (label.len(), label.chars().take(12).collect::<String>());
            return Err(format!(
                "has the label '{start}…' of {length} octets, expected at most 63"
            ));
        }
        if label.is_empty() || !label.chars().all(allowed) {
            let rule = "labels of letters, digits, '-' and '_', with a dot between them";
            return Err(format!("is '{name}', expected {rule}"));
        }
    }
    Ok(())
}

fn too_long(text: &str) -> String {
    format!("is '{text}', which is longer with its zone than a domain name may be: 255 octets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DnsName {
        DnsName::vec_from_str(text).unwrap()
    }

    #[test]
    fn names_are_relative_to_the_zone_or_absolute() {
        let example = name("example.com");
        for (text, want) in [
            ("webapp", Ok("webapp.example.com")),
            ("web.prod", Ok("web.prod.example.com")),
            ("webapp.example.com", Ok("webapp.example.com")),
            ("webapp.EXAMPLE.com.", Ok("webapp.example.com")),
            ("@", Ok("example.com")),
            ("webapp.example.org.", Err("expected a name in the zone example.com")),
            ("webapp.notexample.com.", Err("expected a name in the zone")),
            ("a..b", Err("labels of letters")),
            (".", Err("labels of letters")),
            ("a b", Err("labels of letters")),
            ("*", Err("labels of letters")),
            ("wéb", Err("labels of letters")),
            (&"x".repeat(64), Err("has the label 'xxxxxxxxxxxx…' of 64 octets")),
            (&"abc.".repeat(62), Err("expected a name in the zone")),
            (&["abc"; 62].join("."), Err("longer with its zone")),
            (&["abc"; 70].join("."), Err("longer with its zone")),
        ] {
            match (owner(text, Some(&example)), want) {
                (Ok(found), Ok(want)) => assert_eq!(found, name(want), "{text}"),
                (Err(found), Err(want)) => assert!(found.contains(want), "{text}: {found}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        assert_eq!(owner("a.b", None), Ok(name("a.b")));
        assert!(owner("a", None).unwrap_err().contains("DNS_ZONE"));
        assert!(owner("@", None).unwrap_err().contains("DNS_ZONE"));
        assert_eq!(zone("example.com."), Ok(example));
        assert!(zone("").is_err());
    }

    #[test]
    fn services() {
        for (text, good) in [
            ("_http._tcp", true),
            ("_a-b._udp", true),
            ("http._tcp", false),
            ("_http", false),
            ("_._tcp", false),
            ("_http._tcp.example", false),
        ] {
            assert_eq!(service(text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn derived_names() {
        let webapp = name("webapp.example.com");
        let at = |addr: &str| addr.parse::<IpAddr>().unwrap();
        let lease = |addr| of_leases(at(addr), &webapp).unwrap().to_string();
        assert_eq!(lease("10.0.0.5"), "10-0-0-5._lease.webapp.example.com");
        assert_eq!(
            lease("2001:db8::5"),
            "20010db8000000000000000000000005._lease.webapp.example.com"
        );
        assert_eq!(reverse(at("10.0.0.5")).unwrap().to_string(), "5.0.0.10.in-addr.arpa");
        assert_eq!(below("abc", &name(&["abc"; 63].join("."))), None);
    }
}
