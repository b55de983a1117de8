//! Which containers there were, so that a crash, an operator's stop and a deletion can be told
//! apart, and the last one of a service can be made anew.

use std::str::FromStr;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::lease::Lease;
use super::{Store, parse_column};
use crate::timestamp::Timestamp;

/// A container as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Name of the Docker host.
    pub host: String,
    /// Container id.
    pub id: String,
    /// Container name.
    pub name: String,
    /// The service that it belongs to.
    pub service: String,
    /// What became of it.
    pub fate: Fate,
    /// When it was last written.
    pub seen_at: Timestamp,
    /// What it takes to make one like it, in the executor's own form.
    pub spec: Option<String>,
}

/// What became of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It lives.
    Alive,
    /// It ended by itself.
    Crashed,
    /// Somebody stopped it on purpose; it is left alone.
    Stopped,
    /// Somebody deleted it while it ran.
    Deleted,
    /// Its host has not answered for so long that it counts as lost.
    Unreachable,
    /// The scaler stopped it and keeps it.
    Parked,
    /// It is gone, nobody knows how; it is remembered as the last of its service, to make new ones
    /// from.
    Gone,
}

impl Fate {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Alive => "alive",
            Fate::Crashed => "crashed",
            Fate::Stopped => "stopped",
            Fate::Deleted => "deleted",
            Fate::Parked => "parked",
            Fate::Unreachable => "unreachable",
            Fate::Gone => "gone",
        }
    }
}

impl FromStr for Fate {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        use Fate::*;
        [Alive, Crashed, Stopped, Deleted, Parked, Gone, Unreachable]
            .into_iter()
            .find(|fate| fate.as_str() == word)
            .ok_or(())
    }
}

impl Store {
    /// Every container that is remembered. One whose row cannot be read is left out: it is met anew.
    pub async fn known_containers(&self) -> Result<Vec<Known>, sqlx::Error> {
        let sql = "SELECT docker_host, container_id, container_name, service_name, fate, seen_at,
                spec FROM containers ORDER BY docker_host, container_id";
        self.readable(sql, known).await
    }

    /// Writes and forgets containers in one transaction; `false` when somebody else leads.
    pub async fn remember_containers(
        &self,
        lease: &Lease,
        changed: &[&Known],
        gone: &[(String, String)],
    ) -> Result<bool, sqlx::Error> {
        if changed.is_empty() && gone.is_empty() {
            return Ok(true);
        }
        let Some(mut tx) = self.fenced(lease, "census").await? else { return Ok(false) };
        let ids = changed.iter().map(|k| (&k.host, &k.id));
        for (host, id) in ids.chain(gone.iter().map(|(host, id)| (host, id))) {
            sqlx::query("DELETE FROM containers WHERE docker_host = ? AND container_id = ?")
                .bind(host)
                .bind(id)
                .execute(&mut **tx)
                .await?;
        }
        for known in changed {
            sqlx::query(
                "INSERT INTO containers (docker_host, container_id, container_name, service_name,
                    fate, seen_at, spec) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&known.host)
            .bind(&known.id)
            .bind(&known.name)
            .bind(&known.service)
            .bind(known.fate.as_str())
            .bind(known.seen_at.0)
            .bind(&known.spec)
            .execute(&mut **tx)
            .await?;
        }
        tx.commit().await
    }
}

fn known(row: &AnyRow) -> Result<Known, sqlx::Error> {
    Ok(Known {
        host: row.try_get(0)?,
        id: row.try_get(1)?,
        name: row.try_get(2)?,
        service: row.try_get(3)?,
        fate: parse_column("fate", row.try_get(4)?)?,
        seen_at: Timestamp(row.try_get(5)?),
        spec: row.try_get(6)?,
    })
}
