//! Who leads: one row with an epoch that grows with every change of hands, and a number that grows
//! with every renewal. No clock is compared: who would take the lead watches the row.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::{Any, AssertSqlSafe, Executor, Row};

use super::transaction::Tx;
use super::{Dialect, Store};
use crate::crash::{self, Moment};

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
        self::leads(&self.pool, lease).await
    }

    /// A transaction that counts only if nobody has taken the lead when it ends; `None` when somebody
    /// has already. `what` it writes is a name for tests.
    ///
    /// SQLite locks its whole file. Elsewhere the lease's row is locked last and for a moment, so
    /// that a transaction that waits for another row keeps nobody from leading and writing.
    pub(super) async fn fenced(
        &self,
        lease: &Lease,
        what: &'static str,
    ) -> Result<Option<Fenced>, sqlx::Error> {
        let mut fenced = Fenced { tx: self.begin().await?, lease: lease.clone(), what };
        let leads = match self.dialect {
            Dialect::Sqlite => fenced.lock().await?,
            Dialect::Mysql => leads(&mut *fenced.tx, lease).await?,
        };
        if leads {
            return Ok(Some(fenced));
        }
        fenced.tx.roll_back().await?;
        Ok(None)
    }
}

/// A transaction of who leads.
#[derive(Debug)]
pub(super) struct Fenced {
    tx: Tx,
    lease: Lease,
    what: &'static str,
}

impl Fenced {
    /// Makes it count; `false` when somebody else leads: then nothing of it is stored.
    pub(super) async fn commit(mut self) -> Result<bool, sqlx::Error> {
        crash::write(Moment::Before, self.what);
        if !self.lock().await? {
            self.tx.roll_back().await?;
            return Ok(false);
        }
        crash::write(Moment::Locked, self.what);
        self.tx.commit().await?;
        crash::write(Moment::After, self.what);
        Ok(true)
    }

    /// Takes everything back.
    pub(super) async fn roll_back(self) -> Result<(), sqlx::Error> {
        self.tx.roll_back().await
    }

    /// Nobody can take the lead from now on until the transaction ends. `false` when it is not ours
    /// any more.
    async fn lock(&mut self) -> Result<bool, sqlx::Error> {
        let held = sqlx::query(
            "UPDATE leases SET epoch = epoch
             WHERE name = ? AND holder = ? AND epoch = ? AND expires_at <> 0",
        )
        .bind(NAME)
        .bind(&self.lease.holder)
        .bind(self.lease.epoch)
        .execute(&mut *self.tx)
        .await?;
        Ok(held.rows_affected() == 1)
    }
}

impl Deref for Fenced {
    type Target = Tx;
    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for Fenced {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

async fn leads(
    connection: impl Executor<'_, Database = Any>,
    lease: &Lease,
) -> Result<bool, sqlx::Error> {
    let found: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM leases
         WHERE name = ? AND holder = ? AND epoch = ? AND expires_at <> 0",
    )
    .bind(NAME)
    .bind(&lease.holder)
    .bind(lease.epoch)
    .fetch_one(connection)
    .await?;
    Ok(found == 1)
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}
