//! Who leads: one row with an epoch that grows with every change of hands.

use std::time::Duration;

use sqlx::{Any, AssertSqlSafe, Transaction};

use super::Store;

const NAME: &str = "leader";

/// Proof of having led at some time; good for as long as nobody has a later epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who: unique to a process.
    pub holder: String,
    /// Grows by one with every change of hands; in every audit row.
    pub epoch: i64,
}

impl Store {
    /// Takes the lead for `ttl` if nobody has it.
    pub async fn take_lease(
        &self,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, sqlx::Error> {
        let now = self.dialect.now();
        let mut tx = self.begin().await?;
        let sql = format!(
            "UPDATE leases SET holder = ?, epoch = epoch + 1, expires_at = {now} + ?
             WHERE name = ? AND expires_at <= {now}"
        );
        let taken = sqlx::query(AssertSqlSafe(sql))
            .bind(holder)
            .bind(millis(ttl))
            .bind(NAME)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if taken == 0 {
            return Ok(None);
        }
        let epoch: i64 = sqlx::query_scalar("SELECT epoch FROM leases WHERE name = ?")
            .bind(NAME)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Some(Lease { holder: holder.to_owned(), epoch }))
    }

    /// Keeps the lead for another `ttl`; `false` when somebody else has taken it.
    pub async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<bool, sqlx::Error> {
        let now = self.dialect.now();
        let sql = format!(
            "UPDATE leases SET expires_at = {now} + ? WHERE name = ? AND holder = ? AND epoch = ?"
        );
        let renewed = sqlx::query(AssertSqlSafe(sql))
            .bind(millis(ttl))
            .bind(NAME)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .execute(&self.pool)
            .await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Gives the lead back, so that the next one need not wait for it to run out.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE leases SET expires_at = 0 WHERE name = ? AND holder = ? AND epoch = ?")
            .bind(NAME)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Whether this lease still leads and has not run out.
    pub async fn leads(&self, lease: &Lease) -> Result<bool, sqlx::Error> {
        let now = self.dialect.now();
        let sql = format!(
            "SELECT COUNT(*) FROM leases
             WHERE name = ? AND holder = ? AND epoch = ? AND expires_at > {now}"
        );
        let found: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(NAME)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .fetch_one(&self.pool)
            .await?;
        Ok(found == 1)
    }

    /// Locks the lease row until the transaction ends: nobody can take the lead meanwhile. `false`
    /// when it is not ours any more.
    pub(super) async fn fence(
        &self,
        tx: &mut Transaction<'static, Any>,
        lease: &Lease,
    ) -> Result<bool, sqlx::Error> {
        let now = self.dialect.now();
        let sql = format!(
            "UPDATE leases SET epoch = epoch
             WHERE name = ? AND holder = ? AND epoch = ? AND expires_at > {now}"
        );
        let held = sqlx::query(AssertSqlSafe(sql))
            .bind(NAME)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .execute(&mut **tx)
            .await?;
        Ok(held.rows_affected() == 1)
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}
