//! Requests for the app that HAProxy may have, as far as they can be known. Pure.

use std::time::Duration;

/// What is known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::registers::haproxy) struct Traffic {
    flow: Flow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    /// There are none.
    #[default]
    None,
    /// A slot has been in rotation and is not given back.
    Running,
    /// The same, and at this time a process took over from one that may have some, too.
    Replaced(Duration),
}

impl Traffic {
    /// A slot is in rotation, or may soon be.
    pub(in crate::registers::haproxy) fn begins(&mut self) {
        if self.flow == Flow::None {
            self.flow = Flow::Running;
        }
    }

    /// Nothing is held, and nothing runs on what was.
    pub(in crate::registers::haproxy) fn ends(&mut self) {
        self.flow = Flow::None;
    }

    /// Whether HAProxy may have requests for the app.
    pub(in crate::registers::haproxy) fn may_run(&self) -> bool {
        self.flow != Flow::None
    }

    /// Another process answers, and took over at this time.
    pub(in crate::registers::haproxy) fn replaced(&mut self, at: Duration) {
        if self.may_run() {
            self.flow = Flow::Replaced(at);
        }
    }

    /// How much longer to wait for requests that cannot be counted: a process that was reloaded
    /// works on behind the new one, and gets as long for it as a drain may take.
    pub(in crate::registers::haproxy) fn unseen(
        &self,
        drain_timeout: Duration,
        now: Duration,
    ) -> Option<Duration> {
        match self.flow {
            Flow::Replaced(at) => (at + drain_timeout).checked_sub(now),
            _ => None,
        }
    }
}
