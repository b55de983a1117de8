//! Which process answers at which address of one name: one HAProxy with two addresses is registered
//! with at one of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::processes::Known;
use crate::registers::haproxy::Peers;

/// The registrars of one name, in the order in which they were first answered.
#[derive(Clone, Debug)]
pub struct Roll {
    began: Instant,
    entries: watch::Sender<Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    register: Arc<str>,
    process: Known,
    local: Option<IpAddr>,
}

/// Another registrar has the same HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Twin {
    /// Its name.
    pub(super) register: Arc<str>,
    /// Whether this container has another address there, so that their slots are not the same.
    pub(super) apart: bool,
}

impl Default for Roll {
    fn default() -> Self {
        Self { began: Instant::now(), entries: watch::Sender::new(Vec::new()) }
    }
}

impl Roll {
    /// Notes who answered to this registrar.
    pub(super) fn enter(&self, register: &Arc<str>, peers: &Peers) {
        let Some(process) = &peers.process else { return };
        let process = Known::new(process, self.began.elapsed());
        let entry = Entry { register: Arc::clone(register), process, local: peers.local };
        self.entries.send_modify(|entries| {
            match entries.iter_mut().find(|entry| entry.register == *register) {
                Some(before) => *before = entry,
                None => entries.push(entry),
            }
        });
    }

    /// Nobody answers to this registrar any more.
    pub fn strike(&self, register: &Arc<str>) {
        self.entries.send_modify(|entries| entries.retain(|entry| entry.register != *register));
    }

    /// The one before this registrar that has the same HAProxy.
    pub(super) fn twin(&self, register: &Arc<str>) -> Option<Twin> {
        let entries = self.entries.borrow();
        let at = entries.iter().position(|entry| entry.register == *register)?;
        let (before, mine) = (entries.get(..at)?, entries.get(at)?);
        let twin = before.iter().find(|entry| entry.process.is(&mine.process))?;
        Some(Twin { register: Arc::clone(&twin.register), apart: twin.local != mine.local })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::haproxy::Process;
    use std::time::Duration;

    #[test]
    fn one_haproxy_at_two_addresses_is_the_first_ones() {
        let roll = Roll::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let peers = |pid, last: u8| Peers {
            process: Some(Process {
                pid,
                uptime: Duration::from_secs(100),
                node: Some("lb".into()),
                stopping: false,
            }),
            local: Some([10, 0, last, 5].into()),
        };
        roll.enter(&b, &peers(7, 1));
        roll.enter(&a, &peers(7, 2));
        assert_eq!(roll.twin(&a), Some(Twin { register: Arc::clone(&b), apart: true }));
        assert_eq!(roll.twin(&b), None);
        roll.enter(&a, &peers(7, 1));
        assert_eq!(roll.twin(&a), Some(Twin { register: Arc::clone(&b), apart: false }));
        roll.enter(&a, &peers(8, 2));
        assert_eq!(roll.twin(&a), None, "another process");
        roll.enter(&a, &peers(7, 2));
        roll.strike(&b);
        assert_eq!(roll.twin(&a), None, "the other one is gone");
        roll.enter(&b, &peers(7, 1));
        assert!(roll.twin(&b).is_some(), "whoever comes back is the second");
    }
}
