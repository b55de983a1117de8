//! Rows that cannot be read: a hand, a bad disk or another version wrote them. One of them must not
//! stop everything, so it is left out, and set aside where it would be met again in every round.

use std::sync::atomic::Ordering::Relaxed;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Error, Row};
use tracing::warn;

use super::Store;
use super::lease::Lease;

const WHY: &str = "its row cannot be read";

impl Store {
    /// What the rows of a SELECT say; those that cannot be read are left out.
    pub(super) async fn readable<T>(
        &self,
        sql: &str,
        parse: impl Fn(&AnyRow) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let parsed = |row: &AnyRow| match parse(row) {
            Ok(said) => Some(said),
            Err(error) => self.left_out(&error),
        };
        match sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&self.pool).await {
            Ok(rows) => return Ok(rows.iter().filter_map(parsed).collect()),
            Err(error) if is_of_a_row(&error) => {}
            Err(error) => return Err(error),
        }
        // A text that is none spoils the whole answer: one by one.
        let mut good = Vec::new();
        for n in 0_i64.. {
            let one = AssertSqlSafe(format!("{sql} LIMIT 1 OFFSET {n}"));
            match sqlx::query(one).fetch_optional(&self.pool).await {
                Ok(Some(row)) => good.extend(parsed(&row)),
                Ok(None) => break,
                Err(error) if is_of_a_row(&error) => good.extend(self.left_out(&error)),
                Err(error) => return Err(error),
            }
        }
        Ok(good)
    }

    fn left_out<T>(&self, error: &Error) -> Option<T> {
        self.unreadable.store(true, Relaxed);
        tracing::debug!(%error, "a row of the store cannot be read: left out");
        None
    }

    /// Ends the alerts and intents that were met and could not be read; `false` when somebody else
    /// leads.
    pub async fn set_aside(&self, lease: &Lease) -> Result<bool, Error> {
        if !self.unreadable.swap(false, Relaxed) {
            return Ok(true);
        }
        let alerts = self.waiting_alerts().await?.into_iter().map(|alert| alert.id).collect();
        let alerts = self.beyond("alerts", "status = 'unprocessed'", alerts).await?;
        let intents = self.open_intents().await?.into_iter().map(|entry| entry.id).collect();
        let table = "container_autoscale_history";
        let intents = self.beyond(table, "outcome = 'intended'", intents).await?;
        self.unreadable.store(false, Relaxed);
        let Some(mut tx) = self.fenced(lease, "set_aside").await? else { return Ok(false) };
        for id in &alerts {
            sqlx::query("UPDATE alerts SET status = 'skipped', reason = ? WHERE id = ?")
                .bind(WHY)
                .bind(id)
                .execute(&mut **tx)
                .await?;
        }
        for id in &intents {
            sqlx::query(
                "UPDATE container_autoscale_history SET outcome = 'failed', problem = ?
                 WHERE id = ?",
            )
            .bind(WHY)
            .bind(id)
            .execute(&mut **tx)
            .await?;
        }
        if !tx.commit().await? {
            return Ok(false);
        }
        warn!(?alerts, ?intents, "rows of the store that cannot be read: left out");
        Ok(true)
    }

    /// The rows of a table that are not among those that could be read.
    async fn beyond(&self, table: &str, which: &str, read: Vec<i64>) -> Result<Vec<i64>, Error> {
        let sql = format!("SELECT id FROM {table} WHERE {which} ORDER BY id");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
        let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        Ok(ids.into_iter().filter(|id| !read.contains(id)).collect())
    }
}

/// Whether an error is of what a row says, and not of the store.
fn is_of_a_row(error: &Error) -> bool {
    matches!(error, Error::Decode(_) | Error::ColumnDecode { .. } | Error::AnyDriverError(_))
}
