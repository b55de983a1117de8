//! NATS JetStream: what a consumer has still to do, by the server's monitoring port (`/jsz`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::over_http::HttpSource;
use crate::config::ClientTls;
use crate::config::reader::{Fields, Value as Field};
use crate::executor::BoxFuture;
use crate::http::Client;
use crate::observation::Reading;
use crate::ports::{Question, Source, SourceKind, SourceSettings, World};
use crate::timestamp::Timestamp;

/// `[[source]] kind = "nats"`.
pub static KIND: SourceKind = SourceKind {
    name: "nats",
    has_own_table: false,
    settings: |f| Some(Arc::new(Settings(HttpSource::read(f)?))),
    keys: &["account", "stream", "consumer"],
    bind,
};

/// What a metric asks for.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// Needed only where several accounts have such a consumer.
    account: Option<String>,
    stream: String,
    consumer: String,
}

fn bind(f: &Fields<'_>) -> Option<Value> {
    let account = f.opt("account", Field::text);
    let stream = f.req("stream", "a stream's name", Field::text);
    let consumer = f.req("consumer", "the name of a consumer of the stream", Field::text);
    serde_json::to_value(Asked { account, stream: stream?, consumer: consumer? }).ok()
}

#[derive(Debug)]
struct Settings(HttpSource);

impl SourceSettings for Settings {
    fn open(&self, world: &World<'_>) -> Result<Box<dyn Source>> {
        Ok(Box::new(Nats::new(&self.0, world.patience)?))
    }

    fn hosts(&self) -> Vec<(&'static str, String)> {
        vec![("url", self.0.url.clone())]
    }

    fn tls(&self) -> Option<&ClientTls> {
        self.0.tls.as_ref()
    }
}

/// One NATS server.
#[derive(Debug)]
struct Nats {
    client: Client,
    url: String,
}

impl Nats {
    fn new(source: &HttpSource, patience: Duration) -> Result<Self> {
        let query = if source.url.contains('?') { "" } else { "?accounts=1&streams=1&consumers=1" };
        let url = format!("{}{query}", source.url_with("/jsz"));
        Ok(Self { client: source.client(patience)?, url })
    }
}

impl Source for Nats {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question<'a>],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async move {
            match self.client.json(&self.url).await {
                Err(error) => vec![Reading::Error(format!("nats: {error:#}")); questions.len()],
                Ok(answer) => questions
                    .iter()
                    .map(|q| q.query.asked().map_or(Reading::Missing, |a| backlog(&answer, &a, now)))
                    .collect(),
            }
        })
    }
}

/// Messages that the consumer has not been given, and those that it has not acknowledged.
fn backlog(answer: &Value, asked: &Asked, now: Timestamp) -> Reading {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let named = |value: &Value, name: &str| value["name"] == name;
    let accounts = list(&answer["account_details"]).into_iter().filter(|account| {
        asked.account.as_ref().is_none_or(|wanted| named(account, wanted))
    });
    let streams = accounts.flat_map(|account| list(&account["stream_detail"]));
    let consumers = streams
        .filter(|stream| named(stream, &asked.stream))
        .flat_map(|stream| list(&stream["consumer_detail"]))
        .filter(|consumer| named(consumer, &asked.consumer));
    match &consumers.collect::<Vec<_>>()[..] {
        [] => Reading::Missing,
        [one] => match (one["num_pending"].as_u64(), one["num_ack_pending"].as_u64()) {
            (Some(waiting), Some(given)) => Reading::Value { v: (waiting + given) as f64, at: now },
            _ => Reading::Error("nats: the consumer has no num_pending and num_ack_pending".to_owned()),
        },
        _ => Reading::Error("nats: several accounts have such a consumer: say which account".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_backlog_is_what_waits_and_what_is_not_acknowledged() {
        let account = |name: &str, waiting: u64| {
            json!({"name": name, "stream_detail": [{"name": "ORDERS", "consumer_detail": [
                {"name": "worker", "num_pending": waiting, "num_ack_pending": 2}]}]})
        };
        let ask = |answer: &Value, account: Option<&str>, consumer: &str| {
            let account = account.map(str::to_owned);
            let asked = Asked { account, stream: "ORDERS".to_owned(), consumer: consumer.to_owned() };
            backlog(answer, &asked, Timestamp(7))
        };
        let one = json!({"account_details": [account("$G", 3)]});
        assert_eq!(ask(&one, None, "worker"), Reading::Value { v: 5.0, at: Timestamp(7) });
        assert_eq!(ask(&one, None, "other"), Reading::Missing);
        assert_eq!(ask(&json!([]), None, "worker"), Reading::Missing);
        let two = json!({"account_details": [account("a", 3), account("b", 4)]});
        assert!(matches!(ask(&two, None, "worker"), Reading::Error(_)));
        assert_eq!(ask(&two, Some("b"), "worker"), Reading::Value { v: 6.0, at: Timestamp(7) });
    }
}
