//! What is kept is kept by the time of day. When somebody sets that, all that is still under way must
//! stay as old as it was: an alert that waits, an act that is open, what a policy remembers.

use std::collections::HashMap;

use sqlx::Error;

use super::Store;
use super::lease::Lease;
use crate::clock::Step;
use crate::history::History;

impl Store {
    /// Moves what is under way as the clock was moved; `memories` are moved already. `false` when
    /// somebody else leads.
    pub async fn shift(
        &self,
        lease: &Lease,
        step: Step,
        memories: &HashMap<String, History>,
    ) -> Result<bool, Error> {
        let millis = step.millis();
        let open = self.open_intents().await?;
        let Some(mut tx) = self.fenced(lease, "shift").await? else { return Ok(false) };
        for entry in &open {
            let mut act = entry.step.clone();
            if let Some(at) = act.as_mut().and_then(|act| act.signalled.as_mut()) {
                *at = at.shifted(millis);
            }
            let act = act.as_ref().map(serde_json::to_string).transpose();
            sqlx::query(
                "UPDATE container_autoscale_history SET at = ?, decided_at = ?, last_at = ?, step = ?
                 WHERE id = ?",
            )
            .bind(entry.at.shifted(millis).0)
            .bind(entry.decided_at.shifted(millis).0)
            .bind(entry.last_at.shifted(millis).0)
            .bind(act.map_err(|e| Error::Encode(Box::new(e)))?)
            .bind(entry.id)
            .execute(&mut **tx)
            .await?;
            // The alerts of an act are found by the time of its decision. Several acts share one.
            sqlx::query("UPDATE alerts SET decided_at = ? WHERE policy = ? AND decided_at = ?")
                .bind(entry.decided_at.shifted(millis).0)
                .bind(&entry.policy)
                .bind(entry.decided_at.0)
                .execute(&mut **tx)
                .await?;
        }
        // Those that came in since the clock was set are right.
        sqlx::query(
            "UPDATE alerts SET received_at = received_at + ?, expires_at = expires_at + ?
             WHERE expires_at > ? AND NOT (received_at BETWEEN ? AND ?)",
        )
        .bind(millis)
        .bind(millis)
        .bind(step.old.0)
        .bind(step.last.shifted(millis).0)
        .bind(step.new.0)
        .execute(&mut **tx)
        .await?;
        super::audit::remember(&mut tx, memories.iter().map(|(p, h)| (p.as_str(), h))).await?;
        tx.commit().await
    }
}
