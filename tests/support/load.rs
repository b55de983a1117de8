//! Requests without end through a frontend while its nodes come and go.

use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::agent::{Agent, Running, hello, signal};
use super::haproxy::{ARTICLE, Haproxy};
use super::{Port, eventually};

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

/// A HAProxy with a frontend for HTTP/1.1 and one for h2, and nodes behind it.
pub struct Site {
    pub haproxy: Haproxy,
    h2: Port,
    way: Way,
    nodes: VecDeque<Node>,
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
                "  bind 127.0.0.1:{h2} proto h2\nbackend webapp\n  retries 0\n  balance roundrobin\n  {}\n",
                ARTICLE.replace("inter 5s", "inter 1s")
            ),
        );
        Self { haproxy, h2, way, nodes: VecDeque::new() }
    }

    /// Requests of both kinds from now on, until they are asked for.
    pub fn load(&self, at_least: u64) -> Load {
        Load::start([self.haproxy.http, self.h2], at_least)
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
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/entrypoint-socat.sh"))
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

/// Requests in the background.
pub struct Load {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Load {
    fn start(ports: [Port; 2], at_least: u64) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let thread = std::thread::spawn(move || {
            let mut tally = Tally::default();
            let mut turn = 0;
            while tally.total < at_least || !told.load(Ordering::Relaxed) {
                let round = if turn % 2 == 0 { wrk(ports[0]) } else { h2load(ports[1]) };
                tally.total += round.total;
                tally.failed += round.failed;
                turn += 1;
            }
            tally
        });
        Self { enough, thread }
    }

    /// Ends when the round that runs has ended, and as many requests as were asked for were sent.
    pub fn finish(self) -> Tally {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// One round of HTTP/1.1 over keep-alive connections.
fn wrk(port: Port) -> Tally {
    let url = format!("http://127.0.0.1:{port}/");
    let text = output("wrk", &["-t1", "-c16", "-d2s", "--timeout", "20s", &url]);
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
