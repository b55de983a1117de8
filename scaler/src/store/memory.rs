//! What each policy remembers, and who is paused.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Store;
use crate::history::History;
use crate::policy::Pause;

/// The name under which all policies are paused at once.
pub const EVERY_POLICY: &str = "*";

impl Store {
    /// Every policy's memory. One that cannot be read is left out: the policy starts afresh.
    pub async fn memories(&self) -> Result<HashMap<String, History>, sqlx::Error> {
        let sql = "SELECT policy, history FROM memory ORDER BY policy";
        let read = |row: &AnyRow| {
            let (policy, text): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            Ok((policy, serde_json::from_str(&text)))
        };
        let mut memories = HashMap::new();
        for (policy, history) in self.readable(sql, read).await? {
            match history {
                Ok(history) => {
                    memories.insert(policy, history);
                }
                Err(error) => tracing::warn!(%policy, %error, "memory cannot be read; forgotten"),
            }
        }
        Ok(memories)
    }

    /// Pauses a policy, or [`EVERY_POLICY`]; [`Pause::None`] resumes it.
    pub async fn set_pause(&self, policy: &str, pause: Pause) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM pauses WHERE policy = ?").bind(policy).execute(&mut *tx).await?;
        if pause != Pause::None {
            sqlx::query("INSERT INTO pauses (policy, direction) VALUES (?, ?)")
                .bind(policy)
                .bind(pause_word(pause))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }

    /// Who is paused.
    pub async fn pauses(&self) -> Result<HashMap<String, Pause>, sqlx::Error> {
        let pause = |row: &AnyRow| {
            let direction: String = row.try_get(1)?;
            // A word that nobody knows pauses both ways: the safe reading.
            let pause = match direction.as_str() {
                "up" => Pause::Up,
                "down" => Pause::Down,
                _ => Pause::Both,
            };
            Ok((row.try_get(0)?, pause))
        };
        let sql = "SELECT policy, direction FROM pauses ORDER BY policy";
        Ok(self.readable(sql, pause).await?.into_iter().collect())
    }
}

/// Both pauses together.
pub fn either(a: Pause, b: Pause) -> Pause {
    use crate::policy::Direction::{Down, Up};
    match (a.covers(Up) || b.covers(Up), a.covers(Down) || b.covers(Down)) {
        (true, true) => Pause::Both,
        (true, false) => Pause::Up,
        (false, true) => Pause::Down,
        (false, false) => Pause::None,
    }
}

/// The word for it in the table and on the command line.
pub fn pause_word(pause: Pause) -> &'static str {
    match pause {
        Pause::None => "none",
        Pause::Up => "up",
        Pause::Down => "down",
        Pause::Both => "both",
    }
}
