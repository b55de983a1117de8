//! A certificate authority of a test's own, and HAProxys with the example's proxy in front of their
//! stats socket.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::haproxy::{ARTICLE, Haproxy};
use super::{Port, ROOT, eventually};

/// What scripts/test-ca.sh makes.
pub struct Ca {
    dir: TempDir,
}

impl Ca {
    /// An authority, and certificates for HAProxy under these names and for an agent.
    pub fn new(names: &[&str]) -> Self {
        let ca = Self { dir: tempfile::tempdir().unwrap() };
        ca.make(names, 825);
        ca
    }

    /// Makes HAProxy's or the agent's certificate anew, one that has expired.
    pub fn expire(&self, name: &str, names: &[&str]) {
        std::fs::remove_file(self.path(name)).unwrap();
        self.make(names, 0);
        let valid = || {
            let mut check = Command::new("openssl");
            check.args(["x509", "-noout", "-checkend", "-1", "-in"]).arg(self.path(name));
            check.output().unwrap().status.success()
        };
        eventually("expired", || !valid());
    }

    fn make(&self, names: &[&str], days: u32) {
        let script = Path::new(ROOT).join("scripts/test-ca.sh");
        let made = Command::new(script)
            .arg(self.dir.path())
            .args(names)
            .env("DAYS", days.to_string())
            .env("SERVER_USAGE", "serverAuth,clientAuth")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The variables that make an agent use these files for mutual TLS.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let path = |name| self.path(name).display().to_string();
        vec![
            ("HAPROXY_TLS_CA", path("ca.pem")),
            ("HAPROXY_TLS_CERT", path("agent.pem")),
            ("HAPROXY_TLS_KEY", path("agent.key")),
        ]
    }
}

/// An HAProxy that speaks mutual TLS on `port`, by the section of examples/haproxy-tls.cfg.
pub fn with_tls(binary: PathBuf, ca: &Ca) -> (Haproxy, Port) {
    with_tls_on("127.0.0.1", binary, ca)
}

/// The same on another address.
pub fn with_tls_on(addr: &str, binary: PathBuf, ca: &Ca) -> (Haproxy, Port) {
    let example = include_str!("../../examples/haproxy-tls.cfg");
    let port = Port::free();
    let dir = ca.dir.path().display().to_string();
    let section = example.split("\n\n").find(|section| section.contains("\nlisten stats-tls\n"));
    let section = section
        .unwrap()
        .replace("bind :9999", &format!("bind {addr}:{port}"))
        .replace("/etc/haproxy/tls", &dir)
        .replace("/run/haproxy", &dir);
    let global = format!("stats socket {dir}/admin.sock mode 600 level admin");
    let proxies = format!("backend webapp\n  {ARTICLE}\n{section}\n");
    (Haproxy::with_global(binary, &global, &proxies), port)
}
