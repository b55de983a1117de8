//! Stores that fail and recover.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use berth_scaler::config::StoreUrl;
use berth_scaler::store::Store;
use berth_scaler::store::audit::{Commit, Committed, Entry, Outcome};
use berth_scaler::timestamp::Timestamp;
use sqlx::{AnyPool, Executor};
use tempfile::TempDir;

use crate::support::{MariaDb, Site, eventually, have, lead};

/// A file system of its own, as small as one likes; unmounted at the end.
struct Disk(TempDir);

impl Disk {
    fn new(size: &str) -> Option<Self> {
        if !have(&["mount", "umount"]) {
            return None;
        }
        let disk = Self(TempDir::new().unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(disk.path());
        let mounted = mount.output().unwrap().status.success();
        assert!(mounted || std::env::var("CI").is_err(), "cannot mount");
        if !mounted {
            eprintln!("SKIPPED: cannot mount");
        }
        mounted.then_some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Whether the kernel did it.
    fn remount(&self, how: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(self.path());
        mount.output().unwrap().status.success()
    }

    /// Writes until there is no room for another byte.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.path().join("fill")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path().join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

const ALERT: &str =
    "{\"policy_name\": \"web\", \"autoscale_action\": \"scale_up\", \"alert_id\": \"";

fn alert(id: &str) -> String {
    format!("{ALERT}{id}\"}}")
}

/// A policy whose service has no container: nothing is done, everything is written down.
const POLICY: &str = "[[policy]]\npolicy_name = \"web\"\nservice_name = \"nobody-has-this\"\n\
                      autoscale_max_instance = 3\n";

async fn healthy(site: &Site) {
    eventually("the scaler is well", async || site.get("/healthz").await.ok()).await;
}

async fn ill(site: &Site) -> String {
    eventually("the scaler says that it is ill", async || site.get("/healthz").await.err()).await
}

/// Alerts that were answered 202 are there, and none is answered 202 while it cannot be stored.
#[tokio::test]
async fn a_full_disk_is_said_and_forgotten_when_there_is_room_again() {
    let Some(disk) = Disk::new("1m") else { return };
    let url = format!("sqlite:{}", disk.path().join("scaler.db").display());
    let site = Site::new(Some(&url), POLICY);
    let _scaler = site.run(None);
    healthy(&site).await;
    for turn in 0..2 {
        disk.fill();
        ill(&site).await;
        let mut taken = Vec::new();
        for n in 0..3 {
            taken.extend(site.alert(&alert(&format!("full-{turn}-{n}"))).await);
        }
        disk.make_room();
        healthy(&site).await;
        taken.push(site.alert(&alert(&format!("room-{turn}"))).await.unwrap());
        let store = site.store().await;
        let kept: Vec<String> =
            store.all_alerts().await.unwrap().iter().map(|alert| alert.id.to_string()).collect();
        assert!(taken.iter().all(|answer| kept.iter().any(|id| answer.contains(id))), "{taken:?}");
        store.close().await;
    }
}

/// SQLite opens what it cannot write for reading alone, and would go on so for ever.
#[tokio::test]
async fn a_file_system_that_was_read_only_for_a_while_is_written_again() {
    let Some(disk) = Disk::new("1m") else { return };
    let url = format!("sqlite:{}", disk.path().join("scaler.db").display());
    let site = Site::new(Some(&url), POLICY);
    let _scaler = site.run(None);
    healthy(&site).await;
    // A disk with files open for writing stays writable; whoever failed to write has closed them.
    disk.fill();
    ill(&site).await;
    eventually("nobody writes any more", async || disk.remount("ro").then_some(())).await;
    eventually("it is opened for reading", async || site.log().contains("readonly").then_some(()))
        .await;
    site.alert(&alert("ro")).await.unwrap_err();
    assert!(disk.remount("rw"));
    disk.make_room();
    healthy(&site).await;
    // A connection that was opened for reading is let go of when it could not write.
    eventually("alerts are taken", async || site.alert(&alert("rw")).await.ok()).await;
}

/// Rows as no scaler writes them.
async fn spoil(url: &str, statements: &[&str]) {
    sqlx::any::install_default_drivers();
    let pool = AnyPool::connect(url).await.unwrap();
    for statement in statements {
        pool.execute(sqlx::AssertSqlSafe((*statement).to_owned())).await.unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_set_aside_and_the_others_go_on() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("scaler.db");
    let store = Store::open(&StoreUrl::Sqlite(path.clone())).await.unwrap();
    let lease = lead(&store, "me", Duration::from_secs(60)).await;
    let entries: Vec<Entry> =
        (1..=3).map(|n| Entry::new(Timestamp(n), "web", "web", "create")).collect();
    let commit = Commit { policy: "web", entries: &entries, ..Commit::default() };
    assert_eq!(store.commit(&lease, &commit).await.unwrap(), Committed::Stored);
    let mut ids = Vec::new();
    for key in ["a", "b", "c"] {
        let alert = berth_scaler::alerts::Alert { key: key.to_owned(), ..Default::default() };
        ids.push(store.receive(&alert, Timestamp(1), Timestamp(9)).await.unwrap().unwrap().id);
    }
    spoil(
        &format!("sqlite://{}", path.display()),
        &[
            &format!("UPDATE alerts SET fields = '{{' WHERE id = {}", ids[0]),
            // No text at all: the driver itself gives up on the whole answer.
            &format!("UPDATE alerts SET fields = CAST(x'ff00fe' AS TEXT) WHERE id = {}", ids[1]),
            &format!(
                "UPDATE container_autoscale_history SET step = 'no step' WHERE id = {}",
                entries[0].id
            ),
            &format!(
                "UPDATE container_autoscale_history SET reason = CAST(x'ff' AS TEXT) WHERE id = {}",
                entries[1].id
            ),
            "INSERT INTO containers VALUES ('h', 'id', 'n', 's', 'no such fate', 1, NULL)",
            "INSERT INTO memory VALUES ('p', CAST(x'ff' AS TEXT))",
            "INSERT INTO policies (policy_name, service_name, autoscale_max_instance)
                VALUES ('p', CAST(x'ff' AS TEXT), 1)",
            "INSERT INTO pauses VALUES (CAST(x'ff' AS TEXT), 'up')",
        ],
    )
    .await;
    let waiting = store.waiting_alerts().await.unwrap();
    assert_eq!(waiting.iter().map(|alert| alert.id).collect::<Vec<_>>(), [ids[2]]);
    assert_eq!(store.open_intents().await.unwrap(), entries[2..]);
    assert!(store.known_containers().await.unwrap().is_empty());
    assert!(!store.memories().await.unwrap().contains_key("p"));
    assert!(store.policy_rows().await.unwrap().is_empty());
    assert!(store.pauses().await.unwrap().is_empty());

    assert!(store.set_aside(&lease).await.unwrap());
    // What is closed can be read, now that nobody has to read it.
    spoil(
        &format!("sqlite://{}", path.display()),
        &[
            "UPDATE alerts SET fields = '{}'",
            "UPDATE container_autoscale_history SET reason = '', step = NULL",
        ],
    )
    .await;
    let rows = store.history(None, 10).await.unwrap();
    let outcomes: Vec<Outcome> = rows.iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Failed, Outcome::Intended]);
    store.close().await;
}

#[tokio::test]
async fn a_sqlite_path_is_taken_as_it_is_written_and_stays_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    for name in ["%41.db", "a?mode=memory", "a#b.db", "a b%", "ü.db"] {
        let path = dir.path().join(name);
        let store = Store::open(&StoreUrl::Sqlite(path.clone())).await.unwrap();
        lead(&store, "me", Duration::from_secs(60)).await;
        store.close().await;
        assert!(path.metadata().unwrap().len() > 0, "{name}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 5, "and no other");
}

#[tokio::test]
async fn mariadb_that_asks_for_keys_and_for_commits_and_has_a_strange_password() {
    let password = "a#b/c?d%e@f:g&h%41";
    let options = ["--innodb-force-primary-key=1", "--autocommit=0", "--lc-messages=de_DE"];
    let Some(mariadb) = MariaDb::start_with(password, &options).await else { return };
    let url = mariadb.url.replace("secret", "${DB_PASSWORD}");
    let text = format!("[store]\nurl = \"{url}\"\n");
    let env = |name: &str| (name == "DB_PASSWORD").then(|| password.to_owned());
    let config = berth_scaler::config::Config::parse(&text, &env).unwrap();
    let shown = format!("{:?}", config.store.url);
    assert!(!shown.contains("a#b") && !shown.contains("f:g"), "{shown}");
    let store = Store::open(&config.store.url).await.unwrap();
    let alert = berth_scaler::alerts::Alert { key: "k".to_owned(), ..Default::default() };
    store.receive(&alert, Timestamp(1), Timestamp(9)).await.unwrap().unwrap();
    lead(&store, "me", Duration::from_secs(60)).await;
    store.close().await;
    assert_eq!(mariadb.sql("SELECT COUNT(*) FROM berth.alerts"), "1");

    // One that died between the changes and the version's number.
    mariadb.sql("DELETE FROM berth.schema_version; COMMIT");
    let store = Store::open(&config.store.url).await.unwrap();
    assert_eq!(store.waiting_alerts().await.unwrap().len(), 1);
    store.close().await;
}
