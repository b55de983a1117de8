//! A Docker daemon that answers late, wrongly, twice or not at all, as it is told: for what a real
//! one does not do on request.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use berth_scaler::clock::now;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    List,
    Inspect,
    Create,
    Start,
    Kill,
    Remove,
    Events,
}

/// What it does wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answers this and does nothing.
    Refuses(u16),
    /// Does it and answers this.
    DoneAnd(u16),
    /// Does it and never answers.
    DoneAndMute,
    /// Does it when nobody waits for it any more.
    DoneTooLate,
    /// Neither does it nor answers.
    Mute,
    /// Does it twice and answers for the second time.
    Twice,
}

/// A container of it.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) labels: HashMap<String, String>,
    /// Its app pays no heed to SIGTERM.
    pub(crate) deaf: bool,
}

/// Everything that it has and that was done to it.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) containers: Vec<Container>,
    pub(crate) faults: VecDeque<(Endpoint, Fault)>,
    /// What is never answered any more, and not done.
    pub(crate) hangs: Vec<Endpoint>,
    /// Container and signal, in order.
    pub(crate) signals: Vec<(String, String)>,
    /// How many ran at least and at most, since it was last asked for.
    pub(crate) ran: (usize, usize),
    /// What it still does for somebody who has gone, and apps that are about to end.
    pub(crate) under_way: usize,
    events: Vec<Value>,
    made: usize,
}

/// The daemon, on a socket of its own.
#[derive(Debug)]
pub(crate) struct FakeDocker {
    pub(crate) socket: PathBuf,
    world: Arc<Mutex<World>>,
    _dir: TempDir,
}

/// Longer than any test waits for an answer.
const TOO_LATE: Duration = Duration::from_millis(150);
/// What an app takes to end.
const ENDS_WITHIN: Duration = Duration::from_millis(15);

impl FakeDocker {
    /// Listens until the runtime ends.
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let world: Arc<Mutex<World>> = Arc::default();
        let shared = world.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let world = shared.clone();
                let service = service_fn(move |request| {
                    let world = world.clone();
                    async move { Ok::<_, Infallible>(serve(world, request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { socket, world, _dir: dir }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

impl World {
    pub(crate) fn add(&mut self, name: &str, state: &'static str, labels: &[(&str, &str)]) {
        self.made += 1;
        let id = format!("{:064x}", self.made);
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let name = name.to_owned();
        self.containers.push(Container { id, name, state, labels, deaf: false });
        self.count();
    }

    pub(crate) fn running(&self) -> usize {
        self.containers.iter().filter(|c| c.state == "running").count()
    }

    /// How many of a service run.
    pub(crate) fn running_of(&self, service: &str) -> usize {
        let of = |c: &&Container| c.labels.get("service_name").is_some_and(|name| name == service);
        self.containers.iter().filter(|c| c.state == "running").filter(of).count()
    }

    /// One ends by itself.
    pub(crate) fn crash(&mut self, name: &str) {
        let Some(id) = self.find(name).map(|found| found.id.clone()) else { return };
        self.tell(&id, "die", None);
        self.set(&id, "exited");
    }

    /// Begins to count afresh how many run.
    pub(crate) fn count_from_here(&mut self) {
        self.ran = (self.running(), self.running());
    }

    fn count(&mut self) {
        let running = self.running();
        self.ran = (self.ran.0.min(running), self.ran.1.max(running));
    }

    fn tell(&mut self, id: &str, action: &str, signal: Option<&str>) {
        let at = now().0;
        let attributes = signal.map_or(json!({}), |s| json!({ "signal": s }));
        self.events.push(json!({
            "Type": "container", "Action": action, "time": at / 1000, "timeNano": at * 1_000_000,
            "Actor": { "ID": id, "Attributes": attributes }
        }));
    }

    fn find(&mut self, handle: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|c| c.id == handle || c.name == handle)
    }

    fn set(&mut self, id: &str, state: &'static str) {
        if let Some(found) = self.find(id) {
            found.state = state;
        }
        self.count();
    }

    fn fault(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let at = self.faults.iter().position(|(of, _)| *of == endpoint)?;
        self.faults.remove(at).map(|(_, fault)| fault)
    }
}

/// One request, with the fault that is due.
async fn serve(world: Arc<Mutex<World>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    if path == "/events" && !query.contains("until=") {
        // Whoever listens hears nothing; the property is about what is asked.
        return std::future::pending().await;
    }
    if ["/version", "/_ping"].contains(&path.as_str()) {
        return reply(200, &json!({ "Components": [{ "Name": "Engine", "Version": "1" }] }));
    }
    if path.starts_with("/images/") {
        return reply(200, &json!({ "Id": "sha256:1", "Config": {} }));
    }
    let Some(endpoint) = endpoint(&head.method, &path) else {
        return reply(200, &json!({ "SystemTime": jiff_now() }));
    };
    let (shared, of_work) = (world.clone(), world.clone());
    let work = move || work(&of_work, endpoint, &path, &query, &body);
    let fault = world.lock().unwrap().fault(endpoint);
    if world.lock().unwrap().hangs.contains(&endpoint) {
        return std::future::pending().await;
    }
    let wrong = |status| reply(status, &json!({ "message": "as the script says" }));
    match fault {
        None => work(),
        Some(Fault::Refuses(status)) => wrong(status),
        Some(Fault::DoneAnd(status)) => {
            work();
            wrong(status)
        }
        Some(Fault::DoneAndMute) => {
            work();
            std::future::pending().await
        }
        Some(Fault::DoneTooLate) => {
            // The daemon goes on, though the asker has gone.
            shared.lock().unwrap().under_way += 1;
            tokio::spawn(async move {
                tokio::time::sleep(TOO_LATE).await;
                work();
                shared.lock().unwrap().under_way -= 1;
            });
            std::future::pending().await
        }
        Some(Fault::Mute) => std::future::pending().await,
        Some(Fault::Twice) => {
            work();
            work()
        }
    }
}

fn endpoint(method: &Method, path: &str) -> Option<Endpoint> {
    let end = path.rsplit('/').next().unwrap_or_default();
    Some(match (method, end) {
        (_, "events") => Endpoint::Events,
        (_, "info") => return None,
        (&Method::DELETE, _) => Endpoint::Remove,
        (_, "create") => Endpoint::Create,
        (_, "start") => Endpoint::Start,
        (_, "kill") => Endpoint::Kill,
        (_, "json") if path == "/containers/json" => Endpoint::List,
        _ => Endpoint::Inspect,
    })
}

fn work(
    world: &Arc<Mutex<World>>,
    endpoint: Endpoint,
    path: &str,
    query: &str,
    body: &[u8],
) -> Response<Full<Bytes>> {
    let mut w = world.lock().unwrap();
    let handle = path.split('/').nth(2).unwrap_or_default();
    let argument = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    match endpoint {
        Endpoint::List => return reply(200, &list(&w)),
        Endpoint::Events => {
            let lines: String = w.events.iter().map(|e| format!("{e}\n")).collect();
            return Response::new(Full::new(lines.into()));
        }
        Endpoint::Create => {
            let name = argument("name").unwrap_or_default();
            if w.find(&name).is_some() {
                return reply(409, &json!({ "message": "the name is already in use" }));
            }
            let asked: Value = serde_json::from_slice(body).unwrap();
            let labels: HashMap<String, String> =
                serde_json::from_value(asked["Labels"].clone()).unwrap();
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
            w.add(&name, "created", &labels);
            let id = w.containers.last().map(|c| c.id.clone());
            return reply(201, &json!({ "Id": id, "Warnings": [] }));
        }
        _ => {}
    }
    let Some(found) = w.find(handle).cloned() else {
        return reply(404, &json!({ "message": "no such container" }));
    };
    match endpoint {
        Endpoint::Inspect => reply(200, &inspected(&found)),
        Endpoint::Start => {
            w.tell(&found.id, "start", None);
            w.set(&found.id, "running");
            reply(204, &Value::Null)
        }
        Endpoint::Kill if found.state != "running" => {
            reply(409, &json!({ "message": "it is not running" }))
        }
        Endpoint::Kill => {
            let signal = argument("signal").unwrap_or("SIGKILL".to_owned());
            let number = if signal == "SIGTERM" { "15" } else { "9" };
            w.tell(&found.id, "kill", Some(number));
            w.signals.push((found.id.clone(), signal));
            if number == "9" || !found.deaf {
                w.under_way += 1;
                let (world, id) = (world.clone(), found.id);
                tokio::spawn(async move {
                    tokio::time::sleep(ENDS_WITHIN).await;
                    let mut w = world.lock().unwrap();
                    w.tell(&id, "die", None);
                    w.set(&id, "exited");
                    w.under_way -= 1;
                });
            }
            reply(204, &Value::Null)
        }
        Endpoint::Remove if found.state == "running" => {
            reply(409, &json!({ "message": "it is running" }))
        }
        Endpoint::Remove => {
            w.containers.retain(|c| c.id != found.id);
            w.tell(&found.id, "destroy", None);
            reply(204, &Value::Null)
        }
        Endpoint::List | Endpoint::Events | Endpoint::Create => unreachable!("answered above"),
    }
}

fn list(world: &World) -> Value {
    let summary = |(n, c): (usize, &Container)| {
        json!({
            "Id": c.id, "Names": [format!("/{}", c.name)], "State": c.state, "Status": "Up",
            "Created": 1_000_000 + n, "Labels": c.labels, "Image": "image", "ImageID": "sha256:1",
            "NetworkSettings": { "Networks": {} }
        })
    };
    world.containers.iter().enumerate().map(summary).collect()
}

fn inspected(of: &Container) -> Value {
    json!({
        "Id": of.id, "Name": format!("/{}", of.name), "Image": "sha256:1",
        "State": { "Status": of.state, "Running": of.state == "running", "Restarting": false },
        "Config": { "Image": "image", "Labels": of.labels, "Env": [] },
        "HostConfig": { "NetworkMode": "none" },
        "NetworkSettings": { "Networks": {} }
    })
}

fn reply(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let text = if status == 204 { String::new() } else { body.to_string() };
    let answer = Response::builder().status(status).header("Content-Type", "application/json");
    answer.body(Full::new(text.into())).unwrap()
}

/// The time as a daemon tells it.
fn jiff_now() -> String {
    let at = now().0;
    jiff::Timestamp::from_millisecond(at).unwrap().to_string()
}
