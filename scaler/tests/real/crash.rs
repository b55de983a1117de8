//! `kill -9` between any two steps loses nothing and doubles nothing.

use berth_scaler::alerts::format;
use berth_scaler::clock::now;
use berth_scaler::crash::POINTS;
use berth_scaler::store::audit::Outcome;
use berth_scaler::store::lease::Lease;
use berth_scaler::timestamp::Timestamp;
use std::process::Command;
use std::time::Duration;

use crate::scale::{alert, policy, settled};
use crate::support::{Containers, Site, eventually, output};

/// What makes a container one that the scaler has made, so that it may remove it.
const CLONE: [&str; 2] = ["--label", "berth.scaler.intent=1"];
/// Points that only an alert at the door passes, and those that only a scale-in does.
const AT_THE_DOOR: [&str; 1] = ["alert_stored"];
const ON_THE_WAY_DOWN: [&str; 3] = ["stop_sent", "draining", "removed"];

#[tokio::test]
async fn scaling_out_survives_a_kill_at_every_step() {
    for point in POINTS.iter().filter(|point| !ON_THE_WAY_DOWN.contains(point)) {
        let Some(containers) = Containers::new() else { return };
        let service = containers.service.clone();
        containers.run(&format!("{service}_1"), &[], 0);
        let site = Site::new(None, &policy(&service, ""));
        killed_at(&site, point, "scale_up").await;
        let rows = settled(&site, 1).await;
        assert_eq!(rows.len(), 1, "{point}: {rows:#?}");
        assert_eq!((rows[0].from, rows[0].to, rows[0].outcome), (1, 2, Outcome::Done), "{point}");
        let expected = [1, 2].map(|n| format!("{service}_{n} running"));
        assert_eq!(containers.list(), expected, "{point}");
    }
}

#[tokio::test]
async fn scaling_in_survives_a_kill_at_every_step() {
    let shared = ["decided", "intent_written", "outcome_written"];
    for point in shared.iter().chain(&ON_THE_WAY_DOWN) {
        let Some(containers) = Containers::new() else { return };
        let service = containers.service.clone();
        containers.run(&format!("{service}_1"), &[], 2);
        for n in 2..=3 {
            containers.run(&format!("{service}_{n}"), &CLONE, 2);
        }
        let site = Site::new(None, &policy(&service, ""));
        killed_at(&site, point, "scale_down").await;
        let rows = settled(&site, 1).await;
        assert_eq!(rows.len(), 1, "{point}: {rows:#?}");
        assert_eq!((rows[0].from, rows[0].to, rows[0].outcome), (3, 2, Outcome::Done), "{point}");
        assert_eq!(containers.list().len(), 2, "{point}");
        // A second signal would cut the drain short.
        let signals = signals(rows[0].container_id.as_deref().unwrap(), rows[0].at);
        assert_eq!(signals, 1, "{point}");
        assert_eq!(containers.running(), 2, "{point}");
    }
}

#[tokio::test]
async fn a_scaler_that_was_halted_at_any_step_does_nothing_after_another_took_over() {
    let up = ["lease_taken", "observed", "decided", "intent_written", "created", "started"];
    let down = ["decided", "intent_written", "stop_sent", "draining", "removed"];
    let both = ["outcome_written"];
    for point in up.iter().chain(&both) {
        not_in_a_write(point, async || {
            let Some(containers) = Containers::new() else { return Some(()) };
            let service = containers.service.clone();
            containers.run(&format!("{service}_1"), &[], 0);
            halted_at(&policy(&service, ""), point, "scale_up").await?;
            let expected = [1, 2].map(|n| format!("{service}_{n} running"));
            assert_eq!(containers.list(), expected, "{point}");
            Some(())
        })
        .await;
    }
    for point in down.iter().chain(&both) {
        not_in_a_write(point, async || {
            let Some(containers) = Containers::new() else { return Some(()) };
            let service = containers.service.clone();
            containers.run(&format!("{service}_1"), &[], 1);
            for n in 2..=3 {
                containers.run(&format!("{service}_{n}"), &CLONE, 1);
            }
            let (id, at) = halted_at(&policy(&service, ""), point, "scale_down").await?;
            assert_eq!((containers.list().len(), containers.running()), (2, 2), "{point}");
            assert_eq!(signals(&id.unwrap(), at), 1, "{point}");
            Some(())
        })
        .await;
    }
}

/// Does it again for as long as the scaler was halted while its lease was being written: SQLite's
/// file is locked then until it goes on, and nobody can take its place.
async fn not_in_a_write(point: &str, halted: impl AsyncFn() -> Option<()>) {
    for _ in 0..20 {
        if halted().await.is_some() {
            return;
        }
    }
    panic!("{point}: halted in the middle of a write each time");
}

/// Lets a scaler halt at a point with an alert to act upon, another take its place and finish, and
/// the first one go on. The container that was acted upon, and since when; `None` where it was halted
/// in the middle of a write.
async fn halted_at(policy: &str, point: &str, action: &str) -> Option<(Option<String>, Timestamp)> {
    let first = Site::new(None, policy);
    let url = format!("sqlite:{}", first.dir.path().join("scaler.db").display());
    let second = Site::new(Some(&url), policy);
    let store = first.store().await;
    let alert = format::parse(alert(action, "one").as_bytes()).unwrap().alerts.remove(0).unwrap();
    store.receive(&alert, now(), now() + Duration::from_secs(300)).await.unwrap();
    let halted = first.run_with(&[("BERTH_SCALER_STOP_AT", point)]);
    let stat = format!("/proc/{}/stat", halted.0.id());
    eventually("the first one halts", async || {
        std::fs::read_to_string(&stat).ok()?.contains(") T ").then_some(())
    })
    .await;

    let nobody = Lease { holder: "nobody".to_owned(), epoch: 0 };
    if store.release_lease(&nobody).await.is_err() {
        store.close().await;
        return None;
    }

    let _successor = second.run(None);
    eventually("another takes over", async || second.log().contains("leading").then_some(())).await;
    eventually("the alert is dealt with", async || {
        let alerts = store.all_alerts().await.unwrap();
        (alerts[0].status == "processed").then_some(())
    })
    .await;
    let before = settled(&second, 1).await;
    halted.signal(nix::sys::signal::Signal::SIGCONT);
    eventually("the first one stands by", async || {
        let log = first.log();
        // By the lease, or because it could not be sure of it in time.
        let said = ["another scaler leads now", "standing by"];
        said.iter().any(|words| log.contains(words)).then_some(())
    })
    .await;
    second.goes_round_twice().await;
    assert_eq!(settled(&second, 1).await, before, "{point}: nothing doubled, nothing changed");
    assert_eq!((before.len(), before[0].outcome), (1, Outcome::Done), "{point}: {before:#?}");
    assert_eq!(store.all_alerts().await.unwrap().len(), 1, "{point}");
    store.close().await;
    Some((before[0].container_id.clone(), before[0].at))
}

/// How many signals a container got.
fn signals(id: &str, since: Timestamp) -> usize {
    let (since, until) = (since.0 / 1000 - 1, now().0 / 1000 + 1);
    let events = output(
        Command::new("docker")
            .args(["events", "--filter", "event=kill", "--filter"])
            .arg(format!("container={id}"))
            .arg(format!("--since={since}"))
            .arg(format!("--until={until}")),
    );
    events.lines().count()
}

/// Lets a scaler die at a point with an alert to act upon, and another take its place. Returns
/// when the alert has been dealt with and the second scaler has had time to do it again.
async fn killed_at(site: &Site, point: &str, action: &str) {
    let body = alert(action, "one");
    let store = site.store().await;
    if !AT_THE_DOOR.contains(&point) {
        let alert = format::parse(body.as_bytes()).unwrap().alerts.remove(0).unwrap();
        let at = now();
        store.receive(&alert, at, at + Duration::from_secs(300)).await.unwrap();
    }
    let mut first = site.run(Some(point));
    if AT_THE_DOOR.contains(&point) {
        site.listening().await;
        // The sender has no answer and so sends it again, below.
        site.alert(&body).await.unwrap_err();
    }
    let status = first.wait();
    assert!(!status.success(), "{point}: {}", site.log());

    let _second = site.run(None);
    site.listening().await;
    site.alert(&body).await.unwrap();
    eventually("the alert is dealt with", async || {
        let alerts = store.all_alerts().await.unwrap();
        let [alert] = &alerts[..] else { panic!("{point}: {alerts:#?}") };
        (alert.status == "processed").then_some(())
    })
    .await;
    site.goes_round_twice().await;
    assert_eq!(store.all_alerts().await.unwrap().len(), 1, "{point}");
    store.close().await;
    settled(site, 1).await;
}
