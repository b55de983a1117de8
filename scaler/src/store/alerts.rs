//! Alerts: `unprocessed`, then `processed` or `skipped` with the reason.

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::lease::Lease;
use super::transaction::{Tx, gave_way};
use super::{Store, first_id, new_id, told};
use crate::alerts::Alert;
use crate::timestamp::Timestamp;

/// An alert as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredAlert {
    /// Grows with time.
    pub id: i64,
    /// When it came in.
    pub received_at: Timestamp,
    /// From then on it is skipped.
    pub expires_at: Timestamp,
    /// How often it came in.
    pub repeats: i64,
    /// `unprocessed`, `processed` or `skipped`.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// The policy that it was for, once that is known.
    pub policy: Option<String>,
    /// What it says.
    pub alert: Alert,
}

/// How an alert ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertEnd {
    /// It was acted upon, or what it asks for is already so; how, in words.
    Processed(String),
    /// It was not; why, in words.
    Skipped(String),
}

/// Alerts that may wait at once. Every round looks at each of them.
const MOST_WAITING: i64 = 1000;
/// Alerts that may come in within one time to live, whatever becomes of them.
const MOST_LIVE: i64 = 10_000;
/// Finished alerts that are kept, the latest ones.
const MOST_KEPT: i64 = 100_000;

/// What became of an alert that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// The row that it is kept in.
    pub id: i64,
    /// It was there already and will not act again.
    pub duplicate: bool,
}

impl Store {
    /// Stores an alert, unless a live one has the same key. `None` when there is no room: a sender
    /// gone wild, or one that means harm, must not fill the store.
    pub async fn receive(
        &self,
        alert: &Alert,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Option<Received>, sqlx::Error> {
        // Senders seldom ask twice: whoever had to give way to another writer comes again.
        for _ in 0..4 {
            match self.try_to_receive(alert, now, expires).await {
                Err(error) if gave_way(&error) => {}
                done => return done,
            }
        }
        self.try_to_receive(alert, now, expires).await
    }

    async fn try_to_receive(
        &self,
        alert: &Alert,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Option<Received>, sqlx::Error> {
        if let Some(id) = self.repeat_alert(alert, now).await? {
            return Ok(Some(Received { id, duplicate: true }));
        }
        if !self.has_room(now, expires).await? {
            return Ok(None);
        }
        let fields = serde_json::to_string(alert).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
        // Another scaler may store the same one between the look and the insert.
        for _ in 0..3 {
            match self.insert_alert(alert, &fields, now, expires).await {
                Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {}
                Err(error) => return Err(error),
                Ok(id) => return Ok(Some(Received { id, duplicate: false })),
            }
            if let Some(id) = self.repeat_alert(alert, now).await? {
                return Ok(Some(Received { id, duplicate: true }));
            }
        }
        // Its twin has died meanwhile, three times: the sender tries again.
        Err(sqlx::Error::Protocol("the same alert came and went three times".to_owned()))
    }

    async fn insert_alert(
        &self,
        alert: &Alert,
        fields: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<i64, sqlx::Error> {
        // Looked for first: MariaDB locks the gap where a row would be that an UPDATE does not find,
        // and two who have locked it keep each other from inserting there.
        let dead: Option<i64> =
            sqlx::query_scalar("SELECT id FROM alerts WHERE live_key = ? AND expires_at <= ?")
                .bind(&alert.key)
                .bind(now.0)
                .fetch_optional(&self.pool)
                .await?;
        let mut tx = self.begin().await?;
        if let Some(dead) = dead {
            sqlx::query("UPDATE alerts SET live_key = NULL WHERE id = ?")
                .bind(dead)
                .execute(&mut *tx)
                .await?;
        }
        let id = new_id(now);
        let status = if alert.resolved { "skipped" } else { "unprocessed" };
        sqlx::query(
            "INSERT INTO alerts (id, received_at, expires_at, dedup_key, live_key, repeats,
                title, fields, status, reason) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(now.0)
        .bind(expires.0)
        .bind(&alert.key)
        .bind(&alert.key)
        .bind(&alert.title)
        .bind(fields)
        .bind(status)
        .bind(alert.resolved.then_some("it is resolved"))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Counts an alert that is there already and still lives.
    async fn repeat_alert(
        &self,
        alert: &Alert,
        now: Timestamp,
    ) -> Result<Option<i64>, sqlx::Error> {
        let live: Option<i64> =
            sqlx::query_scalar("SELECT id FROM alerts WHERE live_key = ? AND expires_at > ?")
                .bind(&alert.key)
                .bind(now.0)
                .fetch_optional(&self.pool)
                .await?;
        if live.is_some() {
            let mut tx = self.begin().await?;
            sqlx::query("UPDATE alerts SET repeats = repeats + 1 WHERE id = ?")
                .bind(live)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        Ok(live)
    }

    /// Whether another alert may come in. Several that ask at once may go a little beyond it.
    async fn has_room(&self, now: Timestamp, expires: Timestamp) -> Result<bool, sqlx::Error> {
        let waiting: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM alerts WHERE status = 'unprocessed'")
                .fetch_one(&self.pool)
                .await?;
        let ttl = expires.since(now);
        let live: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM alerts WHERE id >= ?")
            .bind(first_id(now - ttl))
            .fetch_one(&self.pool)
            .await?;
        Ok(waiting < MOST_WAITING && live < MOST_LIVE)
    }

    /// Deletes finished alerts from before `oldest`, and those beyond the number that is kept.
    pub(super) async fn forget_alerts(
        &self,
        tx: &mut Tx,
        oldest: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let beyond: Option<i64> =
            sqlx::query_scalar("SELECT id FROM alerts ORDER BY id DESC LIMIT 1 OFFSET ?")
                .bind(MOST_KEPT)
                .fetch_optional(&mut **tx)
                .await?;
        sqlx::query(
            "DELETE FROM alerts WHERE (received_at < ? OR id <= ?) AND status <> 'unprocessed'",
        )
        .bind(oldest.0)
        .bind(beyond.unwrap_or(i64::MIN))
        .execute(&mut **tx)
        .await
        .map(drop)
    }

    /// Alerts that wait, oldest first.
    pub async fn waiting_alerts(&self) -> Result<Vec<StoredAlert>, sqlx::Error> {
        self.alerts("WHERE status = 'unprocessed' ORDER BY id").await
    }

    /// All alerts, oldest first.
    pub async fn all_alerts(&self) -> Result<Vec<StoredAlert>, sqlx::Error> {
        self.alerts("ORDER BY id").await
    }

    async fn alerts(&self, which: &'static str) -> Result<Vec<StoredAlert>, sqlx::Error> {
        let sql = format!(
            "SELECT id, received_at, expires_at, repeats, status, reason, policy, fields
             FROM alerts {which}"
        );
        self.readable(&sql, stored).await
    }

    /// Skips an alert outside of any decision; `false` when somebody else leads.
    pub async fn skip_alert(&self, lease: &Lease, id: i64, why: &str) -> Result<bool, sqlx::Error> {
        let Some(mut tx) = self.fenced(lease, "alert_skipped").await? else { return Ok(false) };
        sqlx::query(
            "UPDATE alerts SET status = 'skipped', reason = ?
             WHERE id = ? AND status = 'unprocessed'",
        )
        .bind(told(why))
        .bind(id)
        .execute(&mut **tx)
        .await?;
        tx.commit().await
    }

    /// Says of the alerts of a decision that nothing came of them, when no act of it was done or
    /// can still be done.
    pub async fn end_alerts_in_vain(
        &self,
        lease: &Lease,
        policy: &str,
        decided_at: Timestamp,
        why: &str,
    ) -> Result<Option<u64>, sqlx::Error> {
        let Some(mut tx) = self.fenced(lease, "alerts_ended").await? else { return Ok(None) };
        let ended = sqlx::query(
            "UPDATE alerts SET status = 'skipped', reason = ?
             WHERE policy = ? AND decided_at = ? AND status = 'processed'
             AND NOT EXISTS (SELECT 1 FROM container_autoscale_history h
                WHERE h.policy = ? AND h.decided_at = ? AND h.action <> 'remove'
                AND h.outcome IN ('intended', 'done', 'taken_back'))",
        )
        .bind(told(&format!("it could not be done: {why}")))
        .bind(policy)
        .bind(decided_at.0)
        .bind(policy)
        .bind(decided_at.0)
        .execute(&mut **tx)
        .await?;
        Ok(tx.commit().await?.then(|| ended.rows_affected()))
    }
}

fn stored(row: &AnyRow) -> Result<StoredAlert, sqlx::Error> {
    let fields: String = row.try_get(7)?;
    let alert = serde_json::from_str(&fields).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    Ok(StoredAlert {
        id: row.try_get(0)?,
        received_at: Timestamp(row.try_get(1)?),
        expires_at: Timestamp(row.try_get(2)?),
        repeats: row.try_get(3)?,
        status: row.try_get(4)?,
        reason: row.try_get(5)?,
        policy: row.try_get(6)?,
        alert,
    })
}

/// Ends an alert by compare-and-set; `false` when somebody else already has.
pub(super) async fn claim(
    tx: &mut Tx,
    id: i64,
    policy: &str,
    end: &AlertEnd,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    let (status, reason) = match end {
        AlertEnd::Processed(how) => ("processed", how),
        AlertEnd::Skipped(why) => ("skipped", why),
    };
    let claimed = sqlx::query(
        "UPDATE alerts SET status = ?, reason = ?, policy = ?, decided_at = ?
         WHERE id = ? AND status = 'unprocessed'",
    )
    .bind(status)
    .bind(told(reason))
    .bind(policy)
    .bind(at.0)
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(claimed.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::StoreUrl;

    const TTL: Duration = Duration::from_secs(300);
    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    async fn store(dir: &tempfile::TempDir) -> Store {
        Store::open(&StoreUrl::Sqlite(dir.path().join("scaler.db"))).await.unwrap()
    }

    /// Alerts that came in one a millisecond, the last one at `until`.
    async fn flood(store: &Store, count: i64, status: &str, until: Timestamp) {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
             INSERT INTO alerts (id, received_at, expires_at, dedup_key, live_key, repeats, title,
                fields, status)
             SELECT (? - i) * 1024, ? - i, ? - i + 300000, 'k' || i, 'k' || i, 1, 't', '{}', ?
             FROM n";
        let until = until.0;
        let flood = sqlx::query(sql).bind(count).bind(until).bind(until).bind(until).bind(status);
        flood.execute(&store.pool).await.unwrap();
    }

    async fn takes(store: &Store, key: &str, now: Timestamp) -> Option<bool> {
        let alert = Alert { key: key.to_owned(), ..Alert::default() };
        store.receive(&alert, now, now + TTL).await.unwrap().map(|received| received.duplicate)
    }

    #[tokio::test]
    async fn no_more_alerts_wait_than_a_round_can_look_at() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = store(&dir).await;
        flood(&store, MOST_WAITING - 1, "unprocessed", NOW).await;
        assert_eq!(takes(&store, "last", NOW).await, Some(false));
        assert_eq!(takes(&store, "more", NOW).await, None);
        assert_eq!(takes(&store, "last", NOW).await, Some(true), "what is kept is kept");
        let first = store.waiting_alerts().await.unwrap()[0].id;
        let seen = store.see_lease().await.unwrap();
        let lease = store.take_lease("me", TTL, &seen).await.unwrap().unwrap();
        assert!(store.skip_alert(&lease, first, "enough").await.unwrap());
        assert_eq!(takes(&store, "more", NOW).await, Some(false));
    }

    #[tokio::test]
    async fn alerts_that_end_at_once_are_bounded_too() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = store(&dir).await;
        flood(&store, MOST_LIVE, "skipped", NOW).await;
        assert_eq!(takes(&store, "more", NOW).await, None);
        let later = NOW + TTL + Duration::from_millis(1);
        assert_eq!(takes(&store, "more", later).await, Some(false));
    }

    #[tokio::test]
    async fn only_the_latest_finished_alerts_are_kept() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = store(&dir).await;
        flood(&store, MOST_KEPT + 7, "skipped", NOW).await;
        let mut tx = store.begin().await.unwrap();
        store.forget_alerts(&mut tx, Timestamp(0)).await.unwrap();
        tx.commit().await.unwrap();
        let kept = store.all_alerts().await.unwrap();
        assert_eq!(kept.len() as i64, MOST_KEPT);
        assert_eq!(kept.last().unwrap().received_at, NOW);
    }
}
