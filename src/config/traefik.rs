//! The variables of registration for Traefik.

use std::net::IpAddr;
use std::time::Duration;

use super::env::Env;
use super::variables::{self as vars, Group};
use super::{tls, value};
use crate::net::target::Target;
use crate::net::tls::Tls;
use crate::registers::traefik::settings::{Kind, Route};
use crate::registers::traefik::{self, Settings, Store};

/// Shortest lease. Below, a lost packet would cost a live container its place.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);
/// Port of Traefik's API.
const API_PORT: u16 = 8080;

const STORES: &str = "redis://[user:password@]host[:port][/db] or etcd://[user:password@]host[:port], \
                      over TLS rediss:// and etcds://, by commas";
const APIS: &str = "host names or IP addresses, each with an optional http:// and :port, by commas";
const ROOT: &str = "letters, digits, '-', '_', '.' and '/' between them";
const RULE: &str = "one line, as Traefik writes it: Host(`example.com`)";

/// The variables of TLS to the stores.
const FILES: tls::Files = tls::Files {
    ca: vars::TRAEFIK_TLS_CA,
    cert: vars::TRAEFIK_TLS_CERT,
    key: vars::TRAEFIK_TLS_KEY,
    names: &traefik::TLS,
};

/// What is told here too, though it is not about Traefik.
pub(super) struct Shared {
    pub(super) service_name: Option<String>,
    pub(super) addr: Option<IpAddr>,
    pub(super) drain_timeout: Duration,
    pub(super) sync_interval: Duration,
}

/// `None` when `TRAEFIK_KV` is not set.
pub(super) fn settings(env: &mut Env, shared: Shared) -> Option<Settings> {
    let stores = stores(env);
    let tls = tls(env, &stores);
    let service = env.parsed(&vars::TRAEFIK_SERVICE, value::PROXY_NAME, value::proxy_name);
    let parse = |text: &str| text.parse().ok();
    let scheme = env.parsed(&vars::TRAEFIK_SCHEME, "http, https, h2c or tcp", parse);
    let root = env.parsed(&vars::TRAEFIK_ROOT, ROOT, root).unwrap_or_default();
    let lease = env.duration(&vars::TRAEFIK_LEASE, SHORTEST_LEASE);
    let drain = env.duration(&vars::TRAEFIK_DRAIN, Duration::ZERO);
    let api = match env.is_set(&vars::TRAEFIK_API) {
        true => env.list(&vars::TRAEFIK_API, APIS, api),
        false => Vec::new(),
    };
    let route = route(env);
    if !env.counts(Group::Traefik) {
        let how = [
            vars::TRAEFIK_SERVICE,
            vars::TRAEFIK_RULE,
            vars::TRAEFIK_API,
            vars::TRAEFIK_PASSWORD,
            vars::TRAEFIK_PASSWORD_FILE,
        ];
        env.warn_without("TRAEFIK_KV", &how, "nothing is registered for Traefik");
        return None;
    }
    if cfg!(not(feature = "traefik")) {
        env.problem(&vars::TRAEFIK_KV, "is set, but this berth was built without Traefik");
    }
    if service.is_none() && shared.service_name.is_none() && !env.is_set(&vars::TRAEFIK_SERVICE) {
        env.problem(&vars::TRAEFIK_SERVICE, "is not set, expected it or SERVICE_NAME");
    }
    if drain > shared.drain_timeout {
        env.warn("DRAIN_TIMEOUT is shorter than TRAEFIK_DRAIN: the app may be stopped while Traefik still sends requests to it");
    }
    let haproxy = env.counts(Group::Haproxy);
    if !haproxy && !env.is_set(&vars::APP_PORT) {
        env.problem(
            &vars::APP_PORT,
            "is not set, expected the port that Traefik sends requests to",
        );
    }
    Some(Settings {
        stores,
        service: service.or(shared.service_name)?,
        scheme: scheme?,
        root,
        lease,
        drain,
        api,
        route,
        tls,
        sync_interval: shared.sync_interval,
        tells_address: shared.addr.is_none() && !haproxy && !env.counts(Group::Dns),
        app_addr: shared.addr,
    })
}

/// The stores, each with its own login or else the one password.
fn stores(env: &mut Env) -> Vec<Store> {
    let Some(text) = env.text(&vars::TRAEFIK_KV) else { return Vec::new() };
    let password = password(env);
    let (mut stores, mut wrong) = (Vec::new(), Vec::new());
    for entry in text.split(',').map(str::trim) {
        match Store::parse(entry) {
            Some(mut store) => {
                give(&mut store, password.as_deref());
                if !stores.contains(&store) {
                    stores.push(store);
                }
            }
            None => wrong.push(format!("'{}'", super::env::shown(&without_login(entry)))),
        }
    }
    if !wrong.is_empty() {
        let complaint = format!("has {}, expected {STORES}", wrong.join(", "));
        env.problem(&vars::TRAEFIK_KV, &complaint);
        return Vec::new();
    }
    for store in &stores {
        if let (Kind::Etcd, Some(login)) = (store.kind, &store.login)
            && login.user.is_empty()
        {
            env.problem(
                &vars::TRAEFIK_KV,
                "has an etcd without a user, expected etcd://USER@HOST with a password",
            );
        }
    }
    stores
}

/// TLS to the stores that want it.
fn tls(env: &mut Env, stores: &[Store]) -> Option<Tls> {
    let files = tls::files(env, &FILES);
    let wanted = stores.iter().any(|store| store.tls);
    match files {
        Some(files) if wanted => tls::load(env, &files, &FILES),
        Some(_) if !stores.is_empty() => {
            env.problem(
                &vars::TRAEFIK_TLS_CA,
                "is set, expected a store over TLS in TRAEFIK_KV: rediss:// or etcds://",
            );
            None
        }
        None if wanted && !env.is_set(&vars::TRAEFIK_TLS_CERT) => {
            env.problem(
                &vars::TRAEFIK_TLS_CA,
                "is not set, expected the authorities that the store's certificate comes from",
            );
            None
        }
        _ => None,
    }
}

/// Gives a store the password that is for all that have none.
fn give(store: &mut Store, password: Option<&str>) {
    let Some(password) = password else { return };
    let login = store.login.get_or_insert_default();
    if login.password.is_empty() {
        password.clone_into(&mut login.password);
    }
}

/// The password comes from one of two variables.
fn password(env: &mut Env) -> Option<String> {
    if !env.is_set(&vars::TRAEFIK_PASSWORD_FILE) {
        return env.text(&vars::TRAEFIK_PASSWORD);
    }
    if env.is_set(&vars::TRAEFIK_PASSWORD) {
        let complaint = "is set as well as TRAEFIK_PASSWORD, expected one of them";
        env.problem(&vars::TRAEFIK_PASSWORD_FILE, complaint);
        return None;
    }
    let text = env.contents(&vars::TRAEFIK_PASSWORD_FILE)?;
    let password = text.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        env.problem(
            &vars::TRAEFIK_PASSWORD_FILE,
            "names an empty file, expected the password in it",
        );
    }
    Some(password)
}

/// A wrong entry as it may be shown: what comes before `@` may be a password.
fn without_login(entry: &str) -> String {
    match (entry.rsplit_once('@'), entry.split_once("://")) {
        (Some((_, host)), Some((scheme, _))) => format!("{scheme}://…@{host}"),
        (Some((_, host)), None) => format!("…@{host}"),
        (None, _) => entry.to_owned(),
    }
}

fn root(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let parts = text.split('/').all(|part| !part.is_empty());
    (parts && text.bytes().all(allowed)).then(|| text.to_owned())
}

fn api(text: &str) -> Option<Target> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    Target::parse(bare, API_PORT).filter(|target| !matches!(target, Target::Unix(_)))
}

fn route(env: &mut Env) -> Option<Route> {
    let parse = |text: &str| (!text.contains(char::is_control)).then(|| text.to_owned());
    let rule = env.parsed(&vars::TRAEFIK_RULE, RULE, parse);
    let entry_points = match env.is_set(&vars::TRAEFIK_ENTRYPOINTS) {
        true => {
            env.list(&vars::TRAEFIK_ENTRYPOINTS, "names of entry points, by commas", entry_point)
        }
        false => Vec::new(),
    };
    if rule.is_none() {
        let how = [vars::TRAEFIK_ENTRYPOINTS];
        env.warn_without("TRAEFIK_RULE", &how, "no route is registered for Traefik");
    }
    rule.map(|rule| Route { rule, entry_points })
}

fn entry_point(text: &str) -> Option<String> {
    value::proxy_name(text).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};
    use crate::registers::traefik::{Scheme, Settings};

    fn parse(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_vars(vars.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn settings(more: &[(&str, &str)]) -> Settings {
        let vars = [("TRAEFIK_KV", "redis://kv"), ("SERVICE_NAME", "web"), ("APP_PORT", "80")];
        parse(&[&vars, more].concat()).unwrap().container.traefik.unwrap()
    }

    fn complaints(more: &[(&str, &str)]) -> Vec<String> {
        let vars = [("TRAEFIK_KV", "redis://kv"), ("SERVICE_NAME", "web"), ("APP_PORT", "80")];
        parse(&[&vars, more].concat()).unwrap_err().0
    }

    #[test]
    fn a_store_a_service_and_a_port_are_enough() {
        let settings = settings(&[]);
        assert_eq!(settings.stores[0].to_string(), "redis://kv:6379");
        assert_eq!((settings.service.as_str(), settings.scheme), ("web", Scheme::Http));
        assert!(settings.tells_address && settings.api.is_empty() && settings.route.is_none());
    }

    #[test]
    fn one_password_is_for_all_stores_that_have_none() {
        let settings = settings(&[
            ("TRAEFIK_KV", "redis://a, redis://u:own@b, etcd://u@c"),
            ("TRAEFIK_PASSWORD", "all"),
        ]);
        let logins: Vec<_> =
            settings.stores.into_iter().map(|store| store.login.unwrap()).collect();
        let logins: Vec<_> =
            logins.iter().map(|login| (login.user.as_str(), login.password.as_str())).collect();
        assert_eq!(logins, [("", "all"), ("u", "own"), ("u", "all")]);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_is() {
        let lines = complaints(&[
            ("TRAEFIK_KV", "redis://u:secret@h:0,consul://x,u:secret@h"),
            ("TRAEFIK_SERVICE", "a/b"),
            ("TRAEFIK_SCHEME", "ftp"),
            ("TRAEFIK_ROOT", "/traefik"),
            ("TRAEFIK_LEASE", "1s"),
            ("TRAEFIK_API", "https://traefik"),
            ("TRAEFIK_ENTRYPOINTS", "web,"),
            ("TRAEFIK_PASSWORD", "secret"),
            ("TRAEFIK_PASSWORD_FILE", "/x"),
        ]);
        let all = lines.join("\n");
        assert!(!all.contains("secret"), "{all}");
        for name in
            ["KV", "SERVICE", "SCHEME", "ROOT", "LEASE", "API", "ENTRYPOINTS", "PASSWORD_FILE"]
        {
            let named = |line: &&String| line.starts_with(&format!("TRAEFIK_{name} "));
            assert_eq!(lines.iter().filter(named).count(), 1, "{name} in {all}");
        }
        assert!(all.contains("'redis://…@h:0', 'consul://x', '…@h'"), "{all}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse(&[("TRAEFIK_KV", "etcd://:secret@kv")]).unwrap_err().0.join("\n");
        for name in ["TRAEFIK_KV has an etcd", "TRAEFIK_SERVICE is not set", "APP_PORT is not set"]
        {
            assert!(error.contains(name), "{name} in {error}");
        }
    }

    #[test]
    fn a_drain_that_is_cut_short_is_pointed_out() {
        let vars = [("TRAEFIK_KV", "redis://kv"), ("SERVICE_NAME", "web"), ("APP_PORT", "80")];
        let config = parse(&[&vars[..], &[("DRAIN_TIMEOUT", "1s")]].concat()).unwrap();
        assert!(config.warnings[0].starts_with("DRAIN_TIMEOUT is shorter than TRAEFIK_DRAIN"));
    }
}
