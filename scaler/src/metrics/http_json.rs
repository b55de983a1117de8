//! A JSON document over HTTP, with a pointer (RFC 6901) to the number in it.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::{Question, Source};
use crate::config::HttpSource;
use crate::executor::BoxFuture;
use crate::http::Client;
use crate::observation::Reading;
use crate::policy::Query;
use crate::timestamp::Timestamp;

/// One document, read once a tick.
#[derive(Debug)]
pub struct HttpJson {
    client: Client,
    url: String,
}

impl HttpJson {
    /// Reads certificates; connects to nobody yet.
    pub fn new(source: &HttpSource, patience: Duration) -> Result<Self> {
        let client = Client::new(source.tls.as_ref(), source.token.as_ref(), patience)?
            .with_user(source.user.as_ref())?;
        Ok(Self { client, url: source.url.clone() })
    }

    async fn document(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.client.get(&self.url).await?)?)
    }
}

impl Source for HttpJson {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question<'a>],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async move {
            match self.document().await {
                Ok(document) => questions.iter().map(|q| number(&document, q.query, now)).collect(),
                // The URL may carry a key: its words are not repeated.
                Err(error) => vec![Reading::Error(format!("{error:#}")); questions.len()],
            }
        })
    }
}

fn number(document: &Value, query: &Query, now: Timestamp) -> Reading {
    let Query::Http { pointer, .. } = query else { return Reading::Missing };
    match document.pointer(pointer) {
        None | Some(Value::Null) => Reading::Missing,
        Some(found) => match found.as_f64() {
            Some(v) => Reading::Value { v, at: now },
            None => Reading::Error(format!("{pointer}: expected a number")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_a_number_is_not_a_zero() {
        let document = json!({"queue": {"size": 12, "name": "jobs", "none": null}});
        let at = |pointer: &str| {
            let query = Query::Http { source: String::new(), pointer: pointer.to_owned() };
            number(&document, &query, Timestamp(5))
        };
        assert_eq!(at("/queue/size"), Reading::Value { v: 12.0, at: Timestamp(5) });
        assert_eq!(at("/queue/sise"), Reading::Missing);
        assert_eq!(at("/queue/none"), Reading::Missing);
        assert!(matches!(at("/queue/name"), Reading::Error(_)));
    }
}
