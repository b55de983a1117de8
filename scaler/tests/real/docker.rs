//! More than one Docker host, the second over TLS with client certificates.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::scale::{alert, policy, settled};
use crate::support::{
    Containers, Process, Site, certificates, eventually, find, free_address, have, output,
};

/// A Docker daemon of the test's own, which lets nobody in without a certificate.
struct Daemon {
    process: Process,
    dir: TempDir,
    address: SocketAddr,
}

impl Daemon {
    async fn start() -> Option<Self> {
        if !have(&["dockerd", "docker"]) {
            return None;
        }
        let (dir, address) = (TempDir::new().unwrap(), free_address());
        certificates(dir.path());
        let at = |name: &str| dir.path().join(name).display().to_string();
        // The machine's own settings are not for this one.
        std::fs::write(at("daemon.json"), "{}").unwrap();
        let mut command = Command::new(find("dockerd").unwrap());
        command
            .args(["--tlsverify", "--bridge=none", "--iptables=false", "--storage-driver=vfs"])
            .arg(format!("--host=tcp://{address}"))
            .arg(format!("--tlscacert={}", at("ca.pem")))
            .arg(format!("--tlscert={}", at("server.pem")))
            .arg(format!("--tlskey={}", at("server.key")))
            .arg(format!("--config-file={}", at("daemon.json")))
            .arg(format!("--data-root={}", at("data")))
            .arg(format!("--exec-root={}", at("exec")))
            .arg(format!("--pidfile={}", at("pid")))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap());
        let daemon = Self { process: Process::start(&mut command), dir, address };
        eventually("the second daemon answers", async || {
            daemon.docker(&["version"]).output().unwrap().status.success().then_some(())
        })
        .await;
        Some(daemon)
    }

    fn docker(&self, args: &[&str]) -> Command {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new("docker");
        command
            .arg(format!("--host=tcp://{}", self.address))
            .arg("--tlsverify")
            .arg(format!("--tlscacert={}", at("ca.pem")))
            .arg(format!("--tlscert={}", at("client.pem")))
            .arg(format!("--tlskey={}", at("client.key")))
            .args(args)
            .stderr(Stdio::piped());
        command
    }
}

impl Drop for Daemon {
    /// It stops its containers on the way out.
    fn drop(&mut self) {
        let ids = self.docker(&["ps", "-aq"]).output().unwrap().stdout;
        for id in String::from_utf8_lossy(&ids).lines() {
            let _ = self.docker(&["rm", "-f", id]).output();
        }
        self.process.signal(Signal::SIGTERM);
        self.process.wait();
    }
}

#[tokio::test]
async fn clones_spread_over_hosts_and_a_blind_host_stops_everything() {
    let Some(containers) = Containers::new() else { return };
    let Some(second) = Daemon::start().await else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let tar = second.dir.path().join("image.tar");
    output(Command::new("docker").args(["save", "-o", tar.to_str().unwrap(), &containers.image]));
    output(&mut second.docker(&["load", "-i", tar.to_str().unwrap()]));

    let dir = second.dir.path().display();
    let hosts = format!(
        "[[docker]]\nname = \"a\"\nhost = \"unix:///var/run/docker.sock\"\n\
         [[docker]]\nname = \"b\"\nhost = \"tcp://localhost:{}\"\ntls_ca = \"{dir}/ca.pem\"\n\
         tls_cert = \"{dir}/client.pem\"\ntls_key = \"{dir}/client.key\"\n",
        second.address.port()
    );
    let site = Site::new(None, &policy(&service, &hosts));
    let _scaler = site.run(None);
    site.listening().await;
    site.alert(&alert("scale_up", "one")).await.unwrap();
    let rows = settled(&site, 1).await;
    assert_eq!(rows[0].host.as_deref(), Some("b"), "{rows:#?}");
    let there = output(&mut second.docker(&["ps", "--format", "{{.Names}}"]));
    assert_eq!(there, format!("{service}_2"));
    assert_eq!(containers.running(), 1);

    // What cannot be seen cannot be counted: nothing is started, nothing is stopped.
    second.process.signal(Signal::SIGSTOP);
    site.alert(&alert("scale_up", "two")).await.unwrap();
    let store = site.store().await;
    eventually("the blind host is in the audit", async || {
        let rows = store.history(None, 100).await.unwrap();
        rows.iter().any(|r| r.action == "hold").then_some(())
    })
    .await;
    assert_eq!(containers.running(), 1);
    second.process.signal(Signal::SIGCONT);
    let rows = settled(&site, 2).await;
    assert_eq!((rows.len(), rows[1].to), (2, 3), "and the alert is not lost");
    store.close().await;
}
