//! `check`: what `run` would stumble over, before it runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use berth::net::resolve::Resolver;
use futures_util::future::join_all;

use super::{Misused, block_on};
use crate::config::{Config, DockerHost, StoreUrl, load};
use crate::tls;

/// For all names together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a configuration, the certificates that it names and, unless `offline`, looks up the hosts.
/// The line to print when all is well.
pub fn check(file: &Path, offline: bool) -> Result<String> {
    let config = load(file)?;
    let mut wrong = certificates(&config);
    if !offline {
        wrong.extend(block_on(async { Ok(unknown_hosts(&config).await) })?);
    }
    if !wrong.is_empty() {
        let lines: Vec<String> =
            wrong.iter().map(|why| format!("{}: {why}", file.display())).collect();
        bail!(Misused(lines.join("\n")));
    }
    let count =
        |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    Ok(format!(
        "{} is valid: {}, {}",
        file.display(),
        count(config.policies.len(), "policy", "policies"),
        count(config.docker.len(), "Docker host", "Docker hosts")
    ))
}

/// Certificates and keys that cannot be read.
fn certificates(config: &Config) -> Vec<String> {
    let docker = config.docker.iter().map(|d| (format!("docker[{}]", d.name), d.tls.as_ref()));
    let sources = config.sources.iter().map(|s| (s.place.clone(), s.settings.tls()));
    let wrong = |error: anyhow::Error, of: &str| format!("{of}: {error:#}");
    let clients = docker
        .chain(sources)
        .filter_map(|(of, tls)| Some(wrong(tls::client(Some(tls?)).err()?, &of)));
    let server = config.alerts.as_ref().and_then(|alerts| alerts.tls.as_ref());
    let server = server.and_then(|tls| Some(wrong(tls::server(tls).err()?, "alerts")));
    clients.chain(server).collect()
}

/// Hosts whose names nobody knows.
async fn unknown_hosts(config: &Config) -> Vec<String> {
    let mut named: Vec<(String, String)> = Vec::new();
    for host in &config.docker {
        if let DockerHost::Tcp(at) = &host.host {
            named.push((format!("docker[{}].host", host.name), at.clone()));
        }
    }
    for source in &config.sources {
        let hosts = source.settings.hosts().into_iter();
        named.extend(hosts.map(|(key, at)| (format!("{}.{key}", source.place), at)));
    }
    for (n, notify) in config.notify.iter().enumerate() {
        named.push((format!("notify[{}].url", n + 1), notify.url.0.clone()));
    }
    if let StoreUrl::Mysql(url) = &config.store.url {
        named.push(("store.url".to_owned(), url.clone()));
    }
    let resolver = Resolver::default();
    let look = named.iter().map(async |(field, at)| {
        let host = host_of(at);
        match tokio::time::timeout(PATIENCE, resolver.resolve(host)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("{field}: host {host}: {error}")),
            Err(_) => Some(format!("{field}: host {host}: no answer within {PATIENCE:?}")),
        }
    });
    join_all(look).await.into_iter().flatten().collect()
}

/// The host of a URL or of `host:port`.
fn host_of(at: &str) -> &str {
    let rest = at.split_once("://").map_or(at, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((v6, _)) => v6,
        // More than one colon: an address of IPv6 without brackets.
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_is_found_wherever_it_stands() {
        for (at, expected) in [
            ("10.0.0.5:9999", "10.0.0.5"),
            ("edge", "edge"),
            ("[::1]:99", "::1"),
            ("fe80::1", "fe80::1"),
            ("https://hooks.example.com/services/a?b=c:d@e", "hooks.example.com"),
            ("mysql://me:p@ss@db:3306/berth", "db"),
        ] {
            assert_eq!(host_of(at), expected, "{at}");
        }
    }
}
