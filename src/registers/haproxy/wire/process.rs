//! Which of HAProxy's processes answers (management guide, 9.3, "show info").

use std::time::Duration;

/// One process of HAProxy. A reload starts another, and this one ends with its last session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// How long it has been running, in whole seconds.
    pub uptime: Duration,
    /// Its host's name, or what `node` in the configuration says.
    pub node: Option<Box<str>>,
    /// Whether it only ends what it has begun, as after a reload.
    pub stopping: bool,
}

impl Process {
    /// Parses the answer to `show info`; `None` when it does not say.
    pub fn parse(reply: &str) -> Option<Self> {
        let field = |name| reply.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some(Self {
            pid: field("Pid: ")?.parse().ok()?,
            uptime: Duration::from_secs(u64::from(field("Uptime_sec: ")?.parse::<u32>().ok()?)),
            node: field("node: ").map(Box::from),
            stopping: field("Stopping: ").is_some_and(|stopping| stopping != "0"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_age_and_host() {
        let reply = "Name: HAProxy\nNbproc: 1\nPid: 4711\nUptime: 0d 1h00m05s\nUptime_sec: 3605\n\
                     Stopping: 0\nnode: lb1\n";
        let process = Process {
            pid: 4711,
            uptime: Duration::from_secs(3605),
            node: Some("lb1".into()),
            stopping: false,
        };
        assert_eq!(Process::parse(reply).as_ref(), Some(&process));
        let stopping = Process::parse(&reply.replace("Stopping: 0", "Stopping: 1")).unwrap();
        assert!(stopping.stopping);
        for reply in
            ["", "Unknown command", "Pid: 1", "Pid: x\nUptime_sec: 1", "Uptime_sec: -1\nPid: 1"]
        {
            assert_eq!(Process::parse(reply), None, "{reply}");
        }
    }
}
