//! What senders send: the article's alert record, ElastAlert2's `http_post2` payload, records in
//! the Elastic Common Schema and Alertmanager's webhook (version 4), told apart by their fields.
//!
//! Each alert of a body is read by itself: one that is wrong takes no other with it.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::Alert;
use crate::policy::{Action, Direction, LONGEST_NAME};

/// More alerts in one body are refused, those that are over not counted.
const MAX_ALERTS: usize = 1000;

/// What a body says.
#[derive(Debug, Default)]
pub struct Body {
    /// It was a list of alerts, not one alone.
    pub is_list: bool,
    /// Each alert in its order, or why it was refused.
    pub alerts: Vec<Result<Alert, String>>,
    /// Alerts that are over and say no more than that.
    pub over: usize,
}

/// Reads a body. The error is one of the whole body; it names what was expected.
pub fn parse(body: &[u8]) -> Result<Body, String> {
    let body: Value = serde_json::from_slice(body).map_err(|e| format!("not JSON: {e}"))?;
    match &body {
        Value::Object(fields) => match fields.get("alerts") {
            Some(Value::Array(alerts)) if fields.contains_key("groupKey") => {
                each(alerts, alertmanager)
            }
            _ => Ok(Body { alerts: vec![record(&body)], ..Body::default() }),
        },
        Value::Array(records) => each(records, record),
        _ => Err("expected an object or a list of objects".to_owned()),
    }
}

fn each(alerts: &[Value], read: impl Fn(&Value) -> Result<Alert, String>) -> Result<Body, String> {
    if alerts.is_empty() {
        return Err("the list of alerts is empty".to_owned());
    }
    let mut body = Body { is_list: true, ..Body::default() };
    for (n, alert) in alerts.iter().enumerate() {
        let read = match read(alert) {
            // Whatever else is wrong with one that is over does not matter any more.
            Err(_) if is_over(alert) => {
                body.over += 1;
                continue;
            }
            Ok(alert) if !alert.resolved && body.alerts.len() >= MAX_ALERTS => Err(format!(
                "more than {MAX_ALERTS} alerts in one body: send {:?} again",
                alert.title
            )),
            read => read,
        };
        body.alerts.push(read.map_err(|why| format!("alerts[{n}]: {why}")));
    }
    Ok(body)
}

fn is_over(alert: &Value) -> bool {
    alert.get("status").and_then(Value::as_str) == Some("resolved")
}

/// The article's record, or what ElastAlert2 posts: one object whose values may all be strings.
fn record(body: &Value) -> Result<Alert, String> {
    let fields = body.as_object().ok_or("expected an object for each alert")?;
    if let Some(status) = text(fields, &["Alert_Status", "alert_status"])?
        && status != "unprocessed"
    {
        return Err(format!("Alert_Status: expected \"unprocessed\", not {status:?}"));
    }
    let mut alert = common(fields)?;
    alert.rule = text(fields, &["rule.name", "rule", "rule_name", "alert_name", "alertname"])?;
    let id = id(fields, &["dedup_key", "alert_id", "_id"]);
    named(alert, id, body)
}

/// One of Alertmanager's alerts: the fields are labels, or else annotations.
fn alertmanager(alert: &Value) -> Result<Alert, String> {
    let part = |name: &str| match alert.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields.clone()),
        Some(_) => Err(format!("{name}: expected an object")),
    };
    let mut fields = part("annotations")?;
    fields.extend(part("labels")?);
    let mut read = common(&fields)?;
    read.rule = text(&fields, &["alertname"])?;
    let of_alert = |name| alert.get(name).and_then(Value::as_str);
    read.resolved = is_over(alert);
    let started = of_alert("startsAt").unwrap_or_default();
    let id = of_alert("fingerprint").map(|f| format!("{f} {started} {}", read.resolved));
    named(read, id, alert)
}

fn common(fields: &Map<String, Value>) -> Result<Alert, String> {
    Ok(Alert {
        policy: text(fields, &["policy_name", "container_policy_name"])?,
        service: text(fields, &["service_name", "container_service_name", "service.name"])?,
        alert_service: text(fields, &["alert_service_name"])?,
        action: action(fields)?,
        min: count(fields, &["autoscale_min_instance", "autoscale_min_instances"])?,
        max: count(fields, &["autoscale_max_instance", "autoscale_max_instances"])?,
        ..Alert::default()
    })
}

/// What it asks for: one action, or a list of which one scales. A list that names both directions
/// is what the policy may do, and asks for nothing.
fn action(fields: &Map<String, Value>) -> Result<Option<Action>, String> {
    const NAMES: [&str; 3] = ["autoscale_action", "Autoscale_action", "action"];
    let Some((name, value)) = find(fields, &NAMES) else { return Ok(None) };
    let words: Vec<&str> = match &value {
        Value::String(text) => text.split(',').collect(),
        Value::Array(list) => list
            .iter()
            .map(|v| v.as_str().ok_or_else(|| format!("{name}: expected strings, not {v}")))
            .collect::<Result<_, _>>()?,
        other => return Err(format!("{name}: expected a string, not {other}")),
    };
    let words = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty());
    let actions = words.map(str::parse::<Action>).collect::<Result<Vec<_>, _>>();
    let actions = actions.map_err(|e| format!("{name}: {e}"))?;
    let to = |direction| actions.iter().copied().find(|a| a.direction() == Some(direction));
    Ok(match (to(Direction::Up), to(Direction::Down)) {
        (Some(_), Some(_)) => None,
        (up, down) => up.or(down).or(actions.first().copied()),
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

/// A field under any of its names; an empty one counts as missing, a number as its digits.
fn text(fields: &Map<String, Value>, names: &[&str]) -> Result<Option<String>, String> {
    let Some((name, value)) = find(fields, names) else { return Ok(None) };
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        // Of an object only the parts that have a name here are read.
        Value::Object(_) => return Ok(None),
        _ => return Err(format!("{name}: expected a string, not {value}")),
    };
    match text.as_str() {
        "" => Ok(None),
        text if text.len() > LONGEST_NAME => {
            Err(format!("{name}: expected at most {LONGEST_NAME} bytes, not {}", text.len()))
        }
        text if text.chars().any(char::is_control) => {
            Err(format!("{name}: must not hold control characters"))
        }
        _ => Ok(Some(text)),
    }
}

/// What the sender tells its alerts apart by, whatever it is.
fn id(fields: &Map<String, Value>, names: &[&str]) -> Option<String> {
    match find(fields, names)?.1 {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        other => Some(other.to_string()),
    }
}

/// A whole number, as one, as `5.0` or as a string.
fn count(fields: &Map<String, Value>, names: &[&str]) -> Result<Option<u32>, String> {
    let Some((name, value)) = find(fields, names) else { return Ok(None) };
    let number = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) if s.trim().is_empty() => return Ok(None),
        Value::String(s) => s.trim().parse::<f64>().ok(),
        _ => None,
    };
    let whole = number.filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n));
    whole
        .map(|n| Some(n as u32))
        .ok_or_else(|| format!("{name}: expected a whole number from 0 on, not {value}"))
}

/// The first of `names` that is there. A name with a dot is a key with a dot, or a key of an object
/// in another.
fn find<'f, 'n>(fields: &'f Map<String, Value>, names: &[&'n str]) -> Option<(&'n str, &'f Value)> {
    let at = |name: &str| {
        let nested = || {
            let (outer, inner) = name.split_once('.')?;
            fields.get(outer)?.get(inner)
        };
        fields.get(name).or_else(nested).filter(|value| !value.is_null())
    };
    names.iter().find_map(|name| Some((*name, at(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(body: Value) -> Alert {
        let [Ok(alert)] = &read(&body).alerts[..] else { panic!("one: {body}") };
        alert.clone()
    }

    fn read(body: &Value) -> Body {
        parse(body.to_string().as_bytes()).unwrap()
    }

    /// Of the whole body or else of its first alert.
    fn error(body: &Value) -> String {
        parse(body.to_string().as_bytes()).map_or_else(|e| e, |b| b.alerts[0].clone().unwrap_err())
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
        let alerts: Vec<Alert> = read(&body).alerts.into_iter().map(Result::unwrap).collect();
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
    fn reads_leniently_what_is_only_an_id_or_a_hint() {
        let ecs = one(json!({
            "rule": {"name": "busy", "id": 7}, "service": {"name": "web", "type": "x"},
            "alert_id": 17, "autoscale_max_instance": 5.0, "autoscale_min_instance": "2.0",
            "autoscale_action": "service_availability, scale_down"
        }));
        assert_eq!((ecs.title.as_str(), ecs.service.as_deref()), ("busy", Some("web")));
        assert_eq!((ecs.min, ecs.max, ecs.action), (Some(2), Some(5), Some(Action::ScaleDown)));
        let flat = one(json!({"rule.name": "busy", "service.name": "web", "alert_id": 17}));
        assert_eq!((flat.title.as_str(), flat.service.as_deref()), ("busy", Some("web")));
        let with_id = |id: Value| one(json!({"rule": "busy", "alert_id": id, "hits": 1})).key;
        assert_eq!(with_id(json!(17)), with_id(json!("17")), "a number is its digits");
        assert_ne!(with_id(json!(17)), with_id(json!(18)));
        let policys = one(json!({"rule": "x", "autoscale_action": ["scale_up", "scale_down"]}));
        assert_eq!(policys.action, None, "what may be done is not what is asked for");
    }

    #[test]
    fn one_wrong_alert_takes_no_other_with_it() {
        let fine = json!({"labels": {"alertname": "busy", "action": "scale_down"}});
        let wrong = json!({"labels": {"alertname": "busy", "autoscale_action": "up"}});
        let mut over = wrong.clone();
        over["status"] = json!("resolved");
        let body = read(&json!({"groupKey": "", "alerts": [wrong, over, fine]}));
        assert_eq!((body.is_list, body.over, body.alerts.len()), (true, 1, 2));
        let why = body.alerts[0].as_ref().unwrap_err();
        assert!(why.starts_with("alerts[0]: autoscale_action: expected one of"), "{why}");
        assert_eq!(body.alerts[1].as_ref().unwrap().action, Some(Action::ScaleDown));
        let many: Vec<Value> =
            (0..MAX_ALERTS + 2).map(|n| json!({"rule": "x", "_id": n})).collect();
        let body = read(&json!(many));
        assert_eq!(body.alerts.iter().filter(|a| a.is_err()).count(), 2);
    }

    #[test]
    fn says_which_field_is_nonsense() {
        for (body, expected) in [
            (json!(3), "expected an object or a list"),
            (json!([]), "the list of alerts is empty"),
            (json!({"autoscale_action": "scale_up"}), "expected policy_name, service_name"),
            (json!({"rule": "x", "autoscale_action": "up"}), "autoscale_action: expected one of"),
            (json!({"rule": true}), "rule: expected a string, not true"),
            (json!({"rule": "x", "action": "page"}), "action: expected one of"),
            (
                json!({"rule": "x", "autoscale_action": "scale_up_node"}),
                "autoscale_action: scale_up_node needs a group of nodes",
            ),
            (
                json!({"rule": "x", "autoscale_max_instance": 2.5}),
                "autoscale_max_instance: expected a whole number from 0 on, not 2.5",
            ),
            (
                json!({"rule": "x", "autoscale_max_instance": -1}),
                "autoscale_max_instance: expected a whole number from 0 on, not -1",
            ),
            (json!({"rule": "x", "Alert_Status": "processed"}), "Alert_Status: expected"),
            (json!({"rule": "a\nb"}), "rule: must not hold control characters"),
            (json!({"rule": "x".repeat(200)}), "rule: expected at most 190 bytes"),
            (json!({"groupKey": "", "alerts": [{"labels": 1}]}), "alerts[0]: labels: expected"),
        ] {
            let found = error(&body);
            assert!(found.starts_with(expected), "{body}: {found}");
        }
        assert!(parse(b"{").unwrap_err().starts_with("not JSON"));
    }
}
