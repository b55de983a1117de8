//! Registration in DNS on another server than BIND: Knot DNS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use berth::registers::{Desired, Standing};
use support::bind::{KEY, ZONE, dig, installed, make_key, secret_in};
use support::container::{Container, Log, config, until};
use support::{Port, eventually};
use tempfile::TempDir;

struct Knot {
    addr: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Knot {
    fn start() -> Option<Self> {
        if !installed("knotd") || !installed("tsig-keygen") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = Port::free();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port.0));
        let key = make_key("hmac-sha256", KEY);
        let (path, secret) = (dir.path().display(), secret_in(&key));
        let conf = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {path}\n  udp-workers: 1\n  \
             tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {path}/db\n  journal-db-max-size: 16M\n  kasp-db-max-size: 16M\n  \
             timer-db-max-size: 16M\n\
             key:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
             acl:\n  - id: berth\n    key: {KEY}\n    action: [update, query]\n  \
             - id: all\n    action: [transfer, query]\n\
             zone:\n  - domain: {ZONE}\n    storage: {path}\n    file: zone\n    \
             acl: [berth, all]\n"
        );
        fs::create_dir(dir.path().join("db")).unwrap();
        fs::write(dir.path().join("knot.conf"), conf).unwrap();
        fs::write(dir.path().join("key.conf"), &key).unwrap();
        let zone = format!(
            "$ORIGIN {ZONE}.\n@ 60 SOA ns h 1 3600 600 86400 5\n@ 60 NS ns\nns 60 A 127.0.0.1\nwebapp 60 A 192.0.2.1\n"
        );
        fs::write(dir.path().join("zone"), zone).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("knotd")
            .arg("-c")
            .arg(dir.path().join("knot.conf"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let knot = Self { addr, dir, child };
        eventually("Knot answers", || !knot.dig(ZONE, "SOA").is_empty());
        Some(knot)
    }

    fn dig(&self, name: &str, rtype: &str) -> Vec<String> {
        let mut lines: Vec<_> = dig(self.addr, &["+short", name, rtype])
            .lines()
            .filter(|line| !line.starts_with(";;"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }

    fn container(&self, addr: &str, more: &[(&str, &str)]) -> Container {
        let (server, key) = (self.addr.to_string(), self.dir.path().join("key.conf"));
        let mut vars = vec![
            ("DNS_SERVER", server.as_str()),
            ("DNS_ZONE", ZONE),
            ("DNS_TSIG_KEYFILE", key.to_str().unwrap()),
            ("SERVICE_NAME", "webapp"),
            ("DNS_LEASE", "5"),
        ];
        vars.extend_from_slice(more);
        Container::start(config(&vars), Some(addr), Some(80))
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn knot_takes_it_all_as_bind_does() {
    let Some(knot) = Knot::start() else { return };
    let (log, _guard) = Log::capture();
    let more = [("DNS_NODE_NAME", "leader"), ("DNS_SRV", "_http._tcp")];
    let mut one = knot.container("10.53.0.1", &more);
    one.serve().await;
    let srv = || knot.dig("_http._tcp.webapp.berth.test", "SRV");
    until("the node's records", || srv() == ["0 0 80 leader.berth.test."]).await;
    let mut two = knot.container("10.53.0.2", &more);
    two.serve().await;
    until("who holds the name", || log.count("the container at 10.53.0.1") == 1).await;
    assert_eq!(knot.dig("webapp.berth.test", "A"), ["10.53.0.1", "10.53.0.2", "192.0.2.1"]);
    one.kill();
    until("the dead to be swept and the name to be passed on", || {
        knot.dig("webapp.berth.test", "A") == ["10.53.0.2", "192.0.2.1"]
            && knot.dig("leader.berth.test", "A") == ["10.53.0.2"]
    })
    .await;
    two.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(knot.dig("webapp.berth.test", "A"), ["192.0.2.1"]);
    let left = dig(knot.addr, &["+noall", "+answer", ZONE, "AXFR"]);
    assert!(!left.contains("_lease") && !left.contains("leader"), "{left}");
}
