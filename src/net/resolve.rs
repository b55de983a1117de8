//! Addresses of host names, without the C library's getaddrinfo, which blocks and which a static
//! binary cannot rely on.
//!
//! As the C library does it: IP literals, then the hosts file, then the servers of resolv.conf with
//! its search list. Both files are read anew for every name, since they change while we run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use domain::base::iana::Rtype;
use tokio::time::timeout;

mod answer;
mod conf;
mod exchange;
mod hosts;

pub(crate) use answer::question;
pub(crate) use exchange::{connected, exchange, exchange_by_tcp, truncated};

use crate::few::sorted;
use crate::net::DnsName;
use crate::net::random;
use answer::Answer;
use conf::Conf;

/// Longest time that one name may take, whatever resolv.conf says.
pub const LONGEST: Duration = Duration::from_secs(15);
/// When one address family has answered, the other gets this much longer.
const STRAGGLER: Duration = Duration::from_secs(1);
/// Aliases that are looked up one by one because the server did not follow them.
const LONGEST_CHAIN: usize = 8;

/// Looks host names up.
#[derive(Clone, Debug)]
pub struct Resolver {
    hosts: PathBuf,
    conf: PathBuf,
    first: Arc<AtomicUsize>,
}

impl Default for Resolver {
    /// With the system's files.
    fn default() -> Self {
        Self::with_files("/etc/hosts", "/etc/resolv.conf")
    }
}

/// Why a name has no address now.
#[derive(Debug, thiserror::Error)]
#[error("look up {name}: {cause}")]
pub struct ResolveError {
    /// The name as it was asked for.
    pub name: String,
    /// What happened.
    pub cause: Cause,
}

/// What kept a name from being resolved.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It cannot be a host name.
    #[error("not a host name")]
    Malformed,
    /// Neither the hosts file nor this server knows an address for it.
    #[error("neither the hosts file nor {0} has an address for it")]
    NotFound(SocketAddr),
    /// The servers did not answer or would not; what each of them did.
    #[error("{0}")]
    Failed(String),
}

impl Resolver {
    /// With other files than the system's.
    pub fn with_files(hosts: impl Into<PathBuf>, conf: impl Into<PathBuf>) -> Self {
        Self { hosts: hosts.into(), conf: conf.into(), first: Arc::default() }
    }

    /// Every address of `name`, IPv4 first, sorted and without doubles, never empty. Takes at most
    /// [`LONGEST`].
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = match self.without_dns(name) {
            Some(found) => found,
            None => self
                .by_dns(name)
                .await
                .map_err(|cause| ResolveError { name: name.to_owned(), cause })?,
        };
        Ok(sorted(&mut found.into_iter()))
    }

    fn without_dns(&self, name: &str) -> Option<Vec<IpAddr>> {
        if let Ok(addr) = name.parse::<IpAddr>() {
            return Some(vec![addr]);
        }
        let bare = name.strip_suffix('.').unwrap_or(name);
        let found = hosts::lookup(&self.hosts, bare);
        if !found.is_empty() {
            return Some(found);
        }
        // Never asked of a server (RFC 6761 section 6.3).
        let last = bare.rsplit('.').next()?;
        last.eq_ignore_ascii_case("localhost")
            .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
    }

    async fn by_dns(&self, name: &str) -> Result<Vec<IpAddr>, Cause> {
        let servers = self.servers();
        timeout(LONGEST, servers.search(name)).await.unwrap_or_else(|_| {
            let asked = servers.conf.servers.iter().map(SocketAddr::to_string);
            let asked = asked.collect::<Vec<_>>().join(", ");
            Err(Cause::Failed(format!("no answer within {LONGEST:?} from {asked}")))
        })
    }

    /// What the system's servers answer to a question, as it came, and which of them it was.
    pub(crate) async fn ask(
        &self,
        name: &DnsName,
        rtype: Rtype,
    ) -> Result<(SocketAddr, Vec<u8>), String> {
        self.servers().ask(name, rtype).await
    }

    fn servers(&self) -> Servers {
        Servers { conf: Conf::read(&self.conf), first: self.first.clone() }
    }
}

/// The servers of resolv.conf as it is now.
struct Servers {
    conf: Conf,
    /// Which of them answered last: one that is dead is waited for once, not for every name.
    first: Arc<AtomicUsize>,
}

impl Servers {
    async fn search(&self, name: &str) -> Result<Vec<IpAddr>, Cause> {
        let mut cause = Cause::Malformed;
        for candidate in candidates(&self.conf, name) {
            match self.addresses(candidate).await {
                Ok(found) => return Ok(found),
                // A server that failed says more than one that knows nothing.
                Err(_) if matches!(cause, Cause::Failed(_)) => {}
                Err(other) => cause = other,
            }
        }
        Err(cause)
    }

    /// Asks for both families at once. One that answers is enough, but the other is waited for a
    /// while, so that the set does not depend on which packet came first.
    async fn addresses(&self, name: DnsName) -> Result<Vec<IpAddr>, Cause> {
        let v4 = self.family(name.clone(), Rtype::A);
        let v6 = self.family(name, Rtype::AAAA);
        tokio::pin!(v4, v6);
        let results = tokio::select! {
            first = &mut v4 => [straggler(&first, v6).await, first],
            first = &mut v6 => [straggler(&first, v4).await, first],
        };
        match results {
            [Ok(mut found), Ok(more)] => {
                found.extend(more);
                Ok(found)
            }
            [Ok(found), Err(_)] | [Err(_), Ok(found)] => Ok(found),
            [Err(cause @ Cause::Failed(_)), Err(_)] | [Err(_), Err(cause)] => Err(cause),
        }
    }

    async fn family(&self, mut name: DnsName, rtype: Rtype) -> Result<Vec<IpAddr>, Cause> {
        for _ in 0..LONGEST_CHAIN {
            let (server, bytes) = self.ask(&name, rtype).await.map_err(Cause::Failed)?;
            match answer::read(&bytes, &name) {
                Answer::Found(found) => return Ok(found),
                Answer::Alias(target) => name = target,
                Answer::Nothing => return Err(Cause::NotFound(server)),
                Answer::Garbage => return Err(Cause::Failed(format!("{server} answers garbage"))),
            }
        }
        Err(Cause::Failed(format!("more than {LONGEST_CHAIN} aliases, up to {name}")))
    }

    async fn ask(&self, name: &DnsName, rtype: Rtype) -> Result<(SocketAddr, Vec<u8>), String> {
        let count = self.conf.servers.len();
        let first = self.first.load(Relaxed);
        let mut failures = Vec::new();
        for _ in 0..self.conf.attempts {
            for index in (first..first + count).map(|index| index % count) {
                let server = self.conf.servers[index];
                let request = question(name, rtype, random::bits() as u16);
                let failure = match exchange(server, &request, self.conf.timeout, &|_| true).await {
                    Ok(answer) => match answer::refusal(&answer) {
                        None => {
                            self.first.store(index, Relaxed);
                            return Ok((server, answer));
                        }
                        Some(rcode) => format!("{server} says {rcode} to {name} {rtype}"),
                    },
                    Err(error) => format!("{server}: {error}"),
                };
                if !failures.contains(&failure) {
                    failures.push(failure);
                }
            }
        }
        Err(failures.join(", "))
    }
}

/// The full names that `name` may stand for, likeliest first.
fn candidates(conf: &Conf, name: &str) -> Vec<DnsName> {
    let full = |text: &str| DnsName::vec_from_str(text).ok().filter(|name| !name.is_root());
    let Some(as_is) = full(name) else {
        return Vec::new();
    };
    if name.ends_with('.') {
        return vec![as_is];
    }
    let domains = conf.search.iter();
    let mut names: Vec<_> =
        domains.filter_map(|domain| full(&format!("{name}.{domain}"))).collect();
    let dots = name.bytes().filter(|byte| *byte == b'.').count();
    let at = if dots >= conf.ndots { 0 } else { names.len() };
    names.insert(at, as_is);
    names
}

async fn straggler<T>(
    first: &Result<T, Cause>,
    other: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Cause> {
    match first {
        Ok(_) => timeout(STRAGGLER, other)
            .await
            .unwrap_or_else(|_| Err(Cause::Failed("late".to_owned()))),
        Err(_) => other.await,
    }
}

/// Parses any bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    use domain::base::Name;
    let name: DnsName = Name::vec_from_str("lb.example").unwrap_or_else(|_| Name::root_vec());
    let _ = (answer::refusal(data), exchange::truncated(data));
    let _ = exchange::answers(data, &question(&name, Rtype::A, 1));
    if let Answer::Found(found) = answer::read(data, &name) {
        assert!(!found.is_empty());
    }
    let conf = Conf::parse(&String::from_utf8_lossy(data));
    assert!((1..=3).contains(&conf.servers.len()));
    let _ = hosts::addresses(data, "lb.example");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(conf: &str, name: &str) -> Vec<String> {
        let names = candidates(&Conf::parse(conf), name);
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_short_name_is_searched_for_and_a_long_one_tried_first() {
        let conf = "search a.example b.example";
        assert_eq!(names(conf, "lb"), ["lb.a.example", "lb.b.example", "lb"]);
        assert_eq!(names(conf, "lb.x"), ["lb.x", "lb.x.a.example", "lb.x.b.example"]);
        assert_eq!(names(conf, "lb."), ["lb"]);
        assert_eq!(names("search a\noptions ndots:0", "lb"), ["lb", "lb.a"]);
        for malformed in ["", ".", "a..b", &"x".repeat(64), &"abc.".repeat(70)] {
            assert!(names(conf, malformed).is_empty(), "{malformed}");
        }
    }
}
