//! Where a server is, as an operator writes it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest path of a Unix socket (unix(7)), in bytes.
const LONGEST_PATH: usize = 107;

/// Where a stats socket or a DNS server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address.
    Ip {
        /// Address, unmapped.
        addr: IpAddr,
        /// Port, never 0.
        port: u16,
    },
    /// A name, every address of which counts.
    Name {
        /// Host name as given.
        name: String,
        /// Port, never 0.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Parses `host`, `host:port`, `1.2.3.4:port`, `::1`, `[::1]:port` or `unix:/path`.
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return (path.len() <= LONGEST_PATH).then(|| Self::Unix(path.into()));
        }
        if let Ok(addr) = text.parse::<IpAddr>() {
            return Self::ip(addr, default_port);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, digits)) if !digits.ends_with(']') => (host, port(digits)?),
            _ => (text, default_port),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(addr) = bare.parse::<IpAddr>() {
            return Self::ip(addr, port);
        }
        if host == "localhost" {
            return Some(Self::Ip { addr: IpAddr::from([127, 0, 0, 1]), port });
        }
        host_name(host).then(|| Self::Name { name: host.to_owned(), port })
    }

    /// The address, where one is given.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Ip { addr, .. } => Some(*addr),
            Self::Name { .. } | Self::Unix(_) => None,
        }
    }

    /// No one server has an address of many.
    fn ip(addr: IpAddr, port: u16) -> Option<Self> {
        let addr = addr.to_canonical();
        let broadcast = addr == IpAddr::from([255; 4]);
        (!addr.is_multicast() && !broadcast).then_some(Self::Ip { addr, port })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip { addr, port } => std::net::SocketAddr::new(*addr, *port).fmt(f),
            Self::Name { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A port that may be sent to a server: 1 to 65535.
pub fn port(text: &str) -> Option<u16> {
    number(text).filter(|port| *port != 0)
}

/// Digits alone: Rust's own parser would take `+80` too.
pub(crate) fn number<T: FromStr>(digits: &str) -> Option<T> {
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all)
}

/// Labels with a dot between them and perhaps one at the end. The last one is no number: `10.0.0.256`
/// is a mistyped address, and no name ends so.
pub(crate) fn host_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let bare = text.strip_suffix('.').unwrap_or(text);
    let last = bare.rsplit('.').next().unwrap_or_default();
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(allowed)
        && bare.split('.').all(|label| (1..=63).contains(&label.len()))
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let ip = |addr: &str, port| Target::Ip { addr: addr.parse().unwrap(), port };
        let name = |name: &str, port| Target::Name { name: name.into(), port };
        for (text, want) in [
            ("10.0.0.1", Some(ip("10.0.0.1", 9999))),
            ("10.0.0.1:1", Some(ip("10.0.0.1", 1))),
            ("::1", Some(ip("::1", 9999))),
            ("[::1]", Some(ip("::1", 9999))),
            ("[::1]:80", Some(ip("::1", 80))),
            ("::ffff:10.0.0.1", Some(ip("10.0.0.1", 9999))),
            ("lb", Some(name("lb", 9999))),
            ("lb.example.:7", Some(name("lb.example.", 7))),
            ("unix:/run/h.sock", Some(Target::Unix("/run/h.sock".into()))),
            ("unix", Some(name("unix", 9999))),
            ("unix:9", Some(name("unix", 9))),
            ("localhost:80", Some(ip("127.0.0.1", 80))),
            ("unix:run/h.sock", None),
            ("lb:0", None),
            ("lb:65536", None),
            ("l b", None),
            ("lb/x", None),
            ("", None),
            (".", None),
            ("a..b", None),
            ("lb..", None),
            ("lb:", None),
            ("lb:+80", None),
            ("10.0.0.256", None),
            ("10.0.0", None),
            ("10.0.0.1.", None),
            ("10.0.0.1:+80", None),
            ("255.255.255.255", None),
            ("ff02::1", None),
            ("unix:/", Some(Target::Unix("/".into()))),
            ("1and1.example", Some(name("1and1.example", 9999))),
        ] {
            assert_eq!(Target::parse(text, 9999), want, "{text}");
        }
    }
}
