//! Registration in DNS on another server than BIND: PowerDNS with its SQLite backend.

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

/// Where Debian's package has the tables of the backend.
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

struct PowerDns {
    addr: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl PowerDns {
    fn start() -> Option<Self> {
        let tools = ["pdns_server", "pdnsutil", "sqlite3", "tsig-keygen"];
        if !tools.iter().all(|tool| installed(tool)) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = Port::free();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port.0));
        let key = make_key("hmac-sha256", KEY);
        fs::write(dir.path().join("key.conf"), &key).unwrap();
        let path = dir.path().display();
        fs::write(
            dir.path().join("pdns.conf"),
            format!(
                "launch=gsqlite3\ngsqlite3-database={path}/zones\nlocal-address=127.0.0.1\n\
                 local-port={port}\nsocket-dir={path}\ndnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\n\
                 cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
                 disable-axfr=no\nallow-axfr-ips=127.0.0.0/8\nsetuid=\nsetgid=\n"
            ),
        )
        .unwrap();
        let done = |command: &mut Command| {
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{command:?}: {output:?}");
        };
        done(Command::new("sqlite3").arg(dir.path().join("zones")).arg(format!(".read {SCHEMA}")));
        let secret = secret_in(&key);
        let pdnsutil = |words: &mut dyn Iterator<Item = &str>| {
            let mut pdnsutil = Command::new("pdnsutil");
            done(pdnsutil.arg("--config-dir").arg(dir.path()).args(words));
        };
        for words in [
            format!("create-zone {ZONE} ns.{ZONE}"),
            format!("add-record {ZONE} ns A 60 127.0.0.1"),
            format!("add-record {ZONE} webapp A 60 192.0.2.1"),
            format!("import-tsig-key {KEY} hmac-sha256 {secret}"),
            format!("set-meta {ZONE} TSIG-ALLOW-DNSUPDATE {KEY}"),
        ] {
            pdnsutil(&mut words.split(' '));
        }
        // Which it makes up for every name, and which is no record of any.
        let wildcard = ["add-record", ZONE, "*", "TXT", "60", "\"v=spf1 -all\""];
        pdnsutil(&mut wildcard.into_iter());
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("pdns_server")
            .arg(format!("--config-dir={path}"))
            .args(["--guardian=no", "--daemon=no"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { addr, dir, child };
        eventually("PowerDNS answers", || !server.dig(ZONE, "SOA").is_empty());
        Some(server)
    }

    fn dig(&self, name: &str, rtype: &str) -> Vec<String> {
        let output = dig(self.addr, &["+short", name, rtype]);
        let lines = output.lines().filter(|line| !line.starts_with(";;"));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
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

impl Drop for PowerDns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn powerdns_takes_it_all_as_bind_does() {
    let Some(server) = PowerDns::start() else { return };
    let (log, _guard) = Log::capture();
    let more = [("DNS_NODE_NAME", "leader"), ("DNS_SRV", "_http._tcp")];
    let mut one = server.container("10.53.0.1", &more);
    one.serve().await;
    let srv = || server.dig("_http._tcp.webapp.berth.test", "SRV");
    until("the node's records", || srv() == ["0 0 80 leader.berth.test."]).await;
    let mut two = server.container("10.53.0.2", &more);
    two.serve().await;
    until("who holds the name", || log.count("the container at 10.53.0.1") == 1).await;
    assert_eq!(server.dig("webapp.berth.test", "A"), ["10.53.0.1", "10.53.0.2", "192.0.2.1"]);
    one.kill();
    until("the dead to be swept and the name to be passed on", || {
        server.dig("webapp.berth.test", "A") == ["10.53.0.2", "192.0.2.1"]
            && server.dig("leader.berth.test", "A") == ["10.53.0.2"]
    })
    .await;
    two.reach(Desired::Draining, Standing::Idle).await;
    assert_eq!(server.dig("webapp.berth.test", "A"), ["192.0.2.1"]);
    let left = dig(server.addr, &["+noall", "+answer", ZONE, "AXFR"]);
    assert!(left.contains("SOA"), "{left}");
    assert!(!left.contains("_lease") && !left.contains("leader"), "{left}");
}
