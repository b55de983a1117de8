//! Real Traefiks, and apps that register with them.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::agent::{Agent, Running, hello};
use super::haproxy::http_get;
use super::kv::Kv;
use super::load::{Load, Tally, wrk};
use super::{Port, ROOT, eventually};

/// A running (or killed) Traefik, ended when dropped. What it serves on `http` goes to service `web`.
pub struct Traefik {
    pub http: Port,
    pub tcp: Port,
    pub api: Port,
    provider: String,
    dir: TempDir,
    child: Option<Child>,
    arguments: Vec<String>,
}

impl Traefik {
    /// One that reads `kv` with a throttle of 50 ms, and has the routes to the services `web` and, over TCP,
    /// `db` from a file. `None` where there is no Traefik, which fails under CI.
    pub fn start(kv: &Kv) -> Option<Self> {
        Self::with(kv, &["--providers.providersthrottleduration=50ms"], true)
    }

    /// The same with other arguments, and the routes or not.
    pub fn with(kv: &Kv, arguments: &[&str], routes: bool) -> Option<Self> {
        binary()?;
        let dir = tempfile::tempdir().unwrap();
        let (http, tcp, api) = (Port::free(), Port::free(), Port::free());
        let kind = kv.kind.to_string();
        let routes = match routes {
            true => format!(
                "http: {{routers: {{web: {{rule: 'PathPrefix(`/`)', entryPoints: [web], service: 'web@{kind}'}}}}}}\n\
                 tcp: {{routers: {{db: {{rule: 'HostSNI(`*`)', entryPoints: [tcp], service: 'db@{kind}'}}}}}}\n"
            ),
            false => String::new(),
        };
        std::fs::write(dir.path().join("routes.yml"), routes).unwrap();
        let mut all: Vec<_> = [
            "--global.checknewversion=false".to_owned(),
            "--global.sendanonymoususage=false".to_owned(),
            "--api.insecure=true".to_owned(),
            "--ping=true".to_owned(),
            format!("--entrypoints.web.address=127.0.0.1:{http}"),
            format!("--entrypoints.tcp.address=127.0.0.1:{tcp}"),
            format!("--entrypoints.traefik.address=127.0.0.1:{api}"),
            format!("--providers.{kind}.endpoints=127.0.0.1:{}", kv.port),
            format!("--providers.file.filename={}", dir.path().join("routes.yml").display()),
        ]
        .into();
        all.extend(arguments.iter().map(|word| (*word).to_owned()));
        let mut traefik = Self { http, tcp, api, provider: kind, dir, child: None, arguments: all };
        traefik.run();
        Some(traefik)
    }

    /// Starts it (again) and waits until it answers.
    pub fn run(&mut self) {
        let log = File::create(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(binary().unwrap());
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        eventually("Traefik answers", || self.ask("/ping") == "OK");
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What its API says.
    pub fn ask(&self, path: &str) -> String {
        http_get(SocketAddr::from(([127, 0, 0, 1], self.api.0)), path)
    }

    /// What comes to a request.
    pub fn get(&self, path: &str) -> String {
        http_get(SocketAddr::from(([127, 0, 0, 1], self.http.0)), path)
    }

    /// Whether it sends requests for service `web` to this address.
    pub fn shows(&self, address: &str) -> bool {
        let service = self.ask(&format!("/api/http/services/web@{}", self.provider));
        service.contains(&format!("{{\"url\":\"http://{address}\"}}"))
    }

    /// How many servers service `web` has.
    pub fn servers(&self) -> usize {
        let service = self.ask(&format!("/api/http/services/web@{}", self.provider));
        service.matches("{\"url\":").count()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Traefik {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of Traefik\n{}", self.log());
        }
    }
}

/// What scripts/traefik.sh gets, or TRAEFIK_BIN names.
fn binary() -> Option<PathBuf> {
    let made = Path::new(ROOT).join("target/traefik/bin/traefik");
    let path = std::env::var_os("TRAEFIK_BIN").map_or(made, PathBuf::from);
    if !path.exists() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", path.display());
        eprintln!("SKIPPED: {} is missing: scripts/traefik.sh", path.display());
        return None;
    }
    Some(path)
}

/// The example app on a port of its own, registered in `kv` as a server of `web`.
pub fn app(kv: &Kv, name: &str, port: Port) -> Agent {
    Agent::new(&[hello().to_str().unwrap()])
        .env("NAME", name)
        .env("PORT", port)
        .env("APP_PORT", port)
        .env("TRAEFIK_KV", kv.url())
        .env("TRAEFIK_SERVICE", "web")
}

/// A port on which nobody answers, though connections are taken.
pub fn silent() -> (TcpListener, Port) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Port(listener.local_addr().unwrap().port());
    (listener, port)
}

/// How much Traefik is asked while its servers are replaced.
#[derive(Clone, Copy, Debug)]
pub struct Rolling {
    /// Requests, at least.
    pub requests: u64,
    /// Further arguments of Traefik's.
    pub arguments: &'static [&'static str],
    /// Whether a stop asks Traefik, or waits for TRAEFIK_DRAIN.
    pub asks: bool,
    /// Whether a stop waits at all.
    pub drains: bool,
}

/// Replaces each of three nodes, again and again, while requests of 0 and of 100 ms come. How many nodes were
/// stopped, and what became of the requests. `None` where there is no Traefik, which fails under CI.
pub fn roll(kv: &Kv, rolling: Rolling) -> Option<(u32, Tally)> {
    let traefik = Traefik::with(kv, rolling.arguments, true)?;
    let node = || {
        let port = Port::free();
        let agent = app(kv, "node", port);
        let agent = match (rolling.drains, rolling.asks) {
            (false, _) => agent.env("TRAEFIK_DRAIN", "0").env("DRAIN_TIMEOUT", "0"),
            (true, true) => agent.env("TRAEFIK_API", format!("127.0.0.1:{}", traefik.api)),
            (true, false) => agent,
        };
        let agent = agent.start();
        eventually("Traefik shows it", || traefik.shows(&format!("127.0.0.1:{port}")));
        agent
    };
    let mut nodes: std::collections::VecDeque<Running> = (0..3).map(|_| node()).collect();
    eventually("served", || traefik.get("/").starts_with("hello"));
    let http = traefik.http;
    let load = Load::start([
        Box::new(move || wrk(http, "/", 8)),
        Box::new(move || wrk(http, "/sleep/100", 16)),
    ]);
    let mut stopped = 0;
    while load.sent() < rolling.requests || stopped < 6 {
        nodes.push_back(node());
        if let Some(mut oldest) = nodes.pop_front() {
            oldest.stop();
            stopped += 1;
        }
    }
    Some((stopped, load.finish()))
}
