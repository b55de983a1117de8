//! What Traefiks themselves say, where `TRAEFIK_API` names them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::wire;
use crate::net::resolve::Resolver;
use crate::net::target::Target;
use crate::net::{connect, http};

/// Longest time that one Traefik has for an answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer, in bytes: some 10,000 servers.
const LONGEST: usize = 1 << 20;

/// Whether requests go to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// One Traefik at least shows it.
    Yes,
    /// All have answered, and none shows it.
    No,
    /// One does not answer, and none that does shows it.
    Silent(String),
}

/// The Traefiks, and what to ask them.
#[derive(Debug)]
pub(super) struct Api {
    targets: Vec<Target>,
    path: String,
    resolver: Resolver,
}

impl Api {
    pub(super) fn new(targets: Vec<Target>, path: String, resolver: Resolver) -> Self {
        Self { targets, path, resolver }
    }

    /// Asks each of them whether it sends requests to `url`.
    pub(super) async fn shows(&self, url: &str) -> Shown {
        let mut shown = Shown::No;
        for target in &self.targets {
            let found = match self.addresses(target).await {
                Ok(found) => found,
                Err(why) => {
                    shown = Shown::Silent(why);
                    continue;
                }
            };
            for addr in found {
                match timeout(TIMEOUT, self.ask(addr, url)).await {
                    Ok(Ok(true)) => return Shown::Yes,
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => shown = Shown::Silent(format!("{addr}: {error}")),
                    Err(_) => shown = Shown::Silent(format!("{addr}: no answer within 1s")),
                }
            }
        }
        shown
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, String> {
        match target {
            Target::Ip { addr, port } => Ok(vec![SocketAddr::new(*addr, *port)]),
            Target::Name { name, port } => {
                let found = self.resolver.resolve(name).await.map_err(|error| error.to_string())?;
                Ok(found.into_iter().map(|addr| SocketAddr::new(addr, *port)).collect())
            }
            Target::Unix(_) => Ok(Vec::new()),
        }
    }

    async fn ask(&self, addr: SocketAddr, url: &str) -> io::Result<bool> {
        let mut stream = connect::connect(addr).await?;
        let path = &self.path;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        let answer = http::exchange(&mut stream, request.as_bytes(), LONGEST).await?;
        let (status, body) = (answer.status, &answer.body);
        wire::api::shows(status, body, url).ok_or_else(|| {
            io::Error::other(format!("HTTP status {status}, which is not Traefik's API"))
        })
    }
}
