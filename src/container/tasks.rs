//! The tasks beside the loop: a register for each server, and whether the app is ready. Each is
//! started again when it panics, and speaks to the loop through [`Inbox`] alone.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::container::look::Look;
use crate::container::readiness::{self, NotifySocket, ProbeRequest};
use crate::net::resolve::Resolver;
use crate::registers::haproxy::{Settings, fleet};
use crate::registers::{Channels, Identity, Report, Want, dns};
use crate::task;

/// What the tasks tell the loop.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Where the registers stand.
    pub reports: mpsc::UnboundedReceiver<Report>,
    /// Whether the app is ready.
    pub ready: watch::Receiver<bool>,
    /// Commands of checks that are to be run.
    pub probes: mpsc::Receiver<ProbeRequest>,
    /// That an app which was asked to stop serves after all.
    pub serves: mpsc::UnboundedReceiver<()>,
}

/// Starts them all.
pub(super) fn start(
    config: &Config,
    want: &watch::Sender<Want>,
    notify: Option<NotifySocket>,
) -> (Inbox, Look) {
    let known = Identity { addr: config.app.addr, port: config.app.port, slot: None };
    let identity = watch::Sender::new(known);
    let reports = start_registers(config, want, &identity);
    let (ready_in, ready) = watch::channel(false);
    let (probes_in, probes) = mpsc::channel(1);
    let (serves_in, serves) = mpsc::unbounded_channel();
    let look = Look::new(&config.app, identity.clone(), probes_in.clone(), serves_in);
    let (app, notify) = (config.app.clone(), Arc::new(notify));
    task::keep_alive("readiness", move || {
        let (app, identity) = (app.clone(), identity.subscribe());
        readiness::run(app, identity, ready_in.clone(), Arc::clone(&notify), probes_in.clone())
    });
    (Inbox { reports, ready, probes, serves }, look)
}

fn start_registers(
    config: &Config,
    want: &watch::Sender<Want>,
    identity: &watch::Sender<Identity>,
) -> mpsc::UnboundedReceiver<Report> {
    let (reports_in, reports) = mpsc::unbounded_channel();
    let channels = Channels {
        register: "".into(),
        want: want.subscribe(),
        identity: identity.clone(),
        reports: reports_in,
    };
    let resolver = Resolver::default();
    if let Some(haproxy) = &config.haproxy {
        let settings = Arc::new(Settings::new(haproxy, &config.app));
        for target in &haproxy.servers {
            let channels = channels.named(format!("haproxy {target}"));
            let (target, settings) = (target.clone(), Arc::clone(&settings));
            let resolver = resolver.clone();
            task::keep_alive("registrar", move || {
                let (settings, resolver) = (Arc::clone(&settings), resolver.clone());
                fleet::run(target.clone(), settings, channels.clone(), resolver)
            });
        }
    }
    if let Some(dns) = &config.dns {
        let dns = Arc::new(dns.clone());
        let channels = channels.named("dns");
        task::keep_alive("dns", move || {
            dns::run(Arc::clone(&dns), channels.clone(), resolver.clone())
        });
    }
    reports
}
