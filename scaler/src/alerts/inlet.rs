//! `POST /alerts`: checks, stores, answers, and wakes the loop. What is answered with 202 is
//! stored.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ring::digest::{SHA256, digest};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use super::format::parse;
use crate::clock::now;
use crate::config::{Alerts, Secret};
use crate::crash;
use crate::metrics_page::Page;
use crate::policy::Policy;
use crate::store::Store;

/// What the inlet needs of the rest.
#[derive(Clone)]
pub struct Inlet {
    /// Where alerts are kept.
    pub store: Store,
    /// The policies that hold now; `None` while this scaler does not lead and so does not know the
    /// labels: then the leader finds out whether an alert is for anybody.
    pub policies: watch::Receiver<Option<Arc<Vec<Policy>>>>,
    /// Wakes the loop.
    pub wake: Arc<Notify>,
    /// Counts.
    pub page: Arc<Page>,
}

/// The routes of the inlet.
pub fn router(inlet: Inlet, config: &Alerts) -> Router {
    let state = Arc::new((inlet, config.token.clone(), config.ttl));
    Router::new()
        .route("/alerts", post(receive))
        .layer(DefaultBodyLimit::max(config.body_limit))
        .with_state(state)
}

/// `/metrics` and `/healthz`.
pub fn status_router(page: Arc<Page>, patience: Duration) -> Router {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let metrics = |State(page): State<Arc<Page>>| async move {
        ([(header::CONTENT_TYPE, TEXT)], page.text())
    };
    let health = move |State(page): State<Arc<Page>>| async move {
        match page.health(now(), patience) {
            Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(health)).with_state(page)
}

type Shared = Arc<(Inlet, Option<Secret>, Duration)>;

async fn receive(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (inlet, token, ttl) = &*shared;
    if let Some(token) = token
        && !is_authorized(&headers, token)
    {
        inlet.page.alert("unauthorized");
        return refuse(StatusCode::UNAUTHORIZED, "expected Authorization: Bearer TOKEN");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            inlet.page.alert("refused");
            return refuse(rejection.status(), &rejection.body_text());
        }
    };
    let alerts = match parse(&body) {
        Ok(alerts) => alerts,
        Err(why) => {
            inlet.page.alert("refused");
            return refuse(StatusCode::BAD_REQUEST, &why);
        }
    };
    let known = inlet.policies.borrow().clone();
    if let Some(policies) = known {
        let unknown =
            alerts.iter().filter(|a| !a.resolved).find_map(|a| a.find(policies.iter()).err());
        if let Some(why) = unknown {
            inlet.page.alert("refused");
            let names: Vec<&str> = policies.iter().map(|p| p.name.as_str()).take(20).collect();
            let why = format!("{why}; there are: {}", names.join(", "));
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, &why);
        }
    }
    let mut kept = Vec::with_capacity(alerts.len());
    for alert in &alerts {
        let at = now();
        match inlet.store.receive(alert, at, at + *ttl).await {
            Ok(None) => {
                // What was kept of this body is known by its keys when it comes again.
                inlet.page.alert("no_room");
                debug!(alert = alert.title, "too many alerts: not taken in");
                return refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many alerts have come in: send it again later",
                );
            }
            Ok(Some(received)) => {
                inlet.page.alert(if received.duplicate { "duplicate" } else { "stored" });
                info!(
                    alert = alert.title,
                    id = received.id,
                    duplicate = received.duplicate,
                    "alert"
                );
                kept.push(received);
            }
            Err(error) => {
                // The sender tries again, and what was kept is known by its key.
                warn!(%error, "an alert could not be stored");
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer");
            }
        }
    }
    crash::point("alert_stored");
    inlet.wake.notify_one();
    (StatusCode::ACCEPTED, Json(json!({ "alerts": kept }))).into_response()
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

/// Compares digests, which takes the same time wherever the tokens differ.
fn is_authorized(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let Some(given) = given.and_then(|value| value.strip_prefix(b"Bearer ")) else { return false };
    let (given, expected) = (digest(&SHA256, given), digest(&SHA256, token.0.as_bytes()));
    let differing = given.as_ref().iter().zip(expected.as_ref()).fold(0, |d, (a, b)| d | (a ^ b));
    differing == 0
}
