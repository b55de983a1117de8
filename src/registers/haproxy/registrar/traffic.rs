//! Requests for the app that HAProxy may have, as far as they can be known. Pure.

use std::time::Duration;

/// What is known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Traffic {
    flow: Flow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
    pub(super) fn begins(&mut self) {
        if self.flow == Flow::None {
            self.flow = Flow::Running;
        }
    }

    /// Nothing is held, and nothing runs on what was.
    pub(super) fn ends(&mut self) {
        self.flow = Flow::None;
    }

    /// Whether HAProxy may have requests for the app.
    pub(super) fn may_run(&self) -> bool {
        self.flow != Flow::None
    }

    /// Another process answers, and took over at this time.
    pub(super) fn replaced(&mut self, at: Duration) {
        if self.may_run() {
            self.flow = Flow::Replaced(at);
        }
    }

    /// How much longer to wait for requests that cannot be counted: a process that was reloaded
    /// works on behind the new one, and gets as long for it as a drain may take.
    pub(super) fn unseen(&self, drain_timeout: Duration, now: Duration) -> Option<Duration> {
        match self.flow {
            Flow::Replaced(at) => (at + drain_timeout).checked_sub(now),
            _ => None,
        }
    }
}
