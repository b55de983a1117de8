//! What outlives a restart: policies, alerts, memory, the lease and the audit, in SQLite or MariaDB.
//!
//! Every statement is written once and runs on both. Times are milliseconds since the Unix epoch;
//! a lease is measured by the database's own clock, so scalers on different hosts agree.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, ConnectOptions, Executor, Transaction};
use tracing::info;

use crate::config::StoreUrl;
use crate::timestamp::Timestamp;

pub mod alerts;
pub mod audit;
pub mod containers;
pub mod lease;
pub mod memory;
pub mod policies;
mod schema;

/// Longest wait for a connection, and for another writer's lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connected store with its schema up to date. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    dialect: Dialect,
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
                (Dialect::Sqlite, sqlite_url(path))
            }
            StoreUrl::Mysql(url) => (Dialect::Mysql, url.clone()),
        };
        // The parser's own message may quote the URL, password and all.
        let options = AnyConnectOptions::from_str(&options)
            .map_err(|_| anyhow::anyhow!("the URL cannot be read"))?
            .disable_statement_logging();
        let pool = AnyPoolOptions::new()
            .max_connections(if dialect == Dialect::Sqlite { 2 } else { 4 })
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    let setup = match dialect {
                        Dialect::Sqlite => {
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                             PRAGMA busy_timeout = 5000"
                        }
                        Dialect::Mysql => "SET SESSION innodb_lock_wait_timeout = 5",
                    };
                    connection.execute(setup).await.map(drop)
                })
            })
            .connect_with(options)
            .await?;
        let store = Self { pool, dialect };
        let version = schema::migrate(&store).await.context("bring the schema up to date")?;
        info!(store = ?url, version, "store open");
        Ok(store)
    }

    /// A transaction that writes.
    async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.pool.begin_with(self.dialect.begin()).await
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(drop)
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
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}?mode=rwc", path.display())
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
