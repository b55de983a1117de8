//! Requests without end through a frontend while its nodes come and go.

use std::collections::VecDeque;
use std::ops::Add;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use super::agent::{Agent, Running, hello, signal};
use super::haproxy::{ARTICLE, Haproxy};
use super::{Port, ROOT, eventually};

/// How nodes register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Berth as it is.
    Berth,
    /// Berth with `DRAIN_TIMEOUT=0`.
    BerthWithoutDrain,
    /// `examples/entrypoint-socat.sh`.
    Script,
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests begun.
    pub total: u64,
    /// Those that were not answered with 200.
    pub failed: u64,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { total: self.total + other.total, failed: self.failed + other.failed }
    }
}

/// A HAProxy with a frontend for HTTP/1.1 and one for h2, and nodes behind it.
pub struct Site {
    pub haproxy: Haproxy,
    h2: Port,
    way: Way,
    nodes: VecDeque<Node>,
    /// Nodes that were stopped.
    pub stopped: u32,
}

enum Node {
    Berth(Running),
    Script(Child),
}

impl Site {
    pub fn start(binary: std::path::PathBuf, way: Way) -> Self {
        let h2 = Port::free();
        // No redispatch and no retry: what goes wrong must show.
        let haproxy = Haproxy::with_config(
            binary,
            &format!(
                "  bind 127.0.0.1:{h2} proto h2\nbackend webapp\n  retries 0\n  balance roundrobin\n  {ARTICLE}\n"
            ),
        );
        Self { haproxy, h2, way, nodes: VecDeque::new(), stopped: 0 }
    }

    /// Requests of every kind from now on, until they are asked for.
    pub fn load(&self) -> Load {
        let (h1, h2) = (self.haproxy.http, self.h2);
        let load = Load::start([
            Box::new(move || wrk(h1, "/", 8)),
            // Every stop meets some of these half way.
            Box::new(move || wrk(h1, "/sleep/100", 16)),
            Box::new(move || h2load(h2)),
        ]);
        eventually("they flow", || self.haproxy.count("webapp", "BACKEND", "scur") >= 16);
        load
    }

    /// Requests that went wrong by HAProxy's own count.
    pub fn errors(&self) -> u64 {
        self.haproxy.count("web", "FRONTEND", "hrsp_5xx")
            + self.haproxy.count("webapp", "BACKEND", "econ")
            + self.haproxy.count("webapp", "BACKEND", "eresp")
    }

    /// Starts one node and waits until it is in rotation.
    pub fn grow(&mut self) {
        let port = Port::free();
        let node = match self.way {
            Way::Script => Node::Script(self.script(port)),
            way => {
                let agent = Agent::hello(&self.haproxy, "node", port);
                let drain = if way == Way::Berth { "5s" } else { "0" };
                Node::Berth(agent.env("DRAIN_TIMEOUT", drain).start())
            }
        };
        let endpoint = format!("127.0.0.1:{port}");
        eventually("in rotation", || !self.haproxy.ready_at(&endpoint).is_empty());
        self.nodes.push_back(node);
    }

    fn script(&self, port: Port) -> Child {
        Command::new(format!("{ROOT}/examples/entrypoint-socat.sh"))
            .arg(hello())
            .env("PORT", port.to_string())
            .env("APP_ADDR", "127.0.0.1")
            .env("APP_PORT", port.to_string())
            .env("HAPROXY_SERVER", "127.0.0.1")
            .env("HAPROXY_PORT", self.haproxy.stats.to_string())
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Stops the oldest node and waits until it has ended.
    pub fn shrink(&mut self) {
        self.stopped += 1;
        match self.nodes.pop_front().expect("a node") {
            Node::Berth(mut agent) => {
                agent.stop();
            }
            Node::Script(mut child) => {
                signal(child.id() as i32, "TERM");
                child.wait().unwrap();
            }
        }
    }

    /// Kills the oldest node's app, and nothing else, with -9.
    pub fn crash_app(&mut self) {
        let node = self.nodes.pop_front().expect("a node");
        let pid = match &node {
            Node::Berth(agent) => agent.pid(),
            Node::Script(child) => child.id() as i32,
        };
        for child in super::agent::children(pid) {
            signal(child, "KILL");
        }
        match node {
            Node::Berth(mut agent) => {
                agent.wait();
            }
            Node::Script(mut child) => {
                child.wait().unwrap();
            }
        }
    }

    /// Replaces every node once.
    pub fn roll(&mut self) {
        for _ in 0..self.nodes.len() {
            self.grow();
            self.shrink();
        }
    }

    /// Replaces each of four nodes twice and scales from 4 to 12 to 3, again and again until so many
    /// requests have been sent meanwhile.
    pub fn churn(&mut self, load: &Load, requests: u64) {
        loop {
            self.scale_to(4);
            self.roll();
            self.roll();
            self.scale_to(12);
            self.scale_to(3);
            if load.sent() >= requests {
                return;
            }
        }
    }

    /// Starts or stops nodes until there are so many.
    pub fn scale_to(&mut self, nodes: usize) {
        while self.nodes.len() < nodes {
            self.grow();
        }
        while self.nodes.len() > nodes {
            self.shrink();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        while !self.nodes.is_empty() {
            self.shrink();
        }
    }
}

/// Requests in the background, of several kinds side by side.
pub struct Load {
    enough: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Tally>>,
}

/// One round of requests.
pub type Round = Box<dyn Fn() -> Tally + Send>;

impl Load {
    /// Round after round of each kind.
    pub fn start<const N: usize>(kinds: [Round; N]) -> Self {
        let (enough, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let start = |round: Round| {
            let (enough, sent) = (Arc::clone(&enough), Arc::clone(&sent));
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                while !enough.load(Relaxed) {
                    let more = round();
                    tally = tally + more;
                    sent.fetch_add(more.total, Relaxed);
                }
                tally
            })
        };
        let threads = kinds.map(start).into();
        Self { enough, sent, threads }
    }

    /// Requests of the rounds that have ended.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Ends when the rounds that run have ended.
    pub fn finish(self) -> Tally {
        self.enough.store(true, Relaxed);
        let tallies = self.threads.into_iter().map(|thread| thread.join().unwrap());
        tallies.fold(Tally::default(), |sum, tally| sum + tally)
    }
}

/// One round of HTTP/1.1 over keep-alive connections.
pub fn wrk(port: Port, path: &str, connections: u32) -> Tally {
    let url = format!("http://127.0.0.1:{port}{path}");
    let connections = format!("-c{connections}");
    let text = output("wrk", &["-t1", &connections, "-d2s", "--timeout", "20s", &url]);
    let answered = number(&text, " requests in ", |words| words[0]);
    let errors: u64 = text
        .lines()
        .filter(|line| line.contains("Socket errors:"))
        .flat_map(|line| line.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()))
        .sum();
    let refused = match text.contains("Non-2xx") {
        true => number(&text, "Non-2xx", |words| words[words.len() - 1]),
        false => 0,
    };
    Tally { total: answered + errors, failed: refused + errors }
}

/// One round of h2, several requests at once on each connection.
fn h2load(port: Port) -> Tally {
    let url = format!("http://127.0.0.1:{port}/");
    let text = output("h2load", &["-n", "10000", "-T", "20", "-c4", "-m8", &url]);
    let total = number(&text, "requests:", |words| words[1]);
    Tally { total, failed: total - number(&text, "status codes:", |words| words[2]) }
}

fn output(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .output()
        .expect("wrk and h2load (Debian packages wrk and nghttp2-client)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The number that `pick` finds among the words of the line that has `mark`.
fn number(text: &str, mark: &str, pick: for<'a> fn(&[&'a str]) -> &'a str) -> u64 {
    let line = text.lines().find(|line| line.contains(mark)).unwrap_or_else(|| panic!("{text}"));
    let words: Vec<_> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    pick(&words).parse().unwrap_or_else(|_| panic!("{text}"))
}
