//! The store, on SQLite and on MariaDB alike.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use berth_scaler::alerts::Alert;
use berth_scaler::config::{Sources, StoreUrl};
use berth_scaler::executor::{Step, StepKind};
use berth_scaler::history::History;
use berth_scaler::policy::Pause;
use berth_scaler::store::alerts::AlertEnd;
use berth_scaler::store::audit::{Commit, Committed, Entry, Outcome};
use berth_scaler::store::containers::{Fate, Known};
use berth_scaler::store::memory::EVERY_POLICY;
use berth_scaler::store::policies::PolicyRow;
use berth_scaler::store::{Store, lease::Lease};
use berth_scaler::timestamp::Timestamp;
use tempfile::TempDir;

use crate::support::{MariaDb, lead};

const TTL: Duration = Duration::from_secs(30);

#[tokio::test]
async fn sqlite_keeps_everything() {
    let dir = TempDir::new().unwrap();
    everything(&StoreUrl::Sqlite(dir.path().join("scaler.db"))).await;
}

#[tokio::test]
async fn mariadb_keeps_everything() {
    let Some(mariadb) = MariaDb::start().await else { return };
    everything(&StoreUrl::Mysql(mariadb.url.clone())).await;
}

async fn everything(url: &StoreUrl) {
    // Several scalers start at once on an empty store.
    let (a, b, c) = tokio::join!(Store::open(url), Store::open(url), Store::open(url));
    let (a, b) = (a.unwrap(), b.unwrap());
    c.unwrap().close().await;
    one_leads(&a, &b).await;
    let lease = lead(&a, "a", TTL).await;
    the_same_alert_is_kept_once(&a, &b, &lease).await;
    a_decision_is_stored_wholly_or_not(&a, &b, &lease).await;
    an_act_and_what_it_leaves_are_closed_and_opened_in_one_step(&a, &b, &lease).await;
    the_rest_comes_back(&a, &b, &lease).await;
    a_leader_of_the_past_writes_nothing(&a, &b, &lease).await;
    a.close().await;
    b.close().await;
}

async fn one_leads(a: &Store, b: &Store) {
    let seen = a.see_lease().await.unwrap();
    let (x, y) = tokio::join!(a.take_lease("a", TTL, &seen), b.take_lease("b", TTL, &seen));
    let (x, y) = (x.unwrap(), y.unwrap());
    assert!(x.is_some() != y.is_some(), "{x:?} {y:?}");
    let first = x.or(y).unwrap();
    assert!(a.leads(&first).await.unwrap());
    assert!(b.renew_lease(&first, Duration::from_millis(1)).await.unwrap());
    let second = lead(b, "b", TTL).await;
    assert_eq!(second.epoch, first.epoch + 1);
    assert!(!a.leads(&first).await.unwrap() && !a.renew_lease(&first, TTL).await.unwrap());
    b.release_lease(&second).await.unwrap();
    assert!(!b.leads(&second).await.unwrap());
}

fn alert(key: &str) -> Alert {
    Alert {
        key: key.to_owned(),
        title: "büsy".to_owned(),
        policy: Some("web".to_owned()),
        ..Alert::default()
    }
}

async fn the_same_alert_is_kept_once(a: &Store, b: &Store, lease: &Lease) {
    let (now, later) = (Timestamp(1000), Timestamp(2000));
    let alert = alert("k");
    let both = tokio::join!(a.receive(&alert, now, later), b.receive(&alert, now, later));
    let (x, y) = (both.0.unwrap().unwrap(), both.1.unwrap().unwrap());
    assert_eq!(x.id, y.id);
    assert!(x.duplicate != y.duplicate);
    let after = a.receive(&alert, later, Timestamp(3000)).await.unwrap().unwrap();
    assert!(!after.duplicate, "its time to live is over");
    let waiting = b.waiting_alerts().await.unwrap();
    assert_eq!(waiting.iter().map(|w| w.repeats).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(waiting[0].alert, alert);
    a.skip_alert(lease, x.id, "too old").await.unwrap();
    a.skip_alert(lease, after.id, "too old").await.unwrap();
    assert!(a.waiting_alerts().await.unwrap().is_empty());
}

fn intent(at: i64, epoch: i64) -> Entry {
    let step = Step {
        kind: StepKind::Create,
        host: "local".to_owned(),
        id: None,
        name: "web_2".to_owned(),
        like: Some(("local".to_owned(), "f00".to_owned())),
        grace: Duration::from_secs(60),
        signalled: None,
        replaces: None,
    };
    Entry {
        from: 1,
        to: 2,
        metric: Some("scur".to_owned()),
        metric_value: Some(12.0),
        reason: "scale out 1 → 2".to_owned(),
        container_name: Some("web_2".to_owned()),
        epoch,
        step: Some(step),
        ..Entry::new(Timestamp(at), "web", "web", "create")
    }
}

async fn a_decision_is_stored_wholly_or_not(a: &Store, b: &Store, lease: &Lease) {
    let received = a.receive(&alert("d"), Timestamp(1), Timestamp(9000)).await.unwrap().unwrap();
    let ends = [(received.id, AlertEnd::Processed("scale out".to_owned()))];
    let (history, entries) = (History::default(), [intent(5000, lease.epoch)]);
    let commit = Commit {
        policy: "web",
        history: Some(&history),
        entries: &entries,
        taken_back: &[],
        alerts: &ends,
        at: Timestamp(5000),
    };
    let stale = Lease { epoch: lease.epoch - 1, ..lease.clone() };
    assert_eq!(b.commit(&stale, &commit).await.unwrap(), Committed::NotLeading);
    assert!(b.open_intents().await.unwrap().is_empty(), "a leader of the past writes nothing");
    assert_eq!(a.commit(lease, &commit).await.unwrap(), Committed::Stored);
    assert_eq!(b.open_intents().await.unwrap(), entries);
    assert!(b.memories().await.unwrap().contains_key("web"));
    let again = [intent(5001, lease.epoch)];
    let commit = Commit { entries: &again, ..commit };
    assert_eq!(a.commit(lease, &commit).await.unwrap(), Committed::Overtaken);
    assert_eq!(b.open_intents().await.unwrap(), entries, "an alert acts once");

    let long = [Entry { reason: "é".repeat(100_000), ..intent(5002, lease.epoch) }];
    let commit = Commit { entries: &long, alerts: &[], ..commit };
    assert_eq!(a.commit(lease, &commit).await.unwrap(), Committed::Stored);
    let kept = b.open_intents().await.unwrap().pop().unwrap();
    assert!(kept.reason.len() < 5000 && kept.reason.starts_with('é'), "cut short, not refused");
    a.update_intent(lease, &Entry { outcome: Outcome::Failed, ..kept }).await.unwrap();

    let mut done = entries[0].clone();
    (done.outcome, done.status) = (Outcome::Done, Some("running".to_owned()));
    a.update_intent(lease, &done).await.unwrap();
    assert!(a.open_intents().await.unwrap().is_empty());
    assert_eq!(b.history(Some("web"), 10).await.unwrap()[0], done);
    assert_eq!(b.history(Some("other"), 10).await.unwrap(), []);
    a.repeat(lease, done.id, 3, Timestamp(7000)).await.unwrap();
    assert_eq!(a.history(None, 10).await.unwrap()[0].repeats, 4);
    assert_eq!(
        a.end_alerts_in_vain(lease, "web", Timestamp(5000), "no room").await.unwrap(),
        Some(0)
    );
    assert_eq!(a.forget_before(lease, Timestamp(8000)).await.unwrap(), Some(2));
}

async fn an_act_and_what_it_leaves_are_closed_and_opened_in_one_step(
    a: &Store,
    b: &Store,
    lease: &Lease,
) {
    let received = a.receive(&alert("e"), Timestamp(1), Timestamp(9000)).await.unwrap().unwrap();
    let ends = [(received.id, AlertEnd::Processed("scale out".to_owned()))];
    let entries = [intent(6000, lease.epoch)];
    let commit = Commit {
        policy: "web",
        entries: &entries,
        alerts: &ends,
        at: Timestamp(6000),
        ..Commit::default()
    };
    assert_eq!(a.commit(lease, &commit).await.unwrap(), Committed::Stored);
    assert_eq!(
        a.end_alerts_in_vain(lease, "web", Timestamp(6000), "no room").await.unwrap(),
        Some(0)
    );
    let failed = Entry { outcome: Outcome::Failed, ..entries[0].clone() };
    let rest = intent(6001, lease.epoch);
    let stale = Lease { epoch: lease.epoch - 1, ..lease.clone() };
    let closed = b.close_intent(&stale, &failed, Some(&rest)).await.unwrap();
    assert_eq!(closed, Committed::NotLeading);
    assert_eq!(b.open_intents().await.unwrap(), entries);
    let closed = a.close_intent(lease, &failed, Some(&rest)).await.unwrap();
    assert_eq!(closed, Committed::Stored);
    let closed = a.close_intent(lease, &failed, Some(&rest)).await.unwrap();
    assert_eq!(closed, Committed::Overtaken, "once");
    assert_eq!(b.open_intents().await.unwrap(), std::slice::from_ref(&rest));
    let done = Entry { outcome: Outcome::Done, ..rest };
    a.close_intent(lease, &done, None).await.unwrap();
    assert_eq!(
        a.end_alerts_in_vain(lease, "web", Timestamp(6000), "no room").await.unwrap(),
        Some(1)
    );
    let alerts = b.all_alerts().await.unwrap();
    let ended = alerts.iter().find(|alert| alert.id == received.id).unwrap();
    let told = (ended.status.as_str(), ended.reason.as_deref());
    assert_eq!(told, ("skipped", Some("it could not be done: no room")));
}

async fn the_rest_comes_back(a: &Store, b: &Store, lease: &Lease) {
    a.set_pause("web", Pause::Down).await.unwrap();
    a.set_pause(EVERY_POLICY, Pause::Both).await.unwrap();
    a.set_pause(EVERY_POLICY, Pause::None).await.unwrap();
    assert_eq!(b.pauses().await.unwrap(), [("web".to_owned(), Pause::Down)].into());

    let row = PolicyRow {
        policy_name: "we\"b".to_owned(),
        service_name: "wéb".to_owned(),
        naming_convention: Some("web_".to_owned()),
        min: Some(2),
        max: 7,
        autoscale_action: Some("scale_up, service_availability".to_owned()),
        settings: Some("down = { window = \"2m\" }".to_owned()),
        ..PolicyRow::default()
    };
    a.put_policy_row(&row).await.unwrap();
    a.put_policy_row(&row).await.unwrap();
    let rows = b.policy_rows().await.unwrap();
    assert_eq!(rows, [row]);
    let policy = rows[0].parse(&Sources::any()).unwrap();
    assert_eq!((policy.name.as_str(), policy.min, policy.max), ("we\"b", 2, 7));
    assert!(policy.actions.availability());
    let wrong = PolicyRow { max: 1, ..rows[0].clone() };
    assert!(wrong.parse(&Sources::any()).unwrap_err().contains("autoscale_min_instance"));

    let known = Known {
        host: "local".to_owned(),
        id: "f00".to_owned(),
        name: "web_1".to_owned(),
        service: "web".to_owned(),
        fate: Fate::Crashed,
        seen_at: Timestamp(3),
        spec: Some("x".repeat(100_000)),
    };
    a.remember_containers(lease, &[&known], &[]).await.unwrap();
    assert_eq!(b.known_containers().await.unwrap(), [known]);
    a.remember_containers(lease, &[], &[("local".to_owned(), "f00".to_owned())]).await.unwrap();
    assert!(b.known_containers().await.unwrap().is_empty());
}

/// Every write of a leader, after another took over.
async fn a_leader_of_the_past_writes_nothing(a: &Store, b: &Store, lease: &Lease) {
    let received = a.receive(&alert("f"), Timestamp(1), Timestamp(9_000)).await.unwrap().unwrap();
    let entries = [intent(6000, lease.epoch)];
    let ended = [(received.id, AlertEnd::Processed("scale out".to_owned()))];
    let commit = Commit {
        policy: "web",
        entries: &entries,
        alerts: &ended,
        at: Timestamp(6000),
        ..Commit::default()
    };
    assert_eq!(a.commit(lease, &commit).await.unwrap(), Committed::Stored);
    let other = a.receive(&alert("g"), Timestamp(1), Timestamp(9_000)).await.unwrap().unwrap();
    let before = (b.all_alerts().await.unwrap(), b.history(None, 100).await.unwrap());

    let seen = b.see_lease().await.unwrap();
    let successor = b.take_lease("b", TTL, &seen).await.unwrap().unwrap();
    let closed = Entry { outcome: Outcome::Failed, ..entries[0].clone() };
    assert!(!a.update_intent(lease, &closed).await.unwrap());
    assert!(!a.repeat(lease, closed.id, 9, Timestamp(6001)).await.unwrap());
    assert!(!a.skip_alert(lease, other.id, "too late").await.unwrap());
    assert_eq!(a.end_alerts_in_vain(lease, "web", Timestamp(6000), "").await.unwrap(), None);
    assert_eq!(a.forget_before(lease, Timestamp(99_000)).await.unwrap(), None);
    assert!(!a.save_memories(lease, &[("web", &History::default())]).await.unwrap());
    let known = Known {
        host: "local".to_owned(),
        id: "f00".to_owned(),
        name: "web_1".to_owned(),
        service: "web".to_owned(),
        fate: Fate::Parked,
        seen_at: Timestamp(3),
        spec: None,
    };
    assert!(!a.remember_containers(lease, &[&known], &[]).await.unwrap());
    assert!(b.known_containers().await.unwrap().is_empty());
    assert!(!a.renew_lease(lease, TTL).await.unwrap());
    a.release_lease(lease).await.unwrap();
    assert!(b.leads(&successor).await.unwrap());
    assert_eq!((b.all_alerts().await.unwrap(), b.history(None, 100).await.unwrap()), before);
    assert!(b.update_intent(&successor, &closed).await.unwrap());
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_named_without_its_password() {
    let url = StoreUrl::Mysql("mysql://scaler:secret@127.0.0.1:1/berth".to_owned());
    let error = format!("{:#}", Store::open(&url).await.unwrap_err());
    assert!(error.contains("127.0.0.1:1/berth") && !error.contains("secret"), "{error}");
    let url = StoreUrl::Sqlite(Path::new("/nowhere/at/all.db").to_owned());
    assert!(format!("{:#}", Store::open(&url).await.unwrap_err()).contains("/nowhere/at/all.db"));
}

#[tokio::test]
async fn nobody_else_reads_the_environments_that_sqlite_keeps() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&StoreUrl::Sqlite(dir.path().join("scaler.db"))).await.unwrap();
    store.set_pause("web", Pause::Both).await.unwrap();
    let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    assert!(files.len() > 1, "the journal is there too: {files:?}");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file:?}");
    }
    store.close().await;
}
