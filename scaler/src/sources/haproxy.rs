//! HAProxy's `show stat`: any numeric column of a backend or its live servers, over one process or
//! several.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use berth::net::pem::TlsFiles;
use berth::net::resolve::Resolver;
use berth::net::tls::Tls;
use berth::registers::haproxy::wire::stat::StatRow;
use berth::registers::haproxy::{Client, Endpoint, Process, StatTable, TLS};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::config::ClientTls;
use crate::config::common::client_tls;
use crate::config::reader::{Fields, Value as Field};
use crate::executor::BoxFuture;
use crate::observation::Reading;
use crate::policy::Query;
use crate::ports::{Question, Source, SourceKind, SourceSettings, World};
use crate::timestamp::Timestamp;

/// The stats socket's port where none is given, as for the agent.
const DEFAULT_PORT: u16 = 9999;
/// Columns that only grow, whatever their names (management guide, 9.1); `*_tot` and `hrsp_*` are
/// known by theirs.
const COUNTERS: [&str; 22] = [
    "stot", "bin", "bout", "dreq", "dresp", "ereq", "econ", "eresp", "wretr", "wredis", "chkfail",
    "chkdown", "downtime", "lbtot", "cli_abrt", "srv_abrt", "comp_in", "comp_out", "comp_byp",
    "comp_rsp", "connect", "reuse",
];
/// Columns that are an average or an age already: over several processes they are averaged.
const MEANS: [&str; 10] = [
    "qtime",
    "ctime",
    "rtime",
    "ttime",
    "qtime_max",
    "ctime_max",
    "rtime_max",
    "ttime_max",
    "lastsess",
    "lastchg",
];

/// `[[source]] kind = "haproxy"`.
pub static KIND: SourceKind = SourceKind {
    name: "haproxy",
    has_own_table: true,
    settings,
    keys: &["backend", "column", "take"],
    bind,
};

/// One logical load balancer, of one or many processes.
#[derive(Clone, Debug)]
struct Settings {
    /// `servers`: `host`, `host:port` or `unix:/path`, as in the agent's `HAPROXY_SERVER`.
    servers: Vec<String>,
    /// `tls_ca`, `tls_cert`, `tls_key`.
    tls: Option<ClientTls>,
    /// `settle`: a process that is younger than this may scale out and not in, since the one before
    /// it may still have sessions.
    settle: Duration,
}

fn settings(f: &Fields<'_>) -> Option<Arc<dyn SourceSettings>> {
    let servers = f.req("servers", "a list such as [\"10.0.0.5:9999\"]", |v| {
        let list = v.list(Field::text)?;
        if list.is_empty() { Err("must not be empty".to_owned()) } else { Ok(list) }
    });
    let tls = client_tls(f);
    let settle = f.opt("settle", Field::duration).unwrap_or(Duration::from_secs(300));
    Some(Arc::new(Settings { servers: servers?, tls, settle }))
}

impl SourceSettings for Settings {
    fn open(&self, world: &World<'_>) -> Result<Box<dyn Source>> {
        Ok(Box::new(HaProxy::new(self, world.patience)?))
    }

    fn hosts(&self) -> Vec<(&'static str, String)> {
        let remote = self.servers.iter().filter(|at| !at.starts_with("unix:"));
        remote.map(|at| ("servers", at.clone())).collect()
    }

    fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }
}

/// What a metric asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    backend: String,
    /// scur, rate, req_rate, qcur, rtime, req_tot …; `*_tot` becomes a rate.
    column: String,
    take: Take,
}

/// Which lines of `show stat` a reading takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Take {
    /// The sum over the backend's live servers.
    Sum,
    /// Their average.
    Average,
    /// The backend's own line.
    Backend,
}

fn bind(f: &Fields<'_>) -> Option<Value> {
    let backend = f.req("backend", "a backend's name", Field::text);
    let column = f.req("column", "a column of `show stat`, such as scur", Field::text);
    let takes = [("sum", Take::Sum), ("average", Take::Average), ("backend", Take::Backend)];
    let take = f.opt("take", |v| v.one_of(&takes)).unwrap_or(Take::Sum);
    serde_json::to_value(Asked { backend: backend?, column: column?, take }).ok()
}

/// The connections to it, and what is remembered of its readings.
#[derive(Debug)]
pub struct HaProxy {
    servers: Vec<Server>,
    tls: Option<Tls>,
    resolver: Resolver,
    patience: Duration,
    /// A younger process may hide an older one's sessions.
    settle: Duration,
    /// The last value of each counter that is asked for.
    counters: HashMap<CounterKey, (f64, Instant)>,
    /// Who has answered, and when last.
    answered: HashMap<Endpoint, Instant>,
    sessions: HashMap<IpAddr, u64>,
}

/// What one process said.
#[derive(Clone, Debug)]
struct Said {
    endpoint: Endpoint,
    table: StatTable,
    process: Option<Process>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CounterKey {
    endpoint: Endpoint,
    backend: String,
    line: String,
    column: String,
}

/// One entry of `servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Server {
    Unix(PathBuf),
    Name { host: String, port: u16 },
}

impl HaProxy {
    /// Reads the servers' names.
    fn new(source: &Settings, patience: Duration) -> Result<Self> {
        let load = |tls: &ClientTls| {
            let files = TlsFiles { ca: tls.ca.clone(), identity: tls.identity.clone() };
            Tls::load(&files, &TLS).map_err(|complaints| anyhow!(complaints.join("; ")))
        };
        Ok(Self {
            tls: source.tls.as_ref().map(load).transpose()?,
            servers: source.servers.iter().map(|s| server(s)).collect::<Result<_>>()?,
            resolver: Resolver::default(),
            patience,
            settle: source.settle,
            counters: HashMap::new(),
            answered: HashMap::new(),
            sessions: HashMap::new(),
        })
    }

    /// Every process's table, or why one of them has none: part of a sum is no sum.
    async fn tables(&self) -> Result<Vec<Said>, String> {
        let endpoints = join_all(self.servers.iter().map(|server| self.endpoints(server))).await;
        let endpoints = endpoints.into_iter().collect::<Result<Vec<_>, _>>()?;
        // One that has two names is still one.
        let mut seen = HashSet::new();
        let endpoints = endpoints.into_iter().flatten().filter(|(e, _)| seen.insert(e.clone()));
        let tables = endpoints.map(async |(endpoint, host)| {
            let client = match &self.tls {
                Some(tls) => Client::with_tls(endpoint, tls.clone(), host),
                None => Client::new(endpoint),
            };
            let table = timeout(self.patience, client.statistics()).await;
            let endpoint = client.endpoint().clone();
            match table {
                Ok(Ok((table, process))) => Ok(Said { endpoint, table, process }),
                Ok(Err(error)) => Err(format!("{endpoint}: {error}")),
                Err(_) => Err(format!("{endpoint}: no answer within {:?}", self.patience)),
            }
        });
        join_all(tables).await.into_iter().collect()
    }

    /// Where a server listens, and the name that its certificate must have.
    async fn endpoints<'s>(&self, server: &'s Server) -> Result<Vec<(Endpoint, &'s str)>, String> {
        match server {
            Server::Unix(path) => Ok(vec![(Endpoint::Unix(path.clone()), "")]),
            Server::Name { host, port } => {
                let found = timeout(self.patience, self.resolver.resolve(host)).await;
                let found = found
                    .map_err(|_| format!("{host}: no address within {:?}", self.patience))?
                    .map_err(|error| error.to_string())?;
                let at = |ip| (Endpoint::Tcp(SocketAddr::new(ip, *port)), host.as_str());
                Ok(found.into_iter().map(at).collect())
            }
        }
    }

    /// Why the whole table may show too little: an older process still has sessions, or one that
    /// answered is not among those that are asked any more.
    fn hidden(&mut self, said: &[Said], now: Instant) -> Option<String> {
        self.answered.retain(|_, at| now.duration_since(*at) < self.settle);
        let gone = self.answered.keys().find(|known| said.iter().all(|s| s.endpoint != **known));
        let gone = gone.map(|endpoint| format!("{endpoint} answered before and is not asked now"));
        self.answered.extend(said.iter().map(|s| (s.endpoint.clone(), now)));
        let young = said.iter().find_map(|s| {
            let uptime = s.process.as_ref()?.uptime;
            (uptime < self.settle).then(|| {
                let secs = uptime.as_secs();
                format!("{} runs for {secs} s, and one before it may have sessions", s.endpoint)
            })
        });
        young.or(gone)
    }

    fn answer(&mut self, said: &[Said], query: &Query, now: Timestamp, looked: Instant) -> Reading {
        let Some(Asked { backend, column, take }) = query.asked() else {
            return Reading::Missing;
        };
        let counter = is_counter(&column);
        let (mut values, mut hidden) = (Vec::new(), None);
        for Said { endpoint, table, .. } in said {
            if !table.has_column(&column) {
                return Reading::Error(format!("{endpoint}: show stat has no column {column:?}"));
            }
            for row in table.rows().filter(|row| is_of(row, &backend, take)) {
                let name = row.text("svname").unwrap_or_default();
                let counts = take == Take::Backend || is_live(&row);
                if !counts && is_down(&row) && row.number("scur").is_some_and(|n| n > 0.0) {
                    hidden = Some(format!("{name} is down and has sessions"));
                }
                let Some(value) = row.number(&column) else { continue };
                if !counter {
                    values.extend(counts.then_some(value));
                    continue;
                }
                let key = CounterKey {
                    endpoint: endpoint.clone(),
                    backend: backend.clone(),
                    line: name.to_owned(),
                    column: column.clone(),
                };
                // Of those that do not count yet as well: they may before the next look.
                match rate(self.counters.insert(key, (value, looked)), value, looked) {
                    Some(rate) => values.extend(counts.then_some(rate)),
                    None if counts => hidden = Some(format!("{name} was looked at once only")),
                    None => {}
                }
            }
        }
        if values.is_empty() {
            return Reading::Missing;
        }
        let sum: f64 = values.iter().sum();
        let mean = take == Take::Average || MEANS.contains(&column.as_str());
        let v = if mean { sum / values.len() as f64 } else { sum };
        match hidden {
            Some(why) => Reading::AtLeast { v, at: now, why },
            None => Reading::Value { v, at: now },
        }
    }
}

impl Source for HaProxy {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question<'a>],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async move {
            match self.tables().await {
                Err(why) => vec![Reading::Error(why); questions.len()],
                Ok(said) => {
                    let looked = Instant::now();
                    self.sessions = sessions(&said);
                    let hidden = self.hidden(&said, looked);
                    // Two policies may ask for the same counter; its rate is taken once.
                    let mut answers: Vec<(&Query, Reading)> = Vec::new();
                    for question in questions {
                        let known = answers.iter().find(|(query, _)| *query == question.query);
                        let answer = match known {
                            Some((_, answer)) => answer.clone(),
                            None => self.answer(&said, question.query, now, looked),
                        };
                        answers.push((question.query, answer));
                    }
                    let at_least = |answer| match (answer, &hidden) {
                        (Reading::Value { v, at }, Some(why)) => {
                            Reading::AtLeast { v, at, why: why.clone() }
                        }
                        (answer, _) => answer,
                    };
                    answers.into_iter().map(|(_, answer)| at_least(answer)).collect()
                }
            }
        })
    }

    fn sessions(&self) -> HashMap<IpAddr, u64> {
        self.sessions.clone()
    }
}

/// Whether a line of the table is one that is asked for.
fn is_of(row: &StatRow<'_>, backend: &str, take: Take) -> bool {
    if row.text("pxname") != Some(backend) {
        return false;
    }
    let name = row.text("svname");
    match take {
        Take::Backend => name == Some("BACKEND"),
        Take::Sum | Take::Average => !matches!(name, Some("BACKEND" | "FRONTEND")),
    }
}

fn is_live(row: &StatRow<'_>) -> bool {
    row.text("status").is_some_and(|s| s.starts_with("UP") || s == "no check")
}

fn is_down(row: &StatRow<'_>) -> bool {
    row.text("status").is_some_and(|s| s.starts_with("DOWN"))
}

fn is_counter(column: &str) -> bool {
    column.ends_with("_tot") || column.starts_with("hrsp_") || COUNTERS.contains(&column)
}

/// The rate per second since the last look. A counter that fell has begun anew at zero: HAProxy
/// was restarted.
fn rate(before: Option<(f64, Instant)>, value: f64, now: Instant) -> Option<f64> {
    let (last, at) = before?;
    let elapsed = now.duration_since(at).as_secs_f64();
    let grown = if value < last { value } else { value - last };
    (elapsed > 0.0).then(|| grown / elapsed)
}

fn sessions(said: &[Said]) -> HashMap<IpAddr, u64> {
    let mut sessions: HashMap<IpAddr, u64> = HashMap::new();
    for row in said.iter().flat_map(|said| said.table.rows()) {
        let addr = row.text("addr").and_then(|addr| addr.parse::<SocketAddr>().ok());
        let busy = row.text("scur").and_then(|n| n.parse::<u64>().ok());
        if let (Some(addr), Some(busy)) = (addr, busy) {
            *sessions.entry(addr.ip().to_canonical()).or_default() += busy;
        }
    }
    sessions
}

fn server(text: &str) -> Result<Server> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Server::Unix(path.trim_start_matches("//").into()));
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(Server::Name { host: bare.to_owned(), port: DEFAULT_PORT });
    }
    let (host, port) = match text.rsplit_once(':') {
        None => (text, DEFAULT_PORT),
        Some((host, port)) => match port.parse() {
            Ok(port) if port > 0 => (host, port),
            _ => bail!("servers: expected host, host:port or unix:/path, not {text:?}"),
        },
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        bail!("servers: expected host, host:port or unix:/path, not {text:?}");
    }
    Ok(Server::Name { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# pxname,svname,scur,stot,rtime,status,addr,\n\
        web,FRONTEND,9,900,,OPEN,,\n\
        web,node1,3,100,10,UP,10.0.0.1:80,\n\
        web,node2,5,300,30,UP 1/3,10.0.0.2:80,\n\
        web,node3,7,50,,DRAIN,10.0.0.3:80,\n\
        web,node4,0,0,,MAINT,127.0.0.1:80,\n\
        web,BACKEND,15,450,20,UP,,\n\
        other,node1,100,1,1,UP,10.0.0.1:80,\n";

    fn haproxy() -> HaProxy {
        let servers = vec!["10.0.0.5".to_owned()];
        let settle = Duration::from_secs(60);
        let source = Settings { servers, tls: None, settle };
        HaProxy::new(&source, Duration::from_secs(1)).unwrap()
    }

    fn query(column: &str, take: Take) -> Query {
        let (backend, column) = ("web".to_owned(), column.to_owned());
        Query::new("edge", Asked { backend, column, take })
    }

    fn tables(texts: &[&str]) -> Vec<Said> {
        let endpoint = |n: usize| Endpoint::Unix(format!("/{n}").into());
        let tables = texts.iter().map(|text| StatTable::parse(text).unwrap());
        let process =
            Some(Process { pid: 7, uptime: Duration::from_secs(600), node: None, stopping: false });
        let said = |(n, table)| Said { endpoint: endpoint(n), table, process: process.clone() };
        tables.enumerate().map(said).collect()
    }

    fn value(reading: &Reading) -> f64 {
        let Reading::Value { v, .. } = reading else { panic!("{reading:?}") };
        *v
    }

    fn part(reading: &Reading) -> (f64, &str) {
        let Reading::AtLeast { v, why, .. } = reading else { panic!("{reading:?}") };
        (*v, why)
    }

    const NOW: Timestamp = Timestamp::from_secs(1);

    #[test]
    fn takes_the_sum_the_average_or_the_backends_line_of_live_servers() {
        let (mut haproxy, at) = (haproxy(), Instant::now());
        for (column, take, expected) in [
            ("scur", Take::Sum, 8.0),
            ("scur", Take::Average, 4.0),
            ("scur", Take::Backend, 15.0),
            ("rtime", Take::Average, 20.0),
        ] {
            let answer = haproxy.answer(&tables(&[TABLE]), &query(column, take), NOW, at);
            assert_eq!(value(&answer), expected, "{column} {take:?}");
        }
        let two = tables(&[TABLE, TABLE]);
        assert_eq!(value(&haproxy.answer(&two, &query("scur", Take::Sum), NOW, at)), 16.0);
        assert_eq!(value(&haproxy.answer(&two, &query("rtime", Take::Backend), NOW, at)), 20.0);
    }

    #[test]
    fn nothing_is_never_a_zero() {
        let (mut haproxy, at) = (haproxy(), Instant::now());
        let dead = TABLE.replace("UP", "DOWN");
        let answer = haproxy.answer(&tables(&[&dead]), &query("scur", Take::Sum), NOW, at);
        assert_eq!(answer, Reading::Missing);
        let empty = "# pxname,svname,scur,status,addr,\n";
        let answer = haproxy.answer(&tables(&[empty]), &query("scur", Take::Backend), NOW, at);
        assert_eq!(answer, Reading::Missing);
        let answer = haproxy.answer(&tables(&[TABLE]), &query("scurr", Take::Sum), NOW, at);
        assert!(matches!(answer, Reading::Error(why) if why.contains("no column \"scurr\"")));
    }

    #[test]
    fn counters_become_rates_across_a_restart() {
        let (mut haproxy, start) = (haproxy(), Instant::now());
        let mut at = |text: &str, secs| {
            let looked = start + Duration::from_secs(secs);
            haproxy.answer(&tables(&[text]), &query("stot", Take::Sum), NOW, looked)
        };
        assert_eq!(at(TABLE, 0), Reading::Missing, "one look gives no rate");
        assert_eq!(value(&at(&TABLE.replace(",100,", ",150,"), 10)), 5.0);
        let restarted = TABLE.replace(",100,", ",20,").replace(",300,", ",30,");
        assert_eq!(value(&at(&restarted, 20)), 5.0);
    }

    #[test]
    fn a_server_that_comes_up_is_counted_from_its_first_look_on_and_hides_nobody() {
        let (mut haproxy, start) = (haproxy(), Instant::now());
        let mut at = |text: &str, secs| {
            let looked = start + Duration::from_secs(secs);
            haproxy.answer(&tables(&[text]), &query("stot", Take::Sum), NOW, looked)
        };
        at(TABLE, 0);
        let up = TABLE.replace("0,0,,MAINT", "0,10,,UP");
        assert_eq!(value(&at(&up, 10)), 1.0, "its line was there before");
        let more = format!("{up}web,node5,9,500,,UP,10.0.0.5:80,\n");
        assert_eq!(part(&at(&more, 20)), (0.0, "node5 was looked at once only"));
        assert_eq!(value(&at(&more.replace(",500,", ",520,"), 30)), 2.0);
    }

    #[test]
    fn a_server_that_goes_down_with_its_sessions_may_not_scale_in() {
        let (mut haproxy, at) = (haproxy(), Instant::now());
        let down = TABLE.replace("10,UP,", "10,DOWN,");
        for (take, v) in [(Take::Sum, 5.0), (Take::Average, 5.0)] {
            let answer = haproxy.answer(&tables(&[&down]), &query("scur", take), NOW, at);
            assert_eq!(part(&answer), (v, "node1 is down and has sessions"));
        }
        let answer = haproxy.answer(&tables(&[&down]), &query("scur", Take::Backend), NOW, at);
        assert_eq!(value(&answer), 15.0, "the backend's line has them all");
        let empty = down.replace("node1,3,", "node1,0,");
        let answer = haproxy.answer(&tables(&[&empty]), &query("scur", Take::Sum), NOW, at);
        assert_eq!(value(&answer), 5.0);
    }

    #[test]
    fn a_young_process_or_one_that_is_not_asked_any_more_hides_something() {
        let (mut haproxy, start) = (haproxy(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        let two = tables(&[TABLE, TABLE]);
        assert_eq!(haproxy.hidden(&two, at(0)), None);
        let mut young = two.clone();
        young[1].process =
            Some(Process { pid: 8, uptime: Duration::from_secs(59), node: None, stopping: false });
        assert!(haproxy.hidden(&young, at(1)).unwrap().contains("/1 runs for 59 s"));
        assert!(haproxy.hidden(&two[..1], at(2)).unwrap().contains("/1 answered before"));
        assert!(haproxy.hidden(&two[..1], at(60)).is_some());
        assert_eq!(haproxy.hidden(&two[..1], at(61)), None, "it has had its time");
    }

    #[test]
    fn sessions_are_known_by_address() {
        let sessions = sessions(&tables(&[TABLE, TABLE]));
        assert_eq!(sessions[&"10.0.0.2".parse::<IpAddr>().unwrap()], 10);
    }

    #[test]
    fn servers_are_written_as_for_the_agent() {
        let name = |host: &str, port| Server::Name { host: host.to_owned(), port };
        assert_eq!(server("lb").unwrap(), name("lb", 9999));
        assert_eq!(server("lb:1").unwrap(), name("lb", 1));
        assert_eq!(server("::1").unwrap(), name("::1", 9999));
        assert_eq!(server("[::1]:7").unwrap(), name("::1", 7));
        assert_eq!(server("unix:/run/h.sock").unwrap(), Server::Unix("/run/h.sock".into()));
        assert!(server("lb:x").is_err() && server("lb:99999").is_err() && server(":1").is_err());
    }
}
