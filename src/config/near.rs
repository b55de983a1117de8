//! Variables that are not ours and may have been meant to be.

use super::variables::VARIABLES;

/// What people call a variable elsewhere.
const OTHER_NAMES: [(&str, &[&str]); 3] = [
    (
        "HAPROXY_SERVER",
        &["HAPROXY_HOST", "HAPROXY_ADDR", "HAPROXY_ADDRESS", "HAPROXY_IP", "HAPROXY_URL"],
    ),
    ("DNS_SERVER", &["DNS_HOST", "DNS_ADDR", "DNS_ADDRESS", "DNS_IP"]),
    ("TRAEFIK_KV", &["TRAEFIK_SERVER", "TRAEFIK_STORE", "TRAEFIK_REDIS", "TRAEFIK_ETCD"]),
];

/// What to say of a variable that is not ours. One that resembles nothing of ours is the app's own
/// business, unless the container registers and it has our prefix. `shared` are names of ours that
/// many apps have too: what resembles them says nothing.
pub(super) fn note(name: &str, shared: &[&str], registers: bool) -> Option<String> {
    if describes_a_service(name) {
        return None;
    }
    match meant(name, shared) {
        Some(meant) => Some(format!("{name} means nothing here: did you mean {meant}?")),
        None if without_prefix(name).is_some() && registers => {
            Some(format!("{name} means nothing here"))
        }
        None => None,
    }
}

/// Kubernetes and Docker describe services and linked containers by variables with these in them.
fn describes_a_service(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_", "_ENV_"].iter().any(|part| name.contains(part))
        || name.ends_with("_ENV")
}

/// The variable that a misspelt one was meant to be: little of what follows the prefix differs, or
/// the prefix is too much.
fn meant(name: &str, shared: &[&str]) -> Option<&'static str> {
    let (rest, its_letters) = (without_prefix(name), letters(name));
    let near = |known: &str| {
        let differs = match without_prefix(known) {
            Some(rest) => (rest.len() / 3).min(2),
            None => usize::from(!shared.contains(&known)),
        };
        // Nearly all are told apart by this: measuring every one took two milliseconds of a start.
        let similar = differs > 0
            && name.len().abs_diff(known.len()) <= differs
            && (its_letters ^ letters(known)).count_ones() as usize <= 2 * differs;
        similar && strsim::osa_distance(name, known) <= differs || rest == Some(known)
    };
    let other =
        OTHER_NAMES.iter().find(|(_, names)| names.contains(&name)).map(|(known, _)| *known);
    other.or_else(|| VARIABLES.iter().map(|variable| variable.name).find(|known| near(known)))
}

/// Which letters a name has, a bit for each (some share one). A single mistake changes two at most: it
/// puts one letter in the place of another.
fn letters(name: &str) -> u64 {
    name.bytes().fold(0, |letters, byte| letters | 1 << (byte % 64))
}

fn without_prefix(name: &str) -> Option<&str> {
    ["HAPROXY_", "DNS_", "TRAEFIK_"].iter().find_map(|prefix| name.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn letters_never_rule_out_a_name_that_is_near(a in "[A-E_]{0,8}", b in "[A-E_]{0,8}") {
            let differ = (letters(&a) ^ letters(&b)).count_ones() as usize;
            prop_assert!(differ <= 2 * strsim::osa_distance(&a, &b), "{a} and {b}");
        }
    }
}
