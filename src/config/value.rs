//! The values that variables hold, each parsed into a type of its own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

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
            return Some(Self::Unix(path.into()));
        }
        if let Ok(addr) = text.parse::<IpAddr>() {
            return Some(Self::Ip { addr: addr.to_canonical(), port: default_port });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, digits)) if !digits.ends_with(']') => (host, port(digits)?),
            _ => (text, default_port),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(addr) = bare.parse::<IpAddr>() {
            return Some(Self::Ip { addr: addr.to_canonical(), port });
        }
        if host == "localhost" {
            return Some(Self::Ip { addr: IpAddr::from([127, 0, 0, 1]), port });
        }
        host_name(host).then(|| Self::Name { name: host.to_owned(), port })
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

/// When the app counts as able to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyCheck {
    /// Its port accepts a connection.
    Tcp,
    /// `GET` of this path answers 200…399.
    Http(String),
    /// This command exits with 0.
    Cmd(String),
    /// It says `READY=1` (sd_notify(3)).
    Notify,
    /// As soon as it has been started.
    None,
}

impl FromStr for ReadyCheck {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "tcp" => return Ok(Self::Tcp),
            "notify" => return Ok(Self::Notify),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let printable = |path: &&str| path.bytes().all(|byte| byte.is_ascii_graphic());
        if let Some(path) = text.strip_prefix("http:").filter(printable) {
            return path.starts_with('/').then(|| Self::Http(path.to_owned())).ok_or(());
        }
        text.strip_prefix("cmd:")
            .map(str::trim)
            .filter(|command| !command.is_empty())
            .map(|command| Self::Cmd(command.to_owned()))
            .ok_or(())
    }
}

/// Shape of the lines on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// What [`count`] expects.
pub const COUNT: &str = "a whole number from 1 to 100000";
/// What [`proxy_name`] expects.
pub const PROXY_NAME: &str = "letters, digits, '-', '_', '.' and ':'";

/// `250ms`, `5s`, `2m`, `1h`, or a plain number of seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = digits.parse().ok()?;
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
pub fn log_level(text: &str) -> Option<LevelFilter> {
    match text.to_ascii_lowercase().as_str() {
        "fatal" | "critical" => Some(LevelFilter::ERROR),
        "warning" => Some(LevelFilter::WARN),
        "notice" => Some(LevelFilter::INFO),
        "verbose" => Some(LevelFilter::DEBUG),
        level => level.parse().ok(),
    }
}

/// A port that may be sent to a server: 1 to 65535.
pub fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A small positive number.
pub fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=100_000).contains(count))
}

/// 0 or 1, as words too.
pub fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An address that one container can own.
pub fn unicast(text: &str) -> Option<IpAddr> {
    let addr = text.parse::<IpAddr>().ok()?.to_canonical();
    let broadcast = addr == IpAddr::from([255, 255, 255, 255]);
    (!addr.is_unspecified() && !addr.is_multicast() && !broadcast).then_some(addr)
}

/// A name that HAProxy accepts for proxies and servers, hence nothing that could end a command
/// (configuration manual, 2.2 "Quoting and escaping" and the naming rules of section 4).
pub fn proxy_name(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    text.bytes().all(allowed).then(|| text.to_owned())
}

fn host_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(allowed)
        && text.trim_end_matches('.').split('.').all(|label| (1..=63).contains(&label.len()))
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
        ] {
            assert_eq!(Target::parse(text, 9999), want, "{text}");
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

    #[test]
    fn ready_checks() {
        for (text, want) in [
            ("tcp", Ok(ReadyCheck::Tcp)),
            ("http:/healthz?x=1", Ok(ReadyCheck::Http("/healthz?x=1".into()))),
            ("http:healthz", Err(())),
            ("http:/a b", Err(())),
            ("http:/a\r\nHost: x", Err(())),
            ("cmd:test -e /ready", Ok(ReadyCheck::Cmd("test -e /ready".into()))),
            ("cmd: ", Err(())),
            ("TCP", Err(())),
        ] {
            assert_eq!(text.parse(), want, "{text}");
        }
    }
}
