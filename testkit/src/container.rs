//! One container's DNS registrar, driven as the life cycle drives it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth::config::Config;
use berth::log::{LogFormat, Logger};
use berth::net::resolve::Resolver;
use berth::registers::dns::settings::{DnsConfig, Whence};
use berth::registers::{Channels, Desired, Identity, Report, Standing, Want};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;

use super::DEADLINE;
use super::bind::{Bind, ZONE};

/// A registrar on its own task.
pub struct Container {
    pub identity: watch::Sender<Identity>,
    want: watch::Sender<Want>,
    reports: mpsc::UnboundedReceiver<Report>,
    task: JoinHandle<()>,
}

/// The DNS part of an environment.
pub fn config(vars: &[(&str, &str)]) -> DnsConfig {
    let vars = [&[("READY_CHECK", "none")], vars].concat();
    let vars = vars.iter().map(|(name, value)| (name.into(), value.into()));
    Config::from_vars(vars).unwrap().container.dns.unwrap()
}

impl Container {
    pub fn start(config: DnsConfig, addr: Option<&str>, port: Option<u16>) -> Self {
        Self::start_with(config, addr, port, Resolver::default())
    }

    pub fn start_with(
        config: DnsConfig,
        addr: Option<&str>,
        port: Option<u16>,
        resolver: Resolver,
    ) -> Self {
        let addr = addr.map(|addr| addr.parse::<IpAddr>().unwrap());
        let address = if addr.is_some() { Whence::Given } else { config.address };
        let config = DnsConfig { address, ..config };
        let (identity, _) = watch::channel(Identity { addr, port, slot: None });
        let (want, want_receiver) = watch::channel(Want { desired: Desired::Absent, epoch: 0 });
        let (sender, reports) = mpsc::unbounded_channel();
        let channels = Channels {
            register: "dns".into(),
            want: want_receiver,
            identity: identity.clone(),
            reports: sender,
        };
        let task = tokio::spawn(berth::registers::dns::run(Arc::new(config), channels, resolver));
        Self { identity, want, reports, task }
    }

    /// Says what is wanted, without waiting.
    pub fn want(&self, desired: Desired) {
        self.want.send_modify(|want| *want = Want { desired, epoch: want.epoch + 1 });
    }

    /// Says what is wanted and waits until the registrar stands there.
    pub async fn reach(&mut self, desired: Desired, standing: Standing) {
        self.want(desired);
        self.wait_for(standing).await;
    }

    /// Waits for an answer to the present wish.
    pub async fn wait_for(&mut self, standing: Standing) {
        let epoch = self.want.borrow().epoch;
        let reached = async {
            loop {
                let report = self.reports.recv().await.unwrap();
                if report.epoch == epoch && report.standing.as_ref() == Some(&standing) {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(DEADLINE, reached).await;
        assert!(waited.is_ok(), "waited in vain for {standing:?}");
    }

    pub async fn serve(&mut self) {
        self.reach(Desired::Serving, Standing::Serving).await;
    }

    /// Ends it in the middle of whatever it does, as kill -9 does.
    pub fn kill(self) {
        self.task.abort();
    }
}

/// A configuration for `bind`'s zone; `more` comes on top.
pub fn at(bind: &Bind, more: &[(&str, &str)]) -> DnsConfig {
    let (server, key) = (bind.addr.to_string(), bind.key_file());
    let mut vars = vec![
        ("DNS_SERVER", server.as_str()),
        ("DNS_ZONE", ZONE),
        ("DNS_TSIG_KEYFILE", key.to_str().unwrap()),
        ("SERVICE_NAME", "webapp"),
    ];
    vars.retain(|(name, _)| more.iter().all(|(other, _)| name != other));
    vars.extend_from_slice(more);
    config(&vars)
}

/// Records of the zone that were not there from the start, and no leases.
pub fn records(bind: &Bind) -> Vec<String> {
    let all = bind.records(ZONE).into_iter();
    all.filter(|line| {
        !line.starts_with("ns.") && !line.contains(" NS ") && !line.contains("_lease")
    })
    .collect()
}

pub fn shared(bind: &Bind) -> Vec<String> {
    bind.dig("webapp.berth.test", "A")
}

pub fn leases(bind: &Bind) -> usize {
    bind.records(ZONE).iter().filter(|line| line.contains("_lease")).count()
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Log lines of this thread, in memory.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    /// Takes what is logged from now on, at every level, until the guard is dropped.
    pub fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let kept = log.clone();
        let write = move |line: &str| kept.0.lock().unwrap().push_str(line);
        let (level, format) = (LevelFilter::TRACE, LogFormat::Text);
        (log, tracing::subscriber::set_default(Logger { level, format, write }))
    }

    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// How many lines have this in them.
    pub fn count(&self, part: &str) -> usize {
        self.text().lines().filter(|line| line.contains(part)).count()
    }
}
