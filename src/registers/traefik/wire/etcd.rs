//! etcd's API version 3 over its HTTP gateway: JSON with keys and values in base64.

use std::io;

use domain::utils::base64;
use serde::Deserialize;

use super::keys::Pair;

/// A request: its path and body.
pub(in crate::registers::traefik) type Request = (&'static str, String);

/// Every answer that matters here, whichever request it is to: one type, one parser.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::registers::traefik) struct Answer {
    kvs: Vec<Kv>,
    #[serde(rename = "ID")]
    lease: Option<String>,
    #[serde(rename = "TTL")]
    ttl: Option<String>,
    result: Option<Box<Answer>>,
    responses: Vec<Part>,
    token: Option<String>,
    error: Option<Words>,
}

/// An error, which a stream wraps once more.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    Plain(String),
    Wrapped { message: String },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kv {
    key: String,
    value: String,
    lease: Option<String>,
}

/// What one part of a transaction has brought.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    response_range: Answer,
}

/// What the store has under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registers::traefik) struct Found {
    pub(in crate::registers::traefik) key: String,
    pub(in crate::registers::traefik) value: String,
    /// The lease that it is under.
    pub(in crate::registers::traefik) lease: Option<String>,
}

impl Answer {
    /// Reads an answer, or what is refused in etcd's words.
    pub(in crate::registers::traefik) fn parse(body: &[u8]) -> io::Result<Self> {
        serde_json::from_slice(body).map_err(|_| {
            let said = String::from_utf8_lossy(&body[..body.len().min(40)]);
            let problem = format!("this is not etcd: it says '{}'", said.escape_debug());
            io::Error::new(io::ErrorKind::InvalidData, problem)
        })
    }

    pub(in crate::registers::traefik) fn refusal(&self) -> Option<&str> {
        match self.error.as_ref()? {
            Words::Plain(words) | Words::Wrapped { message: words } => Some(words),
        }
    }

    /// The keys that were asked for; those that are not valid UTF-8 are none of ours.
    pub(in crate::registers::traefik) fn found(&self) -> Vec<Found> {
        let text = |encoded: &str| String::from_utf8(base64::decode(encoded).ok()?).ok();
        let found = |kv: &Kv| {
            let (key, value) = (text(&kv.key)?, text(&kv.value)?);
            Some(Found { key, value, lease: kv.lease.clone() })
        };
        self.kvs.iter().filter_map(found).collect()
    }

    /// What is under each of the keys that were asked for at once.
    pub(in crate::registers::traefik) fn parts(&self) -> Vec<Option<Found>> {
        let first = |part: &Part| part.response_range.found().into_iter().next();
        self.responses.iter().map(first).collect()
    }

    /// The lease that was granted: digits alone, since it goes into the next requests.
    pub(in crate::registers::traefik) fn granted(&self) -> Option<String> {
        let digits = |id: &&String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        self.lease.as_ref().filter(digits).cloned()
    }

    /// Whether a lease that was kept alive is there still.
    pub(in crate::registers::traefik) fn is_alive(&self) -> bool {
        let ttl = self.result.as_ref().and_then(|result| result.ttl.as_ref());
        ttl.is_some_and(|ttl| ttl != "0")
    }

    /// The token that stands for name and password.
    pub(in crate::registers::traefik) fn token(&self) -> Option<&str> {
        let plain = |token: &&str| token.bytes().all(|byte| byte.is_ascii_graphic());
        self.token.as_deref().filter(plain)
    }
}

pub(in crate::registers::traefik) fn authenticate(name: &str, password: &str) -> Request {
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let body = format!("{{\"name\":{},\"password\":{}}}", quoted(name), quoted(password));
    ("/v3/auth/authenticate", body)
}

pub(in crate::registers::traefik) fn grant(seconds: u64) -> Request {
    ("/v3/lease/grant", format!("{{\"TTL\":\"{seconds}\"}}"))
}

pub(in crate::registers::traefik) fn keep_alive(lease: &str) -> Request {
    ("/v3/lease/keepalive", format!("{{\"ID\":\"{lease}\"}}"))
}

pub(in crate::registers::traefik) fn revoke(lease: &str) -> Request {
    ("/v3/lease/revoke", format!("{{\"ID\":\"{lease}\"}}"))
}

/// Several keys at once.
pub(in crate::registers::traefik) fn get_all(keys: &[&str]) -> Request {
    let range = |key: &&str| format!("{{\"request_range\":{{\"key\":\"{}\"}}}}", encoded(key));
    let ranges: Vec<_> = keys.iter().map(range).collect();
    ("/v3/kv/txn", format!("{{\"success\":[{}]}}", ranges.join(",")))
}

/// All keys that begin with `prefix`, but not more than a thousand.
pub(in crate::registers::traefik) fn list(prefix: &str) -> Request {
    // The first key after them: one that ends in the next letter.
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let (key, end) = (encoded(prefix), base64::encode_string(&end));
    let body = format!("{{\"key\":\"{key}\",\"range_end\":\"{end}\",\"limit\":\"1000\"}}");
    ("/v3/kv/range", body)
}

/// Puts a key under a lease.
pub(in crate::registers::traefik) fn put((key, value): &Pair, lease: &str) -> Request {
    let (key, value) = (encoded(key), encoded(value));
    let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\",\"lease\":\"{lease}\"}}");
    ("/v3/kv/put", body)
}

/// Puts a key for good, unless it is there.
pub(in crate::registers::traefik) fn add((key, value): &Pair) -> Request {
    let (key, value) = (encoded(key), encoded(value));
    let body = format!(
        "{{\"compare\":[{{\"key\":\"{key}\",\"target\":\"VERSION\",\"version\":\"0\"}}],\
         \"success\":[{{\"request_put\":{{\"key\":\"{key}\",\"value\":\"{value}\"}}}}]}}"
    );
    ("/v3/kv/txn", body)
}

/// Puts and deletes several keys for good, in one step.
pub(in crate::registers::traefik) fn set_all(keys: &[(String, Option<String>)]) -> Request {
    let change = |(key, value): &(String, Option<String>)| {
        let key = encoded(key);
        match value {
            Some(value) => {
                let value = encoded(value);
                format!("{{\"request_put\":{{\"key\":\"{key}\",\"value\":\"{value}\"}}}}")
            }
            None => format!("{{\"request_delete_range\":{{\"key\":\"{key}\"}}}}"),
        }
    };
    let changes: Vec<_> = keys.iter().map(change).collect();
    ("/v3/kv/txn", format!("{{\"success\":[{}]}}", changes.join(",")))
}

pub(in crate::registers::traefik) fn delete(key: &str) -> Request {
    ("/v3/kv/deleterange", format!("{{\"key\":\"{}\"}}", encoded(key)))
}

fn encoded(text: &str) -> String {
    base64::encode_string(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn answers_as_etcd_3_4_gives_them() {
        let granted = answer(r#"{"header":{"revision":"1"},"ID":"5821362192687590412","TTL":"5"}"#);
        assert_eq!(granted.granted().as_deref(), Some("5821362192687590412"));
        let range =
            r#"{"kvs":[{"key":"eA==","version":"1","value":"eQ==","lease":"77"}],"count":"1"}"#;
        let found = Found { key: "x".into(), value: "y".into(), lease: Some("77".into()) };
        assert_eq!(answer(range).found(), [found]);
        assert!(answer(r#"{"header":{}}"#).found().is_empty());
        let both = r#"{"succeeded":true,"responses":[{"response_range":{"kvs":[{"key":"eA==","value":"eQ=="}]}},{"response_range":{"header":{}}}]}"#;
        assert!(matches!(&answer(both).parts()[..], [Some(found), None] if found.value == "y"));
        assert!(answer(r#"{"result":{"ID":"77","TTL":"5"}}"#).is_alive());
        assert!(!answer(r#"{"result":{"ID":"77"}}"#).is_alive());
        let refused = r#"{"error":"etcdserver: requested lease not found","message":"x","code":5}"#;
        assert_eq!(answer(refused).refusal(), Some("etcdserver: requested lease not found"));
        let streamed =
            r#"{"error":{"grpc_code":16,"http_code":401,"message":"invalid auth token"}}"#;
        assert_eq!(answer(streamed).refusal(), Some("invalid auth token"));
    }

    #[test]
    fn nothing_of_an_answer_gets_into_a_request_unread() {
        assert_eq!(answer(r#"{"ID":"1\"}"}"#).granted(), None);
        assert_eq!(answer(r#"{"token":"a\r\nHost: x"}"#).token(), None);
        assert!(Answer::parse(b"<html>").is_err());
    }

    #[test]
    fn a_list_ends_before_the_next_letter() {
        let (_, body) = list("a/");
        assert_eq!(body, r#"{"key":"YS8=","range_end":"YTA=","limit":"1000"}"#);
    }

    #[test]
    fn names_are_quoted() {
        let (_, body) = authenticate("a\"b", "c\\d");
        assert_eq!(body, r#"{"name":"a\"b","password":"c\\d"}"#);
    }
}
