//! Peers that take a question and never end their answer.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{DEADLINE, lead};
use berth_scaler::config::{self, Config, DockerHost, StoreUrl};
use berth_scaler::executor::docker::{DockerExecutor, Hosts};
use berth_scaler::executor::{BoxFuture, Ending, Executor, Instance, Progress, StepError, Task};
use berth_scaler::notify::Notifier;
use berth_scaler::run::tick::Round;
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
    assert!(late(executor.look("half").await.unwrap_err()));
}

/// Answers nothing at all.
struct Mute;

impl Executor for Mute {
    fn hosts(&self) -> Vec<String> {
        vec!["mute".to_owned()]
    }
    fn look<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, StepError>> {
        Box::pin(std::future::pending())
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

fn round(store: &Store) -> Round {
    Round::new(
        Arc::new(Config::parse("", &|_| None).unwrap()),
        store.clone(),
        Arc::new(Mute),
        Sources::from_named([].into()),
        Notifier::start(&[]).unwrap(),
        Arc::default(),
    )
}

#[tokio::test]
async fn a_round_that_nothing_ends_is_cut_off_and_the_next_one_begins_afresh() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&StoreUrl::Sqlite(dir.path().join("scaler.db"))).await.unwrap();
    let lease = lead(&store, "me", Duration::from_secs(60)).await;
    let mut round = round(&store);
    round.longest = Duration::from_secs(1);
    // So it would wait for its host.
    round.pacing.peers = DEADLINE * 10;
    let error = round.tick(&lease).await.unwrap_err();
    assert!(error.to_string().contains("cut off after 1s"), "{error:#}");
    round.longest = DEADLINE * 10;
    round.pacing.peers = Duration::from_millis(100);
    let rounded = tokio::time::timeout(DEADLINE, round.tick(&lease)).await.unwrap().unwrap();
    assert_eq!((rounded.open, rounded.acted, rounded.blind), (0, 0, 1));
    store.close().await;
}
