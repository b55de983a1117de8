//! Prometheus' HTTP API: instant queries that yield one number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::StreamExt;
use serde_json::Value;

use super::over_http::HttpSource;
use crate::config::ClientTls;
use crate::config::reader::{Fields, Value as Field};
use crate::executor::BoxFuture;
use crate::http::{Client, percent_encoded};
use crate::observation::Reading;
use crate::policy::Query;
use crate::ports::{Question, Source, SourceKind, SourceSettings, World};
use crate::timestamp::Timestamp;

/// Queries that run at once.
const AT_ONCE: usize = 8;

/// `[[source]] kind = "prometheus"`.
pub static KIND: SourceKind = SourceKind {
    name: "prometheus",
    has_own_table: true,
    settings: |f| Some(Arc::new(Settings(HttpSource::read(f)?))),
    keys: &["query"],
    bind,
};

/// A metric's question is its query, in PromQL.
fn bind(f: &Fields<'_>) -> Option<Value> {
    f.req("query", "a query that yields one number", Field::text).map(Value::String)
}

#[derive(Debug)]
struct Settings(HttpSource);

impl SourceSettings for Settings {
    fn open(&self, world: &World<'_>) -> Result<Box<dyn Source>> {
        Ok(Box::new(Prometheus::new(&self.0, world.patience)?))
    }

    fn hosts(&self) -> Vec<(&'static str, String)> {
        vec![("url", self.0.url.clone())]
    }

    fn tls(&self) -> Option<&ClientTls> {
        self.0.tls.as_ref()
    }
}

/// One Prometheus server, or whatever speaks its API.
#[derive(Debug)]
pub struct Prometheus {
    client: Client,
    url: String,
    /// The time that each answer bore, and when that was first seen.
    told: HashMap<String, (Timestamp, Instant)>,
}

impl Prometheus {
    /// Reads certificates; connects to nobody yet.
    pub fn new(source: &HttpSource, patience: Duration) -> Result<Self> {
        Ok(Self {
            client: source.client(patience)?,
            url: source.url_with("/api/v1/query"),
            told: HashMap::new(),
        })
    }

    async fn ask<'q>(&self, query: &'q str) -> (&'q str, Reading) {
        let body = format!("query={}", percent_encoded(query));
        let reading =
            match self.client.post(&self.url, "application/x-www-form-urlencoded", body).await {
                Ok(answer) => read(&answer),
                Err(error) => Reading::Error(format!("{}: {error:#}", shown(&self.url))),
            };
        (query, reading)
    }

    /// How long the same answer has been told, by our own clock; `None` for a new one. Prometheus
    /// tells the time of the question by its own clock, which may be wrong; something that keeps
    /// answers in between tells the same one again.
    fn age(&mut self, query: &str, told: Timestamp, seen: Instant) -> Option<Duration> {
        match self.told.get(query) {
            Some((before, since)) if *before == told => Some(seen.duration_since(*since)),
            _ => {
                self.told.insert(query.to_owned(), (told, seen));
                None
            }
        }
    }
}

/// A URL without what may be a key.
fn shown(url: &str) -> &str {
    url.split_once('?').map_or(url, |(url, _)| url)
}

impl Source for Prometheus {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async move {
            let mut queries: Vec<&str> = questions.iter().filter_map(|q| text(&q.query)).collect();
            queries.sort_unstable();
            queries.dedup();
            let asked: Vec<_> = queries.into_iter().map(|query| self.ask(query)).collect();
            let mut answers: HashMap<&str, Reading> =
                futures_util::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
            let seen = Instant::now();
            self.told.retain(|query, _| answers.contains_key(query.as_str()));
            for (query, reading) in &mut answers {
                if let Reading::Value { at, .. } | Reading::AtLeast { at, .. } = reading {
                    *at = self.age(query, *at, seen).map_or(now, |age| now - age);
                }
            }
            let answer = |q: &Question| answers.get(text(&q.query)?).cloned();
            questions.iter().map(|q| answer(q).unwrap_or(Reading::Missing)).collect()
        })
    }
}

fn text(query: &Query) -> Option<&str> {
    query.asks.as_str()
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
            let at = Timestamp((at * 1000.0) as i64);
            match partial(&answer) {
                Some(why) => Reading::AtLeast { v, at, why },
                None => Reading::Value { v, at },
            }
        }
        // 0/0: there was nothing to divide.
        (Some(_), Some(v)) if v.is_nan() => Reading::Missing,
        _ => error("the sample is no number"),
    }
}

/// Why a part of the answer may be missing: Thanos, Mimir and Prometheus' remote reads answer with
/// success and `warnings`, VictoriaMetrics with `isPartial`.
fn partial(answer: &Value) -> Option<String> {
    let warnings = answer["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first = warnings.first().map(|w| w.as_str().unwrap_or("a warning without words"));
    let partial = answer["isPartial"] == true;
    first.or(partial.then_some("the answer is partial")).map(|why| why.chars().take(200).collect())
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
        for partial in [r#""warnings":["store a is away"]"#, r#""isPartial":true"#] {
            let answer = format!(
                r#"{{"status":"success",{partial},"data":{{"resultType":"scalar","result":[1,"4"]}}}}"#
            );
            let reading = read(answer.as_bytes());
            assert!(matches!(reading, Reading::AtLeast { v: 4.0, .. }), "{reading:?}");
        }
        let failed = read(br#"{"status":"error","error":"parse error: x"}"#);
        assert_eq!(failed, Reading::Error("prometheus: parse error: x".to_owned()));
        assert!(matches!(read(b"<html>"), Reading::Error(_)));
    }

    #[test]
    fn an_answer_is_as_old_as_it_has_been_told_whatever_its_clock_says() {
        let source = HttpSource { url: "http://h/".to_owned(), ..HttpSource::default() };
        let mut source = Prometheus::new(&source, Duration::from_secs(1)).unwrap();
        let start = Instant::now();
        let mut age = |told, secs| {
            source.age("up", Timestamp::from_secs(told), start + Duration::from_secs(secs))
        };
        assert_eq!(age(900, 0), None, "a clock that is far behind");
        assert_eq!(age(905, 5), None);
        assert_eq!(age(905, 65), Some(Duration::from_secs(60)), "the same answer again");
        assert_eq!(age(100, 70), None, "its clock was set back");
    }

    #[test]
    fn a_query_survives_the_form() {
        assert_eq!(percent_encoded("sum(a{b=\"c d\"})+1"), "sum%28a%7Bb%3D%22c%20d%22%7D%29%2B1");
    }
}
