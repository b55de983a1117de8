//! The policy table: the article's columns, and the rest of a policy as the text that would stand
//! in its `[[policy]]` table.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Store;
use crate::config::{Sources, parse_policies};
use crate::policy::Policy;

/// One row as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRow {
    /// `policy_name`.
    pub policy_name: String,
    /// `service_name`.
    pub service_name: String,
    /// `alert_service_name`.
    pub alert_service_name: Option<String>,
    /// `naming_convention`.
    pub naming_convention: Option<String>,
    /// `autoscale_min_instance`.
    pub min: Option<i64>,
    /// `autoscale_max_instance`.
    pub max: i64,
    /// `autoscale_action`: one or several, separated by commas.
    pub autoscale_action: Option<String>,
    /// Everything else, as in the file: `down = { window = "2m" }`, `[[policy.metric]]`, …
    pub settings: Option<String>,
}

impl PolicyRow {
    /// The row as the table that a file would have.
    fn to_toml(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = format!(
            "[[policy]]\npolicy_name = {}\nservice_name = {}\nautoscale_max_instance = {}\n",
            quoted(&self.policy_name),
            quoted(&self.service_name),
            self.max
        );
        let texts = [
            ("alert_service_name", &self.alert_service_name),
            ("naming_convention", &self.naming_convention),
        ];
        for (key, value) in texts {
            if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
                text += &format!("{key} = {}\n", quoted(value));
            }
        }
        if let Some(min) = self.min {
            text += &format!("autoscale_min_instance = {min}\n");
        }
        if let Some(actions) = self.autoscale_action.as_deref().filter(|v| !v.is_empty()) {
            let actions: Vec<String> = actions.split(',').map(|a| quoted(a.trim())).collect();
            text += &format!("autoscale_action = [{}]\n", actions.join(", "));
        }
        text + self.settings.as_deref().unwrap_or_default()
    }

    /// The row as a policy; the error names the field.
    pub fn parse(&self, sources: &Sources) -> Result<Policy, String> {
        let read = parse_policies(&self.to_toml(), sources).map_err(|errors| {
            let words: Vec<String> =
                errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
            words.join("; ")
        })?;
        match <[Policy; 1]>::try_from(read) {
            Ok([policy]) => Ok(policy),
            Err(_) => Err("settings must not begin another [[policy]]".to_owned()),
        }
    }
}

impl Store {
    /// Every row of the policy table that can be read.
    pub async fn policy_rows(&self) -> Result<Vec<PolicyRow>, sqlx::Error> {
        let sql = "SELECT policy_name, service_name, alert_service_name, naming_convention,
                    autoscale_min_instance, autoscale_max_instance, autoscale_action, settings
             FROM policies ORDER BY policy_name";
        self.readable(sql, policy).await
    }

    /// Writes one row, in place of one of the same name.
    pub async fn put_policy_row(&self, row: &PolicyRow) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM policies WHERE policy_name = ?")
            .bind(&row.policy_name)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO policies (policy_name, service_name, alert_service_name,
                naming_convention, autoscale_min_instance, autoscale_max_instance,
                autoscale_action, settings) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&row.policy_name)
        .bind(&row.service_name)
        .bind(&row.alert_service_name)
        .bind(&row.naming_convention)
        .bind(row.min)
        .bind(row.max)
        .bind(&row.autoscale_action)
        .bind(&row.settings)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}

fn policy(row: &AnyRow) -> Result<PolicyRow, sqlx::Error> {
    Ok(PolicyRow {
        policy_name: row.try_get(0)?,
        service_name: row.try_get(1)?,
        alert_service_name: row.try_get(2)?,
        naming_convention: row.try_get(3)?,
        min: row.try_get(4)?,
        max: row.try_get(5)?,
        autoscale_action: row.try_get(6)?,
        settings: row.try_get(7)?,
    })
}
