//! Whether the app can serve: probes it until it can, and goes on where a check can turn.
//!
//! Where to probe is computed anew for every probe, from what is known of the container by then.

mod check;
mod http;
mod listening;
mod notify;
mod place;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::container::settings::Readiness;
use crate::init::exit::Ended;
use crate::net::connect;
use crate::registers::Identity;

pub use check::{Get, ReadyCheck};
pub use notify::NotifySocket;
use place::{Place, Teller};

/// A command that the loop is to run for a check; it owns every child process.
#[derive(Debug)]
pub struct ProbeRequest {
    /// The command line.
    pub command: String,
    /// Its process group is killed after this.
    pub timeout: Duration,
    /// Where its end goes, or why it did not start; dropped when it took too long.
    pub reply: oneshot::Sender<io::Result<Ended>>,
}

/// Probing starts this fast, since an app that listens at once should be served at once,
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// and slows down to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Silence about an app that does not get ready, and the longest wait for HAProxy to tell our address.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells `ready` whether the app can serve, until nobody listens.
pub async fn run(
    settings: Readiness,
    identity: watch::Receiver<Identity>,
    ready: watch::Sender<bool>,
    notify: Arc<Option<NotifySocket>>,
    probes: mpsc::UnboundedSender<ProbeRequest>,
) {
    match settings.check {
        ReadyCheck::None => {
            ready.send_replace(true);
            return ready.closed().await;
        }
        ReadyCheck::Notify => return notify::run(&notify, ready).await,
        ReadyCheck::Tcp(_) | ReadyCheck::Http(_) | ReadyCheck::Cmd(_) => {}
    }
    let started = Instant::now();
    let mut prober = Prober { settings, identity, started, probes };
    let passed_at = prober.until_ready().await;
    ready.send_replace(true);
    tokio::select! {
        () = prober.watch(&ready, passed_at) => {}
        () = ready.closed() => {}
    }
}

struct Prober {
    settings: Readiness,
    identity: watch::Receiver<Identity>,
    started: Instant,
    probes: mpsc::UnboundedSender<ProbeRequest>,
}

/// Why a check did not pass.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the app's port is not known yet")]
    NoPort,
    #[error("the container's address is not known yet")]
    NoAddress,
    #[error("{0}")]
    Connect(io::Error),
    #[error("{0}")]
    Exchange(io::Error),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("it answered something else than HTTP/1")]
    NotHttp,
    #[error("{0}")]
    Ended(Ended),
    #[error("the command cannot be run: {0}")]
    NotRun(io::Error),
}

impl Prober {
    /// Where the check passed.
    async fn until_ready(&mut self) -> Place {
        let (mut pause, mut told) = (FIRST_PAUSE, false);
        loop {
            let place = self.place();
            let Err(failure) = self.probe(place).await else {
                if told {
                    info!("the app is ready");
                }
                return place;
            };
            if !told && self.started.elapsed() > PATIENCE {
                told = true;
                self.complain(place, &failure).await;
            }
            self.news_or(pause).await;
            pause = pause.mul_f64(1.3).min(LONGEST_PAUSE);
        }
    }

    /// Waits for news of where the app is, but not longer than `pause`.
    async fn news_or(&mut self, pause: Duration) {
        let news = async {
            // An identity that nobody changes any more is no news.
            if self.identity.changed().await.is_err() {
                std::future::pending().await
            }
        };
        let _ = timeout(pause, news).await;
    }

    /// Goes on checking; tells when the check turns for good.
    async fn watch(&mut self, ready: &watch::Sender<bool>, passed_at: Place) {
        let (mut is_ready, mut streak, mut passed_at) = (true, 0, passed_at);
        loop {
            self.news_or(self.settings.interval).await;
            let place = self.place();
            // HAProxy's own checks see to a port that was found open, where it was found.
            if is_ready && matches!(self.settings.check, ReadyCheck::Tcp(_)) && place == passed_at {
                continue;
            }
            let passed = self.probe(place).await.is_ok();
            if passed {
                passed_at = place;
            }
            streak = if passed == is_ready { 0 } else { streak + 1 };
            let needed = if is_ready { self.settings.fall } else { self.settings.rise };
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

    /// Where the app is, from what is known now.
    fn place(&self) -> Place {
        let port = match &self.settings.check {
            ReadyCheck::Tcp(port) | ReadyCheck::Http(Get { port, .. }) => *port,
            ReadyCheck::Cmd(_) | ReadyCheck::Notify | ReadyCheck::None => None,
        };
        let teller = match (self.settings.told_address, self.started.elapsed() < PATIENCE) {
            (true, true) => Teller::Soon,
            (true, false) => Teller::Late,
            (false, _) => Teller::Nobody,
        };
        let port = port.or(self.settings.port);
        place::of(&self.identity.borrow(), port, teller, self.settings.facing)
    }

    async fn probe(&self, place: Place) -> Result<(), Failure> {
        if let ReadyCheck::Cmd(command) = &self.settings.check {
            return self.run(command).await;
        }
        let target = match place {
            Place::NoPort => return Err(Failure::NoPort),
            Place::NoAddress => return Err(Failure::NoAddress),
            Place::At(target) => target,
        };
        let check = async {
            match &self.settings.check {
                ReadyCheck::Http(get) => http::get(target, get).await,
                _ => connect::connect(target).await.map(drop).map_err(Failure::Connect),
            }
        };
        let longest = self.settings.timeout;
        timeout(longest, check).await.unwrap_or(Err(Failure::Late(longest)))
    }

    async fn run(&self, command: &str) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        let timeout = self.settings.timeout;
        let request = ProbeRequest { command: command.to_owned(), timeout, reply };
        if self.probes.send(request).is_err() {
            return Err(Failure::Late(timeout));
        }
        match answer.await {
            Ok(Ok(Ended::Exited(0))) => Ok(()),
            Ok(Ok(ended)) => Err(Failure::Ended(ended)),
            Ok(Err(error)) => Err(Failure::NotRun(error)),
            Err(_) => Err(Failure::Late(timeout)),
        }
    }

    async fn complain(&self, place: Place, why: &Failure) {
        let check = self.settings.check.to_string();
        let hint = self.hint(place, why).await;
        match place {
            Place::At(target) if !matches!(self.settings.check, ReadyCheck::Cmd(_)) => {
                warn!(check, %target, %why, hint, "the app is not ready yet, hence not registered");
            }
            _ => warn!(check, %why, hint, "the app is not ready yet, hence not registered"),
        }
    }

    /// What may help, as far as can be seen from here.
    async fn hint(&self, place: Place, why: &Failure) -> String {
        match (why, place) {
            (Failure::NoPort, _) => {
                "HAProxy's template would tell it; APP_PORT sets it without".to_owned()
            }
            (Failure::Connect(error), Place::At(target))
                if error.kind() == io::ErrorKind::ConnectionRefused =>
            {
                let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), target.port());
                let inside = timeout(self.settings.timeout, connect::connect(loopback));
                if !target.ip().is_loopback() && matches!(inside.await, Ok(Ok(_))) {
                    return "it listens on 127.0.0.1 only, where HAProxy cannot reach it"
                        .to_owned();
                }
                listening::sentence()
            }
            (Failure::Status(400), _) => {
                "does it want a name in the Host header? READY_CHECK=http://NAME/path sends one"
                    .to_owned()
            }
            (Failure::Status(_), _) => {
                "READY_CHECK wants a path that answers 200 to 399".to_owned()
            }
            (Failure::NotHttp | Failure::Exchange(_), _) => {
                "READY_CHECK=tcp or cmd:COMMAND checks what does not speak HTTP".to_owned()
            }
            (Failure::Ended(_), _) => {
                "the command is to leave with 0 once the app can serve".to_owned()
            }
            (Failure::Late(_), _) => "READY_TIMEOUT gives one check more time".to_owned(),
            _ => "READY_CHECK says what is checked".to_owned(),
        }
    }
}

/// Parses any bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    if let http::Answer::Status(status) = http::answer(data) {
        assert!(data.starts_with(b"HTTP/1.") && (200..=999).contains(&status));
    }
    if notify::parse(data) == Some(true) {
        assert!(data.windows(7).any(|statement| statement == b"READY=1"));
    }
}
