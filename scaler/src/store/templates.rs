//! What each service's new containers are made like, and by what name this store's scalers know
//! what they made.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Store;
use super::lease::Lease;

/// The name of the one row.
const NAME: &str = "owner";

/// The container that new ones of a service are made like, and whose labels count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The service.
    pub service: String,
    /// Name of its Docker host.
    pub host: String,
    /// Container id.
    pub id: String,
    /// Container name.
    pub name: String,
    /// Those of its labels that say something of the policy.
    pub labels: BTreeMap<String, String>,
}

impl Store {
    /// Every template.
    pub async fn templates(&self) -> Result<Vec<Template>, sqlx::Error> {
        let sql = "SELECT service_name, docker_host, container_id, container_name, labels
             FROM templates ORDER BY service_name";
        self.readable(sql, template).await
    }

    /// Writes and forgets templates, by service, in one transaction; `false` when somebody else
    /// leads.
    pub async fn pin_templates(
        &self,
        lease: &Lease,
        changed: &[&Template],
        gone: &[&str],
    ) -> Result<bool, sqlx::Error> {
        if changed.is_empty() && gone.is_empty() {
            return Ok(true);
        }
        let Some(mut tx) = self.fenced(lease, "templates").await? else { return Ok(false) };
        for service in changed.iter().map(|t| t.service.as_str()).chain(gone.iter().copied()) {
            sqlx::query("DELETE FROM templates WHERE service_name = ?")
                .bind(service)
                .execute(&mut **tx)
                .await?;
        }
        for template in changed {
            sqlx::query(
                "INSERT INTO templates (service_name, docker_host, container_id, container_name,
                    labels) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(&template.service)
            .bind(&template.host)
            .bind(&template.id)
            .bind(&template.name)
            .bind(serde_json::json!(template.labels).to_string())
            .execute(&mut **tx)
            .await?;
        }
        tx.commit().await
    }

    /// The name that tells what the scalers of this store made from what others made: chosen once.
    pub async fn owner(&self) -> Result<String, sqlx::Error> {
        let find = async || {
            let found = sqlx::query_scalar("SELECT owner FROM identity WHERE name = ?").bind(NAME);
            found.fetch_optional(&self.pool).await
        };
        if let Some(owner) = find().await? {
            return Ok(owner);
        }
        let fresh = format!("{:016x}", berth::net::random::bits());
        let made = sqlx::query("INSERT INTO identity (name, owner) VALUES (?, ?)")
            .bind(NAME)
            .bind(&fresh)
            .execute(&self.pool)
            .await;
        match made {
            // Another scaler was faster.
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {
                Ok(find().await?.unwrap_or(fresh))
            }
            Err(error) => Err(error),
            Ok(_) => Ok(fresh),
        }
    }
}

fn template(row: &AnyRow) -> Result<Template, sqlx::Error> {
    let labels: String = row.try_get(4)?;
    Ok(Template {
        service: row.try_get(0)?,
        host: row.try_get(1)?,
        id: row.try_get(2)?,
        name: row.try_get(3)?,
        labels: serde_json::from_str(&labels).map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
    })
}
