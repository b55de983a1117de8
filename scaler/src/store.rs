//! What outlives a restart: policies, alerts, memory, the lease and the audit, in SQLite or MariaDB.
//!
//! Every statement is written once and runs on both. Times are milliseconds since the Unix epoch;
//! a lease is measured by the database's own clock, so scalers on different hosts agree.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, ConnectOptions, Executor};
use tracing::{info, warn};

use crate::config::StoreUrl;
use crate::timestamp::Timestamp;

pub mod alerts;
pub mod audit;
pub mod containers;
pub mod lease;
pub mod memory;
pub mod policies;
mod rows;
mod schema;
mod shift;
pub mod templates;
mod transaction;

use transaction::Tx;
pub use transaction::{gave_way, is_of_one_row};

/// Longest wait for a connection, and for another writer's lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connected store with its schema up to date. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    dialect: Dialect,
    /// Rows were met that cannot be read; see [`rows`].
    unreadable: Arc<AtomicBool>,
}

/// An error and its causes, each once, in words for whoever runs the scaler and not for whoever wrote
/// the driver.
pub fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = match error.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::PoolTimedOut) => format!(
                "the store gives no connection within {PATIENCE:?}: it is down, out of reach, or \
                 has no connections left"
            ),
            _ => error.to_string(),
        };
        if words.last().is_none_or(|last| !last.ends_with(&said)) {
            words.push(said);
        }
        next = error.source();
    }
    words.join(": ")
}

/// As much of what others have said as a column holds and a person reads.
fn told(text: &str) -> &str {
    /// In bytes.
    const MOST: usize = 4000;
    &text[..text.floor_char_boundary(MOST)]
}

/// Where the two databases speak differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Mysql,
}

impl Dialect {
    /// The database's clock in milliseconds, as an SQL expression.
    fn now(self) -> &'static str {
        match self {
            Dialect::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Dialect::Mysql => "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
        }
    }

    /// Starts a transaction that will write: SQLite must not find out at its first write that
    /// somebody else was faster.
    fn begin(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Mysql => "START TRANSACTION",
        }
    }
}

impl Store {
    /// Connects and brings the schema up to date. Errors say which store, without its password.
    pub async fn open(url: &StoreUrl) -> Result<Self> {
        Self::connect(url).await.with_context(|| format!("open the store {url:?}"))
    }

    async fn connect(url: &StoreUrl) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let (dialect, options) = match url {
            StoreUrl::Sqlite(path) => {
                private(path)?;
                (Dialect::Sqlite, sqlite_url(path)?)
            }
            StoreUrl::Mysql(url) => (Dialect::Mysql, url.clone()),
        };
        // The parser's own message may quote the URL, password and all.
        let options = AnyConnectOptions::from_str(&options)
            .map_err(|_| anyhow::anyhow!("the URL cannot be read"))?
            .disable_statement_logging();
        let pool = AnyPoolOptions::new()
            .max_connections(if dialect == Dialect::Sqlite { 2 } else { 10 })
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    let setup = match dialect {
                        Dialect::Sqlite => {
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                             PRAGMA busy_timeout = 5000"
                        }
                        // A server may have been told not to commit by itself. MariaDB ends for a
                        // scaler that was halted what would keep the next one from leading.
                        Dialect::Mysql => {
                            "SET SESSION innodb_lock_wait_timeout = 2, SESSION autocommit = 1 \
                             /*M!100300 , SESSION idle_transaction_timeout = 10 */"
                        }
                    };
                    connection.execute(setup).await.map(drop)
                })
            })
            .connect_with(options)
            .await?;
        let store = Self { pool, dialect, unreadable: Arc::default() };
        let version = schema::migrate(&store).await.context("bring the schema up to date")?;
        info!(store = ?url, version, "store open");
        Ok(store)
    }

    /// A transaction that writes.
    async fn begin(&self) -> Result<Tx, sqlx::Error> {
        Tx::begin(self.pool.acquire().await?, self.dialect.begin()).await
    }

    /// Lets go of every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes the file that is not there yet for its owner alone, and SQLite gives its journal the same
/// mode: containers' environments, which often hold secrets, are kept in it.
fn private(path: &Path) -> Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mode = path.metadata()?.permissions().mode();
            if mode & 0o077 != 0 {
                warn!(
                    file = %path.display(),
                    mode = format!("{:04o}", mode & 0o7777),
                    "others may read the store, which keeps secrets of containers: chmod 600"
                );
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The URL that SQLite's driver reads back as the very same path.
fn sqlite_url(path: &Path) -> Result<String> {
    let mut url = "sqlite://".to_owned();
    for byte in std::path::absolute(path)?.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(*byte));
            }
            byte => url += &format!("%{byte:02X}"),
        }
    }
    Ok(url + "?mode=rwc")
}

/// A new identifier: grows with time, differs within this process, and is exact in JSON (below
/// 2^53).
pub fn new_id(now: Timestamp) -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let noise = i64::try_from(berth::net::random::bits() >> 55).unwrap_or_default();
    let fresh = first_id(now) | noise;
    let last = LAST.fetch_update(Relaxed, Relaxed, |last| Some(fresh.max(last + 1)));
    fresh.max(last.unwrap_or_default() + 1)
}

/// The least identifier of a moment.
fn first_id(at: Timestamp) -> i64 {
    at.0.saturating_mul(1 << 10)
}

/// One word or number of a column as it is stored; an unknown word is an error of the store.
fn parse_column<T: FromStr>(column: &str, text: &str) -> Result<T, sqlx::Error> {
    text.parse().map_err(|_| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("{text:?} is not known").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_an_operators_words_and_once() {
        let error = anyhow::Error::from(sqlx::Error::PoolTimedOut).context("read the alerts");
        let told = in_words(error.as_ref());
        assert!(told.starts_with("read the alerts: the store gives no connection"), "{told}");
        assert!(!told.contains("pool"), "{told}");
        let twice = std::io::Error::other(std::io::Error::other("the disk is full"));
        assert_eq!(in_words(&twice), "the disk is full");
    }
}
