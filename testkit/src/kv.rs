//! Real stores that Traefik reads, Redis and etcd, on free ports.

use std::fmt;
use std::fs::File;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::bind::installed;
use super::tls::Ca;
use super::{Port, eventually};

/// What a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Etcd,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis",
            Self::Etcd => "etcd",
        })
    }
}

/// A running (or killed) store, ended when dropped.
pub struct Kv {
    pub kind: Kind,
    pub port: Port,
    dir: TempDir,
    child: Option<Child>,
    arguments: Vec<String>,
    /// What its own client needs to talk to it.
    client: Vec<String>,
    tls: bool,
}

/// A store of each kind. None where one of them is missing, which fails under CI.
pub fn stores() -> Vec<Kv> {
    [Kind::Redis, Kind::Etcd].into_iter().filter_map(Kv::start).collect()
}

impl Kv {
    /// Starts an empty one. `None` where there is none to start, which fails under CI.
    pub fn start(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Redis => Self::with(kind, &["--notify-keyspace-events", "KEA"]),
            Kind::Etcd => Self::with(kind, &[]),
        }
    }

    /// One that speaks TLS, by certificates for 127.0.0.1, and wants one of its clients or not.
    pub fn with_tls(kind: Kind, ca: &Ca, mutual: bool) -> Option<Self> {
        let path = |name| ca.path(name).display().to_string();
        let (ca_file, server) = (path("ca.pem"), path("haproxy.pem"));
        let (agent, agent_key) = (path("agent.pem"), path("agent.key"));
        let arguments = match kind {
            Kind::Redis => vec![
                "--tls-cert-file",
                &server,
                "--tls-key-file",
                &server,
                "--tls-ca-cert-file",
                &ca_file,
                "--tls-auth-clients",
                if mutual { "yes" } else { "no" },
            ],
            Kind::Etcd => {
                let mut words = vec!["--cert-file", &server, "--key-file", &server];
                // With an authority it wants a certificate of everybody.
                if mutual {
                    words.extend(["--trusted-ca-file", &ca_file, "--client-cert-auth"]);
                }
                words
            }
        };
        let client = ["--cacert", &ca_file, "--cert", &agent, "--key", &agent_key];
        Self::started(kind, &arguments, &client, true)
    }

    /// The same with further arguments.
    pub fn with(kind: Kind, arguments: &[&str]) -> Option<Self> {
        Self::started(kind, arguments, &[], false)
    }

    fn started(kind: Kind, arguments: &[&str], client: &[&str], tls: bool) -> Option<Self> {
        let commands = match kind {
            Kind::Redis => ["redis-server", "redis-cli"],
            Kind::Etcd => ["etcd", "etcdctl"],
        };
        if !commands.into_iter().all(installed) {
            return None;
        }
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (arguments, client) = (owned(arguments), owned(client));
        let dir = tempfile::tempdir().unwrap();
        let mut kv = Self { kind, port: Port::free(), dir, child: None, arguments, client, tls };
        kv.run();
        Some(kv)
    }

    /// Starts it (again), with nothing in it unless it is an etcd, and waits until it answers.
    pub fn run(&mut self) {
        self.spawn();
        eventually("the store answers", || self.answers());
    }

    fn spawn(&mut self) {
        let log = File::create(self.dir.path().join("log")).unwrap();
        let mut command = match self.kind {
            Kind::Redis => Command::new("redis-server"),
            Kind::Etcd => Command::new("etcd"),
        };
        let dir = self.dir.path().display();
        match self.kind {
            Kind::Redis => command
                .args([if self.tls { "--tls-port" } else { "--port" }, &self.port.to_string()])
                .args(["--bind", "127.0.0.1", "--save", ""])
                .args(if self.tls { &["--port", "0"][..] } else { &[] })
                .args(["--dir", &dir.to_string()]),
            Kind::Etcd => {
                let (here, peers) = (self.endpoint(), Port::free());
                let peers = format!("http://127.0.0.1:{peers}");
                command
                    .args(["--data-dir", &format!("{dir}/data"), "--listen-client-urls", &here])
                    .args(["--advertise-client-urls", &here, "--listen-peer-urls", &peers])
                    .args(["--initial-advertise-peer-urls", &peers])
                    .args(["--initial-cluster", &format!("default={peers}")])
            }
        };
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn answers(&self) -> bool {
        match self.kind {
            // One with a password answers too.
            Kind::Redis => {
                let output = self.client(&["PING"]);
                output.contains("PONG") || output.contains("NOAUTH")
            }
            Kind::Etcd => self.client(&["endpoint", "health"]).contains("is healthy"),
        }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Kills it and starts it with nothing in it.
    pub fn restart_empty(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(self.dir.path().join("data"));
        self.run();
    }

    /// What TRAEFIK_KV says.
    pub fn url(&self) -> String {
        let tls = if self.tls { "s" } else { "" };
        format!("{}{tls}://127.0.0.1:{}", self.kind, self.port)
    }

    /// The same with a name and a password.
    pub fn url_as(&self, login: &str) -> String {
        self.url().replace("://", &format!("://{login}@"))
    }

    fn endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Further words that its own client needs from now on, such as a password.
    pub fn client_needs(&mut self, words: &[&str]) {
        self.client.extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// What its own client prints, errors too.
    pub fn client(&self, words: &[&str]) -> String {
        let mut command = match self.kind {
            Kind::Redis => Command::new("redis-cli"),
            Kind::Etcd => Command::new("etcdctl"),
        };
        match self.kind {
            Kind::Redis => command.args(["-p", &self.port.to_string()]).args(if self.tls {
                &["--tls"][..]
            } else {
                &[]
            }),
            Kind::Etcd => command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]),
        };
        let output = command.args(&self.client).args(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim_end().to_owned()
    }

    /// Puts a key for good.
    pub fn set(&self, key: &str, value: &str) {
        let verb = if self.kind == Kind::Redis { "SET" } else { "put" };
        assert_eq!(self.client(&[verb, key, value]), "OK");
    }

    pub fn delete(&self, key: &str) {
        let verb = if self.kind == Kind::Redis { "DEL" } else { "del" };
        assert_eq!(self.client(&[verb, key]).trim_start_matches("(integer) "), "1", "{key}");
    }

    /// What is under a key; empty when it is not there.
    pub fn get(&self, key: &str) -> String {
        match self.kind {
            Kind::Redis => self.client(&["GET", key]),
            Kind::Etcd => self.client(&["get", "--print-value-only", key]),
        }
    }

    /// All keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let text = match self.kind {
            Kind::Redis => self.client(&["KEYS", "*"]),
            Kind::Etcd => self.client(&["get", "--prefix", "--keys-only", ""]),
        };
        let mut keys: Vec<_> =
            text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// The addresses of the servers of a service.
    pub fn servers(&self, service: &str) -> Vec<String> {
        let prefix = format!("traefik/http/services/{service}/loadbalancer/servers/");
        let keys = self.keys().into_iter();
        keys.filter_map(|key| Some(key.strip_prefix(&prefix)?.strip_suffix("/url")?.to_owned()))
            .collect()
    }
}

impl Drop for Kv {
    fn drop(&mut self) {
        self.kill();
    }
}
