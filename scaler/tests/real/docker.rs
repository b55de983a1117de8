//! More than one Docker host, the second over TLS with client certificates.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use berth_scaler::store::containers::Fate;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::scale::{alert, policy, settled};
use crate::support::{
    Containers, Process, Site, certificates, eventually, find, free_address, have, output,
};

/// A bridge of its own for a daemon: one without a bridge would delete the first one's.
struct Bridge(String);

impl Bridge {
    /// In the network for measurements (RFC 2544), four addresses for each port there is.
    fn new(port: u16) -> Self {
        let name = format!("berth{port:x}");
        let [_, a, b, c] = (u32::from(port) * 4).to_be_bytes();
        let address = format!("198.{}.{b}.{}/30", 18 + (a & 1), c | 1);
        let ip = |args: &[&str]| output(Command::new(find("ip").unwrap()).args(args));
        ip(&["link", "add", &name, "type", "bridge"]);
        let bridge = Self(name);
        ip(&["address", "add", &address, "dev", &bridge.0]);
        ip(&["link", "set", &bridge.0, "up"]);
        bridge
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new(find("ip").unwrap()).args(["link", "delete", &self.0]).output();
    }
}

/// A Docker daemon of the test's own, which lets nobody in without a certificate.
struct Daemon {
    process: Process,
    bridge: Bridge,
    dir: TempDir,
    address: SocketAddr,
}

impl Daemon {
    async fn start() -> Option<Self> {
        if !have(&["dockerd", "docker", "ip"]) {
            return None;
        }
        let (dir, address) = (TempDir::new().unwrap(), free_address());
        certificates(dir.path());
        let bridge = Bridge::new(address.port());
        let at = |name: &str| dir.path().join(name).display().to_string();
        // The machine's own settings are not for this one.
        std::fs::write(at("daemon.json"), "{}").unwrap();
        let process = Process::start(&mut Self::command(&dir, address, &bridge));
        let daemon = Self { process, bridge, dir, address };
        daemon.answers().await;
        Some(daemon)
    }

    fn command(dir: &TempDir, address: SocketAddr, bridge: &Bridge) -> Command {
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut command = Command::new(find("dockerd").unwrap());
        command
            .args(["--tlsverify", "--iptables=false", "--ip-masq=false", "--storage-driver=vfs"])
            .arg(format!("--bridge={}", bridge.0))
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
        command
    }

    async fn answers(&self) {
        eventually("the second daemon answers", async || {
            self.docker(&["version"]).output().unwrap().status.success().then_some(())
        })
        .await;
    }

    /// Ends it, and with it its containers, and starts it again.
    async fn restart(&mut self) {
        self.process.signal(Signal::SIGTERM);
        self.process.wait();
        self.process = Process::start(&mut Self::command(&self.dir, self.address, &self.bridge));
        self.answers().await;
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

    /// Gives it an image of the first daemon's.
    fn load(&self, image: &str) {
        let tar = self.dir.path().join("image.tar");
        output(Command::new("docker").args(["save", "-o", tar.to_str().unwrap(), image]));
        output(&mut self.docker(&["load", "-i", tar.to_str().unwrap()]));
    }

    /// The first daemon as `a` and this one as `b`, for a configuration.
    fn hosts(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "[[docker]]\nname = \"a\"\nhost = \"unix:///var/run/docker.sock\"\n\
             [[docker]]\nname = \"b\"\nhost = \"tcp://localhost:{}\"\n\
             tls_ca = \"{dir}/ca.pem\"\ntls_cert = \"{dir}/client.pem\"\n\
             tls_key = \"{dir}/client.key\"\n",
            self.address.port()
        )
    }

    /// Names of all its containers.
    fn names(&self) -> String {
        output(&mut self.docker(&["ps", "-a", "--format", "{{.Names}}"]))
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
    second.load(&containers.image);
    let site = Site::new(None, &policy(&service, &second.hosts()));
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

/// Labels that ask for all there is, and rights that no other host should give away.
const GREEDY: [&str; 9] = [
    "--cap-add=NET_BIND_SERVICE",
    "--pid=host",
    "--volume=/:/host:ro",
    "--label=autoscale_min_instance=3",
    "--label=autoscale_max_instance=9",
    "--label=policy_name=theirs",
    "--label=naming_convention=theirs_",
    "--label=service_availability=true",
    "--label=alert_service_name=theirs",
];

#[tokio::test]
async fn labels_on_one_host_get_nothing_on_another() {
    let Some(containers) = Containers::new() else { return };
    let Some(second) = Daemon::start().await else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &GREEDY, 0);
    second.load(&containers.image);
    let theirs = "[[policy]]\npolicy_name = \"theirs\"\nservice_name = \"db\"\n\
                  naming_convention = \"theirs_\"\nautoscale_min_instance = 0\n\
                  autoscale_max_instance = 1\n";
    let site = Site::new(None, &format!("{theirs}{}", second.hosts()));
    let scaler = site.run(None);
    let store = site.store().await;
    // Labels alone make no policy, and say what would make one.
    eventually("the labels are refused", async || {
        site.log().contains("trust = \"full\"; or give").then_some(())
    })
    .await;
    site.listening().await;
    site.alert("{\"service_name\": \"theirs\", \"autoscale_action\": \"scale_up\"}")
        .await
        .unwrap_err();
    assert_eq!((containers.list().len(), second.names()), (1, String::new()));

    // In full trust they do, under a name of their own, and on their own host.
    site.configure(None, &format!("[labels]\ntrust = \"full\"\n{theirs}{}", second.hosts()));
    scaler.signal(Signal::SIGHUP);
    eventually("another's name is refused", async || {
        site.log().contains("that is called").then_some(())
    })
    .await;
    assert_eq!((containers.list().len(), second.names()), (1, String::new()));

    // A policy of the file: its bounds, its names, and the clones of its template at home.
    site.configure(None, &policy(&service, &second.hosts()));
    scaler.signal(Signal::SIGHUP);
    eventually("the minimum within the policy's bounds", async || {
        (containers.running() == 3).then_some(())
    })
    .await;
    settled(&site, 2).await;
    // A later one with the same label is neither cloned nor asked.
    let label = format!("service_name={service}");
    let args = ["run", "-d", "--name=late", "--label", &label, "--network=none"];
    let mut args = args.to_vec();
    let shell = ["/bin/busybox", "sleep", "1000"];
    args.extend([containers.image.as_str()]);
    args.extend(shell);
    output(&mut second.docker(&args));
    site.alert(&alert("scale_up", "one")).await.unwrap();
    eventually("the alert has ended", async || {
        let alerts = store.all_alerts().await.unwrap();
        alerts.iter().any(|a| a.alert.policy.is_some() && a.status != "unprocessed").then_some(())
    })
    .await;
    assert_eq!((containers.running(), second.names()), (3, "late".to_owned()));

    // The policy's word lets rights travel.
    let more = format!("clone_privileged = true\n{}", second.hosts());
    let text = policy(&service, &more).replace("max_instance = 4", "max_instance = 5");
    site.configure(None, &text);
    scaler.signal(Signal::SIGHUP);
    eventually("the new policy holds", async || {
        (site.log().matches("configuration reloaded").count() == 3).then_some(())
    })
    .await;
    site.alert(&alert("scale_up", "two")).await.unwrap();
    eventually("a clone on the other host", async || {
        (second.names().lines().count() == 2).then_some(())
    })
    .await;
    let rights = "{{.HostConfig.PidMode}} {{.HostConfig.Binds}}";
    let made = second.names().replace("late", "").trim().to_owned();
    let made = output(&mut second.docker(&["inspect", "--format", rights, &made]));
    assert_eq!(made, "host [/:/host:ro]");
    store.close().await;
}

#[tokio::test]
async fn what_ended_with_its_daemon_is_brought_back_and_what_was_stopped_is_not() {
    let Some(containers) = Containers::new() else { return };
    let Some(mut second) = Daemon::start().await else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    second.load(&containers.image);
    let text = policy(&service, "autoscale_action = \"service_availability\"");
    let site = Site::new(None, &format!("{text}{}", second.hosts()));
    let _scaler = site.run(None);
    let label = format!("service_name={service}");
    let app = "trap 'exit 0' TERM; while :; do busybox sleep 1 & wait $!; done";
    for n in [2, 3] {
        let name = format!("{service}_{n}");
        let run = ["run", "-d", "--name", &name, "--label", &label, "--network", "none"];
        let app = [containers.image.as_str(), "/bin/busybox", "sh", "-c", app];
        output(&mut second.docker(&[&run[..], &app].concat()));
    }
    let store = site.store().await;
    let fate = async |n: u32, fate: Fate| {
        eventually("its fate is known", async || {
            let known = store.known_containers().await.unwrap();
            let name = format!("{service}_{n}");
            let found = known.iter().find(|k| k.name == name && k.spec.is_some())?;
            (found.fate == fate).then_some(())
        })
        .await;
    };
    fate(2, Fate::Alive).await;
    fate(3, Fate::Alive).await;
    output(&mut second.docker(&["stop", &format!("{service}_3")]));
    fate(3, Fate::Stopped).await;
    second.restart().await;
    let rows = settled(&site, 1).await;
    assert_eq!(rows.len(), 1, "{rows:#?}");
    let there = output(&mut second.docker(&["ps", "--format", "{{.Names}}"]));
    assert_eq!(there, format!("{service}_2"));
    store.close().await;
}
