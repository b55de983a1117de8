//! One container's DNS registrar, driven as the life cycle drives it.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth::config::Config;
use berth::dns::config::DnsConfig;
use berth::register::{Channels, Desired, Identity, Report, Standing, Want};
use berth::resolve::Resolver;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A registrar on its own task.
pub struct Container {
    pub identity: watch::Sender<Identity>,
    want: watch::Sender<Want>,
    reports: mpsc::UnboundedReceiver<Report>,
    task: JoinHandle<()>,
}

/// The DNS part of an environment.
pub fn config(vars: &[(&str, &str)]) -> DnsConfig {
    let vars = vars.iter().map(|(name, value)| (name.into(), value.into()));
    Config::from_vars(vars).unwrap().dns.unwrap()
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
        let (identity, _) = watch::channel(Identity { addr, port, slot: None });
        let (want, want_receiver) = watch::channel(Want { desired: Desired::Absent, epoch: 0 });
        let (sender, reports) = mpsc::unbounded_channel();
        let channels = Channels {
            register: "dns".into(),
            want: want_receiver,
            identity: identity.clone(),
            reports: sender,
        };
        let task = tokio::spawn(berth::dns::run(Arc::new(config), channels, resolver));
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
        let waited = tokio::time::timeout(Duration::from_secs(30), reached).await;
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

/// Waits until a condition holds, and fails after half a minute.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
