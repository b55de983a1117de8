//! `--status` and `--check`: what the servers themselves say about this container.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::container;
use crate::net::resolve::Resolver;
use crate::net::target::Target;
use crate::registers::Identity;
use crate::registers::dns::{self, DnsStatus};
use crate::registers::haproxy::Settings;
use crate::registers::haproxy::registrar;
use crate::registers::haproxy::{Client, Endpoint, Overview, Process, Server};
#[cfg(feature = "traefik")]
use crate::registers::traefik;
use crate::registers::traefik::KeyStatus;
use crate::task;

/// Exit codes of `--check`.
pub const REGISTERED: u8 = 0;
/// At least one server says no.
pub const NOT_REGISTERED: u8 = 1;
/// Not one server could be asked.
pub const CANNOT_TELL: u8 = 2;

/// How far apart two answers of the same moment may be.
const MOMENT: Duration = Duration::from_secs(3);

/// What is said of a server whose query has panicked.
const BUG: &str = "nothing is known, by a bug in berth";

/// Everything that was asked, one entry for each server.
#[derive(Debug, Default, Serialize)]
pub struct Status {
    /// One for each load balancer.
    pub haproxy: Vec<SlotStatus>,
    /// The records in DNS, when `DNS_SERVER` or `DNS_ZONE` is set.
    pub dns: Option<DnsStatus>,
    /// One for each store of Traefik's.
    pub traefik: Vec<KeyStatus>,
    /// Whether the container is registered wherever it should be.
    pub registered: bool,
}

/// What one HAProxy shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SlotStatus {
    /// Where its stats socket is.
    pub server: String,
    /// Backend with the template.
    pub backend: Option<Arc<str>>,
    /// The slot that shows this container's address.
    pub slot: Option<Arc<str>>,
    /// This container's address and port.
    pub address: Option<SocketAddr>,
    /// HAProxy's word for the slot: `UP`, `DOWN`, `MAINT`, `DRAIN`, …
    pub state: Option<String>,
    /// Sessions that the slot works on.
    pub sessions: Option<u64>,
    /// Why nothing can be said.
    pub error: Option<String>,
    /// Whether it has told what it holds.
    #[serde(skip)]
    pub answered: bool,
    /// The process that has told it, and where its servers point.
    #[serde(skip)]
    seen: Option<(Process, Vec<Server>)>,
}

/// What one server says of this container.
enum Answer {
    Registered,
    Not(String),
    CannotTell(String),
}

impl SlotStatus {
    fn answer(&self) -> Answer {
        match (&self.error, &self.state) {
            (Some(error), _) if !self.answered => Answer::CannotTell(error.clone()),
            (Some(error), _) => Answer::Not(error.clone()),
            (None, _) if self.in_rotation() => Answer::Registered,
            (None, Some(state)) => Answer::Not(format!("its slot is in state {state}")),
            (None, None) => Answer::Not("no slot shows its address".to_owned()),
        }
    }

    fn in_rotation(&self) -> bool {
        let state = self.state.as_deref().unwrap_or_default();
        state.starts_with("UP") || state == "no check"
    }
}

/// Asks every server that the configuration names.
pub async fn ask(settings: &container::Settings, resolver: &Resolver) -> Status {
    let mut status = Status::default();
    if let Some(haproxy) = &settings.haproxy {
        let haproxy = Arc::new(haproxy.clone());
        let targets = haproxy.servers.iter().cloned();
        let asked = targets
            .map(|to| (to.to_string(), ask_target(to, Arc::clone(&haproxy), resolver.clone())));
        let all = at_once(asked, |server| vec![broken(server)]).await;
        status.haproxy = all.into_iter().flatten().collect();
        share(&mut status.haproxy);
    }
    let slot = status.haproxy.first();
    let endpoint = slot.and_then(|slot| slot.address);
    let port = settings.port.or(endpoint.map(|endpoint| endpoint.port()));
    if let Some(dns) = &settings.dns {
        let identity = Identity {
            addr: settings.addr.or(endpoint.map(|endpoint| endpoint.ip())),
            port,
            slot: slot.and_then(|slot| slot.slot.clone()),
        };
        let dns = dns::status(dns.clone(), &identity, resolver.clone()).await;
        status.dns = Some(dns);
    }
    #[cfg(feature = "traefik")]
    ask_stores(&mut status, settings, port, resolver).await;
    status.registered = status.verdict().0 == REGISTERED;
    status
}

#[cfg(feature = "traefik")]
async fn ask_stores(
    status: &mut Status,
    settings: &container::Settings,
    port: Option<u16>,
    resolver: &Resolver,
) {
    if let Some(traefik) = &settings.traefik {
        let asked = traefik.stores.iter().map(|store| {
            let asked = traefik::status(store.clone(), traefik.clone(), port, resolver.clone());
            (store.to_string(), asked)
        });
        let broken = |store| KeyStatus { store, error: Some(BUG.to_owned()), ..Default::default() };
        status.traefik = at_once(asked, broken).await;
    }
}

/// Awaits all of them side by side, so that one that hangs does not add to another; in their order.
/// Of one that panics `broken` says what is to be told: it must not count as a good answer.
async fn at_once<K, T: Send + 'static>(
    futures: impl Iterator<Item = (K, impl Future<Output = T> + Send + 'static)>,
    broken: impl Fn(K) -> T,
) -> Vec<T> {
    let tasks: Vec<_> = futures.map(|(name, future)| (name, task::outcome(future))).collect();
    let mut done = Vec::with_capacity(tasks.len());
    for (name, task) in tasks {
        done.push(task.await.unwrap_or_else(|_| broken(name)));
    }
    done
}

/// What is said of a server whose query has panicked.
fn broken(server: String) -> SlotStatus {
    let error = Some(BUG.to_owned());
    SlotStatus { server, error, ..Default::default() }
}

async fn ask_target(
    target: Target,
    settings: Arc<Settings>,
    resolver: Resolver,
) -> Vec<SlotStatus> {
    let client =
        |addr: IpAddr, port, host: &str| settings.client(SocketAddr::new(addr, port), host);
    let clients = match &target {
        Target::Ip { addr, port } => vec![client(*addr, *port, &addr.to_string())],
        Target::Unix(path) => vec![Client::new(Endpoint::Unix(path.clone()))],
        Target::Name { name, port } => match resolver.resolve(name).await {
            Ok(found) => found.into_iter().map(|addr| client(addr, *port, name)).collect(),
            Err(error) => {
                let error = Some(error.to_string());
                return vec![SlotStatus {
                    server: target.to_string(),
                    error,
                    ..Default::default()
                }];
            }
        },
    };
    let asked = clients.into_iter().map(|to| {
        let is_v4 = is_v4(&to);
        ((is_v4, to.endpoint().to_string()), ask_haproxy(to, Arc::clone(&settings)))
    });
    one_family(at_once(asked, |(is_v4, server)| (is_v4, broken(server))).await)
}

/// As the registrars see it: a name with addresses of both families is one host with two addresses,
/// of which IPv6 counts when none of the others answers.
fn one_family(slots: Vec<(bool, SlotStatus)>) -> Vec<SlotStatus> {
    let (v4, others): (Vec<_>, Vec<_>) = slots.into_iter().partition(|(v4, _)| *v4);
    let answers = |slots: &[(bool, SlotStatus)]| slots.iter().any(|(_, slot)| slot.error.is_none());
    let counts = if v4.is_empty() || (!answers(&v4) && answers(&others)) { others } else { v4 };
    counts.into_iter().map(|(_, slot)| slot).collect()
}

/// Where two addresses lead to one HAProxy, only one slot is held, and both tell it.
fn share(slots: &mut [SlotStatus]) {
    let holds = |slot: &&SlotStatus| slot.slot.is_some() && slot.seen.is_some();
    let holders: Vec<_> = slots.iter().filter(holds).cloned().collect();
    for slot in slots.iter_mut().filter(|slot| slot.slot.is_none()) {
        let Some((process, servers)) = &slot.seen else { continue };
        let is_here = |holder: &&SlotStatus| {
            let same = holder.seen.as_ref().is_some_and(|(other, _)| is_same(process, other));
            let shows = |server: &Server| {
                server.endpoint() == holder.address
                    && Some(&server.name) == holder.slot.as_ref()
                    && Some(&server.backend) == holder.backend.as_ref()
            };
            same && servers.iter().any(shows)
        };
        if let Some(holder) = holders.iter().find(is_here) {
            *slot = SlotStatus { server: slot.server.clone(), ..holder.clone() };
        }
    }
}

/// Whether two answers of the same moment are of one process.
fn is_same(one: &Process, other: &Process) -> bool {
    let apart = one.uptime.abs_diff(other.uptime);
    one.pid == other.pid && one.node == other.node && apart <= MOMENT
}

fn is_v4(client: &Client) -> bool {
    matches!(client.endpoint(), Endpoint::Tcp(addr) if addr.is_ipv4())
}

/// Whether it was asked over IPv4, and what it said.
async fn ask_haproxy(client: Client, settings: Arc<Settings>) -> (bool, SlotStatus) {
    let v4 = is_v4(&client);
    let mut status = SlotStatus { server: client.endpoint().to_string(), ..Default::default() };
    if let Err(error) = fill(&mut status, &client, &settings).await {
        status.error = Some(error.to_string());
    }
    (v4, status)
}

async fn fill(
    status: &mut SlotStatus,
    client: &Client,
    settings: &Settings,
) -> Result<(), Box<dyn Error>> {
    client.ping().await?;
    let Overview { servers, peers } = client.overview(None).await?;
    status.answered = true;
    if let Some(process) = peers.process {
        status.seen = Some((process, servers.clone()));
    }
    let (template, endpoint) = registrar::who_am_i(&servers, peers.local, settings)?;
    status.backend = Some(Arc::clone(template.backend()));
    status.address = Some(endpoint);
    let mine = |server: &&Server| template.contains(server) && server.endpoint() == Some(endpoint);
    let mine: Vec<_> = servers.iter().filter(mine).collect();
    let slot = match mine.iter().find(|slot| !slot.admin.in_maint()) {
        Some(slot) => slot,
        // Several in maintenance are untouched: the template gives them the address that is mine too.
        None if mine.len() == 1 => mine[0],
        None => return Ok(()),
    };
    status.slot = Some(Arc::clone(&slot.name));
    let (stat, _) = client.stat(slot).await?;
    status.sessions = stat.as_ref().map(|stat| stat.work());
    status.state = stat.map(|stat| stat.status);
    Ok(())
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.haproxy.is_empty() && self.dns.is_none() && self.traefik.is_empty() {
            return writeln!(
                f,
                "nothing to register with: none of HAPROXY_SERVER, DNS_SERVER and TRAEFIK_KV is set"
            );
        }
        self.write_haproxy(f)?;
        if let Some(dns) = &self.dns {
            write_dns(f, dns)?;
        }
        write_traefik(f, &self.traefik)
    }
}

impl Status {
    /// What `--check` leaves with, and the line that says why. One server that cannot tell makes no
    /// difference while another one can.
    pub fn verdict(&self) -> (u8, String) {
        let haproxy = self.haproxy.iter().map(|slot| (slot.server.clone(), slot.answer()));
        let dns = self.dns.iter().map(|dns| {
            let server = dns.server.map_or_else(|| "dns".to_owned(), |at| format!("dns {at}"));
            let answer = match &dns.error {
                Some(error) => Answer::CannotTell(error.clone()),
                None if dns.registered => Answer::Registered,
                None => Answer::Not("its address has no record".to_owned()),
            };
            (server, answer)
        });
        let traefik = self.traefik.iter().map(|key| (key.store.clone(), key_answer(key)));
        let (mut yes, mut no, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for (server, answer) in haproxy.chain(dns).chain(traefik) {
            match answer {
                Answer::Registered => yes.push(server),
                Answer::Not(why) => no.push(format!("{server}: {why}")),
                Answer::CannotTell(why) => silent.push(format!("{server} cannot tell: {why}")),
            }
        }
        let line = |words: &str, parts: &[String]| {
            let parts: Vec<_> = parts.iter().chain(&silent).map(|part| one_line(part)).collect();
            if parts.is_empty() {
                words.to_owned()
            } else {
                format!("{words}: {}", parts.join("; "))
            }
        };
        match (yes.is_empty(), no.is_empty(), silent.is_empty()) {
            (_, false, _) => (NOT_REGISTERED, line("not registered", &no)),
            (false, true, _) => (REGISTERED, line("registered", &yes)),
            (true, true, false) => (CANNOT_TELL, line("no server can tell", &[])),
            (true, true, true) => (REGISTERED, "there is nothing to register with".to_owned()),
        }
    }

    fn write_haproxy(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.haproxy.is_empty() {
            return Ok(());
        }
        let mut rows = vec![["HAPROXY", "SLOT", "ADDRESS", "STATE", "SESSIONS"].map(str::to_owned)];
        for slot in &self.haproxy {
            let name = match (&slot.backend, &slot.slot) {
                (Some(backend), Some(name)) => format!("{backend}/{name}"),
                _ => "-".to_owned(),
            };
            let dash = || "-".to_owned();
            rows.push([
                slot.server.clone(),
                name,
                slot.address.map_or_else(dash, |address| address.to_string()),
                match (&slot.state, &slot.error) {
                    (_, Some(error)) => error.clone(),
                    (Some(state), None) => state.clone(),
                    (None, None) => "not registered".to_owned(),
                },
                slot.sessions.map_or_else(dash, |sessions| sessions.to_string()),
            ]);
        }
        write_table(f, &rows)
    }
}

fn write_dns(f: &mut fmt::Formatter<'_>, dns: &DnsStatus) -> fmt::Result {
    let mut rows = vec![["DNS", "TYPE", "TTL", "DATA", "MINE"].map(str::to_owned)];
    for record in &dns.records {
        rows.push([
            record.name.clone(),
            record.rtype.clone(),
            record.ttl.to_string(),
            record.data.clone(),
            if record.mine { "yes" } else { "-" }.to_owned(),
        ]);
    }
    write_table(f, &rows)?;
    match &dns.error {
        Some(error) => writeln!(f, "{error}"),
        None if !dns.registered => writeln!(f, "not registered in DNS"),
        None => Ok(()),
    }
}

fn key_answer(key: &KeyStatus) -> Answer {
    match (&key.error, key.taken_up) {
        (Some(error), _) if !key.answered => Answer::CannotTell(error.clone()),
        _ if !key.registered => Answer::Not("its key is not there".to_owned()),
        (_, Some(false)) => Answer::Not("Traefik does not show it".to_owned()),
        _ => Answer::Registered,
    }
}

fn write_traefik(f: &mut fmt::Formatter<'_>, keys: &[KeyStatus]) -> fmt::Result {
    if keys.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["TRAEFIK", "SERVICE", "ADDRESS", "STATE"].map(str::to_owned)];
    for key in keys {
        let state = match (&key.error, key.registered, key.taken_up) {
            (Some(error), true, _) => format!("in the store; {error}"),
            (Some(error), false, _) => error.clone(),
            (None, false, _) => "not registered".to_owned(),
            (None, true, None) => "in the store".to_owned(),
            (None, true, Some(true)) => "in the store and shown by Traefik".to_owned(),
            (None, true, Some(false)) => "in the store, not shown by Traefik".to_owned(),
        };
        let address = key.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        rows.push([key.store.clone(), key.service.clone(), address, state]);
    }
    write_table(f, &rows)
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

/// Columns as wide as their widest cell, two spaces apart.
fn write_table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += &format!("{cell:<width$}  ");
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_query_that_panics_is_not_a_good_answer() {
        let query = |panics: bool| async move {
            assert!(!panics, "on purpose");
            SlotStatus { state: Some("UP".to_owned()), ..Default::default() }
        };
        let asked = [false, true, false].map(|panics| (panics.to_string(), query(panics)));
        let all = at_once(asked.into_iter(), broken).await;
        let good: Vec<_> = all.iter().map(SlotStatus::in_rotation).collect();
        assert_eq!(good, [true, false, true]);
        assert!(all[1].error.is_some());
        assert_eq!(verdict(all.into_iter().skip(1).take(1).collect(), None).0, CANNOT_TELL);
    }

    fn slot(state: Option<&str>, error: Option<&str>) -> SlotStatus {
        let (state, error) = (state.map(str::to_owned), error.map(str::to_owned));
        SlotStatus { server: "lb".to_owned(), state, error, ..SlotStatus::default() }
    }

    fn verdict(haproxy: Vec<SlotStatus>, dns: Option<DnsStatus>) -> (u8, String) {
        Status { haproxy, dns, ..Status::default() }.verdict()
    }

    #[test]
    fn a_server_that_cannot_tell_decides_only_when_no_other_can() {
        let (up, down) = (slot(Some("UP 1/3"), None), slot(Some("DOWN"), None));
        let (none, away) = (slot(None, None), slot(None, Some("connection refused")));
        let unfit = SlotStatus { answered: true, ..slot(None, Some("no backend fits")) };
        let records = |registered| DnsStatus { registered, ..DnsStatus::default() };
        let silent = DnsStatus { error: Some("timed out".to_owned()), ..DnsStatus::default() };
        for (haproxy, dns, code) in [
            (vec![&up], None, 0),
            (vec![&up, &away], None, 0),
            (vec![&up], Some(silent), 0),
            (vec![&away], Some(records(true)), 0),
            (vec![&up, &down], None, 1),
            (vec![&none], None, 1),
            (vec![&unfit], None, 1),
            (vec![&away, &down], None, 1),
            (vec![&up], Some(records(false)), 1),
            (vec![&away], None, 2),
            (vec![&away, &away], None, 2),
            (vec![], None, 0),
        ] {
            let words = format!("{haproxy:?}");
            let (found, line) = verdict(haproxy.into_iter().map(clone).collect(), dns);
            assert_eq!(found, code, "{words}: {line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    fn clone(slot: &SlotStatus) -> SlotStatus {
        let answered = slot.answered;
        SlotStatus { answered, ..self::slot(slot.state.as_deref(), slot.error.as_deref()) }
    }
}
