//! RabbitMQ: a queue's messages and consumers, by the management plugin's API.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::over_http::HttpSource;
use crate::config::ClientTls;
use crate::config::reader::{Fields, Value as Field};
use crate::executor::BoxFuture;
use crate::http::{Client, percent_encoded};
use crate::observation::Reading;
use crate::ports::{Question, Source, SourceKind, SourceSettings, World};
use crate::timestamp::Timestamp;

/// Queues that are asked for at once.
const AT_ONCE: usize = 8;
/// The management database's figures are up to this old (`collect_statistics_interval`).
const AGE: Duration = Duration::from_secs(5);

/// `[[source]] kind = "rabbitmq"`.
pub static KIND: SourceKind = SourceKind {
    name: "rabbitmq",
    has_own_table: false,
    settings: |f| Some(Arc::new(Settings(HttpSource::read(f)?))),
    keys: &["vhost", "queue", "count"],
    bind,
};

/// What a metric asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asked {
    vhost: String,
    queue: String,
    count: Count,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Count {
    /// All of its messages.
    Messages,
    /// Those that no consumer has been given.
    Ready,
    /// Those that consumers have been given and have not acknowledged.
    Unacknowledged,
    Consumers,
}

impl Count {
    const WORDS: [(&str, Count); 4] = [
        ("messages", Count::Messages),
        ("ready", Count::Ready),
        ("unacknowledged", Count::Unacknowledged),
        ("consumers", Count::Consumers),
    ];

    fn field(self) -> &'static str {
        match self {
            Count::Messages => "messages",
            Count::Ready => "messages_ready",
            Count::Unacknowledged => "messages_unacknowledged",
            Count::Consumers => "consumers",
        }
    }
}

fn bind(f: &Fields<'_>) -> Option<Value> {
    let vhost = f.opt("vhost", Field::text).unwrap_or_else(|| "/".to_owned());
    let queue = f.req("queue", "a queue's name", Field::text);
    let count = f.opt("count", |v| v.one_of(&Count::WORDS)).unwrap_or(Count::Messages);
    serde_json::to_value(Asked { vhost, queue: queue?, count }).ok()
}

#[derive(Debug)]
struct Settings(HttpSource);

impl SourceSettings for Settings {
    fn open(&self, world: &World<'_>) -> Result<Box<dyn Source>> {
        Ok(Box::new(RabbitMq::new(&self.0, world.patience)?))
    }

    fn hosts(&self) -> Vec<(&'static str, String)> {
        vec![("url", self.0.url.clone())]
    }

    fn tls(&self) -> Option<&ClientTls> {
        self.0.tls.as_ref()
    }
}

/// One RabbitMQ cluster, by the management plugin of one node.
#[derive(Debug)]
struct RabbitMq {
    client: Client,
    source: HttpSource,
}

impl RabbitMq {
    fn new(source: &HttpSource, patience: Duration) -> Result<Self> {
        Ok(Self { client: source.client(patience)?, source: source.clone() })
    }

    fn url(&self, asked: &Asked) -> String {
        let (vhost, queue) = (percent_encoded(&asked.vhost), percent_encoded(&asked.queue));
        self.source.url_with(&format!("/api/queues/{vhost}/{queue}"))
    }

    async fn ask(&self, url: String) -> (String, Result<Value, String>) {
        let answer = self.client.json(&url).await.map_err(|error| format!("rabbitmq: {error:#}"));
        (url, answer)
    }
}

impl Source for RabbitMq {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question<'a>],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async move {
            let asked: Vec<Option<Asked>> = questions.iter().map(|q| q.query.asked()).collect();
            let mut urls: Vec<String> = asked.iter().flatten().map(|a| self.url(a)).collect();
            urls.sort_unstable();
            urls.dedup();
            let ask: Vec<_> = urls.into_iter().map(|url| self.ask(url)).collect();
            let answers: HashMap<String, Result<Value, String>> =
                futures_util::stream::iter(ask).buffer_unordered(AT_ONCE).collect().await;
            let reading = |asked: Option<Asked>| match asked {
                None => Reading::Missing,
                Some(asked) => match answers.get(&self.url(&asked)) {
                    None => Reading::Missing,
                    Some(Err(why)) => Reading::Error(why.clone()),
                    Some(Ok(queue)) => number(queue, asked.count, now),
                },
            };
            asked.into_iter().map(reading).collect()
        })
    }
}

fn number(queue: &Value, count: Count, now: Timestamp) -> Reading {
    match (queue["state"].as_str(), queue[count.field()].as_f64()) {
        (Some(state @ ("down" | "crashed" | "stopped")), _) => {
            Reading::Error(format!("rabbitmq: the queue is {state}"))
        }
        // One that was declared a moment ago has no figures yet.
        (_, None) => Reading::Missing,
        (_, Some(v)) => Reading::Value { v, at: now - AGE },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_queue_without_figures_has_no_zero_messages() {
        let now = Timestamp::from_secs(100);
        let ready = |queue: Value| number(&queue, Count::Ready, now);
        let at = Timestamp::from_secs(95);
        let running = json!({"state": "running", "messages_ready": 4});
        assert_eq!(ready(running), Reading::Value { v: 4.0, at });
        assert_eq!(ready(json!({"state": "running"})), Reading::Missing);
        assert!(matches!(ready(json!({"state": "down", "messages_ready": 0})), Reading::Error(_)));
    }
}
