//! `POST /alerts`: asks who it is, then reads, checks, stores, answers, and wakes the loop. What is
//! answered with 202 is stored, but for what the answer says was refused.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::Alert;
use super::format::parse;
use crate::clock::now;
use crate::config::{Alerts, Secret};
use crate::crash;
use crate::listen::Claim;
use crate::metrics_page::Page;
use crate::policy::Policy;
use crate::store::{Store, in_words};

/// For the whole body of a request.
const BODY: Duration = Duration::from_secs(10);

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
    let door =
        Door { inlet, token: config.token.clone(), ttl: config.ttl, most: config.body_limit };
    Router::new().route("/alerts", post(receive)).with_state(Arc::new(door))
}

/// `/metrics` and `/healthz`.
pub fn status_router(page: Arc<Page>, patience: Duration, lead: Duration) -> Router {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let metrics = |State(page): State<Arc<Page>>| async move {
        ([(header::CONTENT_TYPE, TEXT)], page.text())
    };
    let health = move |State(page): State<Arc<Page>>| async move {
        match page.health(patience, lead) {
            Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(health)).with_state(page)
}

/// The inlet and who may pass it.
struct Door {
    inlet: Inlet,
    token: Option<Secret>,
    ttl: Duration,
    /// The largest body, in bytes.
    most: usize,
}

/// Nothing of the body is read before it is known who sends it.
async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let page = &door.inlet.page;
    if let Some(token) = &door.token
        && !is_authorized(request.headers(), token)
    {
        page.alert("unauthorized");
        return refuse(StatusCode::UNAUTHORIZED, "expected Authorization: Bearer TOKEN");
    }
    let claim = request.extensions().get::<Claim>().cloned();
    let read = read(request.into_body(), door.most).await;
    // From here on it is ours to finish, however many others want in.
    claim.as_ref().inspect(|claim| claim.hold());
    let answer = match read {
        Ok(body) => door.take_in(&body).await,
        Err((status, why)) => {
            page.alert("refused");
            refuse(status, &why)
        }
    };
    claim.inspect(|claim| claim.let_go());
    answer
}

async fn read(body: Body, most: usize) -> Result<Bytes, (StatusCode, String)> {
    match timeout(BODY, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, format!("expected at most {most} bytes")))
        }
        Ok(Err(error)) => Err((StatusCode::BAD_REQUEST, format!("the body ended early: {error}"))),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, format!("no whole body within {BODY:?}"))),
    }
}

impl Door {
    /// Each alert of a body by itself. One that came alone and is refused is the sender's error; of a
    /// list, the answer names those that were.
    async fn take_in(&self, body: &[u8]) -> Response {
        let body = match parse(body) {
            Ok(body) => body,
            Err(why) => {
                self.inlet.page.alert("refused");
                return refuse(StatusCode::BAD_REQUEST, &why);
            }
        };
        let known = self.inlet.policies.borrow().clone();
        let (mut kept, mut refused, mut over) = (Vec::new(), Vec::new(), body.over);
        for alert in body.alerts {
            let checked = alert.map_err(|why| (StatusCode::BAD_REQUEST, why)).and_then(|alert| {
                match check(&alert, known.as_deref()) {
                    Ok(()) => Ok(Some(alert)),
                    Err(_) if alert.resolved => Ok(None),
                    Err(why) => Err((StatusCode::UNPROCESSABLE_ENTITY, why)),
                }
            });
            match checked {
                Ok(Some(alert)) => match self.store(&alert).await {
                    Ok(stored) => kept.push(stored),
                    Err(answer) => return answer,
                },
                Ok(None) => over += 1,
                Err((status, why)) => {
                    self.inlet.page.alert("refused");
                    info!(why, "alert refused");
                    if !body.is_list {
                        return refuse(status, &why);
                    }
                    refused.push(why);
                }
            }
        }
        crash::point("alert_stored");
        self.inlet.wake.notify_one();
        let answer = json!({ "alerts": kept, "refused": refused, "resolved": over });
        (StatusCode::ACCEPTED, Json(answer)).into_response()
    }

    /// What is told of an alert that is kept; the answer to all of them when none can be.
    async fn store(&self, alert: &Alert) -> Result<Value, Response> {
        let (inlet, at) = (&self.inlet, now());
        match inlet.store.receive(alert, at, at + self.ttl).await {
            Ok(Some(received)) => {
                inlet.page.alert(if received.duplicate { "duplicate" } else { "stored" });
                let asks = alert.action.map_or("what its policy does", |action| action.as_str());
                info!(
                    alert = alert.title,
                    id = received.id,
                    asks,
                    duplicate = received.duplicate,
                    "alert"
                );
                let (id, duplicate) = (received.id, received.duplicate);
                Ok(json!({ "id": id, "duplicate": duplicate, "title": alert.title, "asks": asks }))
            }
            Ok(None) => {
                // What was kept of this body is known by its keys when it comes again.
                inlet.page.alert("no_room");
                debug!(alert = alert.title, "too many alerts: not taken in");
                Err(refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many alerts have come in: send it again later",
                ))
            }
            Err(error) => {
                // The sender tries again, and what was kept is known by its key.
                warn!(error = in_words(&error), "an alert could not be stored");
                Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer"))
            }
        }
    }
}

/// Whether an alert is for a policy and says what it asks of it, as far as the policies are known.
fn check(alert: &Alert, policies: Option<&Vec<Policy>>) -> Result<(), String> {
    let Some(policies) = policies else { return Ok(()) };
    alert.find(policies.iter()).map_err(|why| {
        let names = policies.iter().map(|p| format!("{} (service {})", p.name, p.service));
        format!("{why}; there are: {}", names.take(20).collect::<Vec<_>>().join(", "))
    })?;
    // One that is over asks for nothing.
    if alert.resolved { Ok(()) } else { alert.order(policies.iter()).map(drop) }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

/// Compares digests, which takes the same time wherever the tokens differ. The scheme's name may be
/// in any case (RFC 9110).
fn is_authorized(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes().trim_ascii());
    let Some((scheme, given)) = given.and_then(|value| value.split_at_checked(6)) else {
        return false;
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") || !given.starts_with(b" ") {
        return false;
    }
    let given = digest(&SHA256, given.trim_ascii_start());
    let expected = digest(&SHA256, token.0.as_bytes());
    let differing = given.as_ref().iter().zip(expected.as_ref()).fold(0, |d, (a, b)| d | (a ^ b));
    differing == 0
}
