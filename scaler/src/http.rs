//! Requests to HTTP peers: names looked up without blocking, bodies and times bounded.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth::net::resolve::{ResolveError, Resolver};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::config::{ClientTls, Secret};
use crate::tls;

/// Largest answer that is read.
const MAX_ANSWER: usize = 4 << 20;

/// Connects to `http` and `https` peers.
pub type Connector = HttpsConnector<HttpConnector<Lookup>>;

/// A connector that checks `https` peers against `tls`, or the public authorities.
pub fn connector(tls: Option<&ClientTls>) -> Result<Connector> {
    let mut http = HttpConnector::new_with_resolver(Lookup::default());
    http.enforce_http(false);
    http.set_connect_timeout(Some(Duration::from_secs(5)));
    let tls = tls::client(tls)?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    Ok(builder.wrap_connector(http))
}

/// Looks names up as the agent does: no thread, no C library.
#[derive(Clone, Debug, Default)]
pub struct Lookup(Resolver);

impl tower_service::Service<Name> for Lookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = resolver.resolve(name.as_str()).await?;
            let found: Vec<_> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(found.into_iter())
        })
    }
}

/// A client for one peer.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    patience: Duration,
}

impl Client {
    /// A client that shows `token` and waits `patience` for a whole answer.
    pub fn new(
        tls: Option<&ClientTls>,
        token: Option<&Secret>,
        patience: Duration,
    ) -> Result<Self> {
        let bearer = token.map(|token| authorization("Bearer", &token.0));
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(TokioTimer::new())
            .build(connector(tls)?);
        Ok(Self { inner, authorization: bearer.transpose()?, headers: Vec::new(), patience })
    }

    /// Logs in as `user:password`, if there is one.
    pub fn with_user(mut self, user: Option<&Secret>) -> Result<Self> {
        if let Some(user) = user {
            self.authorization = Some(authorization("Basic", &STANDARD.encode(&user.0))?);
        }
        Ok(self)
    }

    /// The same client, that sends one more header with every request.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value).with_context(|| format!("the header {name}"))?;
        self.headers.push((HeaderName::from_static(name), value));
        Ok(self)
    }

    /// The JSON that a GET is answered with.
    pub async fn json(&self, url: &str) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.get(url).await?).context("the answer is not JSON")
    }

    /// The body of a GET answered with 2xx.
    pub async fn get(&self, url: &str) -> Result<Bytes> {
        self.send(Method::GET, url, None).await
    }

    /// POSTs a form or JSON, by its content type; the body of an answer with 2xx.
    pub async fn post(&self, url: &str, kind: &'static str, body: String) -> Result<Bytes> {
        self.send(Method::POST, url, Some((kind, body))).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<(&'static str, String)>,
    ) -> Result<Bytes> {
        let uri: Uri = url.parse().context("not a URL")?;
        let mut request =
            Request::builder().method(method).uri(uri).header(ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value.clone());
        }
        if let Some((kind, _)) = &body {
            request = request.header(CONTENT_TYPE, *kind);
        }
        let body = body.map(|(_, body)| Bytes::from(body)).unwrap_or_default();
        let request = request.body(Full::new(body))?;
        timeout(self.patience, self.exchange(request))
            .await
            .map_err(|_| anyhow!("no answer within {:?}", self.patience))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes> {
        let response = self.inner.request(request).await.map_err(|e| anyhow!(chain(&e)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|e| anyhow!("read the answer: {e}"))?.to_bytes();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            bail!("it answered {status}: {}", said.escape_debug());
        }
        Ok(body)
    }
}

fn authorization(scheme: &str, proof: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {proof}"))
        .context("the token has characters that a header cannot have")?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error and all its causes in one line; hyper's own words alone say too little.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

/// Every byte that could mean something in a URL as `%XX`.
pub fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
