//! The inlet for alerts: what they look like and the listener that takes them in.
//!
//! An alert is a hint. It is stored before it is answered, and acted upon by the loop, once.

use serde::{Deserialize, Serialize};

use crate::policy::{Action, Policy};

pub mod format;
pub mod inlet;

/// An alert, whoever sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// Two alerts with one key are the same alert.
    pub key: String,
    /// What it is called, for people.
    pub title: String,
    /// `policy_name` or `container_policy_name`.
    pub policy: Option<String>,
    /// `service_name` or `container_service_name`.
    pub service: Option<String>,
    /// `alert_service_name`.
    pub alert_service: Option<String>,
    /// The rule that fired it, where the sender has rules.
    pub rule: Option<String>,
    /// `autoscale_action`.
    pub action: Option<Action>,
    /// `autoscale_min_instances`.
    pub min: Option<u32>,
    /// `autoscale_max_instances`.
    pub max: Option<u32>,
    /// The sender says that it is over.
    pub resolved: bool,
}

impl Alert {
    /// The policy that it is for and what it asks of it. The error says what is missing.
    pub fn order<'p>(
        &self,
        policies: impl Iterator<Item = &'p Policy> + Clone,
    ) -> Result<(&'p Policy, Action), String> {
        let policy = self.find(policies)?;
        let action = match self.action {
            Some(action) if action.is_for_nodes() => Err(action.no_nodes()),
            Some(action) => Ok(action),
            None => policy.actions.only(),
        };
        Ok((policy, action.map_err(|why| format!("policy {}: {why}", policy.name))?))
    }

    /// The policy that it is for: by policy, service or rule, in this order. The error says what
    /// was looked for.
    pub fn find<'p>(
        &self,
        policies: impl Iterator<Item = &'p Policy> + Clone,
    ) -> Result<&'p Policy, String> {
        if let Some(name) = &self.policy {
            let mut policies = policies;
            return policies
                .find(|p| p.name == *name)
                .ok_or_else(|| format!("no policy is called {name:?}"));
        }
        let by = |matches: &dyn Fn(&Policy) -> bool| policies.clone().find(|p| matches(p));
        let service = self.service.as_ref().and_then(|s| by(&|p| p.service == *s));
        let watched = self.alert_service.as_ref().and_then(|s| by(&|p| p.alert_service == *s));
        let rule = self.rule.as_ref().and_then(|r| by(&|p| p.name == *r || p.service == *r));
        service.or(watched).or(rule).ok_or_else(|| {
            let looked: Vec<String> = [
                ("service_name", &self.service),
                ("alert_service_name", &self.alert_service),
                ("rule", &self.rule),
            ]
            .iter()
            .filter_map(|(field, value)| Some(format!("{field} {:?}", value.as_ref()?)))
            .collect();
            match looked.is_empty() {
                true => "it names no policy_name, service_name, alert_service_name or rule".into(),
                false => format!("no policy has {}", looked.join(" or ")),
            }
        })
    }
}
