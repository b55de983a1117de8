//! Podman, which speaks Docker's language with an accent.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::scale::{alert, policy, settled};
use crate::support::{Process, Site, eventually, find, have, output, unique};

/// A Podman of the test's own.
struct Podman {
    dir: TempDir,
    _service: Process,
}

impl Podman {
    /// `None`, with a word, where it cannot be started.
    async fn start() -> Option<Self> {
        if !have(&["podman", "runc", "docker", "busybox", "tar"]) {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let config = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n\
                      [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
                      runtime = \"runc\"\n";
        std::fs::write(dir.path().join("containers.conf"), config).unwrap();
        let mut command = Command::new(find("podman").unwrap());
        command
            .env("CONTAINERS_CONF", dir.path().join("containers.conf"))
            .arg("--root")
            .arg(dir.path().join("root"))
            .arg("--runroot")
            .arg(dir.path().join("run"))
            .args(["system", "service", "--time=0", &socket(dir.path())])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap());
        let podman = Self { _service: Process::start(&mut command), dir };
        eventually("Podman answers", async || {
            podman.docker(&["version"]).output().unwrap().status.success().then_some(())
        })
        .await;
        Some(podman)
    }

    fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg(format!("--host={}", socket(self.dir.path()))).args(args);
        command
    }

    fn image(&self) -> String {
        let dir = self.dir.path();
        std::fs::create_dir(dir.join("bin")).unwrap();
        std::fs::copy(find("busybox").unwrap(), dir.join("bin/busybox")).unwrap();
        let tar = dir.join("image.tar");
        output(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(dir).arg("bin"));
        output(&mut self.docker(&["import", tar.to_str().unwrap(), "berth-test:1"]));
        "berth-test:1".to_owned()
    }

    fn running(&self) -> Vec<String> {
        let list = output(&mut self.docker(&["ps", "--format", "{{.Names}}"]));
        let mut names: Vec<String> = list.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

fn socket(dir: &Path) -> String {
    format!("unix://{}", dir.join("podman.sock").display())
}

impl Drop for Podman {
    fn drop(&mut self) {
        let ids = self.docker(&["ps", "-aq"]).output().unwrap().stdout;
        for id in String::from_utf8_lossy(&ids).lines() {
            let _ = self.docker(&["rm", "-f", id]).output();
        }
    }
}

#[tokio::test]
async fn a_container_of_podman_is_cloned_and_its_clone_stopped() {
    let Some(podman) = Podman::start().await else { return };
    let (image, service) = (podman.image(), unique("berth-test"));
    let (name, label) = (format!("{service}_1"), format!("service_name={service}"));
    let app = "trap 'exit 0' TERM; while :; do busybox sleep 1 & wait $!; done";
    let run = ["run", "-d", "--name", &name, "--label", &label, "--network", "none"];
    let app = [image.as_str(), "/bin/busybox", "sh", "-c", app];
    output(&mut podman.docker(&[&run[..], &app].concat()));
    let host = format!("[[docker]]\nname = \"podman\"\nhost = \"{}\"\n", socket(podman.dir.path()));
    let site = Site::new(None, &policy(&service, &host));
    let _scaler = site.run(None);
    site.listening().await;
    site.alert(&alert("scale_up", "one")).await.unwrap();
    settled(&site, 1).await;
    assert_eq!(podman.running(), [1, 2].map(|n| format!("{service}_{n}")));
    site.alert(&alert("scale_down", "two")).await.unwrap();
    let rows = settled(&site, 2).await;
    assert_eq!(rows[1].status.as_deref(), Some("deleted"), "{rows:#?}");
    assert_eq!(podman.running(), [name]);
}
