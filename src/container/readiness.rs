//! Whether the app can serve: probes it until it can, and goes on where a check can turn.

mod http;
mod notify;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::config::{AppConfig, ReadyCheck};
use crate::net::connect;
use crate::registers::Identity;

pub use notify::NotifySocket;

/// A command that the loop is to run for a check; it owns every child process.
#[derive(Debug)]
pub struct ProbeRequest {
    /// The command line.
    pub command: String,
    /// Its process group is killed after this.
    pub timeout: Duration,
    /// Where its success goes; dropped when it took too long.
    pub reply: oneshot::Sender<bool>,
}

/// Probing starts this fast, since an app that listens at once should be served at once,
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// and slows down to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Silence about an app that does not get ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells `ready` whether the app can serve, until nobody listens.
pub async fn run(
    app: AppConfig,
    mut identity: watch::Receiver<Identity>,
    ready: watch::Sender<bool>,
    notify: Arc<Option<NotifySocket>>,
    probes: mpsc::Sender<ProbeRequest>,
) {
    let prober = match &app.ready_check {
        ReadyCheck::None => {
            ready.send_replace(true);
            return ready.closed().await;
        }
        ReadyCheck::Notify => return notify::run(&notify, ready).await,
        ReadyCheck::Cmd(_) => Prober { app: &app, target: None, probes },
        ReadyCheck::Tcp | ReadyCheck::Http(_) => {
            let target = target(&app, &mut identity).await;
            Prober { app: &app, target, probes }
        }
    };
    prober.until_ready().await;
    ready.send_replace(true);
    match app.ready_check {
        // HAProxy's own checks see to the port from here on.
        ReadyCheck::Tcp => ready.closed().await,
        _ => prober.watch(&ready).await,
    }
}

/// Where to probe: the port once it is known, on the address that HAProxy will use when that is
/// an address of this container, else on loopback.
async fn target(app: &AppConfig, identity: &mut watch::Receiver<Identity>) -> Option<SocketAddr> {
    let known = identity.wait_for(|identity| app.port.or(identity.port).is_some()).await.ok()?;
    let port = app.port.or(known.port)?;
    let local = |addr: &IpAddr| UdpSocket::bind((*addr, 0)).is_ok();
    let addr = app.addr.or(known.addr).filter(local);
    Some(SocketAddr::new(addr.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port))
}

struct Prober<'a> {
    app: &'a AppConfig,
    target: Option<SocketAddr>,
    probes: mpsc::Sender<ProbeRequest>,
}

impl Prober<'_> {
    async fn until_ready(&self) {
        let (started, mut pause, mut told) = (Instant::now(), FIRST_PAUSE, false);
        while !self.probe().await {
            if !told && started.elapsed() > PATIENCE {
                told = true;
                self.complain().await;
            }
            sleep(pause).await;
            pause = pause.mul_f64(1.3).min(LONGEST_PAUSE);
        }
        if told {
            info!("the app is ready");
        }
    }

    async fn complain(&self) {
        let check = match &self.app.ready_check {
            ReadyCheck::Tcp => "tcp".to_owned(),
            ReadyCheck::Http(path) => format!("http:{path}"),
            ReadyCheck::Cmd(command) => format!("cmd:{command}"),
            ReadyCheck::Notify | ReadyCheck::None => return,
        };
        let Some(target) = self.target else {
            return warn!(check, "the app is not ready yet, hence not registered");
        };
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), target.port());
        let hidden = !target.ip().is_loopback() && self.connect(loopback).await.is_some();
        let hint = match hidden {
            true => "it listens on 127.0.0.1 only, where HAProxy cannot reach it",
            false => "is APP_PORT right?",
        };
        warn!(check, %target, hint, "the app is not ready yet, hence not registered");
    }

    /// Goes on checking; tells when the check turns for good.
    async fn watch(&self, ready: &watch::Sender<bool>) {
        let (mut is_ready, mut streak) = (true, 0);
        while !ready.is_closed() {
            sleep(self.app.ready_interval).await;
            let turned = self.probe().await != is_ready;
            streak = if turned { streak + 1 } else { 0 };
            let needed = if is_ready { self.app.ready_fall } else { self.app.ready_rise };
            if streak >= needed {
                (is_ready, streak) = (!is_ready, 0);
                match is_ready {
                    true => info!("the app is ready again"),
                    false => warn!(checks = needed, "the app is not ready any more: draining"),
                }
                ready.send_replace(is_ready);
            }
        }
    }

    async fn probe(&self) -> bool {
        match (&self.app.ready_check, self.target) {
            (ReadyCheck::Cmd(command), _) => self.run(command).await,
            (ReadyCheck::Http(path), Some(target)) => {
                let request = http::get(target, path);
                matches!(timeout(self.app.ready_timeout, request).await, Ok(Ok(true)))
            }
            (ReadyCheck::Tcp, Some(target)) => self.connect(target).await.is_some(),
            _ => false,
        }
    }

    async fn connect(&self, target: SocketAddr) -> Option<TcpStream> {
        timeout(self.app.ready_timeout, connect::connect(target)).await.ok()?.ok()
    }

    async fn run(&self, command: &str) -> bool {
        let (reply, answer) = oneshot::channel();
        let timeout = self.app.ready_timeout;
        let request = ProbeRequest { command: command.to_owned(), timeout, reply };
        self.probes.send(request).await.is_ok() && answer.await == Ok(true)
    }
}

/// Parses any bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    if http::is_success(data) {
        assert!(data.starts_with(b"HTTP/1."));
    }
    if notify::parse(data) == Some(true) {
        assert!(data.windows(7).any(|statement| statement == b"READY=1"));
    }
}
