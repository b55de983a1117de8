//! Real HAProxys, started by the tests on ports of their own.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::control::Control;
use super::{DEADLINE, Port, ROOT, eventually};

/// A running HAProxy, killed when dropped.
pub struct Haproxy {
    dir: TempDir,
    binary: PathBuf,
    child: Option<Child>,
    /// Whether it is a master with a worker.
    master: bool,
    /// Processes that were reloaded.
    leaving: Vec<Child>,
    control: Control,
    /// Where its stats socket listens.
    pub stats: Port,
    /// Where its frontend listens.
    pub http: Port,
}

/// The HAProxys to test with, by version: the one in PATH, and in a full run the later ones that
/// `scripts/haproxy-versions.sh` gets.
pub fn versions() -> Vec<PathBuf> {
    let mut versions = vec!["haproxy".into()];
    if std::env::var_os("BERTH_TEST_FULL").is_some() {
        for version in ["2.8", "3.0", "3.2"] {
            let made = format!("{ROOT}/target/haproxy/{version}/haproxy");
            let named = std::env::var(format!("BERTH_HAPROXY_{}", version.replace('.', "_")));
            let binary = PathBuf::from(named.unwrap_or(made));
            assert!(
                binary.exists(),
                "{} is missing: scripts/haproxy-versions.sh",
                binary.display()
            );
            versions.push(binary);
        }
    }
    versions
}

/// The template of the article.
pub const ARTICLE: &str =
    "server-template node 1-100 localhost:3128 check disabled inter 5s maxconn 8000";

impl Haproxy {
    /// The HAProxy in PATH with one backend `webapp` that has these lines.
    pub fn start(backend: &str) -> Self {
        Self::with_config("haproxy".into(), &format!("backend webapp\n  {backend}\n"))
    }

    /// Any HAProxy, with the given proxies after a frontend that leads to backend `webapp`.
    pub fn with_config(binary: PathBuf, proxies: &str) -> Self {
        Self::with_global(binary, "", proxies)
    }

    /// The same as a master, which signal USR2 reloads, with its own CLI in `master.sock`.
    pub fn with_master(binary: PathBuf, proxies: &str) -> Self {
        Self::started(binary, true, "", proxies)
    }

    /// The same with more lines in the global section; `{dir}` stands for a directory of its own.
    pub fn with_global(binary: PathBuf, global: &str, proxies: &str) -> Self {
        Self::started(binary, false, global, proxies)
    }

    fn started(binary: PathBuf, master: bool, global: &str, proxies: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (stats, http) = (Port::free(), Port::free());
        let path = dir.path().display().to_string();
        let mut config = String::new();
        write!(
            config,
            "global
  stats socket ipv4@127.0.0.1:{stats} level admin
  stats socket {path}/stats.sock level admin
  stats maxconn 200
  {}
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend web
  bind 127.0.0.1:{http}
  default_backend webapp
{proxies}",
            global.replace("{dir}", &path)
        )
        .unwrap();
        std::fs::write(dir.path().join("haproxy.cfg"), config).unwrap();
        let control = Control::Tcp(SocketAddr::from(([127, 0, 0, 1], stats.0)));
        let mut haproxy =
            Self { dir, binary, child: None, master, leaving: Vec::new(), control, stats, http };
        haproxy.restart();
        haproxy
    }

    /// Its directory, with `haproxy.cfg` and `stats.sock`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it again, blank but for what its configuration restores.
    pub fn restart(&mut self) {
        self.kill();
        self.start_process(&[]);
    }

    fn start_process(&mut self, arguments: &[&str]) {
        let log = std::fs::File::create(self.dir.path().join("haproxy.log")).unwrap();
        let child = Command::new(&self.binary)
            .args(self.master.then_some("-W"))
            .args(self.master.then_some("-S"))
            .args(self.master.then(|| self.dir.path().join("master.sock")))
            .args(["-db", "-f"])
            .arg(self.dir.path().join("haproxy.cfg"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        self.child = Some(child);
        let log = || std::fs::read_to_string(self.dir.path().join("haproxy.log"));
        let (control, child) = (&self.control, self.child.as_mut().unwrap());
        eventually("HAProxy answers", || {
            // It also alerts of a backend without servers, and goes on.
            let ended = child.try_wait().unwrap().is_some();
            assert!(!ended, "HAProxy refuses to start:\n{}", log().unwrap_or_default());
            control.try_command("show info").is_ok()
        });
    }

    /// Starts a new process, which takes no slots over; the old one ends with its last connection.
    pub fn reload(&mut self) {
        let old = self.child.take().unwrap();
        self.start_process(&["-sf", &old.id().to_string()]);
        self.leaving.push(old);
        let pid = format!("\nPid: {}\n", self.pid());
        eventually("the new process answers", || {
            self.try_command("show info").is_ok_and(|info| info.contains(&pid))
        });
    }

    /// Kills it with -9, and what a reload has left.
    pub fn kill(&mut self) {
        for mut old in self.leaving.drain(..) {
            old.kill().unwrap();
            old.wait().unwrap();
        }
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The program.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The body of a GET through its frontend, with the status when that is not 200.
    pub fn get(&self, path: &str) -> String {
        http_get(SocketAddr::from(([127, 0, 0, 1], self.http.0)), path)
    }
}

impl Deref for Haproxy {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The body of a GET, or `status STATUS`, or the error.
pub fn http_get(addr: SocketAddr, path: &str) -> String {
    let attempt = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&addr, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match attempt() {
        Ok(answer) => {
            let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
            if status == "200" { body.unwrap_or_default() } else { format!("status {status}") }
        }
        Err(error) => error.to_string(),
    }
}
