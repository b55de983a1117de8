//! Registration in DNS by RFC 2136 updates: a record for each container, leases by which the dead are
//! found, names of nodes. Never touches the app, knows of no other register, and changes nothing in DNS
//! that no container has put there. Reading order: `wire`, `client`, `claim`, `lease`, `phase`,
//! `registrar`.

mod claim;
mod client;
mod fault;
mod lease;
mod phase;
mod registrar;
pub mod settings;
mod status;
pub(crate) mod wire;

pub use registrar::run;
pub use status::{DnsStatus, RecordStatus, status};
pub use wire::key::Key;
pub use wire::name::DnsName;

/// Variables that hold a secret, which the app must not inherit.
pub const SECRETS: &[&str] = &["DNS_TSIG_KEY"];

/// Parses any bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    use domain::base::Rtype;
    use wire::{name, tsig, update};
    let text = String::from_utf8_lossy(data);
    let (_, _) = (Key::parse(&text), Key::parse_file(&text));
    let lease = lease::Lease::parse(data);
    if let Some(lease) = lease {
        assert!(lease::Lease::parse(&lease.text()).is_some(), "{}", text);
    }
    let _ = lease::holder(data);
    if let Ok(name) = name::owner("lb.example.", None) {
        for rtype in [Rtype::A, Rtype::AAAA, Rtype::TXT, Rtype::PTR, Rtype::SRV] {
            let _ = update::records(data, &name, rtype);
        }
    }
    let _ = update::soa(data);
    if let Ok(key) = Key::parse("hmac-sha256:key:c2VjcmV0c2VjcmV0c2VjcmV0")
        && let Ok(name) = name::owner("lb.example.", None)
        && let Some(mut request) = update::question(&name, Rtype::A, 0)
        && let Some(signed) = tsig::sign(&mut request, &key, 0)
    {
        assert!(tsig::verify(data, &signed, 0).is_err(), "forged");
    }
}
