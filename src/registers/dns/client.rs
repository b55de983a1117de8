//! Questions and updates to the servers of one zone, signed and verified.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::base::Message;
use domain::base::iana::{Opcode, Rcode, Rtype};

use super::fault::Fault;
use super::settings::DnsConfig;
use super::wire::name::DnsName;
use super::wire::tsig::{self, Request, TsigFault};
use super::wire::update::{self, Data, Update};
use crate::net::random;
use crate::net::resolve::{Resolver, connected, exchange, exchange_by_tcp, truncated};
use crate::net::target::Target;

/// UDP is tried this often, each time longer, before TCP gets its turn: a firewall may let only one
/// of them through.
const UDP_TRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
const TCP_TRY: Duration = Duration::from_secs(2);

/// What came of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is done.
    Done,
    /// A prerequisite did not hold, and nothing was changed.
    Conflict,
}

/// What comes of a question; boxed, since that halves the code of those who ask several.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// What a registrar asks of DNS. Its tests answer without a network.
pub(super) trait Dns: Send {
    /// The server that answered last, or would be asked first.
    fn server(&mut self) -> Answer<'_, SocketAddr>;
    /// The zone that the server has for a name.
    fn zone_of<'a>(&'a mut self, name: &'a DnsName) -> Answer<'a, DnsName>;
    /// The records of one name and type, with their time to live in seconds.
    fn query<'a>(&'a mut self, name: &'a DnsName, rtype: Rtype) -> Answer<'a, Vec<(u32, Data)>>;
    /// Carries an update out. When the answer is lost, the update may have been made all the same,
    /// and what is sent again may meet its own result: only a question tells.
    fn update<'a>(&'a mut self, update: &'a Update) -> Answer<'a, Outcome>;

    /// The data alone of the records of one name and type.
    fn data<'a>(&'a mut self, name: &'a DnsName, rtype: Rtype) -> Answer<'a, Vec<Data>> {
        let query = self.query(name, rtype);
        Box::pin(async { Ok(query.await?.into_iter().map(|(_, data)| data).collect()) })
    }

    /// The TXT records of a name.
    fn texts<'a>(&'a mut self, name: &'a DnsName) -> Answer<'a, Vec<Vec<u8>>> {
        let query = self.query(name, Rtype::TXT);
        Box::pin(async {
            let text = |(_, data)| match data {
                Data::Txt(text) => Some(text),
                _ => None,
            };
            Ok(query.await?.into_iter().filter_map(text).collect())
        })
    }

    /// The address of this host that faces the server. Nothing is sent to find it.
    fn facing_address(&mut self) -> Answer<'_, IpAddr> {
        let server = self.server();
        Box::pin(async {
            let server = server.await?;
            let socket = connected(server).await.and_then(|socket| socket.local_addr());
            Ok(socket.map_err(|error| Fault::Silent(server, error.to_string()))?.ip())
        })
    }
}

/// Talks to the first of the configured servers that answers, and stays with it.
#[derive(Debug)]
pub(super) struct Client {
    config: Arc<DnsConfig>,
    resolver: Resolver,
    /// Addresses that were found, and which of them answered last.
    servers: Vec<SocketAddr>,
    good: usize,
}

impl Dns for Client {
    fn server(&mut self) -> Answer<'_, SocketAddr> {
        Box::pin(async {
            if self.servers.is_empty() {
                self.servers = self.find_servers().await?;
                self.good = 0;
            }
            self.servers.get(self.good).copied().ok_or_else(no_address)
        })
    }

    fn zone_of<'a>(&'a mut self, name: &'a DnsName) -> Answer<'a, DnsName> {
        Box::pin(async {
            let (server, answer) = self.ask_for(name, Rtype::SOA).await?;
            let found = update::soa(&answer).filter(|_| is_authoritative(&answer));
            let (zone, _) = found.ok_or_else(|| Fault::NotAuthoritative(server, name.clone()))?;
            Ok(zone)
        })
    }

    fn query<'a>(&'a mut self, name: &'a DnsName, rtype: Rtype) -> Answer<'a, Vec<(u32, Data)>> {
        Box::pin(async move {
            let (server, answer) = self.ask_for(name, rtype).await?;
            if !is_authoritative(&answer) {
                return Err(Fault::NotAuthoritative(server, name.clone()));
            }
            if truncated(&answer) {
                return Err(Fault::TooMany(name.clone()));
            }
            update::records(&answer, name, rtype)
                .ok_or_else(|| Fault::Silent(server, "answers garbage".to_owned()))
        })
    }

    fn update<'a>(&'a mut self, update: &'a Update) -> Answer<'a, Outcome> {
        Box::pin(async {
            let message = update.encode(self.config.ttl, id());
            let message = message.ok_or_else(|| Fault::TooMany(self.config.name.clone()))?;
            let (_, answer) = self.ask(&message).await?;
            Ok(match rcode(&answer) {
                Rcode::NOERROR => Outcome::Done,
                _ => Outcome::Conflict,
            })
        })
    }
}

impl Client {
    pub(super) fn new(config: Arc<DnsConfig>, resolver: Resolver) -> Self {
        Self { config, resolver, servers: Vec::new(), good: 0 }
    }

    async fn ask_for(
        &mut self,
        name: &DnsName,
        rtype: Rtype,
    ) -> Result<(SocketAddr, Vec<u8>), Fault> {
        let question = update::question(name, rtype, id());
        self.ask(&question.ok_or_else(|| Fault::TooMany(name.clone()))?).await
    }

    /// Asks the servers in turn, beginning with the one that answered last. When none will have
    /// it, the trouble of the first counts, and all are looked up again the next time.
    async fn ask(&mut self, request: &Request) -> Result<(SocketAddr, Vec<u8>), Fault> {
        self.server().await?;
        let mut trouble = None;
        for turn in 0..self.servers.len() {
            let index = (self.good + turn) % self.servers.len();
            let server = self.servers[index];
            match self.ask_one(server, request).await {
                Ok(answer) => {
                    self.good = index;
                    return Ok((server, answer));
                }
                Err(fault) => trouble = trouble.or(Some(fault)),
            }
        }
        self.servers.clear();
        Err(trouble.unwrap_or_else(no_address))
    }

    async fn ask_one(&self, server: SocketAddr, request: &Request) -> Result<Vec<u8>, Fault> {
        let mut request = request.clone();
        let update = request.header().opcode() == Opcode::UPDATE;
        let signed = match &self.config.key {
            Some(key) => Some(
                tsig::sign(&mut request, key, now())
                    .ok_or_else(|| Fault::TooMany(self.config.name.clone()))?,
            ),
            None => None,
        };
        let request = request.finish();
        let verify = |answer: &[u8]| match &signed {
            Some(signed) => tsig::verify(answer, signed, now()),
            None => Ok(()),
        };
        let good = |answer: &[u8]| verify(answer).is_ok();
        let mut answer = Err(std::io::ErrorKind::TimedOut.into());
        for patience in UDP_TRIES {
            answer = exchange(server, &request, patience, &good).await;
            if answer.is_ok() {
                break;
            }
        }
        if answer.is_err() {
            answer = exchange_by_tcp(server, &request, TCP_TRY).await.or(answer);
        }
        let answer = answer.map_err(|error| Fault::Silent(server, error.to_string()))?;
        let refused = |signed| match rcode(&answer) {
            Rcode::NOERROR
            | Rcode::NXDOMAIN
            | Rcode::YXDOMAIN
            | Rcode::YXRRSET
            | Rcode::NXRRSET => None,
            rcode => Some(Fault::Refused { server, rcode, update, signed }),
        };
        match (verify(&answer), refused(false)) {
            (Ok(()), _) => refused(true).map_or(Ok(answer), Err),
            // A server that refuses without a signature still gives a hint at what is wrong.
            (Err(TsigFault::Unsigned), Some(hint)) => Err(hint),
            (Err(fault), _) => Err(Fault::Tsig(server, fault)),
        }
    }

    async fn find_servers(&self) -> Result<Vec<SocketAddr>, Fault> {
        let primary;
        let targets = match (&self.config.servers, &self.config.zone) {
            (servers, Some(zone)) if servers.is_empty() => {
                primary = [self.find_primary(zone).await?];
                &primary[..]
            }
            (servers, _) => servers,
        };
        let mut found = Vec::new();
        let mut trouble = None;
        for target in targets {
            match target {
                Target::Ip { addr, port } => found.push(SocketAddr::new(*addr, *port)),
                Target::Name { name, port } => match self.resolver.resolve(name).await {
                    Ok(addrs) => {
                        found.extend(addrs.into_iter().map(|addr| SocketAddr::new(addr, *port)));
                    }
                    Err(error) => trouble = Some(Fault::NoServer(error.to_string())),
                },
                Target::Unix(_) => {}
            }
        }
        match trouble {
            Some(trouble) if found.is_empty() => Err(trouble),
            _ => Ok(found),
        }
    }

    /// The primary as the zone's SOA record names it (RFC 2136 section 4.3), by the system's
    /// resolver.
    async fn find_primary(&self, zone: &DnsName) -> Result<Target, Fault> {
        let answer = self.resolver.ask(zone, Rtype::SOA).await;
        let (server, answer) = answer.map_err(|why| {
            Fault::NoServer(format!("look for the primary of {zone} by its SOA record: {why}"))
        })?;
        match update::soa(&answer) {
            Some((owner, primary)) if owner == *zone => {
                Ok(Target::Name { name: format!("{primary}."), port: self.config.port })
            }
            _ => Err(Fault::NoServer(format!("{server} knows no SOA record of {zone}"))),
        }
    }
}

fn no_address() -> Fault {
    Fault::NoServer("DNS_SERVER has no address".to_owned())
}

fn id() -> u16 {
    random::bits() as u16
}

/// Seconds since 1970, for signatures.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn rcode(answer: &[u8]) -> Rcode {
    Message::from_slice(answer).map_or(Rcode::FORMERR, |answer| answer.header().rcode())
}

fn is_authoritative(answer: &[u8]) -> bool {
    Message::from_slice(answer).is_ok_and(|answer| answer.header().aa())
}
