//! Which of HAProxy's processes answers (management guide, 9.3, "show info").

use std::time::Duration;

/// One process of HAProxy. A reload starts another, and this one ends with its last session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// How long it has been running, in whole seconds.
    pub uptime: Duration,
}

impl Process {
    /// Parses the answer to `show info`; `None` when it does not say.
    pub fn parse(reply: &str) -> Option<Self> {
        let field = |name| reply.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            pid: field("Pid: ")?.trim().parse().ok()?,
            uptime: Duration::from_secs(u64::from(
                field("Uptime_sec: ")?.trim().parse::<u32>().ok()?,
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_age() {
        let reply = "Name: HAProxy\nNbproc: 1\nPid: 4711\nUptime: 0d 1h00m05s\nUptime_sec: 3605\n";
        let process = Process { pid: 4711, uptime: Duration::from_secs(3605) };
        assert_eq!(Process::parse(reply), Some(process));
        for reply in
            ["", "Unknown command", "Pid: 1", "Pid: x\nUptime_sec: 1", "Uptime_sec: -1\nPid: 1"]
        {
            assert_eq!(Process::parse(reply), None, "{reply}");
        }
    }
}
