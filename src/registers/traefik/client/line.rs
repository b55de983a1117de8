//! A connection to a store.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

use crate::net::connect::{self, Stream};
use crate::net::tls::{self, Session};
use crate::registers::traefik::fault::Fault;
use crate::registers::traefik::settings::TLS;

/// Longest time for a connection, and for one exchange on it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection, and who talks to whom on it.
pub(super) struct Line {
    pub(super) stream: Box<dyn Stream>,
    pub(super) server: SocketAddr,
    pub(super) local: IpAddr,
    /// What proves to etcd who we are.
    pub(super) token: Option<String>,
}

impl Line {
    pub(super) async fn open(server: SocketAddr, tls: Option<&Session>) -> Result<Self, Fault> {
        let silent = |how| Fault::Silent { server, how, lost: false };
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let connected = timeout(CONNECT_TIMEOUT, connect::connect(server)).await;
        let stream = connected.unwrap_or_else(|_| Err(late())).and_then(|stream| {
            let local = stream.local_addr()?.ip().to_canonical();
            stream.set_nodelay(true)?;
            Ok((stream, local))
        });
        let (stream, local) = stream.map_err(|error| silent(format!("connect: {error}")))?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => match timeout(EXCHANGE_TIMEOUT, tls.connect(stream)).await {
                Ok(stream) => Box::new(stream.map_err(|refusal| silent(refusal.to_string()))?),
                Err(_) => return Err(silent("no TLS handshake within 2s".to_owned())),
            },
        };
        Ok(Self { stream, server, local, token: None })
    }

    /// The outcome of an exchange, within its time.
    pub(super) async fn in_time<T>(
        server: SocketAddr,
        exchange: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Fault> {
        let outcome = timeout(EXCHANGE_TIMEOUT, exchange).await;
        let outcome = outcome.unwrap_or_else(|_| {
            let words = format!("no answer within {}s", EXCHANGE_TIMEOUT.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, words))
        });
        outcome.map_err(|error| broken(server, error))
    }

    pub(super) fn refused<T>(&self, words: &str) -> Result<T, Fault> {
        let words = words.chars().take(200).collect();
        Err(Fault::Refused { server: self.server, words })
    }

    /// Trouble with an answer that makes no sense.
    pub(super) fn garbled<T>(&self) -> Result<T, Fault> {
        let how = "an answer to something else".to_owned();
        Err(Fault::Silent { server: self.server, how, lost: false })
    }
}

fn broken(server: SocketAddr, error: io::Error) -> Fault {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let error = match tls::refusal(&TLS, error) {
        Ok(refusal) => return Fault::Silent { server, how: refusal.to_string(), lost: false },
        Err(error) => error,
    };
    let kind = error.kind();
    let lost = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&kind);
    let how = if lost { "the connection was closed".to_owned() } else { error.to_string() };
    Fault::Silent { server, how, lost }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({} → {})", self.local, self.server)
    }
}
