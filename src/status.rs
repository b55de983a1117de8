//! `--status` and `--check`: what the servers themselves say about this container.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::config::{Config, HaproxyConfig, Target};
use crate::haproxy::{Client, Endpoint, Server};
use crate::registrar::{self, Settings};
use crate::resolve::Resolver;

/// Everything that was asked, one entry for each server.
#[derive(Debug, Default, Serialize)]
pub struct Status {
    /// One for each load balancer.
    pub haproxy: Vec<SlotStatus>,
    /// Whether the container is registered wherever it should be.
    pub registered: bool,
}

/// What one HAProxy shows.
#[derive(Debug, Default, Serialize)]
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
}

impl SlotStatus {
    fn in_rotation(&self) -> bool {
        let state = self.state.as_deref().unwrap_or_default();
        state.starts_with("UP") || state == "no check"
    }
}

/// Asks every server that the configuration names.
pub async fn ask(config: &Config, resolver: &Resolver) -> Status {
    let mut status = Status { registered: true, ..Status::default() };
    if let Some(haproxy) = &config.haproxy {
        let settings = Settings::new(haproxy, &config.app);
        for target in &haproxy.servers {
            status.haproxy.extend(ask_target(target, haproxy, &settings, resolver).await);
        }
        status.registered &= status.haproxy.iter().all(SlotStatus::in_rotation);
    }
    status
}

async fn ask_target(
    target: &Target,
    _config: &HaproxyConfig,
    settings: &Settings,
    resolver: &Resolver,
) -> Vec<SlotStatus> {
    let endpoints = match target {
        Target::Ip { addr, port } => vec![Endpoint::Tcp(SocketAddr::new(*addr, *port))],
        Target::Unix(path) => vec![Endpoint::Unix(path.clone())],
        Target::Name { name, port } => match resolver.resolve(name).await {
            Ok(found) => {
                found.iter().map(|addr| Endpoint::Tcp(SocketAddr::new(*addr, *port))).collect()
            }
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
    let mut slots = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        slots.push(ask_haproxy(endpoint, settings).await);
    }
    slots
}

async fn ask_haproxy(endpoint: Endpoint, settings: &Settings) -> SlotStatus {
    let mut status = SlotStatus { server: endpoint.to_string(), ..Default::default() };
    let client = Client::new(endpoint);
    if let Err(error) = fill(&mut status, &client, settings).await {
        status.error = Some(error.to_string());
    }
    status
}

async fn fill(status: &mut SlotStatus, client: &Client, settings: &Settings) -> anyhow::Result<()> {
    let (servers, local) = client.servers(None).await?;
    let (backend, endpoint) = registrar::who_am_i(&servers, local, settings)?;
    status.backend = Some(Arc::clone(&backend));
    status.address = Some(endpoint);
    let mine = |server: &&Server| {
        server.backend == backend
            && server.slot_number(&settings.prefix).is_some()
            && server.endpoint() == Some(endpoint)
    };
    let Some(slot) = servers.iter().filter(mine).min_by_key(|slot| slot.admin.in_maint()) else {
        return Ok(());
    };
    status.slot = Some(Arc::clone(&slot.name));
    let stat = client.stat(&backend, slot.id).await?;
    status.sessions = stat.as_ref().map(|stat| stat.work());
    status.state = stat.map(|stat| stat.status);
    Ok(())
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.haproxy.is_empty() {
            return writeln!(f, "nothing to register with: HAPROXY_SERVER is not set");
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
