//! Peers that take a question and never end their answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::support::{DEADLINE, eventually, lead};
use berth_scaler::config::{self, Config, DockerHost, StoreUrl};
use berth_scaler::executor::docker::{DockerExecutor, Hosts};
use berth_scaler::executor::{BoxFuture, Ending, Executor, Progress, Sight, StepError, Task};
use berth_scaler::notify::Notifier;
use berth_scaler::run::tick::{Round, Rounded};
use berth_scaler::sources::Sources;
use berth_scaler::store::Store;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// A Docker host of which the cable is pulled in the middle of every answer.
fn half_a_host(dir: &TempDir) -> Hosts {
    let path = dir.path().join("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = [0; 4096];
            let _ = stream.read(&mut question).await;
            let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                         Content-Length: 1000\r\n\r\n{";
            let _ = stream.write_all(half).await;
            held.push(stream);
        }
    });
    let host = config::Docker {
        name: "half".to_owned(),
        host: DockerHost::Unix(path),
        tls: None,
        lost_after: config::Docker::LOST_AFTER,
    };
    Hosts::new(&[host], Duration::from_millis(200)).unwrap()
}

#[tokio::test]
async fn a_docker_host_that_stops_in_mid_answer_is_one_that_does_not_answer() {
    let dir = TempDir::new().unwrap();
    let executor = DockerExecutor::new(half_a_host(&dir), Duration::from_millis(200));
    let late = |error: StepError| matches!(error, StepError::Unreachable(why) if why.contains("no answer"));
    assert!(late(executor.spec("half", "f00").await.unwrap_err()));
    assert!(late(executor.ending("half", "f00").await.unwrap_err()));
    let sight = executor.look().await;
    assert_eq!((sight.hosts.len(), sight.blind.len()), (0, 1));
}

/// A Docker host without containers, which goes silent and comes back as it is told.
fn host_on_and_off(dir: &TempDir, silent: &Arc<AtomicBool>, patience: Duration) -> Hosts {
    let path = dir.path().join("docker.sock");
    let (listener, silent) = (UnixListener::bind(&path).unwrap(), silent.clone());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = [0; 4096];
            let _ = stream.read(&mut question).await;
            if silent.load(Relaxed) {
                held.push(stream);
                continue;
            }
            held.clear();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                           Connection: close\r\nContent-Length: 2\r\n\r\n[]";
            let _ = stream.write_all(answer).await;
        }
    });
    let host = config::Docker {
        name: "on-and-off".to_owned(),
        host: DockerHost::Unix(path),
        tls: None,
        lost_after: config::Docker::LOST_AFTER,
    };
    Hosts::new(&[host], patience).unwrap()
}

#[tokio::test]
async fn a_silent_host_is_waited_for_once_and_seen_when_it_is_back() {
    let (dir, silent) = (TempDir::new().unwrap(), Arc::new(AtomicBool::new(true)));
    let patience = Duration::from_secs(5);
    let executor = DockerExecutor::new(host_on_and_off(&dir, &silent, patience), patience);
    // So many rounds of the whole patience each would never be done by then.
    let rounds = async {
        for _ in 0..25 {
            let sight = executor.look().await;
            let why = "no answer within 5s".to_owned();
            assert_eq!(sight.blind, [("on-and-off".to_owned(), why)]);
        }
    };
    tokio::time::timeout(DEADLINE, rounds).await.expect("it holds every round up");
    silent.store(false, Relaxed);
    eventually("it is seen again", async || {
        (executor.look().await.hosts == ["on-and-off"]).then_some(())
    })
    .await;
}

/// Never answers the first question; after that there is nothing to be seen.
#[derive(Default)]
struct Mute(AtomicUsize);

impl Executor for Mute {
    fn look(&self) -> BoxFuture<'_, Sight> {
        Box::pin(async {
            if self.0.fetch_add(1, Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            Sight::default()
        })
    }
    fn spec<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<String, StepError>> {
        Box::pin(std::future::pending())
    }
    fn rights(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn ending<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Ending, StepError>> {
        Box::pin(std::future::pending())
    }
    fn advance<'a>(&'a self, _: &'a Task) -> BoxFuture<'a, Result<Progress, StepError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_round_that_nothing_ends_is_cut_off_and_the_next_one_begins_afresh() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&StoreUrl::Sqlite(dir.path().join("scaler.db"))).await.unwrap();
    let lease = lead(&store, "me", Duration::from_secs(60)).await;
    let config = Arc::new(Config::parse("", &|_| None).unwrap());
    let mut round = Round::new(
        config,
        store.clone(),
        Arc::new(Mute::default()),
        Sources::from_named([].into()),
        Notifier::start(&[]).unwrap(),
        Arc::default(),
    );
    round.longest = Duration::from_secs(1);
    let error = round.tick(&lease).await.unwrap_err();
    assert!(error.to_string().contains("cut off after 1s"), "{error:#}");
    assert_eq!(round.tick(&lease).await.unwrap(), Rounded::default());
    store.close().await;
}
