//! Clocks that are set, and clocks that are off.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::sys::signal::Signal;

use crate::scale::{alert, policy};
use crate::support::{Containers, Process, Site, eventually, have, output};

/// The time of day of one process, which a file says how far it is off.
struct Clock {
    library: String,
    file: PathBuf,
}

impl Clock {
    fn of(site: &Site) -> Option<Self> {
        if !have(&["faketime"]) {
            return None;
        }
        let arch = std::env::consts::ARCH;
        let library = format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1");
        assert!(std::path::Path::new(&library).exists(), "{library}");
        let clock = Self { library, file: site.dir.path().join("clock") };
        clock.set("+0");
        Some(clock)
    }

    /// In seconds, such as `-3600`. Put in its place whole.
    fn set(&self, off: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{off}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    fn run(&self, site: &Site) -> Process {
        site.run_with(&[
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ])
    }
}

/// A document with one number in it, which can be changed.
fn gauge() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, value) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let shown = value.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 2048]);
            let body = shown.load(Relaxed).to_string();
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
            let _ = write!(stream, "{head}: {}\r\n\r\n{body}", body.len());
        }
    });
    (address, value)
}

#[tokio::test]
async fn setting_the_clock_of_a_running_scaler_changes_no_decision() {
    let Some(containers) = Containers::new() else { return };
    let (service, (address, load)) = (containers.service.clone(), gauge());
    containers.run(&format!("{service}_1"), &[], 0);
    let metric = format!(
        "[[http]]\nname = \"load\"\nurl = \"http://{address}/\"\n\
         [[policy.metric]]\nname = \"load\"\nsource = \"load\"\npointer = \"\"\n\
         target = 10\nlook_ahead = \"5s\"\n"
    );
    let site = Site::new(None, &policy(&service, &metric));
    let Some(clock) = Clock::of(&site) else { return };
    load.store(5, Relaxed);
    let scaler = clock.run(&site);
    eventually("it is well", async || site.get("/healthz").await.ok()).await;
    eventually("the load is known", async || {
        site.get("/metrics").await.ok()?.contains("metric_value{").then_some(())
    })
    .await;
    // An hour back, two forward. As long as it was only one, more were not asked for.
    for (off, told, more, n) in [("-3600", "=-36", 15, 2), ("+3600", "=72", 35, 4)] {
        clock.set(off);
        let told = format!("seconds{told}");
        eventually("the step is told", async || site.log().contains(&told).then_some(())).await;
        load.store(more, Relaxed);
        let enough = async || (containers.running() >= n).then_some(());
        eventually(&format!("{n} run"), enough).await;
    }
    well_to_the_end(&site, &scaler);
}

fn well_to_the_end(site: &Site, scaler: &Process) {
    scaler.signal(Signal::SIGTERM);
    let log = site.log();
    assert!(!log.contains("another scaler leads") && !log.contains("standing by"), "{log}");
}

#[tokio::test]
async fn an_alert_that_waits_stays_as_old_as_it_is_when_the_clock_is_set() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let site = Site::new(None, &policy(&service, ""));
    let Some(clock) = Clock::of(&site) else { return };
    let scaler = clock.run(&site);
    eventually("it is well", async || site.get("/healthz").await.ok()).await;
    output(&mut site.command(&["pause", "web", "--up"]));
    site.alert(&alert("scale_up", "waits")).await.unwrap();
    clock.set("+10800");
    eventually("the step is told", async || site.log().contains("seconds=108").then_some(())).await;
    let store = site.store().await;
    let waiting = store.waiting_alerts().await.unwrap();
    let [waits] = &waiting[..] else { panic!("{:#?}", store.all_alerts().await) };
    assert_eq!(waits.expires_at.since(waits.received_at).as_secs(), 300);
    output(&mut site.command(&["resume", "web"]));
    eventually("two run", async || (containers.running() == 2).then_some(())).await;
    store.close().await;
    well_to_the_end(&site, &scaler);
}

#[tokio::test]
async fn a_docker_host_that_is_ten_minutes_off_makes_no_difference() {
    for off in ["-600", "+600"] {
        let Some(containers) = Containers::new() else { return };
        let service = containers.service.clone();
        let (first, second) = (format!("{service}_1"), format!("{service}_2"));
        containers.run(&first, &[], 0);
        let actions = "autoscale_action = [\"scale_up\", \"scale_down\", \"service_availability\"]";
        let site = Site::new(None, &policy(&service, actions));
        let Some(clock) = Clock::of(&site) else { return };
        clock.set(off);
        let _scaler = clock.run(&site);
        site.listening().await;
        site.alert(&alert("scale_up", "up")).await.unwrap();
        eventually("two run", async || (containers.running() == 2).then_some(())).await;
        eventually("and have had their start time", async || {
            let page = site.get("/metrics").await.ok()?;
            page.contains("replicas{policy=\"web\",state=\"running\"} 2").then_some(())
        })
        .await;
        // It ends by itself, which only the host's events tell from a stop.
        let mut exec = Command::new("docker");
        output(exec.args(["exec", &second, "/bin/busybox", "kill", "-TERM", "1"]));
        eventually("what crashed is brought back", async || {
            let log = site.log();
            (containers.running() == 2 && log.contains("crashed")).then_some(())
        })
        .await;
        site.alert(&alert("scale_down", "down")).await.unwrap();
        eventually("one is left", async || (containers.list().len() == 1).then_some(())).await;
        assert_eq!(containers.list(), [format!("{first} running")]);
    }
}
