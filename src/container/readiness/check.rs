//! What `READY_CHECK` asks for.

use std::fmt;
use std::str::FromStr;

use crate::net::target::{host_name, port};

/// When the app counts as able to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyCheck {
    /// Its port accepts a connection: this one, else `READY_PORT`, else the one that it is served on.
    Tcp(Option<u16>),
    /// A GET answers 200…399.
    Http(Get),
    /// This command exits with 0.
    Cmd(String),
    /// It says `READY=1` (sd_notify(3)).
    Notify,
    /// As soon as it has been started.
    None,
}

/// What to get over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Port to ask; `None` = `READY_PORT`, else the one that the app is served on.
    pub port: Option<u16>,
    /// What the Host header says; `None` = the address and port that are asked.
    pub host: Option<String>,
    /// Path and query; it starts with `/`.
    pub path: String,
}

impl FromStr for ReadyCheck {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("tcp", None) => Some(Self::Tcp(None)),
            ("tcp", Some(digits)) => port(digits).map(|port| Self::Tcp(Some(port))),
            ("http", Some(rest)) => get(rest).map(Self::Http),
            ("cmd", Some(command)) => Some(command.trim())
                .filter(|text| !text.is_empty())
                .map(|text| Self::Cmd(text.into())),
            ("notify", None) => Some(Self::Notify),
            ("none", None) => Some(Self::None),
            _ => None,
        }
        .ok_or(())
    }
}

/// `/path`, `PORT/path`, or `//HOST/path` and `//HOST:PORT/path` as in a URL.
fn get(text: &str) -> Option<Get> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let url = text.strip_prefix("//");
    let slash = url.unwrap_or(text).find('/')?;
    let (front, path) = url.unwrap_or(text).split_at(slash);
    let (host, digits) = match (url, front.rsplit_once(':')) {
        (None, _) => (None, Some(front).filter(|front| !front.is_empty())),
        (Some(_), Some((host, digits))) if !digits.ends_with(']') => (Some(host), Some(digits)),
        (Some(_), _) => (Some(front), None),
    };
    let literal = |host: &str| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        bare.is_some_and(|bare| bare.parse::<std::net::Ipv6Addr>().is_ok())
            || host.parse::<std::net::Ipv4Addr>().is_ok()
    };
    if host.is_some_and(|host| !host_name(host) && !literal(host)) {
        return None;
    }
    let port = match digits {
        Some(digits) => Some(port(digits)?),
        None => None,
    };
    Some(Get { port, host: host.map(|_| front.to_owned()), path: path.to_owned() })
}

impl fmt::Display for ReadyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(None) => f.write_str("tcp"),
            Self::Tcp(Some(port)) => write!(f, "tcp:{port}"),
            Self::Http(Get { host: Some(host), path, .. }) => write!(f, "http://{host}{path}"),
            Self::Http(Get { port: Some(port), path, .. }) => write!(f, "http:{port}{path}"),
            Self::Http(Get { path, .. }) => write!(f, "http:{path}"),
            Self::Cmd(command) => write!(f, "cmd:{command}"),
            Self::Notify => f.write_str("notify"),
            Self::None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn http(port: Option<u16>, host: Option<&str>, path: &str) -> Option<ReadyCheck> {
        let (host, path) = (host.map(str::to_owned), path.to_owned());
        Some(ReadyCheck::Http(Get { port, host, path }))
    }

    #[test]
    fn ready_checks() {
        for (text, want) in [
            ("tcp", Some(ReadyCheck::Tcp(None))),
            ("tcp:8080", Some(ReadyCheck::Tcp(Some(8080)))),
            ("http:/healthz?x=1", http(None, None, "/healthz?x=1")),
            ("http:8080/healthz", http(Some(8080), None, "/healthz")),
            ("http://app.example/up", http(None, Some("app.example"), "/up")),
            ("http://app.example:81/", http(Some(81), Some("app.example:81"), "/")),
            ("http://[::1]:81/", http(Some(81), Some("[::1]:81"), "/")),
            ("http://10.0.0.1/", http(None, Some("10.0.0.1"), "/")),
            ("cmd:test -e /ready", Some(ReadyCheck::Cmd("test -e /ready".into()))),
            ("notify", Some(ReadyCheck::Notify)),
            ("none", Some(ReadyCheck::None)),
        ] {
            assert_eq!(text.parse().ok(), want, "{text}");
            assert_eq!(want.map(|check| check.to_string()).as_deref(), Some(text));
        }
        for text in [
            "TCP",
            "tcp:",
            "tcp:0",
            "tcp:+80",
            "tcp:65536",
            "tcp:80/",
            "http",
            "http:",
            "http:80",
            "http:healthz",
            "http:/a b",
            "http:/a\r\nHost: x",
            "http:0/",
            "http:+1/",
            "http://a b/",
            "http:///",
            "http://app.example",
            "http://app:x/",
            "http://a..b/",
            "cmd: ",
            "cmd",
            "notify:",
            "none:1",
            "",
        ] {
            assert_eq!(text.parse::<ReadyCheck>(), Err(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_says_itself_and_cannot_break_a_request(
            text in "(tcp|http|cmd|notify|none)?[:/]{0,3}[a-z0-9.\\[\\]+ \r\n-]{0,12}[:/]{0,2}.{0,12}"
        ) {
            if let Ok(check) = text.parse::<ReadyCheck>() {
                prop_assert_eq!(check.to_string().parse(), Ok(check.clone()));
                if let ReadyCheck::Http(get) = check {
                    let line = get.path.clone() + get.host.as_deref().unwrap_or_default();
                    prop_assert!(get.path.starts_with('/') && line.bytes().all(|b| b.is_ascii_graphic()));
                    prop_assert!(get.port != Some(0));
                }
            }
        }
    }
}
