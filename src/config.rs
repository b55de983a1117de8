//! Configuration: the environment, parsed once into types that cannot be wrong.
//!
//! Every wrong variable is collected before anything fails, so that one message names them all.
//! The variables that belong to one part are parsed by that part ([`crate::registers::dns::config`]); the
//! table of all of them is [`VARIABLES`], which the README's table is tested against.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub mod env;
#[cfg(test)]
mod tests;
pub mod value;
mod variables;

pub use env::Env;
pub use value::{LogFormat, ReadyCheck, Target};
pub use variables::{VARIABLES, Variable};

use crate::init::exit::ExitRemap;
use crate::init::signal::{SignalRewrite, StopSignals};
use crate::registers::dns::config::DnsConfig;
use crate::registers::haproxy::Tls;

/// Everything that Berth is told, by type.
#[derive(Clone, Debug)]
pub struct Config {
    /// HAProxy registration, when `HAPROXY_SERVER` is set.
    pub haproxy: Option<HaproxyConfig>,
    /// DNS registration, when `DNS_SERVER` or `DNS_ZONE` is set.
    pub dns: Option<DnsConfig>,
    /// The app: where it listens, when it can serve, how it is stopped.
    pub app: AppConfig,
    /// Lines on stderr: a level that `tracing` knows.
    pub log_level: tracing::level_filters::LevelFilter,
    /// Shape of the lines on stderr.
    pub log_format: LogFormat,
    /// What deserves a warning but is not wrong, such as a misspelt variable.
    pub warnings: Vec<String>,
}

/// Where and how to claim a slot.
#[derive(Clone, Debug)]
pub struct HaproxyConfig {
    /// The load balancers; a name stands for all its addresses.
    pub servers: Vec<Target>,
    /// Slots 1…n may be claimed; `None` = all that the template has.
    pub node_count: Option<u32>,
    /// Backend with the template; `None` = find it.
    pub backend: Option<String>,
    /// Prefix of the template's server names.
    pub node_prefix: String,
    /// How often the slot is verified, before jitter.
    pub sync_interval: Duration,
    /// A slot found DOWN for this long may be taken over.
    pub reclaim_after: Duration,
    /// TLS to the stats socket, when `HAPROXY_TLS_CA` is set.
    pub tls: Option<Tls>,
}

/// PEM files for TLS to the stats socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that the server's certificate must come from.
    pub ca: PathBuf,
    /// Our own certificate chain and its key, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The wrapped app.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// The service that this container belongs to.
    pub service_name: Option<String>,
    /// Port that the app listens on; `None` = the template's.
    pub port: Option<u16>,
    /// Address to advertise; `None` = the local address of the connection to each HAProxy.
    pub addr: Option<IpAddr>,
    /// When the app counts as able to serve.
    pub ready_check: ReadyCheck,
    /// Time between two checks of an app that is ready.
    pub ready_interval: Duration,
    /// Longest time that one check may take.
    pub ready_timeout: Duration,
    /// Successes in a row after which an unready app is ready again.
    pub ready_rise: u32,
    /// Failures in a row after which a ready app is unready.
    pub ready_fall: u32,
    /// Longest wait for sessions to end before the app gets its stop signal.
    pub drain_timeout: Duration,
    /// SIGKILL this long after the stop signal; zero = never.
    pub stop_timeout: Duration,
    /// Signal the app's whole process group.
    pub signal_group: bool,
    /// Signals that reach the app as others.
    pub signal_rewrite: SignalRewrite,
    /// Signals that ask the container to stop.
    pub stop_signals: StopSignals,
    /// Exit codes that leave as others.
    pub exit_remap: ExitRemap,
}

/// Every wrong variable, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Whether there is anything to register with.
    pub fn registers(&self) -> bool {
        self.haproxy.is_some() || self.dns.is_some()
    }

    /// Parses an environment, given as name and value pairs.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut env = Env::new(vars);
        let app = app(&mut env);
        let haproxy = haproxy(&mut env);
        let dns = DnsConfig::parse(&mut env, app.service_name.as_deref());
        let log_level = env
            .parse_if("LOG_LEVEL", "error, warn, info, debug or trace", value::log_level)
            .unwrap_or(tracing::level_filters::LevelFilter::INFO);
        let log_format = env.parse_or("LOG_FORMAT", "text or json", LogFormat::Text);
        let warnings = env.finish().map_err(ConfigError)?;
        Ok(Self { haproxy, dns, app, log_level, log_format, warnings })
    }
}

fn app(env: &mut Env) -> AppConfig {
    const SECONDS: Duration = Duration::from_secs(1);
    AppConfig {
        service_name: env.parse_if("SERVICE_NAME", value::PROXY_NAME, value::proxy_name),
        port: env.parse_if("APP_PORT", "a port from 1 to 65535", value::port),
        addr: env.parse_if("APP_ADDR", "an IP address that HAProxy can reach", value::unicast),
        ready_check: env.parse_or(
            "READY_CHECK",
            "tcp, http:/path, cmd:COMMAND, notify or none",
            ReadyCheck::Tcp,
        ),
        ready_interval: env.duration("READY_INTERVAL", 2 * SECONDS, Some(SECONDS / 10)),
        ready_timeout: env.duration("READY_TIMEOUT", 2 * SECONDS, Some(SECONDS / 100)),
        ready_rise: env.parse_if("READY_RISE", value::COUNT, value::count).unwrap_or(2),
        ready_fall: env.parse_if("READY_FALL", value::COUNT, value::count).unwrap_or(3),
        drain_timeout: env.duration("DRAIN_TIMEOUT", 5 * SECONDS, None),
        stop_timeout: env.duration("STOP_TIMEOUT", Duration::ZERO, None),
        signal_group: env.parse_if("SIGNAL_GROUP", "0 or 1", value::flag).unwrap_or(false),
        signal_rewrite: env.parse_or_default("SIGNAL_REWRITE"),
        stop_signals: env.parse_or_default("STOP_SIGNALS"),
        exit_remap: env.parse_or_default("EXIT_REMAP"),
    }
}

fn haproxy(env: &mut Env) -> Option<HaproxyConfig> {
    const SECOND: Duration = Duration::from_secs(1);
    let port = env.parse_if("HAPROXY_PORT", "a port from 1 to 65535", value::port).unwrap_or(9999);
    let servers = env.parse_list(
        "HAPROXY_SERVER",
        "host names or IP addresses, each with an optional :port, or unix:/path, by commas",
        |text| Target::parse(text, port),
    );
    env.warn_without(
        "HAPROXY_SERVER",
        &["HAPROXY_BACKEND", "HAPROXY_NODE_PREFIX", "HAPROXY_TLS_CA", "NODE_COUNT"],
        "no slot is claimed",
    );
    let ca = env.path("HAPROXY_TLS_CA");
    let cert = env.path("HAPROXY_TLS_CERT");
    let key = env.path("HAPROXY_TLS_KEY");
    let files = tls_files(env, ca, cert, key);
    let tls = files.zip(servers.as_deref()).and_then(|(files, at)| tls(env, &files, at));
    let config = HaproxyConfig {
        servers: servers.unwrap_or_default(),
        node_count: env.parse_if("NODE_COUNT", value::COUNT, value::count),
        backend: env.parse_if("HAPROXY_BACKEND", value::PROXY_NAME, value::proxy_name),
        node_prefix: env
            .parse_if("HAPROXY_NODE_PREFIX", value::PROXY_NAME, value::proxy_name)
            .unwrap_or_else(|| "node".to_owned()),
        sync_interval: env.duration("SYNC_INTERVAL", SECOND, Some(SECOND / 10)),
        reclaim_after: env.duration("RECLAIM_AFTER", 30 * SECOND, Some(SECOND)),
        tls,
    };
    (!config.servers.is_empty()).then_some(config)
}

/// Unix sockets go without TLS: their permissions say who may open them.
fn tls(env: &mut Env, files: &TlsFiles, servers: &[Target]) -> Option<Tls> {
    if servers.iter().all(|server| matches!(server, Target::Unix(_))) {
        env.problem(
            "HAPROXY_TLS_CA",
            "is set, expected a host name or an IP address in HAPROXY_SERVER: there is no TLS over \
             Unix sockets",
        );
        return None;
    }
    let loaded = Tls::load(files);
    loaded.map_err(|complaints| complaints.into_iter().for_each(|line| env.complain(line))).ok()
}

fn tls_files(
    env: &mut Env,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Option<TlsFiles> {
    if ca.is_none() && (cert.is_some() || key.is_some()) {
        env.problem(
            "HAPROXY_TLS_CA",
            "is not set, expected the authorities that HAProxy's certificate comes from",
        );
    }
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            env.problem("HAPROXY_TLS_KEY", "is not set, expected the key of HAPROXY_TLS_CERT");
            None
        }
        (None, Some(_)) => {
            env.problem(
                "HAPROXY_TLS_CERT",
                "is not set, expected the certificate of HAPROXY_TLS_KEY",
            );
            None
        }
    };
    ca.map(|ca| TlsFiles { ca, identity })
}
