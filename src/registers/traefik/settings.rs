//! What the registrars in Traefik's stores are told.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::net::pem::TlsNames;
use crate::net::target::Target;
use crate::net::tls::Tls;

/// The words for TLS to a store.
pub const TLS: TlsNames = TlsNames {
    ca: "TRAEFIK_TLS_CA",
    cert: "TRAEFIK_TLS_CERT",
    key: "TRAEFIK_TLS_KEY",
    server: "TRAEFIK_KV",
    peer: "the store",
    plain: "a store without TLS? (write redis:// or etcd://, or the port that it has for TLS)",
};

/// Where and as what a container registers for Traefik.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TRAEFIK_KV`: the stores, each a register of its own.
    pub stores: Vec<Store>,
    /// `TRAEFIK_SERVICE`.
    pub service: String,
    /// `TRAEFIK_SCHEME`.
    pub scheme: Scheme,
    /// `TRAEFIK_ROOT`.
    pub root: String,
    /// `TRAEFIK_LEASE`: a container that died without a word is gone so long after.
    pub lease: Duration,
    /// `TRAEFIK_DRAIN`: how long Traefik may send requests after the key is gone.
    pub drain: Duration,
    /// `TRAEFIK_API`: Traefiks that tell whether they do; a name stands for all its addresses.
    pub api: Vec<Target>,
    /// `TRAEFIK_RULE` and `TRAEFIK_ENTRYPOINTS`.
    pub route: Option<Route>,
    /// `TRAEFIK_TLS_…`, for the stores that want it.
    pub tls: Option<Tls>,
    /// `SYNC_INTERVAL`.
    pub sync_interval: Duration,
    /// `APP_ADDR`.
    pub app_addr: Option<IpAddr>,
    /// Whether nobody else tells the address of this container.
    pub tells_address: bool,
}

/// One store.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    /// What it speaks.
    pub kind: Kind,
    /// Where it is: one server, or a name that stands for the members of one cluster.
    pub target: Target,
    /// Name and password.
    pub login: Option<Login>,
    /// Number of the Redis database.
    pub db: u32,
    /// Whether it is spoken to over TLS.
    pub tls: bool,
}

/// What a store speaks, which is also how Traefik calls its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Redis, or what speaks its protocol.
    Redis,
    /// etcd 3.4 or later.
    Etcd,
}

/// Who we are to a store.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Empty for Redis's default user.
    pub user: String,
    /// Never shown.
    pub password: String,
}

/// How Traefik speaks to the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP/2 without TLS.
    H2c,
    /// A TCP service.
    Tcp,
}

/// Which requests go to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// As Traefik writes it: ``Host(`example.com`)``.
    pub rule: String,
    /// Entry points; none = Traefik's default.
    pub entry_points: Vec<String>,
}

impl Kind {
    /// Traefik's name for the provider.
    pub fn provider(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Etcd => "etcd",
        }
    }
}

impl FromStr for Scheme {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "h2c" => Ok(Self::H2c),
            "tcp" => Ok(Self::Tcp),
            _ => Err(()),
        }
    }
}

impl Store {
    /// Parses `redis://[user:password@]host[:port][/db]`, `rediss://…`, `etcd://[user:password@]host[:port]`
    /// or `etcds://…`. In user and password `%40` stands for `@`, and so on.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (kind, tls, port) = match scheme {
            "redis" => (Kind::Redis, false, 6379),
            "rediss" => (Kind::Redis, true, 6379),
            "etcd" => (Kind::Etcd, false, 2379),
            "etcds" => (Kind::Etcd, true, 2379),
            _ => return None,
        };
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(Login::parse(login)?), rest),
            None => (None, rest),
        };
        let (host, db) = match rest.split_once('/') {
            Some((host, "")) => (host, 0),
            Some((host, digits)) if kind == Kind::Redis => {
                (host, crate::net::target::number(digits)?)
            }
            Some(_) => return None,
            None => (rest, 0),
        };
        let target = Target::parse(host, port).filter(|to| !matches!(to, Target::Unix(_)))?;
        Some(Self { kind, target, login, db, tls })
    }
}

impl Store {
    /// What its certificate must be for: the name or address that `TRAEFIK_KV` gives.
    pub fn host(&self) -> String {
        match &self.target {
            Target::Name { name, .. } => name.clone(),
            Target::Ip { addr, .. } => addr.to_string(),
            Target::Unix(_) => String::new(),
        }
    }
}

impl Login {
    fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Some(Self { user: decoded(user)?, password: decoded(password)? })
    }
}

/// Text in which `%XX` stands for a byte (RFC 3986, 2.1).
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| hex)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// Without the login.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { "s" } else { "" };
        write!(f, "{}{tls}://{}", self.kind.provider(), self.target)?;
        if self.db > 0 { write!(f, "/{}", self.db) } else { Ok(()) }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({self}, {:?})", self.login)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, redacted)", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores() {
        let shown = |text| Store::parse(text).map(|store| format!("{store:?}"));
        for (text, want) in [
            ("redis://kv", Some("Store(redis://kv:6379, None)")),
            ("rediss://kv:1/3", Some("Store(rediss://kv:1/3, None)")),
            (
                "redis://web:s%40:3@10.0.0.1",
                Some("Store(redis://10.0.0.1:6379, Some(Login(web, redacted)))"),
            ),
            ("etcds://[::1]/", Some("Store(etcds://[::1]:2379, None)")),
            ("etcd://kv/1", None),
            ("redis://kv/x", None),
            ("redis://a:%4@kv", None),
            ("redis://a:%+1@kv", None),
            ("redis://", None),
            ("kv:6379", None),
            ("consul://kv", None),
            ("redis://unix:/run/redis.sock", None),
        ] {
            assert_eq!(shown(text).as_deref(), want, "{text}");
        }
        let login = Store::parse("redis://web:s%40:3@kv").unwrap().login.unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("web", "s@:3"));
    }
}
