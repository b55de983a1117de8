//! Log lines of a registrar: one when something changes, none while it stays so.

use std::sync::Arc;

use tracing::{info, warn};

use super::TurnError;
use crate::registers::haproxy::Server;
use crate::registers::haproxy::slot::Release;

/// Different troubles that one outage may log.
const MAX_TROUBLES: usize = 4;

/// What was last said about one HAProxy.
#[derive(Debug)]
pub(super) struct Notices {
    register: Arc<str>,
    troubles: Vec<String>,
    said: Said,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Claimed { backend: Arc<str>, slot: Arc<str> },
    Operator(Arc<str>),
    InVain(Arc<str>),
    Draining(Arc<str>),
    Full,
}

impl Notices {
    pub(super) fn new(register: Arc<str>) -> Self {
        Self { register, troubles: Vec::new(), said: Said::Nothing }
    }

    pub(super) fn trouble(&mut self, error: &TurnError) {
        let error = error.to_string();
        if self.troubles.len() < MAX_TROUBLES && !self.troubles.contains(&error) {
            warn!(register = %self.register, error, "cannot register, the app runs on; retrying");
            self.troubles.push(error);
        }
        self.said = Said::Nothing;
    }

    pub(super) fn reachable(&mut self) {
        if !self.troubles.is_empty() {
            self.troubles.clear();
            info!(register = %self.register, "HAProxy answers again");
        }
    }

    pub(super) fn claimed(&mut self, slot: &Server) {
        let (backend, slot) = (&slot.backend, &slot.name);
        if self.changes(Said::Claimed { backend: Arc::clone(backend), slot: Arc::clone(slot) }) {
            info!(register = %self.register, %backend, %slot, "in rotation");
        }
    }

    /// The slot that was held is no longer, or not in rotation; what follows will be said.
    pub(super) fn changed(&mut self) {
        if let Said::Claimed { backend, slot } = &self.said {
            info!(register = %self.register, %backend, %slot, "changed by somebody else, or HAProxy has restarted");
            self.said = Said::Nothing;
        }
    }

    pub(super) fn operator(&mut self, slot: &Server) {
        if self.changes(Said::Operator(Arc::clone(&slot.name))) {
            let (backend, slot) = (&slot.backend, &slot.name);
            warn!(register = %self.register, %backend, %slot, "taken out of rotation by an operator; left so");
        }
    }

    pub(super) fn in_vain(&mut self, slot: &Server) {
        if self.changes(Said::InVain(Arc::clone(&slot.name))) {
            let (backend, slot) = (&slot.backend, &slot.name);
            warn!(register = %self.register, %backend, %slot, "stays out of rotation; has the template weight 0?");
        }
    }

    pub(super) fn draining(&mut self, slot: &Server) {
        if self.changes(Said::Draining(Arc::clone(&slot.name))) {
            let (backend, slot) = (&slot.backend, &slot.name);
            info!(register = %self.register, %backend, %slot, "draining");
        }
    }

    pub(super) fn released(&mut self, releases: &[Release]) {
        match releases {
            [release] => {
                let (backend, slot) = (&release.slot.backend, &release.slot.name);
                info!(register = %self.register, %backend, %slot, "released");
            }
            several => {
                let slots = several.len();
                info!(register = %self.register, slots, "released slots that nobody is behind");
            }
        }
        self.said = Said::Nothing;
    }

    pub(super) fn full(&mut self, slots: usize) {
        if self.changes(Said::Full) {
            warn!(register = %self.register, slots, "every slot is taken; waiting for one to be released");
        }
    }

    fn changes(&mut self, say: Said) -> bool {
        let changes = self.said != say;
        self.said = say;
        changes
    }
}
