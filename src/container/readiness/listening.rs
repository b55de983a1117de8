//! Which ports anybody in this network namespace listens on (proc(5), `/proc/net/tcp`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::few::sorted;
use crate::file;

/// Bytes of a table that are read, some ten thousand lines.
const LONGEST: usize = 1_500_000;
/// Endpoints that are told.
const MOST: usize = 8;
/// State of a socket that listens.
const LISTEN: &str = "0A";

/// A sentence about what listens.
pub(super) fn sentence() -> String {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| {
        let bytes = file::start(Path::new(table), LONGEST).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let mut found = tables.iter().flat_map(|table| table.lines()).filter_map(parse);
    let found = sorted(&mut found);
    if found.is_empty() {
        return "nothing listens in this container yet".to_owned();
    }
    let more = if found.len() > MOST { ", …" } else { "" };
    let told = found.iter().take(MOST).map(|(port, ip)| SocketAddr::new(*ip, *port).to_string());
    let told: Vec<_> = told.collect();
    format!("what listens here: {}{more}", told.join(", "))
}

/// `sl  local_address rem_address  st …`, where an address is words of four bytes in the order of
/// this processor.
fn parse(line: &str) -> Option<(u16, IpAddr)> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (addr, port) = columns.next()?.split_once(':')?;
    let state = columns.nth(1)?;
    let mut bytes = Vec::with_capacity(16);
    for word in addr.as_bytes().chunks(8).filter(|word| word.len() == 8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let addr: IpAddr = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => four.into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTEN).then(|| (port, addr.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_both_tables() {
        for (line, want) in [
            ("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:0", Some("127.0.0.1:8080")),
            ("  12: 00000000:0050 00000000:0000 0A 0", Some("0.0.0.0:80")),
            ("   1: 0100007F:1F90 0100007F:D2A4 01 0", None),
            (
                "   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A",
                Some("[::1]:8080"),
            ),
            ("  sl  local_address rem_address   st tx_queue", None),
            ("   0: 01:1F90 00000000:0000 0A", None),
            ("   0: é:1F90 00000000:0000 0A", None),
            ("", None),
        ] {
            let found = parse(line).map(|(port, ip)| SocketAddr::new(ip, port));
            assert_eq!(found, want.map(|addr| addr.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn a_port_of_this_test_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = socket.local_addr().map(|addr| (addr.port(), addr.ip())).unwrap();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(table.lines().filter_map(parse).any(|addr| addr == own));
        assert!(sentence().starts_with("what listens here: "));
    }
}
