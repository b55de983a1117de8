//! A stop is the container's own signal, once, and its time to end in.

use std::process::Command;
use std::time::Duration;

use berth_scaler::clock::now;
use berth_scaler::executor::{Step, StepKind};
use berth_scaler::store::audit::{Commit, Committed, Entry, Outcome};

use crate::scale::{alert, policy, settled};
use crate::support::{Containers, Site, eventually, lead, output};

/// The code with which a container ended.
async fn exit_code(name: &str) -> i32 {
    let format = "{{.State.Running}} {{.State.ExitCode}}";
    eventually("it ends", async || {
        let said = output(Command::new("docker").args(["inspect", "--format", format, name]));
        said.strip_prefix("false ").map(|code| code.parse().unwrap())
    })
    .await
}

#[tokio::test]
async fn its_own_stop_timeout_and_stop_signal_are_heeded_and_then_it_is_killed() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    let name = |n: u32| format!("{service}_{n}");
    containers.run(&name(1), &[], 0);
    let short = policy(&service, "").replace("\"20s\"", "\"1s\"");
    let site = Site::new(None, &short);
    let _scaler = site.run(None);
    site.listening().await;
    // Its app takes four seconds to end, and it says that it may.
    containers.run(&name(2), &["--stop-timeout", "60"], 4);
    site.alert(&alert("scale_down", "one")).await.unwrap();
    settled(&site, 1).await;
    assert_eq!(exit_code(&name(2)).await, 0);
    // This one pays no heed to its signal, HUP, and says nothing of more time.
    containers.run(&name(3), &["--stop-signal", "HUP"], 60);
    site.alert(&alert("scale_down", "two")).await.unwrap();
    let rows = settled(&site, 2).await;
    assert_eq!((rows[1].action.as_str(), rows[1].outcome), ("park", Outcome::Done), "{rows:#?}");
    assert_eq!(exit_code(&name(3)).await, 137);
    let filter = format!("container={}", name(3));
    let until = format!("--until={}", now().0 / 1000 + 1);
    let format = "{{.Actor.Attributes.signal}}";
    let args = ["events", "--since=0", &until, "--filter", "event=kill", "--filter", &filter];
    let told = output(Command::new("docker").args(args).args(["--format", format]));
    assert_eq!(told, "1\n9");
}

#[tokio::test]
async fn a_stop_that_is_long_overdue_is_still_a_signal_and_a_grace() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    let ids: Vec<String> =
        (1..=2).map(|n| containers.run(&format!("{service}_{n}"), &[], 2)).collect();
    let site = Site::new(None, &policy(&service, ""));
    // It was intended an hour ago, by a scaler that has not lived to do it.
    let at = now() - Duration::from_secs(3600);
    let step = Step {
        kind: StepKind::Park,
        host: "local".to_owned(),
        id: Some(ids[1].clone()),
        name: format!("{service}_2"),
        like: None,
        grace: Duration::from_secs(20),
        signalled: None,
        replaces: None,
    };
    let entry = Entry {
        container_id: step.id.clone(),
        step: Some(step),
        ..Entry::new(at, "web", &service, "park")
    };
    let store = site.store().await;
    let lease = lead(&store, "gone", Duration::from_secs(1)).await;
    let entries = [entry];
    let commit = Commit { policy: "web", entries: &entries, at, ..Commit::default() };
    assert_eq!(store.commit(&lease, &commit).await.unwrap(), Committed::Stored);
    store.release_lease(&lease).await.unwrap();
    store.close().await;
    let _scaler = site.run(None);
    let rows = settled(&site, 1).await;
    assert_eq!(rows[0].outcome, Outcome::Done);
    assert_eq!(exit_code(&format!("{service}_2")).await, 0);
}
