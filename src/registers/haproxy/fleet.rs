//! All the load balancers: one registrar for each, and a look-up for each name.
//!
//! A name stands for all its addresses. It is looked up again at a slow interval, and soon when
//! none of its addresses answers, so that a replaced load balancer is found.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::few::Few;
use crate::net::backoff::{Backoff, jitter};
use crate::net::random;
use crate::net::resolve::{ResolveError, Resolver};
use crate::net::target::Target;
use crate::registers::haproxy::Settings;
use crate::registers::haproxy::registrar::{self, Holdings};
use crate::registers::haproxy::{Client, Endpoint};
use crate::registers::{Channels, Report, Standing};
use crate::task;

/// How often a name is looked up while its addresses answer.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);
/// First and longest pause while none of them does.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Keeps a registrar at each address of one target.
pub async fn run(
    target: Target,
    settings: Arc<Settings>,
    channels: Channels,
    holdings: Holdings,
    resolver: Resolver,
) {
    match target {
        Target::Ip { addr, port } => {
            let client = settings.client(SocketAddr::new(addr, port), &addr.to_string());
            registrar::run(client, settings, channels, holdings).await;
        }
        Target::Unix(path) => {
            let client = Client::new(Endpoint::Unix(path));
            registrar::run(client, settings, channels, holdings).await;
        }
        Target::Name { name, port } => {
            Name::new(name, port, settings, channels, holdings, resolver).run().await;
        }
    }
}

/// One name and the registrars at its addresses.
struct Name {
    name: String,
    port: u16,
    settings: Arc<Settings>,
    channels: Channels,
    holdings: Holdings,
    resolver: Resolver,
    members: Few<IpAddr, Member>,
    /// Where the members report, on its way to the life cycle.
    inbox: (mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>),
    backoff: Backoff,
    complained: bool,
    prefer_v6: bool,
}

struct Member {
    register: Arc<str>,
    task: JoinHandle<()>,
    reachable: bool,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Name {
    fn new(
        name: String,
        port: u16,
        settings: Arc<Settings>,
        channels: Channels,
        holdings: Holdings,
        resolver: Resolver,
    ) -> Self {
        Self {
            name,
            port,
            settings,
            channels,
            holdings,
            resolver,
            members: Few::default(),
            inbox: mpsc::unbounded_channel(),
            backoff: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            complained: false,
            prefer_v6: false,
        }
    }

    async fn run(mut self) {
        // Beside everything else: a slow lookup must not hold up the members' reports.
        let look_up = |resolver: Resolver, name: String, at: Instant| async move {
            sleep_until(at).await;
            resolver.resolve(&name).await
        };
        let (resolver, name) = (self.resolver.clone(), self.name.clone());
        let look_up_at = |at| look_up(resolver.clone(), name.clone(), at);
        let lookup = look_up_at(Instant::now());
        tokio::pin!(lookup);
        loop {
            tokio::select! {
                Some(report) = self.inbox.1.recv() => {
                    let was_reachable = self.any_reachable();
                    self.forward(report);
                    if was_reachable && !self.any_reachable() {
                        let pause = self.backoff.next(random::fraction());
                        lookup.set(look_up_at(Instant::now() + pause));
                    }
                }
                found = &mut lookup => {
                    self.take_up(found);
                    let pause = match self.any_reachable() {
                        true => jitter(LOOKUP_INTERVAL, random::fraction()),
                        false => self.backoff.next(random::fraction()),
                    };
                    lookup.set(look_up_at(Instant::now() + pause));
                }
                () = self.channels.reports.closed() => return,
            }
        }
    }

    fn any_reachable(&self) -> bool {
        self.members.values().any(|member| member.reachable)
    }

    fn forward(&mut self, report: Report) {
        if let Some(member) =
            self.members.values_mut().find(|member| member.register == report.register)
        {
            member.reachable = report.standing != Some(Standing::Unreachable);
            if member.reachable {
                self.backoff.reset();
            }
            let _ = self.channels.reports.send(report);
        }
    }

    /// Starts and forgets registrars by what a lookup has found.
    fn take_up(&mut self, found: Result<Vec<IpAddr>, ResolveError>) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                if !self.complained {
                    self.complained = true;
                    let error = error.to_string();
                    warn!(name = self.name, error, "cannot look up, the app runs on; retrying");
                }
                if self.members.is_empty() {
                    let epoch = self.channels.want.borrow().epoch;
                    self.channels.report(epoch, Standing::Unreachable);
                }
                return;
            }
        };
        if std::mem::take(&mut self.complained) {
            info!(name = self.name, "found");
        }
        let found = self.one_family(found);
        for addr in &found {
            if self.members.get(addr).is_none() {
                let member = self.member(*addr);
                self.members.insert(*addr, member);
            }
        }
        let gone: Vec<_> = self
            .members
            .iter()
            .filter(|(addr, member)| !member.reachable && !found.contains(addr))
            .map(|(addr, _)| *addr)
            .collect();
        for addr in gone {
            if let Some(member) = self.members.remove(&addr) {
                info!(register = %member.register, name = self.name, "gone from DNS and not answering; forgotten");
                let register = Arc::clone(&member.register);
                let _ = self.channels.reports.send(Report { register, epoch: 0, standing: None });
            }
        }
    }

    /// A name with addresses of both families is one host with two addresses, which must not hold
    /// two slots: IPv4 counts, and IPv6 when none of the others answers.
    fn one_family(&mut self, found: Vec<IpAddr>) -> Vec<IpAddr> {
        let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(IpAddr::is_ipv4);
        if v4.is_empty() || v6.is_empty() {
            return if v4.is_empty() { v6 } else { v4 };
        }
        if !self.members.is_empty() && !self.any_reachable() {
            self.prefer_v6 = !self.prefer_v6;
        }
        if self.prefer_v6 { v6 } else { v4 }
    }

    fn member(&self, addr: IpAddr) -> Member {
        let addr = SocketAddr::new(addr, self.port);
        let register: Arc<str> = format!("haproxy {addr}").into();
        let channels = Channels {
            reports: self.inbox.0.clone(),
            ..self.channels.named(Arc::clone(&register))
        };
        let client = self.settings.client(addr, &self.name);
        let (settings, holdings) = (Arc::clone(&self.settings), self.holdings.clone());
        let task = task::keep_alive("registrar", move || {
            let (settings, holdings) = (Arc::clone(&settings), holdings.clone());
            registrar::run(client.clone(), settings, channels.clone(), holdings)
        });
        // Reachable until it says otherwise: it has only just been found.
        Member { register, task, reachable: true }
    }
}
