//! The tables, version by version.

use anyhow::{Result, bail};
use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::{Dialect, Store};

/// Each entry brings the schema one version further; an entry is never changed once released.
/// MariaDB cannot roll back a CREATE, so every statement can be run twice.
const VERSIONS: &[&[&str]] = &[FIRST, STEADY, TRUST];

const FIRST: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS policies (
        policy_name VARCHAR(190) NOT NULL PRIMARY KEY,
        service_name VARCHAR(190) NOT NULL,
        alert_service_name VARCHAR(190),
        naming_convention VARCHAR(190),
        autoscale_min_instance BIGINT,
        autoscale_max_instance BIGINT NOT NULL,
        autoscale_action VARCHAR(190),
        settings MEDIUMTEXT)",
    "CREATE TABLE IF NOT EXISTS pauses (
        policy VARCHAR(190) NOT NULL PRIMARY KEY,
        direction VARCHAR(8) NOT NULL)",
    "CREATE TABLE IF NOT EXISTS alerts (
        id BIGINT NOT NULL PRIMARY KEY,
        received_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        dedup_key VARCHAR(190) NOT NULL,
        live_key VARCHAR(190) UNIQUE,
        repeats BIGINT NOT NULL,
        title VARCHAR(190) NOT NULL,
        fields MEDIUMTEXT NOT NULL,
        status VARCHAR(16) NOT NULL,
        policy VARCHAR(190),
        reason TEXT,
        decided_at BIGINT)",
    "CREATE TABLE IF NOT EXISTS memory (
        policy VARCHAR(190) NOT NULL PRIMARY KEY,
        history MEDIUMTEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS containers (
        docker_host VARCHAR(190) NOT NULL,
        container_id VARCHAR(100) NOT NULL,
        container_name TEXT NOT NULL,
        service_name VARCHAR(190) NOT NULL,
        fate VARCHAR(16) NOT NULL,
        seen_at BIGINT NOT NULL,
        spec MEDIUMTEXT,
        PRIMARY KEY (docker_host, container_id))",
    "CREATE TABLE IF NOT EXISTS container_autoscale_history (
        id BIGINT NOT NULL PRIMARY KEY,
        at BIGINT NOT NULL,
        decided_at BIGINT NOT NULL,
        docker_host VARCHAR(190),
        container_id VARCHAR(100),
        container_name TEXT,
        policy VARCHAR(190) NOT NULL,
        service VARCHAR(190) NOT NULL,
        action VARCHAR(32) NOT NULL,
        from_count BIGINT NOT NULL,
        to_count BIGINT NOT NULL,
        metric VARCHAR(190),
        metric_value DOUBLE,
        reason TEXT NOT NULL,
        status VARCHAR(16),
        outcome VARCHAR(16) NOT NULL,
        problem TEXT,
        duration_ms BIGINT,
        epoch BIGINT NOT NULL,
        repeats BIGINT NOT NULL,
        last_at BIGINT NOT NULL,
        step TEXT,
        inputs MEDIUMTEXT)",
    "CREATE TABLE IF NOT EXISTS leases (
        name VARCHAR(32) NOT NULL PRIMARY KEY,
        holder VARCHAR(190) NOT NULL,
        epoch BIGINT NOT NULL,
        expires_at BIGINT NOT NULL)",
    // There from the start: two that find no row and insert one would lock each other out.
    "INSERT INTO leases (name, holder, epoch, expires_at)
        SELECT 'leader', '', 0, 0 FROM (SELECT 1 AS one) AS seed
        WHERE NOT EXISTS (SELECT 1 FROM leases)",
    "CREATE INDEX history_by_outcome ON container_autoscale_history (outcome)",
    "CREATE INDEX history_by_time ON container_autoscale_history (at)",
    "CREATE INDEX alerts_by_status ON alerts (status)",
];

/// A lease that is watched instead of measured, and old rows that are found without a full scan.
const STEADY: &[&str] = &[
    "ALTER TABLE leases ADD COLUMN renewals BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE leases ADD COLUMN lasts_ms BIGINT NOT NULL DEFAULT 0",
    "CREATE INDEX history_by_last ON container_autoscale_history (last_at)",
    "CREATE INDEX alerts_by_receipt ON alerts (received_at)",
];

/// What new containers are made like, and whose they are.
const TRUST: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS templates (
        service_name VARCHAR(190) NOT NULL PRIMARY KEY,
        docker_host VARCHAR(190) NOT NULL,
        container_id VARCHAR(100) NOT NULL,
        container_name TEXT NOT NULL,
        labels MEDIUMTEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS identity (
        name VARCHAR(32) NOT NULL PRIMARY KEY,
        owner VARCHAR(190) NOT NULL)",
];

/// What MariaDB and MySQL say to a column or an index that is there already, whatever the language.
const THERE_ALREADY: [u16; 2] = [1060, 1061];

fn is_there_already(error: &dyn DatabaseError) -> bool {
    let mysql = error.try_downcast_ref::<MySqlDatabaseError>();
    mysql.is_some_and(|error| THERE_ALREADY.contains(&error.number()))
}

/// Runs what is missing, one scaler at a time; returns the version reached.
pub(super) async fn migrate(store: &Store) -> Result<i64> {
    let mut connection = store.pool.acquire().await?;
    if store.dialect == Dialect::Mysql {
        let got: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK('berth-scaler-schema', 30)")
            .fetch_one(&mut *connection)
            .await?;
        if got != Some(1) {
            bail!("another scaler has been changing the schema for 30 s");
        }
    }
    let done = run(store, &mut connection).await;
    if store.dialect == Dialect::Mysql {
        connection.execute("DO RELEASE_LOCK('berth-scaler-schema')").await?;
    }
    done
}

async fn run(store: &Store, connection: &mut sqlx::AnyConnection) -> Result<i64> {
    let mut tx = connection.begin_with(store.dialect.begin()).await?;
    tx.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY)")
        .await?;
    let row = sqlx::query("SELECT MAX(version) FROM schema_version").fetch_one(&mut *tx).await?;
    let have = row.try_get::<Option<i64>, _>(0)?.unwrap_or(0);
    let want = VERSIONS.len() as i64;
    if have > want {
        bail!("its schema has version {have}, this program knows {want}: use a newer one");
    }
    for (version, statements) in (1..).zip(VERSIONS).skip(usize::try_from(have)?) {
        for statement in *statements {
            // MariaDB's default may be a character set without arrows, and takes Web for web.
            let exact = match store.dialect {
                Dialect::Mysql if statement.starts_with("CREATE TABLE") => {
                    " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
                }
                _ => "",
            };
            match tx.execute(AssertSqlSafe(format!("{statement}{exact}"))).await {
                // Only MariaDB, not MySQL, can say IF NOT EXISTS here; both keep the first run's.
                Err(sqlx::Error::Database(e)) if is_there_already(&*e) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
        sqlx::query("INSERT INTO schema_version (version) VALUES (?)")
            .bind(version)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(want)
}
