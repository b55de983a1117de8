//! A JSON document over HTTP, with a pointer (RFC 6901) to the number in it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::over_http::HttpSource;
use crate::config::ClientTls;
use crate::config::reader::{Fields, Value as Field};
use crate::executor::BoxFuture;
use crate::http::Client;
use crate::observation::Reading;
use crate::policy::Query;
use crate::ports::{Question, Source, SourceKind, SourceSettings, World};
use crate::timestamp::Timestamp;

/// `[[source]] kind = "http"`.
pub static KIND: SourceKind = SourceKind {
    name: "http",
    has_own_table: true,
    settings: |f| Some(Arc::new(Settings(HttpSource::read(f)?))),
    keys: &["pointer"],
    bind,
};

/// A metric's question is where in the document its number stands.
fn bind(f: &Fields<'_>) -> Option<Value> {
    let pointer = f.req("pointer", "a JSON pointer such as \"/queue/size\"", pointer);
    pointer.map(Value::String)
}

fn pointer(v: Field<'_>) -> Result<String, String> {
    let text = v.text_or_empty()?;
    if text.is_empty() || text.starts_with('/') {
        Ok(text)
    } else {
        Err(format!(
            "expected a JSON pointer, which starts with /, or nothing for the whole document, \
             not {text:?}"
        ))
    }
}

#[derive(Debug)]
struct Settings(HttpSource);

impl SourceSettings for Settings {
    fn open(&self, world: &World<'_>) -> Result<Box<dyn Source>> {
        Ok(Box::new(HttpJson::new(&self.0, world.patience)?))
    }

    fn hosts(&self) -> Vec<(&'static str, String)> {
        vec![("url", self.0.url.clone())]
    }

    fn tls(&self) -> Option<&ClientTls> {
        self.0.tls.as_ref()
    }
}

/// One document, read once a tick.
#[derive(Debug)]
pub struct HttpJson {
    client: Client,
    url: String,
}

impl HttpJson {
    /// Reads certificates; connects to nobody yet.
    pub fn new(source: &HttpSource, patience: Duration) -> Result<Self> {
        Ok(Self { client: source.client(patience)?, url: source.url_with("") })
    }

    async fn document(&self) -> Result<Value> {
        let body = self.client.get(&self.url).await?;
        // RFC 8259, 8.1: a reader may ignore a byte order mark.
        Ok(serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body))?)
    }
}

impl Source for HttpJson {
    fn read<'a>(
        &'a mut self,
        questions: &'a [Question],
        now: Timestamp,
    ) -> BoxFuture<'a, Vec<Reading>> {
        Box::pin(async move {
            match self.document().await {
                Ok(document) => {
                    questions.iter().map(|q| number(&document, &q.query, now)).collect()
                }
                // The URL may carry a key: its words are not repeated.
                Err(error) => vec![Reading::Error(format!("{error:#}")); questions.len()],
            }
        })
    }
}

fn number(document: &Value, query: &Query, now: Timestamp) -> Reading {
    let Some(pointer) = query.asks.as_str() else { return Reading::Missing };
    match document.pointer(pointer) {
        None | Some(Value::Null) => Reading::Missing,
        Some(found) => {
            let text = found.as_str().map(str::trim);
            match found.as_f64().or_else(|| text?.parse().ok()) {
                Some(v) => Reading::Value { v, at: now },
                None => Reading::Error(format!("{pointer:?}: expected a number")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_a_number_is_not_a_zero() {
        let document =
            json!({"queue": {"size": 12, "name": "jobs", "none": null, "text": " 1.5 "}});
        let at = |pointer: &str| {
            let query = Query::new("", pointer);
            number(&document, &query, Timestamp(5))
        };
        assert_eq!(at("/queue/size"), Reading::Value { v: 12.0, at: Timestamp(5) });
        assert_eq!(at("/queue/sise"), Reading::Missing);
        assert_eq!(at("/queue/none"), Reading::Missing);
        assert!(matches!(at("/queue/name"), Reading::Error(_)));
        assert!(matches!(at(""), Reading::Error(_)));
        assert_eq!(at("/queue/text"), Reading::Value { v: 1.5, at: Timestamp(5) });
        let query = Query::new("", "");
        assert_eq!(
            number(&json!(7), &query, Timestamp(5)),
            Reading::Value { v: 7.0, at: Timestamp(5) }
        );
    }
}
