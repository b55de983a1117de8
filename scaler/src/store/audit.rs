//! The audit table `container_autoscale_history`: every act as an intent before it is done, and
//! what came of it. An intent that is still open is all that a successor needs to go on.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::alerts::AlertEnd;
use super::lease::Lease;
use super::transaction::Tx;
use super::{Store, new_id, parse_column, told};
use crate::executor::Step;
use crate::history::History;
use crate::timestamp::Timestamp;

/// Memories in one statement: far fewer bytes than any server takes.
const AT_ONCE: usize = 50;

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Grows with time.
    pub id: i64,
    /// When it was written.
    pub at: Timestamp,
    /// When it was decided; the rows of one decision share it.
    pub decided_at: Timestamp,
    /// `policy_name`.
    pub policy: String,
    /// `service_name`.
    pub service: String,
    /// `create`, `start`, `stop`, `park`, `remove`, or `hold` for what was wanted and not done.
    pub action: String,
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// The metric that drove it.
    pub metric: Option<String>,
    /// Its value.
    pub metric_value: Option<f64>,
    /// Why, in words.
    pub reason: String,
    /// Docker host.
    pub host: Option<String>,
    /// Container id.
    pub container_id: Option<String>,
    /// Container name.
    pub container_name: Option<String>,
    /// The container's own: `running`, `draining`, `stopped`, `deleted`.
    pub status: Option<String>,
    /// Where the act stands.
    pub outcome: Outcome,
    /// What went wrong.
    pub problem: Option<String>,
    /// From intent to outcome, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Of the leader that decided it.
    pub epoch: i64,
    /// How often the same was decided in a row.
    pub repeats: i64,
    /// When it was last decided.
    pub last_at: Timestamp,
    /// The act, for whoever must finish it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Observation and memory that were decided upon, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
}

/// Where an act stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Written down, not known to be done.
    Intended,
    /// Done.
    Done,
    /// Tried, and it cannot be done.
    Failed,
    /// Too old to be still wanted when somebody came to finish it.
    Abandoned,
    /// Cancelled: the replica stays.
    TakenBack,
    /// Nothing was to be done: a `hold`.
    Held,
}

impl Outcome {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Intended => "intended",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Abandoned => "abandoned",
            Outcome::TakenBack => "taken_back",
            Outcome::Held => "held",
        }
    }
}

impl FromStr for Outcome {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        use Outcome::*;
        let all = [Intended, Done, Failed, Abandoned, TakenBack, Held];
        all.into_iter().find(|outcome| outcome.as_str() == word).ok_or(())
    }
}

/// Everything that one decision writes; all of it or nothing.
#[derive(Debug, Default)]
pub struct Commit<'a> {
    /// `policy_name`.
    pub policy: &'a str,
    /// What the policy remembers from now on.
    pub history: Option<&'a History>,
    /// New rows.
    pub entries: &'a [Entry],
    /// Open intents that are cancelled.
    pub taken_back: &'a [i64],
    /// Alerts and what became of them.
    pub alerts: &'a [(i64, AlertEnd)],
    /// When it was decided.
    pub at: Timestamp,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// All of it is stored.
    Stored,
    /// Somebody else leads: nothing is stored.
    NotLeading,
    /// An alert or an intent has been dealt with meanwhile: nothing is stored.
    Overtaken,
}

const COLUMNS: &str = "id, at, decided_at, policy, service, action, from_count, to_count, metric,
    metric_value, reason, docker_host, container_id, container_name, status, outcome, problem,
    duration_ms, epoch, repeats, last_at, step, inputs";

impl Store {
    /// The names of all policies that the audit knows.
    pub async fn audited_policies(&self) -> Result<Vec<String>, sqlx::Error> {
        let sql = "SELECT DISTINCT policy FROM container_autoscale_history ORDER BY policy";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await
    }

    /// Writes a decision, fenced by the lease; alerts are claimed by compare-and-set.
    pub async fn commit(
        &self,
        lease: &Lease,
        commit: &Commit<'_>,
    ) -> Result<Committed, sqlx::Error> {
        let Some(mut tx) = self.fenced(lease, "decision").await? else {
            return Ok(Committed::NotLeading);
        };
        for (id, end) in commit.alerts {
            if !super::alerts::claim(&mut tx, *id, commit.policy, end, commit.at).await? {
                tx.roll_back().await?;
                return Ok(Committed::Overtaken);
            }
        }
        for id in commit.taken_back {
            let done = sqlx::query(
                "UPDATE container_autoscale_history SET outcome = 'taken_back', status = 'running',
                 last_at = ? WHERE id = ? AND outcome = 'intended'",
            )
            .bind(commit.at.0)
            .bind(id)
            .execute(&mut **tx)
            .await?;
            if done.rows_affected() == 0 {
                tx.roll_back().await?;
                return Ok(Committed::Overtaken);
            }
        }
        for entry in commit.entries {
            insert(&mut tx, entry).await?;
        }
        if let Some(history) = commit.history {
            remember(&mut tx, [(commit.policy, history)]).await?;
        }
        Ok(if tx.commit().await? { Committed::Stored } else { Committed::NotLeading })
    }

    /// Stores what several policies remember; `false` when somebody else leads.
    pub async fn save_memories(
        &self,
        lease: &Lease,
        memories: &[(&str, &History)],
    ) -> Result<bool, sqlx::Error> {
        let Some(mut tx) = self.fenced(lease, "memories").await? else { return Ok(false) };
        remember(&mut tx, memories.iter().copied()).await?;
        tx.commit().await
    }

    /// Every intent that is still open, oldest first.
    pub async fn open_intents(&self) -> Result<Vec<Entry>, sqlx::Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM container_autoscale_history WHERE outcome = 'intended' ORDER BY id"
        );
        self.readable(&sql, entry).await
    }

    /// Writes how far an intent has come. A closed one stays as it is. `false` when somebody else
    /// leads.
    pub async fn update_intent(&self, lease: &Lease, entry: &Entry) -> Result<bool, sqlx::Error> {
        let Some(mut tx) = self.fenced(lease, "progress").await? else { return Ok(false) };
        update(&mut tx, entry).await?;
        tx.commit().await
    }

    /// Closes an intent, and opens one for what it has left to do, in one step.
    pub async fn close_intent(
        &self,
        lease: &Lease,
        entry: &Entry,
        rest: Option<&Entry>,
    ) -> Result<Committed, sqlx::Error> {
        let Some(mut tx) = self.fenced(lease, "outcome").await? else {
            return Ok(Committed::NotLeading);
        };
        if !update(&mut tx, entry).await? {
            return Ok(Committed::Overtaken);
        }
        if let Some(rest) = rest {
            insert(&mut tx, rest).await?;
        }
        Ok(if tx.commit().await? { Committed::Stored } else { Committed::NotLeading })
    }

    /// Counts further decisions like the one in row `id`; `false` when somebody else leads.
    pub async fn repeat(
        &self,
        lease: &Lease,
        id: i64,
        times: i64,
        last: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        let Some(mut tx) = self.fenced(lease, "repeats").await? else { return Ok(false) };
        sqlx::query(
            "UPDATE container_autoscale_history SET repeats = repeats + ?, last_at = ? WHERE id = ?",
        )
        .bind(times)
        .bind(last.0)
        .bind(id)
        .execute(&mut **tx)
        .await?;
        tx.commit().await
    }

    /// One row by its number.
    pub async fn row(&self, id: i64) -> Result<Option<Entry>, sqlx::Error> {
        let sql = format!("SELECT {COLUMNS} FROM container_autoscale_history WHERE id = ?");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(entry).transpose()
    }

    /// The latest `limit` rows, of one policy or all, oldest first; without those that cannot be
    /// read.
    pub async fn history(
        &self,
        policy: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Entry>, sqlx::Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM container_autoscale_history
             WHERE policy = ? OR ? IS NULL ORDER BY id DESC LIMIT ?"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(policy)
            .bind(policy)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().rev().filter_map(|row| entry(row).ok()).collect())
    }

    /// Deletes closed rows and finished alerts from before `oldest`; `None` when somebody else leads.
    pub async fn forget_before(
        &self,
        lease: &Lease,
        oldest: Timestamp,
    ) -> Result<Option<u64>, sqlx::Error> {
        let Some(mut tx) = self.fenced(lease, "forget").await? else { return Ok(None) };
        let rows = sqlx::query(
            "DELETE FROM container_autoscale_history WHERE last_at < ? AND outcome <> 'intended'",
        )
        .bind(oldest.0)
        .execute(&mut **tx)
        .await?;
        self.forget_alerts(&mut tx, oldest).await?;
        Ok(tx.commit().await?.then(|| rows.rows_affected()))
    }
}

impl Entry {
    /// A row about to be written; whatever belongs to its act is still open.
    pub fn new(at: Timestamp, policy: &str, service: &str, action: &str) -> Self {
        Self {
            id: new_id(at),
            at,
            decided_at: at,
            policy: policy.to_owned(),
            service: service.to_owned(),
            action: action.to_owned(),
            from: 0,
            to: 0,
            metric: None,
            metric_value: None,
            reason: String::new(),
            host: None,
            container_id: None,
            container_name: None,
            status: None,
            outcome: Outcome::Intended,
            problem: None,
            duration_ms: None,
            epoch: 0,
            repeats: 1,
            last_at: at,
            step: None,
            inputs: None,
        }
    }
}

/// Stores what policies remember: many at a time, as each statement waits for the store once.
pub(super) async fn remember<'a>(
    tx: &mut Tx,
    memories: impl IntoIterator<Item = (&'a str, &'a History)>,
) -> Result<(), sqlx::Error> {
    let text = |(policy, history)| Ok((policy, serde_json::to_string(history)?));
    let texts: Result<Vec<(&str, String)>, serde_json::Error> =
        memories.into_iter().map(text).collect();
    for some in texts.map_err(|e| sqlx::Error::Encode(Box::new(e)))?.chunks(AT_ONCE) {
        let marks = vec!["?"; some.len()].join(", ");
        let sql = format!("DELETE FROM memory WHERE policy IN ({marks})");
        let mut delete = sqlx::query(AssertSqlSafe(sql));
        let rows = vec!["(?, ?)"; some.len()].join(", ");
        let sql = format!("INSERT INTO memory (policy, history) VALUES {rows}");
        let mut insert = sqlx::query(AssertSqlSafe(sql));
        for (policy, text) in some {
            delete = delete.bind(*policy);
            insert = insert.bind(*policy).bind(text);
        }
        delete.execute(&mut **tx).await?;
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}

/// Writes an intent that is open; `false` when it is not.
async fn update(tx: &mut Tx, entry: &Entry) -> Result<bool, sqlx::Error> {
    let step = entry.step.as_ref().map(serde_json::to_string).transpose();
    let updated = sqlx::query(
        "UPDATE container_autoscale_history SET action = ?, docker_host = ?, container_id = ?,
         container_name = ?, status = ?, outcome = ?, problem = ?, duration_ms = ?, last_at = ?,
         step = ? WHERE id = ? AND outcome = 'intended'",
    )
    .bind(&entry.action)
    .bind(&entry.host)
    .bind(&entry.container_id)
    .bind(&entry.container_name)
    .bind(&entry.status)
    .bind(entry.outcome.as_str())
    .bind(entry.problem.as_deref().map(told))
    .bind(entry.duration_ms)
    .bind(entry.last_at.0)
    .bind(step.map_err(|e| sqlx::Error::Encode(Box::new(e)))?)
    .bind(entry.id)
    .execute(&mut **tx)
    .await?;
    Ok(updated.rows_affected() == 1)
}

async fn insert(tx: &mut Tx, e: &Entry) -> Result<(), sqlx::Error> {
    let step = e.step.as_ref().map(serde_json::to_string).transpose();
    let marks = ["?"; 23].join(", ");
    let sql = format!("INSERT INTO container_autoscale_history ({COLUMNS}) VALUES ({marks})");
    sqlx::query(AssertSqlSafe(sql))
        .bind(e.id)
        .bind(e.at.0)
        .bind(e.decided_at.0)
        .bind(&e.policy)
        .bind(&e.service)
        .bind(&e.action)
        .bind(i64::from(e.from))
        .bind(i64::from(e.to))
        .bind(&e.metric)
        .bind(e.metric_value)
        .bind(told(&e.reason))
        .bind(&e.host)
        .bind(&e.container_id)
        .bind(&e.container_name)
        .bind(&e.status)
        .bind(e.outcome.as_str())
        .bind(e.problem.as_deref().map(told))
        .bind(e.duration_ms)
        .bind(e.epoch)
        .bind(e.repeats)
        .bind(e.last_at.0)
        .bind(step.map_err(|e| sqlx::Error::Encode(Box::new(e)))?)
        .bind(&e.inputs)
        .execute(&mut **tx)
        .await
        .map(drop)
}

fn entry(row: &AnyRow) -> Result<Entry, sqlx::Error> {
    let count = |i| row.try_get::<i64, _>(i).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let step: Option<String> = row.try_get(21)?;
    let step = step.map(|text| serde_json::from_str(&text)).transpose();
    Ok(Entry {
        id: row.try_get(0)?,
        at: Timestamp(row.try_get(1)?),
        decided_at: Timestamp(row.try_get(2)?),
        policy: row.try_get(3)?,
        service: row.try_get(4)?,
        action: row.try_get(5)?,
        from: count(6)?,
        to: count(7)?,
        metric: row.try_get(8)?,
        metric_value: row.try_get(9)?,
        reason: row.try_get(10)?,
        host: row.try_get(11)?,
        container_id: row.try_get(12)?,
        container_name: row.try_get(13)?,
        status: row.try_get(14)?,
        outcome: parse_column("outcome", row.try_get(15)?)?,
        problem: row.try_get(16)?,
        duration_ms: row.try_get(17)?,
        epoch: row.try_get(18)?,
        repeats: row.try_get(19)?,
        last_at: Timestamp(row.try_get(20)?),
        step: step.map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
        inputs: row.try_get(22)?,
    })
}
