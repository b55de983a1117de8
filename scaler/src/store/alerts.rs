//! Alerts: `unprocessed`, then `processed` or `skipped` with the reason.

use serde::Serialize;
use sqlx::{Any, Row, Transaction};

use super::{Store, new_id, told};
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

/// What became of an alert that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// The row that it is kept in.
    pub id: i64,
    /// It was there already and will not act again.
    pub duplicate: bool,
}

impl Store {
    /// Stores an alert, unless a live one has the same key.
    pub async fn receive(
        &self,
        alert: &Alert,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Received, sqlx::Error> {
        let fields = serde_json::to_string(alert).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
        // A row that dies between the failed insert and the look at it is inserted the second time.
        let mut tries = 0;
        loop {
            tries += 1;
            sqlx::query("UPDATE alerts SET live_key = NULL WHERE live_key = ? AND expires_at <= ?")
                .bind(&alert.key)
                .bind(now.0)
                .execute(&self.pool)
                .await?;
            let id = new_id(now);
            let status = if alert.resolved { "skipped" } else { "unprocessed" };
            let inserted = sqlx::query(
                "INSERT INTO alerts (id, received_at, expires_at, dedup_key, live_key, repeats,
                    title, fields, status, reason) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
            )
            .bind(id)
            .bind(now.0)
            .bind(expires.0)
            .bind(&alert.key)
            .bind(&alert.key)
            .bind(&alert.title)
            .bind(&fields)
            .bind(status)
            .bind(alert.resolved.then_some("it is resolved"))
            .execute(&self.pool)
            .await;
            match inserted {
                Err(sqlx::Error::Database(e)) if e.is_unique_violation() && tries < 3 => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(Received { id, duplicate: false }),
            }
            sqlx::query("UPDATE alerts SET repeats = repeats + 1 WHERE live_key = ?")
                .bind(&alert.key)
                .execute(&self.pool)
                .await?;
            let live: Option<i64> = sqlx::query_scalar("SELECT id FROM alerts WHERE live_key = ?")
                .bind(&alert.key)
                .fetch_optional(&self.pool)
                .await?;
            if let Some(id) = live {
                return Ok(Received { id, duplicate: true });
            }
        }
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
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                let fields: String = row.try_get(7)?;
                let alert =
                    serde_json::from_str(&fields).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
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
            })
            .collect()
    }

    /// Skips an alert outside of any decision.
    pub async fn skip_alert(&self, id: i64, why: &str) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE alerts SET status = 'skipped', reason = ?
             WHERE id = ? AND status = 'unprocessed'",
        )
        .bind(told(why))
        .bind(id)
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Puts back the alerts of a decision that came to nothing: they wait again until they expire.
    pub async fn put_back_alerts(
        &self,
        policy: &str,
        decided_at: Timestamp,
    ) -> Result<u64, sqlx::Error> {
        let back = sqlx::query(
            "UPDATE alerts SET status = 'unprocessed', reason = NULL, decided_at = NULL
             WHERE policy = ? AND decided_at = ? AND status = 'processed'",
        )
        .bind(policy)
        .bind(decided_at.0)
        .execute(&self.pool)
        .await?;
        Ok(back.rows_affected())
    }
}

/// Ends an alert by compare-and-set; `false` when somebody else already has.
pub(super) async fn claim(
    tx: &mut Transaction<'static, Any>,
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
