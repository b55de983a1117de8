//! Who leads: one row with an epoch that grows with every change of hands, and a number that grows
//! with every renewal. No clock is compared: who would take the lead watches the row.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use super::Store;
use super::transaction::Tx;

const NAME: &str = "leader";

/// Proof of having led at some time; good for as long as nobody has a later epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who: unique to a process.
    pub holder: String,
    /// Grows by one with every change of hands; in every audit row.
    pub epoch: i64,
}

/// The row as it was seen. Whoever sees the same one for as long as `lasts`, by his own monotonic
/// clock, knows that nobody leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    epoch: i64,
    renewals: i64,
    /// It was given back, or never taken.
    pub free: bool,
    /// How long its holder may lead without renewing it.
    pub lasts: Duration,
}

impl Store {
    /// The lease as it is now.
    pub async fn see_lease(&self) -> Result<Seen, sqlx::Error> {
        let row =
            sqlx::query("SELECT epoch, renewals, expires_at, lasts_ms FROM leases WHERE name = ?")
                .bind(NAME)
                .fetch_one(&self.pool)
                .await?;
        let lasts: i64 = row.try_get(3)?;
        Ok(Seen {
            epoch: row.try_get(0)?,
            renewals: row.try_get(1)?,
            free: row.try_get::<i64, _>(2)? == 0,
            lasts: Duration::from_millis(u64::try_from(lasts).unwrap_or_default()),
        })
    }

    /// Takes the lead for `ttl`, unless the row has changed since it was seen.
    pub async fn take_lease(
        &self,
        holder: &str,
        ttl: Duration,
        seen: &Seen,
    ) -> Result<Option<Lease>, sqlx::Error> {
        let now = self.dialect.now();
        let mut tx = self.begin().await?;
        let sql = format!(
            "UPDATE leases SET holder = ?, epoch = epoch + 1, renewals = renewals + 1,
                lasts_ms = ?, expires_at = {now} + ?
             WHERE name = ? AND epoch = ? AND renewals = ?"
        );
        let taken = sqlx::query(AssertSqlSafe(sql))
            .bind(holder)
            .bind(millis(ttl))
            .bind(millis(ttl))
            .bind(NAME)
            .bind(seen.epoch)
            .bind(seen.renewals)
            .execute(&mut *tx)
            .await?;
        if taken.rows_affected() == 0 {
            tx.roll_back().await?;
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(Lease { holder: holder.to_owned(), epoch: seen.epoch + 1 }))
    }

    /// Keeps the lead for another `ttl`; `false` when somebody else has taken it.
    pub async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<bool, sqlx::Error> {
        let now = self.dialect.now();
        let mut tx = self.begin().await?;
        // One that was given back is not taken again by a renewal that was under way.
        let sql = format!(
            "UPDATE leases SET renewals = renewals + 1, lasts_ms = ?, expires_at = {now} + ?
             WHERE name = ? AND holder = ? AND epoch = ? AND expires_at <> 0"
        );
        let renewed = sqlx::query(AssertSqlSafe(sql))
            .bind(millis(ttl))
            .bind(millis(ttl))
            .bind(NAME)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Gives the lead back, so that the next one need not wait for it to run out.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE leases SET expires_at = 0, renewals = renewals + 1
             WHERE name = ? AND holder = ? AND epoch = ?",
        )
        .bind(NAME)
        .bind(&lease.holder)
        .bind(lease.epoch)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// Whether nobody has taken the lead since.
    pub async fn leads(&self, lease: &Lease) -> Result<bool, sqlx::Error> {
        let found: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM leases
             WHERE name = ? AND holder = ? AND epoch = ? AND expires_at <> 0",
        )
        .bind(NAME)
        .bind(&lease.holder)
        .bind(lease.epoch)
        .fetch_one(&self.pool)
        .await?;
        Ok(found == 1)
    }

    /// A transaction in which nobody else can take the lead: the lease's row is locked until it
    /// ends. `None` when it is not ours any more.
    pub(super) async fn fenced(&self, lease: &Lease) -> Result<Option<Tx>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let held = sqlx::query(
            "UPDATE leases SET epoch = epoch
             WHERE name = ? AND holder = ? AND epoch = ? AND expires_at <> 0",
        )
        .bind(NAME)
        .bind(&lease.holder)
        .bind(lease.epoch)
        .execute(&mut *tx)
        .await?;
        if held.rows_affected() == 1 {
            return Ok(Some(tx));
        }
        tx.roll_back().await?;
        Ok(None)
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}
