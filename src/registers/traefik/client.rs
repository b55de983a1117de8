//! One store: a connection that is kept, and made anew when it breaks.
//!
//! What is asked here may be asked twice: every change says what is to be there, not what to add to it.

mod etcd;
mod line;
mod redis;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::fault::Fault;
use super::settings::{Kind, Settings, Store};
use super::wire::keys::Pair;
use crate::net::resolve::Resolver;
use crate::net::target::Target;
use crate::net::tls::Session;
use line::Line;

/// What a store has under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) value: String,
    /// Whether it is under our lease, as far as the store tells.
    pub(super) leased: bool,
}

/// A client of one store. A name stands for the members of one cluster: the first that answers counts.
#[derive(Debug)]
pub(super) struct Client {
    store: Store,
    tls: Option<Session>,
    resolver: Resolver,
    addresses: Vec<SocketAddr>,
    good: usize,
    line: Option<Line>,
    /// etcd's lease that our key is under.
    lease: Option<String>,
    /// Whether Redis tells Traefik of changes, as it said on the last new connection: the letters of
    /// its `notify-keyspace-events`.
    notifies: Option<String>,
}

impl Client {
    pub(super) fn new(store: Store, settings: &Settings, resolver: Resolver) -> Self {
        let tls = settings.tls.clone().filter(|_| store.tls);
        Self {
            tls: tls.map(|tls| Session::new(tls, &store.host())),
            store,
            resolver,
            addresses: Vec::new(),
            good: 0,
            line: None,
            lease: None,
            notifies: None,
        }
    }

    /// Our own address on the connection, as Traefik may reach it too.
    pub(super) async fn local(&mut self) -> Result<IpAddr, Fault> {
        let line = self.take_line().await?;
        Ok(self.line.insert(line).local)
    }

    /// What is there under each of these keys.
    pub(super) async fn read(&mut self, keys: &[&str]) -> Result<Vec<Option<Found>>, Fault> {
        match self.store.kind {
            Kind::Redis => self.redis_read(keys).await,
            Kind::Etcd => self.etcd_read(keys).await,
        }
    }

    /// The keys that begin with `prefix`; those that an operator gave no right to see are none.
    pub(super) async fn list(&mut self, prefix: &str) -> Result<Vec<Pair>, Fault> {
        match self.store.kind {
            Kind::Redis => self.redis_list(prefix).await,
            Kind::Etcd => self.etcd_list(prefix).await,
        }
    }

    /// Puts a key under a lease of so long from now on.
    pub(super) async fn put(&mut self, pair: &Pair, lease: Duration) -> Result<(), Fault> {
        match self.store.kind {
            Kind::Redis => self.redis_put(pair, lease).await,
            Kind::Etcd => self.etcd_put(pair, lease).await,
        }
    }

    /// Makes that lease last so long from now on.
    pub(super) async fn renew(&mut self, pair: &Pair, lease: Duration) -> Result<(), Fault> {
        match self.store.kind {
            Kind::Redis => self.redis_put(pair, lease).await,
            Kind::Etcd => self.etcd_renew(pair, lease).await,
        }
    }

    /// Puts a key for good, unless it is there.
    pub(super) async fn add(&mut self, pair: &Pair) -> Result<(), Fault> {
        match self.store.kind {
            Kind::Redis => self.redis_add(pair).await,
            Kind::Etcd => self.etcd_add(pair).await,
        }
    }

    /// Puts and deletes keys for good, all at once.
    pub(super) async fn set_all(&mut self, keys: &[(String, Option<String>)]) -> Result<(), Fault> {
        match self.store.kind {
            Kind::Redis => self.redis_set_all(keys).await,
            Kind::Etcd => self.etcd_set_all(keys).await,
        }
    }

    /// Deletes keys.
    pub(super) async fn remove(&mut self, keys: &[String]) -> Result<(), Fault> {
        match self.store.kind {
            Kind::Redis => self.redis_remove(keys).await,
            Kind::Etcd => self.etcd_remove(keys).await,
        }
    }

    /// Gives the lease back, under which nothing is any more.
    pub(super) async fn end_lease(&mut self) {
        if self.lease.is_some() {
            self.etcd_end_lease().await;
        }
    }

    /// The letters of Redis's `notify-keyspace-events`, once for each new connection.
    pub(super) fn take_notifies(&mut self) -> Option<String> {
        self.notifies.take()
    }

    /// The connection, to ask one thing; made when there is none. It is put back when the answer is there: an
    /// exchange that is broken off half-way leaves none, since the next would read what is left of it.
    async fn take_line(&mut self) -> Result<Line, Fault> {
        match self.line.take() {
            Some(line) => Ok(line),
            None => self.connect().await,
        }
    }

    /// Connects to the addresses in turn, beginning with the one that answered last. When none will have
    /// us, the trouble of the first counts, and all are looked up again the next time.
    async fn connect(&mut self) -> Result<Line, Fault> {
        if self.addresses.is_empty() {
            self.addresses = self.look_up().await?;
            self.good = 0;
        }
        let mut trouble = None;
        for turn in 0..self.addresses.len() {
            let index = (self.good + turn) % self.addresses.len();
            match self.open(self.addresses[index]).await {
                Ok(line) => {
                    self.good = index;
                    return Ok(line);
                }
                Err(fault) => trouble = trouble.or(Some(fault)),
            }
        }
        self.addresses.clear();
        Err(trouble.unwrap_or_else(|| Fault::NoAddress("TRAEFIK_KV has no address".to_owned())))
    }

    /// A connection on which we are who we are to be.
    async fn open(&mut self, server: SocketAddr) -> Result<Line, Fault> {
        let mut line = Line::open(server, self.tls.as_ref()).await?;
        match self.store.kind {
            Kind::Redis => self.notifies = line.redis_hello(&self.store).await?,
            Kind::Etcd => line.etcd_hello(&self.store).await?,
        }
        Ok(line)
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, Fault> {
        match &self.store.target {
            Target::Ip { addr, port } => Ok(vec![SocketAddr::new(*addr, *port)]),
            Target::Name { name, port } => {
                let found = self.resolver.resolve(name).await;
                let found = found.map_err(|error| Fault::NoAddress(error.to_string()))?;
                Ok(found.into_iter().map(|addr| SocketAddr::new(addr, *port)).collect())
            }
            Target::Unix(_) => Ok(Vec::new()),
        }
    }

    /// What is to be done about trouble on a connection, which is not used again. Whether to ask once more,
    /// on a new one.
    fn give_up(&mut self, fault: &Fault, was_kept: bool) -> bool {
        if matches!(fault, Fault::Refused { .. }) && self.addresses.len() > 1 {
            // Another member may take it, as a replica's primary does.
            self.good = (self.good + 1) % self.addresses.len();
        }
        was_kept && fault.is_lost()
    }
}
