//! Everything of a configuration but its policies.

use super::common::{client_tls, http_url, missing, path, secret};
use super::policy::policies;
use super::reader::{Fields, Value};
use super::{
    Alerts, Config, Docker, DockerHost, Labels, Notify, NotifyKind, Secret, ServerTls, Source,
    Status, Store, StoreUrl, Timing, Trust,
};
use crate::ports::SourceKind;
use crate::sources::{self, KINDS};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// `None` only when something was wrong, which is then recorded.
pub(super) fn config(root: &Fields<'_>) -> Option<Config> {
    let timing = timing(root);
    let store = store(root);
    let labels = labels(root);
    let alerts = root.table("alerts").and_then(alerts);
    let status = root.table("status").and_then(|f| {
        let listen = f.req("listen", "an address such as \"127.0.0.1:9101\"", address);
        f.finish();
        Some(Status { listen: listen? })
    });
    let mut config = Config {
        store: store?,
        timing,
        labels,
        alerts,
        status,
        sources: sources(root),
        docker: each(root, "docker", docker),
        notify: each(root, "notify", notify),
        policies: Vec::new(),
    };
    hosts_differ(root);
    if !root.has("docker") {
        let host = DockerHost::Unix("/var/run/docker.sock".into());
        config.docker.push(Docker {
            name: "local".to_owned(),
            host,
            tls: None,
            lost_after: Docker::LOST_AFTER,
        });
    }
    config.policies = policies(root, &config.sources());
    Some(config)
}

fn each<T>(
    root: &Fields<'_>,
    key: &'static str,
    read: impl Fn(&Fields<'_>) -> Option<T>,
) -> Vec<T> {
    let tables = root.tables(key, "name").into_iter();
    tables
        .filter_map(|f| {
            let read = read(&f);
            f.finish();
            read
        })
        .collect()
}

/// Every `[[source]]`, those in tables named for their kind, and "docker", which is always there. A
/// metric names its source by name alone, so names must differ over all kinds.
fn sources(root: &Fields<'_>) -> Vec<Source> {
    let docker = sources::docker::KIND.name;
    let mut read: Vec<Source> = Vec::new();
    let mut add = |f: Fields<'_>, kind: &'static SourceKind| {
        let name = f.req("name", "a name for metrics to refer to", Value::text);
        let timeout = f.opt("timeout", Value::period);
        let settings = (kind.settings)(&f);
        let place = f.path.clone();
        if let Some(name) = &name
            && (name == docker || read.iter().any(|other| other.name == *name))
        {
            f.error("name", format!("another source is called {name:?} already"));
        }
        f.finish();
        let source = |(name, settings)| Source { name, kind: kind.name, place, timeout, settings };
        read.extend(name.zip(settings).map(source));
    };
    for kind in KINDS.into_iter().filter(|kind| kind.has_own_table) {
        root.tables(kind.name, "name").into_iter().for_each(|f| add(f, kind));
    }
    let kinds: Vec<_> = KINDS.into_iter().map(|kind| (kind.name, kind)).collect();
    let words: Vec<_> = kinds.iter().map(|(word, _)| *word).collect();
    for f in root.tables("source", "name") {
        // Without its kind nothing is known of its other keys.
        if let Some(kind) = f.req("kind", &words.join(", "), |v| v.one_of(&kinds)) {
            add(f, kind);
        }
    }
    read.push(Source {
        name: docker.to_owned(),
        kind: docker,
        place: docker.to_owned(),
        timeout: None,
        settings: Arc::new(sources::docker::Settings),
    });
    read
}

/// A replica is told by its host's name.
fn hosts_differ(root: &Fields<'_>) {
    let mut hosts: Vec<String> = Vec::new();
    for f in root.tables("docker", "name") {
        let Some(name) = f.opt("name", |v| v.text()) else {
            continue;
        };
        if hosts.contains(&name) {
            f.error("name", format!("another host is called {name:?} already"));
        }
        hosts.push(name);
    }
}

pub(super) fn store(root: &Fields<'_>) -> Option<Store> {
    let Some(f) = root.table("store") else {
        let url = StoreUrl::Sqlite("berth-scaler.db".into());
        return (!root.has("store")).then_some(Store { url });
    };
    let url = f.req("url", "sqlite:PATH or mysql://user:password@host/database", |v| {
        let text = v.url()?;
        match text.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() {
                    Err("sqlite: needs a path".to_owned())
                } else {
                    Ok(StoreUrl::Sqlite(path.into()))
                }
            }
            Some(("mysql" | "mariadb", rest))
                if rest.starts_with("//") && rest[2..].contains('/') =>
            {
                Ok(StoreUrl::Mysql(format!("mysql:{rest}")))
            }
            _ => Err("expected sqlite:PATH or mysql://user:password@host:port/database".to_owned()),
        }
    });
    f.finish();
    Some(Store { url: url? })
}

fn timing(root: &Fields<'_>) -> Timing {
    let mut timing = Timing {
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(3),
        lease: Duration::from_secs(10),
        keep_history: Duration::from_secs(90 * 86_400),
    };
    let Some(f) = root.table("loop") else {
        return timing;
    };
    for (key, field) in [
        ("interval", &mut timing.interval),
        ("timeout", &mut timing.timeout),
        ("lease", &mut timing.lease),
        ("keep_history", &mut timing.keep_history),
    ] {
        *field = f.opt(key, |v| v.period()).unwrap_or(*field);
    }
    if timing.lease < Duration::from_secs(1) {
        f.error("lease", "must be at least 1s: a slow store would lose the lead all the time");
    }
    f.finish();
    timing
}

pub(super) fn labels(root: &Fields<'_>) -> Labels {
    let Some(f) = root.table("labels") else { return Labels::default() };
    let trust = f.opt("trust", |v| v.one_of(&Trust::WORDS)).unwrap_or_default();
    let owner = f.opt("owner", Value::name);
    f.finish();
    Labels { trust, owner }
}

fn alerts(f: Fields<'_>) -> Option<Alerts> {
    let listen = f.req("listen", "an address such as \"127.0.0.1:8080\"", address);
    let token = f.opt("token", secret);
    let tls = match (f.opt("tls_cert", path), f.opt("tls_key", path)) {
        (Some(cert), Some(key)) => {
            Some(ServerTls { cert, key, client_ca: f.opt("tls_client_ca", path) })
        }
        (None, None) => {
            if f.has("tls_client_ca") {
                f.error("tls_client_ca", "needs tls_cert and tls_key");
            }
            None
        }
        (Some(_), None) => missing(&f, "tls_key", "tls_cert"),
        (None, Some(_)) => missing(&f, "tls_cert", "tls_key"),
    };
    let guarded = token.is_some() || tls.as_ref().is_some_and(|t| t.client_ca.is_some());
    let open = f.opt("allow_anonymous", |v| v.boolean()).unwrap_or(false);
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
        && !guarded
        && !open
        && !f.has("token")
    {
        f.error("listen", format!("{listen} can be reached from outside: give a token or tls_client_ca, or say allow_anonymous = true"));
    }
    let ttl = f.opt("ttl", |v| v.period()).unwrap_or(Duration::from_secs(300));
    let body_limit = f.opt("body_limit", |v| v.count()).unwrap_or(1 << 20);
    f.finish();
    Some(Alerts { listen: listen?, token, tls, ttl, body_limit: body_limit as usize })
}

fn docker(f: &Fields<'_>) -> Option<Docker> {
    let name = f.req("name", "a name for the audit", |v| v.name());
    let host = f.req("host", "unix:///path or tcp://host:port", |v| {
        let text = v.text()?;
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(DockerHost::Unix(path.into())),
            Some(("tcp", host)) if host.contains(':') => Ok(DockerHost::Tcp(host.to_owned())),
            _ => Err(format!("expected unix:///path or tcp://host:port, not {text:?}")),
        }
    });
    let tls = client_tls(f);
    match (&host, &tls) {
        (Some(DockerHost::Tcp(at)), None) if !f.has("tls_ca") && !is_loopback(at) => f.error(
            "host",
            "over TCP whoever connects is root there: give tls_ca, tls_cert and tls_key",
        ),
        _ => {}
    }
    let lost_after = f.opt("lost_after", |v| v.duration()).unwrap_or(Docker::LOST_AFTER);
    Some(Docker { name: name?, host: host?, tls, lost_after })
}

fn is_loopback(host_port: &str) -> bool {
    let host = host_port.rsplit_once(':').map_or(host_port, |(host, _)| host);
    host == "localhost"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|a| a.is_loopback())
        || host == "[::1]"
}

fn notify(f: &Fields<'_>) -> Option<Notify> {
    f.opt("name", |v| v.text());
    let kinds = [
        ("mattermost", NotifyKind::Mattermost),
        ("slack", NotifyKind::Slack),
        ("teams", NotifyKind::Teams),
    ];
    let kind = f.req("kind", "mattermost, slack or teams", |v| v.one_of(&kinds));
    let url = f.req("url", "the URL of an incoming webhook", |v| http_url(v).map(Secret));
    Some(Notify { kind: kind?, url: url? })
}

fn address(v: Value<'_>) -> Result<SocketAddr, String> {
    let text = v.text()?;
    text.parse().map_err(|_| format!("expected IP:PORT, such as 127.0.0.1:8080, not {text:?}"))
}
