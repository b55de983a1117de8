//! Prometheus' HTTP API: instant queries that yield one number.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use serde_json::Value;

use super::{Question, Source};
use crate::config::HttpSource;
use crate::executor::BoxFuture;
use crate::http::Client;
use crate::observation::Reading;
use crate::policy::Query;
use crate::timestamp::Timestamp;

/// Queries that run at once.
const AT_ONCE: usize = 8;

/// One Prometheus server, or whatever speaks its API.
#[derive(Debug)]
pub struct Prometheus {
    client: Client,
    url: String,
}

impl Prometheus {
    /// Reads certificates; connects to nobody yet.
    pub fn new(source: &HttpSource, patience: Duration) -> Result<Self> {
        Ok(Self {
            client: Client::new(source.tls.as_ref(), source.token.as_ref(), patience)?
                .with_user(source.user.as_ref())?,
            url: format!("{}/api/v1/query", source.url.trim_end_matches('/')),
        })
    }

    async fn ask<'q>(&self, query: &'q str) -> (&'q str, Reading) {
        let body = format!("query={}", form_encoded(query));
        let reading =
            match self.client.post(&self.url, "application/x-www-form-urlencoded", body).await {
                Ok(answer) => read(&answer),
                Err(error) => Reading::Error(format!("{}: {error:#}", self.url)),
            };
        (query, reading)
    }
}

impl Source for Prometheus {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question<'a>],
        _: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async {
            let mut queries: Vec<&str> = questions.iter().filter_map(|q| text(q.query)).collect();
            queries.sort_unstable();
            queries.dedup();
            let asked: Vec<_> = queries.into_iter().map(|query| self.ask(query)).collect();
            let answers: HashMap<&str, Reading> =
                futures_util::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
            let answer = |q: &Question<'_>| answers.get(text(q.query)?).cloned();
            questions.iter().map(|q| answer(q).unwrap_or(Reading::Missing)).collect()
        })
    }
}

fn text(query: &Query) -> Option<&str> {
    match query {
        Query::Prometheus { query, .. } => Some(query),
        _ => None,
    }
}

/// The one number of an answer (HTTP API, "Instant queries").
fn read(answer: &[u8]) -> Reading {
    let error = |why: &str| Reading::Error(format!("prometheus: {why}"));
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return error("the answer is not JSON");
    };
    if answer["status"] != "success" {
        return error(answer["error"].as_str().unwrap_or("the answer has no status"));
    }
    let result = &answer["data"]["result"];
    let sample = match answer["data"]["resultType"].as_str() {
        Some("scalar") => result,
        Some("vector") => match result.as_array().map(Vec::as_slice) {
            Some([]) => return Reading::Missing,
            Some([one]) => &one["value"],
            Some(many) => {
                return error(&format!("{} series, not one: aggregate, as with sum()", many.len()));
            }
            None => return error("the answer has no result"),
        },
        other => return error(&format!("expected a vector or a scalar, not {other:?}")),
    };
    let number = sample[1].as_str().and_then(|text| text.parse::<f64>().ok());
    match (sample[0].as_f64(), number) {
        (Some(at), Some(v)) if v.is_finite() => {
            Reading::Value { v, at: Timestamp((at * 1000.0) as i64) }
        }
        // 0/0: there was nothing to divide.
        (Some(_), Some(v)) if v.is_nan() => Reading::Missing,
        _ => error("the sample is no number"),
    }
}

fn form_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_number_and_nothing_else() {
        let vector = |result: &str| {
            read(
                format!(
                    r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#
                )
                .as_bytes(),
            )
        };
        let value = Reading::Value { v: 4.5, at: Timestamp(1_700_000_000_250) };
        assert_eq!(vector(r#"[{"metric":{},"value":[1700000000.25,"4.5"]}]"#), value);
        assert_eq!(vector("[]"), Reading::Missing);
        assert_eq!(vector(r#"[{"metric":{},"value":[1700000000,"NaN"]}]"#), Reading::Missing);
        for nonsense in [
            r#"[{"value":[1,"1"]},{"value":[1,"2"]}]"#,
            r#"[{"value":[1,"+Inf"]}]"#,
            r#"[{"value":[1,1]}]"#,
            r#"[{"value":"1"}]"#,
            "{}",
        ] {
            assert!(matches!(vector(nonsense), Reading::Error(_)), "{nonsense}");
        }
        let failed = read(br#"{"status":"error","error":"parse error: x"}"#);
        assert_eq!(failed, Reading::Error("prometheus: parse error: x".to_owned()));
        assert!(matches!(read(b"<html>"), Reading::Error(_)));
    }

    #[test]
    fn a_query_survives_the_form() {
        assert_eq!(form_encoded("sum(a{b=\"c d\"})+1"), "sum%28a%7Bb%3D%22c%20d%22%7D%29%2B1");
    }
}
