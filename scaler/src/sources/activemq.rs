//! ActiveMQ: a queue's size and consumers, by Jolokia in the broker's web console.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::over_http::HttpSource;
use crate::config::ClientTls;
use crate::config::reader::{Fields, Value as Field};
use crate::executor::BoxFuture;
use crate::http::Client;
use crate::observation::Reading;
use crate::ports::{Question, Source, SourceKind, SourceSettings, World};
use crate::timestamp::Timestamp;

/// `[[source]] kind = "activemq"`.
pub static KIND: SourceKind = SourceKind {
    name: "activemq",
    has_own_table: false,
    settings: |f| Some(Arc::new(Settings(HttpSource::read(f)?))),
    keys: &["queue", "count"],
    bind,
};

/// What a metric asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asked {
    queue: String,
    count: Count,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Count {
    /// Its messages, those under way to consumers too.
    Messages,
    Consumers,
}

impl Count {
    const WORDS: [(&str, Count); 2] = [("messages", Count::Messages), ("consumers", Count::Consumers)];

    fn attribute(self) -> &'static str {
        match self {
            Count::Messages => "QueueSize",
            Count::Consumers => "ConsumerCount",
        }
    }
}

fn bind(f: &Fields<'_>) -> Option<Value> {
    let queue = f.req("queue", "a queue's name", Field::text);
    let count = f.opt("count", |v| v.one_of(&Count::WORDS)).unwrap_or(Count::Messages);
    serde_json::to_value(Asked { queue: queue?, count }).ok()
}

#[derive(Debug)]
struct Settings(HttpSource);

impl SourceSettings for Settings {
    fn open(&self, world: &World<'_>) -> Result<Box<dyn Source>> {
        Ok(Box::new(ActiveMq::new(&self.0, world.patience)?))
    }

    fn hosts(&self) -> Vec<(&'static str, String)> {
        vec![("url", self.0.url.clone())]
    }

    fn tls(&self) -> Option<&ClientTls> {
        self.0.tls.as_ref()
    }
}

/// One broker.
#[derive(Debug)]
struct ActiveMq {
    client: Client,
    url: String,
}

impl ActiveMq {
    fn new(source: &HttpSource, patience: Duration) -> Result<Self> {
        // Jolokia refuses what a foreign page might send.
        let origin = source.url.split('/').take(3).collect::<Vec<_>>().join("/");
        let client = source.client(patience)?.with_header("origin", &origin)?;
        Ok(Self { client, url: source.url_with("/api/jolokia/") })
    }

    /// Jolokia's answers to one question each, in their order.
    async fn ask(&self, asked: &[Option<Asked>]) -> Result<Vec<Value>> {
        let requests: Vec<Value> = asked.iter().flatten().map(request).collect();
        let body = serde_json::to_string(&requests)?;
        let answer = self.client.post(&self.url, "application/json", body).await?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

impl Source for ActiveMq {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question<'a>],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async move {
            let asked: Vec<Option<Asked>> = questions.iter().map(|q| q.query.asked()).collect();
            match self.ask(&asked).await {
                Err(error) => vec![Reading::Error(format!("activemq: {error:#}")); questions.len()],
                Ok(answers) => {
                    let mut answers = answers.into_iter();
                    let mut reading = |asked: &Option<Asked>| {
                        let asked = asked.as_ref()?;
                        Some(number(&answers.next()?, asked.count, now))
                    };
                    asked.iter().map(|a| reading(a).unwrap_or(Reading::Missing)).collect()
                }
            }
        })
    }
}

/// Whatever the broker is called.
fn request(asked: &Asked) -> Value {
    let mbean = format!(
        "org.apache.activemq:type=Broker,brokerName=*,destinationType=Queue,destinationName={}",
        encoded(&asked.queue)
    );
    json!({"type": "read", "mbean": mbean, "attribute": asked.count.attribute()})
}

/// A destination's name as ActiveMQ writes it into a JMX name (JMXSupport).
fn encoded(name: &str) -> String {
    let one = |c: char| match c {
        ':' | ',' | '\'' | '"' => "_".to_owned(),
        '?' => "&qe;".to_owned(),
        '=' => "&eq;".to_owned(),
        '*' => "&ast;".to_owned(),
        c => c.to_string(),
    };
    name.chars().map(one).collect()
}

/// The one number in an answer to a pattern: `{"value": {MBEAN: {ATTRIBUTE: n}}}`.
fn number(answer: &Value, count: Count, now: Timestamp) -> Reading {
    match answer["status"].as_u64() {
        Some(200) => {}
        // A queue comes to be when somebody first uses it.
        Some(404) => return Reading::Missing,
        _ => {
            let why = answer["error"].as_str().unwrap_or("the answer has no status");
            return Reading::Error(format!("activemq: {}", why.chars().take(200).collect::<String>()));
        }
    }
    let found: Vec<f64> = match answer["value"].as_object() {
        Some(beans) => beans.values().filter_map(|b| b[count.attribute()].as_f64()).collect(),
        None => Vec::new(),
    };
    match found[..] {
        [] => Reading::Missing,
        [v] => Reading::Value { v, at: now },
        _ => Reading::Error("activemq: several brokers in one process have such a queue".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_not_there_is_not_an_empty_one() {
        let read = |answer: Value| number(&answer, Count::Messages, Timestamp(7));
        let found = json!({"status": 200, "value": {"a": {"QueueSize": 12}}});
        assert_eq!(read(found), Reading::Value { v: 12.0, at: Timestamp(7) });
        assert_eq!(read(json!({"status": 404, "error": "InstanceNotFoundException"})), Reading::Missing);
        for odd in [json!({"status": 403}), json!({}), json!([]), json!(7)] {
            assert!(matches!(read(odd.clone()), Reading::Error(_)), "{odd}");
        }
        let two = json!({"status": 200, "value": {"a": {"QueueSize": 1}, "b": {"QueueSize": 2}}});
        assert!(matches!(read(two), Reading::Error(_)));
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_bean() {
        assert_eq!(encoded("a,type=*\"?"), "a_type&eq;&ast;_&qe;");
    }
}
