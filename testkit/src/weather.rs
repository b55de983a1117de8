//! Bad weather on a container's network: what it sends is delayed, and some of it lost.
//!
//! By tc's netem where the kernel has it, else by a process that the kernel hands every packet to
//! (NFQUEUE): real packets either way, and TCP does the rest.

use std::collections::VecDeque;
use std::process::Child;
use std::time::{Duration, Instant};

use super::docker::Container;

const MARK: &str = "BERTH_TEST_WEATHER";
const RULE: [&str; 6] = ["OUTPUT", "-o", "eth0", "-j", "NFQUEUE", "--queue-bypass"];

/// Bad weather until it is dropped.
pub struct Weather<'a> {
    container: &'a Container,
    process: Option<Child>,
}

impl<'a> Weather<'a> {
    /// Delays what `container` sends by so many milliseconds, and loses so many percent of it.
    /// `handler` is a test of the same binary that does nothing but call [`handle`].
    pub fn new(container: &'a Container, delay: u32, loss: u32, handler: &str) -> Self {
        let (ms, percent) = (format!("{delay}ms"), format!("{loss}%"));
        let netem = ["add", "dev", "eth0", "root", "netem", "delay", &ms, "loss", &percent];
        let output = container.in_its_network(&[&["tc", "qdisc"], &netem[..]].concat()).output();
        if output.unwrap().status.success() {
            return Self { container, process: None };
        }
        let test = std::env::current_exe().unwrap();
        let command = [test.to_str().unwrap(), "--exact", handler, "--nocapture"];
        let mut process = container.in_its_network(&command);
        let process = process.env(MARK, format!("{delay} {loss}")).spawn().unwrap();
        let rule = [&["iptables", "-A"], &RULE[..]].concat();
        assert!(container.in_its_network(&rule).status().unwrap().success(), "iptables");
        Self { container, process: Some(process) }
    }
}

impl Weather<'_> {
    /// How many packets it has had.
    pub fn packets(&self) -> u64 {
        let netem = ["tc", "-s", "qdisc", "show", "dev", "eth0"];
        let queue = ["iptables", "--list", "OUTPUT", "--verbose", "--exact", "--numeric"];
        let command = if self.process.is_some() { &queue[..] } else { &netem[..] };
        let shown = self.container.in_its_network(command).output().unwrap().stdout;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        // "… 17 pkt (dropped …" of netem; a rule begins with its packets, bytes and target.
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let count = |line: &str| {
            let words = words(line);
            let netem = words.iter().position(|word| word == "pkt").map(|at| &words[at - 1]);
            netem
                .or(words.get(2).filter(|word| *word == "NFQUEUE").map(|_| &words[0]))?
                .parse()
                .ok()
        };
        shown.lines().find_map(count).unwrap_or_else(|| panic!("no count in {shown}"))
    }
}

impl Drop for Weather<'_> {
    fn drop(&mut self) {
        match self.process.take() {
            // The kernel lets everything pass when nobody takes it from the queue.
            Some(mut process) => {
                let _ = process.kill();
                let _ = process.wait();
            }
            None => {
                let clear = ["tc", "qdisc", "del", "dev", "eth0", "root"];
                let _ = self.container.in_its_network(&clear).status();
            }
        }
    }
}

/// Handles packets in the process that [`Weather`] has started, and returns at once in any other.
pub fn handle() {
    let Ok(weather) = std::env::var(MARK) else { return };
    let (delay, loss) = weather.split_once(' ').unwrap();
    let delay = Duration::from_millis(delay.parse().unwrap());
    let loss = loss.parse::<f64>().unwrap() / 100.0;
    let mut queue = nfq::Queue::open().unwrap();
    queue.bind(0).unwrap();
    queue.set_nonblocking(true);
    let mut held = VecDeque::new();
    loop {
        while let Ok(packet) = queue.recv() {
            held.push_back((Instant::now() + delay, packet));
        }
        while held.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            let Some((_, mut packet)) = held.pop_front() else { break };
            let lost = berth::net::random::fraction() < loss;
            packet.set_verdict(if lost { nfq::Verdict::Drop } else { nfq::Verdict::Accept });
            queue.verdict(packet).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
