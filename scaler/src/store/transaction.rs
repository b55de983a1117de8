//! A transaction of which the connection is used again only when it ended well.

use std::ops::{Deref, DerefMut};

use sqlx::mysql::MySqlDatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Executor};

/// Statements that count together or not at all.
///
/// SQLite ends a transaction by itself when the disk is full, and opens a file that cannot be
/// written for reading alone; a statement that nobody waited for may still run. So a connection
/// that was not brought to a good end is closed, never used again.
#[derive(Debug)]
pub(super) struct Tx {
    connection: PoolConnection<Any>,
    ended: bool,
}

/// Whether the database ended a transaction so that another one could go on (a deadlock): nothing
/// of it is stored, and it may be tried again at once.
pub fn gave_way(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "40001")
}

/// Whether only a row is in trouble, since somebody else has locked it, and not the store.
pub fn is_of_one_row(error: &sqlx::Error) -> bool {
    /// What MariaDB and MySQL say when the wait for a lock has lasted too long.
    const LOCKED: u16 = 1205;
    let mysql = error.as_database_error().and_then(|e| e.try_downcast_ref::<MySqlDatabaseError>());
    gave_way(error) || mysql.is_some_and(|error| error.number() == LOCKED)
}

impl Tx {
    /// Begins with `statement`.
    pub(super) async fn begin(
        connection: PoolConnection<Any>,
        statement: &'static str,
    ) -> Result<Self, sqlx::Error> {
        let mut tx = Self { connection, ended: false };
        tx.connection.execute(statement).await?;
        Ok(tx)
    }

    /// Makes it count.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("COMMIT").await?;
        self.ended = true;
        Ok(())
    }

    /// Takes everything back.
    pub(super) async fn roll_back(mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("ROLLBACK").await?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Tx {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}
