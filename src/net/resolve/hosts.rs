//! The hosts file (hosts(5)).

use std::net::IpAddr;
use std::path::Path;

use crate::file;

/// Longer hosts files are read up to here.
const LONGEST: usize = 4 << 20;

/// Addresses that a hosts file has for `name`, in its order; none when it cannot be read.
pub(super) fn lookup(path: &Path, name: &str) -> Vec<IpAddr> {
    file::start(path, LONGEST).map(|hosts| addresses(&hosts, name)).unwrap_or_default()
}

pub(super) fn addresses(hosts: &[u8], name: &str) -> Vec<IpAddr> {
    let lines = hosts.split(|byte| *byte == b'\n');
    lines.filter_map(|line| address_in(&String::from_utf8_lossy(line), name)).collect()
}

fn address_in(line: &str, name: &str) -> Option<IpAddr> {
    let mut fields = line.split('#').next()?.split_ascii_whitespace();
    let addr = fields.next()?.parse().ok()?;
    fields.any(|field| field.eq_ignore_ascii_case(name)).then_some(addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_address_of_a_name_and_its_aliases() {
        let hosts = b"127.0.0.1\tlocalhost\n\
            # 9.9.9.9 lb\n\
            10.0.0.5   LB.example lb # the first\n\
            garbage lb\n\
            2001:db8::5 lb\r\n\
            10.0.0.6 lb2\n\
            \xff\xfe lb\n\
            10.0.0.7 lb";
        let want: Vec<IpAddr> =
            ["10.0.0.5", "2001:db8::5", "10.0.0.7"].map(|addr| addr.parse().unwrap()).into();
        assert_eq!(addresses(hosts, "lb"), want);
        assert_eq!(addresses(hosts, "lb.EXAMPLE"), want[..1]);
        assert!(addresses(hosts, "l").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_read(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = addresses(&octets, "lb");
            let _ = super::super::conf::Conf::parse(&String::from_utf8_lossy(&octets));
        }
    }
}
