//! The configuration: one TOML file, with `${NAME}` in any string taken from the environment.
//! Every error is found in one pass and names its line and field.

pub(crate) mod common;
mod policy;
pub(crate) mod reader;
mod sections;

use crate::policy::Policy;
use crate::ports::{SourceKind, SourceSettings};
use crate::sources::KINDS;
use reader::{Document, Fields};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[store]`.
    pub store: Store,
    /// `[loop]`.
    pub timing: Timing,
    /// `[labels]`.
    pub labels: Labels,
    /// `[alerts]`; without it no alert is taken in.
    pub alerts: Option<Alerts>,
    /// `[status]`; without it neither `/metrics` nor `/healthz` is served.
    pub status: Option<Status>,
    /// `[[source]]`, and "docker".
    pub sources: Vec<Source>,
    /// `[[docker]]`: the hosts on which containers are started.
    pub docker: Vec<Docker>,
    /// `[[notify]]`.
    pub notify: Vec<Notify>,
    /// `[[policy]]`.
    pub policies: Vec<Policy>,
}

/// Where policies, alerts, history and the lease are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// `url`: `sqlite:PATH` or `mysql://user:password@host:port/database`.
    pub url: StoreUrl,
}

/// A parsed store URL.
#[derive(Clone, PartialEq)]
pub enum StoreUrl {
    /// A file.
    Sqlite(PathBuf),
    /// MariaDB or MySQL; the URL as written, password included.
    Mysql(String),
}

/// Without the password.
impl std::fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            StoreUrl::Mysql(url) => {
                let host = url.rsplit_once('@').map_or("…", |(_, host)| host);
                write!(f, "mysql://…@{host}")
            }
        }
    }
}

/// `[loop]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// `interval`: from one tick of a policy to the next.
    pub interval: Duration,
    /// `timeout`: for each question to a source or host.
    pub timeout: Duration,
    /// `lease`: a leader that has not renewed for this long has lost the lead.
    pub lease: Duration,
    /// `keep_history`: audit rows older than this are deleted.
    pub keep_history: Duration,
}

/// `[labels]`: what containers' labels may do, and by what clones are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `trust`.
    pub trust: Trust,
    /// `owner`: whose clones are this scaler's; without it an id that its store keeps.
    pub owner: Option<String>,
}

/// How far labels are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// They say to which service a container belongs, and nothing else.
    Off,
    /// They may narrow what a policy allows.
    #[default]
    Narrow,
    /// They win over the policy and may make one by themselves.
    Full,
}

impl Trust {
    /// The words of the configuration.
    pub const WORDS: [(&str, Trust); 3] =
        [("off", Trust::Off), ("narrow", Trust::Narrow), ("full", Trust::Full)];
}

/// `[alerts]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    /// `listen`.
    pub listen: SocketAddr,
    /// `token`: expected as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// `tls_cert`, `tls_key`, `tls_client_ca`.
    pub tls: Option<ServerTls>,
    /// `ttl`: an alert older than this is skipped.
    pub ttl: Duration,
    /// `body_limit`, in bytes.
    pub body_limit: usize,
}

/// Certificates of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTls {
    /// `tls_cert`, PEM.
    pub cert: PathBuf,
    /// `tls_key`, PEM.
    pub key: PathBuf,
    /// `tls_client_ca`: clients must show a certificate of it.
    pub client_ca: Option<PathBuf>,
}

/// `[status]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// `listen`: serves `/metrics` and `/healthz`.
    pub listen: SocketAddr,
}

/// Certificates towards a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientTls {
    /// `tls_ca`, PEM: what the peer's certificate is checked against.
    pub ca: PathBuf,
    /// `tls_cert` and `tls_key`, PEM: our own, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// `[[source]]`, or a table named for its kind.
#[derive(Clone, Debug)]
pub struct Source {
    /// `name`.
    pub name: String,
    /// `kind`.
    pub kind: &'static str,
    /// Where it stands, as in `source[edge]` or `haproxy[edge]`.
    pub place: String,
    /// `timeout`: for each question to it, where `[loop] timeout` does not fit.
    pub timeout: Option<Duration>,
    /// What its kind has read.
    pub settings: Arc<dyn SourceSettings>,
}

/// `[[docker]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Docker {
    /// `name`, for the audit.
    pub name: String,
    /// `host`.
    pub host: DockerHost,
    /// `tls_ca`, `tls_cert`, `tls_key`.
    pub tls: Option<ClientTls>,
    /// `lost_after`: when it has not answered for this long, its replicas are replaced on others.
    pub lost_after: Duration,
}

impl Docker {
    /// `lost_after` where none is given.
    pub const LOST_AFTER: Duration = Duration::from_secs(300);
}

/// Where a Docker Engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerHost {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port`.
    Tcp(String),
}

/// `[[notify]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Notify {
    /// `kind`.
    pub kind: NotifyKind,
    /// `url` of the incoming webhook.
    pub url: Secret,
}

/// Whose webhook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyKind {
    /// Mattermost.
    Mattermost,
    /// Slack.
    Slack,
    /// Microsoft Teams.
    Teams,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line in the text, from 1.
    pub line: usize,
    /// Path of the field, as in `policy[webapp].metric[sessions].target`.
    pub field: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.field, self.message)
    }
}

/// The names that a metric's `source` may have.
#[derive(Clone, Debug)]
pub struct Sources {
    named: Vec<(String, &'static SourceKind)>,
    hosts: Vec<String>,
    any: bool,
}

impl Sources {
    /// No source is looked up: every metric is fed from elsewhere, as by the simulator.
    pub fn any() -> Self {
        Self { named: Vec::new(), hosts: Vec::new(), any: true }
    }

    fn kind(&self, name: &str) -> Option<&'static SourceKind> {
        self.named.iter().find(|(n, _)| n == name).map(|(_, kind)| *kind)
    }

    /// A Docker host's name, if there is one of it.
    fn host(&self, name: &str) -> Result<String, String> {
        match self.any || self.hosts.iter().any(|host| host == name) {
            true => Ok(name.to_owned()),
            false => Err(format!(
                "no [[docker]] is called {name:?}; there are: {}",
                self.hosts.join(", ")
            )),
        }
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.named.iter().map(|(n, _)| n.as_str()).collect();
        names.join(", ")
    }
}

impl Config {
    /// Reads and checks a whole configuration; `env` gives the values of `${NAME}`.
    pub fn parse(
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, Vec<ConfigError>> {
        let doc = Document::new(text, env);
        let root = doc.root();
        let fields = Fields::root(&doc, &root);
        let config = sections::config(&fields);
        fields.finish();
        finish(doc, config)
    }

    /// The names that metrics of this configuration may take their readings from.
    pub fn sources(&self) -> Sources {
        let kind = |source: &Source| KINDS.into_iter().find(|kind| kind.name == source.kind);
        let named = |source: &Source| Some((source.name.clone(), kind(source)?));
        Sources {
            named: self.sources.iter().filter_map(named).collect(),
            hosts: self.docker.iter().map(|docker| docker.name.clone()).collect(),
            any: false,
        }
    }
}

/// The `[[policy]]` tables of a text and nothing else of it, as a row of the policy table or the
/// simulator has them. `${` is a `${` here: whoever may write the table need not know the scaler's
/// environment, and the simulator has none.
pub fn parse_policies(text: &str, sources: &Sources) -> Result<Vec<Policy>, Vec<ConfigError>> {
    let doc = Document::literal(text);
    let root = doc.root();
    let policies = policy::policies(&Fields::root(&doc, &root), sources);
    finish(doc, Some(policies))
}

/// Reads and checks a file against this process's environment, where a variable that is not set
/// may have a file's contents instead, by the file's path in `NAME_FILE`.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|e| LoadError::Read(path.into(), e))?;
    Config::parse(&text, &environment).map_err(|e| LoadError::Wrong(path.into(), e))
}

/// What commands that only read and write the store need of a configuration.
#[derive(Clone, Debug)]
pub struct Outline {
    /// `[store]`.
    pub store: Store,
    /// `[labels]`.
    pub labels: Labels,
    /// `[[policy]]`, as far as they can be read; their sources are not looked for.
    pub policies: Vec<Policy>,
    /// What is wrong elsewhere than in `[store]`.
    pub wrong: Vec<String>,
}

/// Reads what a file says of the store, and of the policies what can be said without the secrets
/// of all the rest. Only what is wrong in `[store]` is an error.
pub fn outline(path: &Path) -> Result<Outline, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|e| LoadError::Read(path.into(), e))?;
    let doc = Document::new(&text, &environment);
    let root = doc.root();
    let store = sections::store(&Fields::root(&doc, &root));
    let store = finish(doc, store).map_err(|e| LoadError::Wrong(path.into(), e))?;
    // Whatever is not set stands for itself.
    let lenient = |name: &str| environment(name).or_else(|| Some(format!("${{{name}}}")));
    let doc = Document::new(&text, &lenient);
    let root = doc.root();
    let fields = Fields::root(&doc, &root);
    let labels = sections::labels(&fields);
    let policies = policy::policies(&fields, &Sources::any());
    let wrong = doc.finish().iter().map(|e| format!("{}: {e}", path.display())).collect();
    Ok(Outline { store, labels, policies, wrong })
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().or_else(|| {
        let file = std::env::var_os(format!("{name}_FILE"))?;
        Some(std::fs::read_to_string(file).ok()?.trim_end().to_owned())
    })
}

/// Why a file gave no configuration. Prints one line per error, each with file and line.
#[derive(Debug)]
pub enum LoadError {
    /// It could not be read.
    Read(PathBuf, std::io::Error),
    /// It is wrong.
    Wrong(PathBuf, Vec<ConfigError>),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Read(path, e) => write!(f, "{}: {e}", path.display()),
            LoadError::Wrong(path, errors) => {
                for (n, e) in errors.iter().enumerate() {
                    let newline = if n > 0 { "\n" } else { "" };
                    write!(
                        f,
                        "{newline}{}:{}: {}: {}",
                        path.display(),
                        e.line,
                        e.field,
                        e.message
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for LoadError {}

fn finish<T>(doc: Document<'_>, read: Option<T>) -> Result<T, Vec<ConfigError>> {
    match (doc.finish(), read) {
        (errors, Some(read)) if errors.is_empty() => Ok(read),
        (errors, _) => Err(errors),
    }
}

#[cfg(test)]
mod tests;
