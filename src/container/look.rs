//! Whether an app that was asked to stop serves after all.
//!
//! A check that is read once (`tcp`) or not at all (`none`, `notify`) says nothing about an app on its
//! way out, so this one is a check of its own, and where the app has none: whether its port is open.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::container::readiness::{self, ProbeRequest, ReadyCheck};
use crate::container::settings::Readiness;
use crate::registers::Identity;
use crate::task;

/// A check is begun anew this often, before it complains: that an app on its way out is not ready is no
/// news.
const ROUND: Duration = Duration::from_secs(5);

/// Looks when it is told to, and says once when the app serves.
#[derive(Debug)]
pub(super) struct Look {
    readiness: Readiness,
    identity: watch::Sender<Identity>,
    probes: mpsc::UnboundedSender<ProbeRequest>,
    serves: mpsc::UnboundedSender<()>,
    task: Option<AbortHandle>,
}

impl Look {
    /// With this check; what is found goes to `serves`.
    pub(super) fn new(
        readiness: &Readiness,
        identity: watch::Sender<Identity>,
        probes: mpsc::UnboundedSender<ProbeRequest>,
        serves: mpsc::UnboundedSender<()>,
    ) -> Self {
        let mut readiness = readiness.clone();
        if matches!(readiness.check, ReadyCheck::None | ReadyCheck::Notify) {
            readiness.check = ReadyCheck::Tcp(None);
        }
        Self { readiness, identity, probes, serves, task: None }
    }

    /// Looks until the app serves.
    pub(super) fn start(&mut self) {
        let (settings, identity) = (self.readiness.clone(), self.identity.clone());
        let (probes, serves) = (self.probes.clone(), self.serves.clone());
        let task = task::spawn(async move {
            loop {
                let (found, mut ready) = watch::channel(false);
                let check = readiness::run(
                    settings.clone(),
                    identity.subscribe(),
                    found,
                    Arc::new(None),
                    probes.clone(),
                );
                tokio::select! {
                    _ = tokio::time::timeout(ROUND, check) => {}
                    Ok(_) = ready.wait_for(|ready| *ready) => break,
                }
            }
            let _ = serves.send(());
        });
        self.task = Some(task.abort_handle());
    }

    /// Looks no longer.
    pub(super) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}
