//! What senders send: the article's alert record, ElastAlert2's `http_post2` payload and
//! Alertmanager's webhook (version 4), told apart by their fields.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::Alert;
use crate::policy::{Action, LONGEST_NAME};

/// More alerts in one body are refused.
const MAX_ALERTS: usize = 100;

/// Reads a body. The error names the field and what was expected.
pub fn parse(body: &[u8]) -> Result<Vec<Alert>, String> {
    let body: Value = serde_json::from_slice(body).map_err(|e| format!("not JSON: {e}"))?;
    let records = match &body {
        Value::Object(fields) => match fields.get("alerts") {
            Some(Value::Array(alerts)) if fields.contains_key("groupKey") => {
                return some(alerts)?.iter().enumerate().map(alertmanager).collect();
            }
            _ => std::slice::from_ref(&body),
        },
        Value::Array(records) => some(records)?,
        _ => return Err("expected an object or a list of objects".to_owned()),
    };
    records.iter().map(record).collect()
}

fn some(alerts: &[Value]) -> Result<&[Value], String> {
    match alerts.len() {
        0 => Err("the list of alerts is empty".to_owned()),
        1..=MAX_ALERTS => Ok(alerts),
        n => Err(format!("expected at most {MAX_ALERTS} alerts, not {n}")),
    }
}

/// The article's record, or what ElastAlert2 posts: one flat object whose values may all be
/// strings.
fn record(body: &Value) -> Result<Alert, String> {
    let fields = body.as_object().ok_or("expected an object for each alert")?;
    if let Some(status) = text(fields, &["Alert_Status", "alert_status"])?
        && status != "unprocessed"
    {
        return Err(format!("Alert_Status: expected \"unprocessed\", not {status:?}"));
    }
    let mut alert = common(fields)?;
    alert.rule = text(fields, &["rule", "rule_name", "alert_name", "alertname"])?;
    let id = text(fields, &["dedup_key", "alert_id", "_id"])?;
    named(alert, id, body)
}

/// One of Alertmanager's alerts: the fields are labels, or else annotations.
fn alertmanager((n, alert): (usize, &Value)) -> Result<Alert, String> {
    let part = |name: &str| match alert.get(name) {
        None => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields.clone()),
        Some(_) => Err(format!("alerts[{n}].{name}: expected an object")),
    };
    let mut fields = part("annotations")?;
    fields.extend(part("labels")?);
    let mut read = common(&fields).map_err(|e| format!("alerts[{n}]: {e}"))?;
    read.rule = text(&fields, &["alertname"])?;
    let of_alert = |name| alert.get(name).and_then(Value::as_str);
    read.resolved = of_alert("status") == Some("resolved");
    let started = of_alert("startsAt").unwrap_or_default();
    let id = of_alert("fingerprint").map(|f| format!("{f} {started} {}", read.resolved));
    named(read, id, alert).map_err(|e| format!("alerts[{n}]: {e}"))
}

fn common(fields: &Map<String, Value>) -> Result<Alert, String> {
    let action = text(fields, &["autoscale_action", "Autoscale_action"])?;
    let action = action.map(|a| a.parse::<Action>()).transpose();
    Ok(Alert {
        policy: text(fields, &["policy_name", "container_policy_name"])?,
        service: text(fields, &["service_name", "container_service_name"])?,
        alert_service: text(fields, &["alert_service_name"])?,
        action: action.map_err(|e| format!("autoscale_action: {e}"))?,
        min: count(fields, &["autoscale_min_instance", "autoscale_min_instances"])?,
        max: count(fields, &["autoscale_max_instance", "autoscale_max_instances"])?,
        ..Alert::default()
    })
}

/// Gives an alert its title and its key: the sender's own, or the digest of all that it says.
fn named(mut alert: Alert, id: Option<String>, body: &Value) -> Result<Alert, String> {
    let names = [&alert.rule, &alert.policy, &alert.service, &alert.alert_service];
    let title = names.into_iter().flatten().next().ok_or(
        "expected policy_name, service_name, alert_service_name or rule, to know what it is for",
    )?;
    alert.title = title.clone();
    let said = match id {
        Some(id) => format!("{title} {:?} {id}", alert.action),
        None => body.to_string(),
    };
    let digest = ring::digest::digest(&ring::digest::SHA256, said.as_bytes());
    for byte in digest.as_ref() {
        let _ = write!(alert.key, "{byte:02x}");
    }
    Ok(alert)
}

/// A field under any of its names; an empty one counts as missing.
fn text(fields: &Map<String, Value>, names: &[&str]) -> Result<Option<String>, String> {
    let Some((name, value)) = find(fields, names) else { return Ok(None) };
    let Value::String(text) = value else {
        return Err(format!("{name}: expected a string, not {value}"));
    };
    match text.trim() {
        "" => Ok(None),
        text if text.len() > LONGEST_NAME => {
            Err(format!("{name}: expected at most {LONGEST_NAME} bytes, not {}", text.len()))
        }
        text if text.chars().any(char::is_control) => {
            Err(format!("{name}: must not hold control characters"))
        }
        text => Ok(Some(text.to_owned())),
    }
}

/// A whole number, as one or as a string.
fn count(fields: &Map<String, Value>, names: &[&str]) -> Result<Option<u32>, String> {
    let Some((name, value)) = find(fields, names) else { return Ok(None) };
    let number = match value {
        Value::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
        Value::String(s) if s.trim().is_empty() => return Ok(None),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    };
    number
        .map(Some)
        .ok_or_else(|| format!("{name}: expected a whole number from 0 on, not {value}"))
}

fn find<'f, 'n>(fields: &'f Map<String, Value>, names: &[&'n str]) -> Option<(&'n str, &'f Value)> {
    let mut found = names.iter().filter_map(|name| Some((*name, fields.get(*name)?)));
    found.find(|(_, value)| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(body: Value) -> Alert {
        let mut alerts = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(alerts.len(), 1);
        alerts.remove(0)
    }

    fn error(body: &Value) -> String {
        parse(body.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn reads_the_articles_record_as_it_is() {
        let alert = one(json!({
            "Alert_Status": "unprocessed", "autoscale_action": "haproxy_scale_up",
            "container_policy_name": "web", "alert_service_name": "haproxy",
            "autoscale_max_instances": 5, "autoscale_min_instances": "2",
            "container_naming_convention": "web_", "metricset": {"host": "a"},
            "docker.container.id": "f00"
        }));
        assert_eq!(alert.policy.as_deref(), Some("web"));
        assert_eq!(alert.action, Some(Action::ScaleUp));
        assert_eq!((alert.min, alert.max), (Some(2), Some(5)));
    }

    #[test]
    fn reads_elastalerts_payload_of_strings() {
        let alert = one(json!({
            "rule": "too many sessions", "service_name": "web", "num_hits": "12",
            "autoscale_max_instance": "7", "@timestamp": "2026-11-23T10:00:00Z", "_id": "abc"
        }));
        assert_eq!(alert.title, "too many sessions");
        assert_eq!((alert.service.as_deref(), alert.max), (Some("web"), Some(7)));
    }

    #[test]
    fn reads_every_alert_of_alertmanagers_webhook() {
        let body = json!({
            "version": "4", "groupKey": "{}:{}", "status": "firing", "alerts": [
                {"status": "firing", "labels": {"alertname": "busy", "service_name": "web"},
                 "annotations": {"autoscale_action": "scale_up"},
                 "startsAt": "2026-11-23T10:00:00Z", "fingerprint": "c0ffee"},
                {"status": "resolved", "labels": {"alertname": "busy", "service_name": "db"},
                 "startsAt": "2026-11-23T10:00:00Z", "fingerprint": "decade"}]
        });
        let alerts = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(alerts[0].action, Some(Action::ScaleUp));
        assert!(!alerts[0].resolved && alerts[1].resolved);
        assert_ne!(alerts[0].key, alerts[1].key);
    }

    #[test]
    fn the_same_alert_has_the_same_key_and_another_one_another() {
        let hits = |n: u32| json!({"rule": "busy", "service_name": "web", "num_hits": n});
        assert_eq!(one(hits(1)).key, one(hits(1)).key);
        assert_ne!(one(hits(1)).key, one(hits(2)).key);
        let with_id = |n: u32| json!({"rule": "busy", "_id": "x", "num_hits": n});
        assert_eq!(one(with_id(1)).key, one(with_id(2)).key, "the sender's own id decides");
    }

    #[test]
    fn says_which_field_is_nonsense() {
        for (body, expected) in [
            (json!(3), "expected an object or a list"),
            (json!([]), "the list of alerts is empty"),
            (json!({"autoscale_action": "scale_up"}), "expected policy_name, service_name"),
            (json!({"rule": "x", "autoscale_action": "up"}), "autoscale_action: expected one of"),
            (json!({"rule": 3}), "rule: expected a string, not 3"),
            (
                json!({"rule": "x", "autoscale_max_instance": -1}),
                "autoscale_max_instance: expected a whole number from 0 on, not -1",
            ),
            (json!({"rule": "x", "Alert_Status": "processed"}), "Alert_Status: expected"),
            (json!({"rule": "a\nb"}), "rule: must not hold control characters"),
            (json!({"rule": "x".repeat(200)}), "rule: expected at most 190 bytes"),
            (json!({"groupKey": "", "alerts": [{"labels": 1}]}), "alerts[0].labels: expected"),
        ] {
            let found = error(&body);
            assert!(found.starts_with(expected), "{body}: {found}");
        }
        assert!(parse(b"{").unwrap_err().starts_with("not JSON"));
    }
}
