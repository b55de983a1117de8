//! The tasks beside the loop: a register for each server, and whether the app is ready. Each is
//! started again when it panics, and speaks to the loop through [`Inbox`] alone.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::container::Settings;
use crate::container::look::Look;
use crate::container::readiness::{self, NotifySocket, ProbeRequest};
use crate::net::resolve::Resolver;
use crate::registers::haproxy::fleet;
use crate::registers::haproxy::registrar::Holdings;
#[cfg(feature = "traefik")]
use crate::registers::traefik;
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
    pub probes: mpsc::UnboundedReceiver<ProbeRequest>,
    /// That an app which was asked to stop serves after all.
    pub serves: mpsc::UnboundedReceiver<()>,
}

/// Starts them all.
pub(super) fn start(
    settings: &Settings,
    want: &watch::Sender<Want>,
    notify: Option<NotifySocket>,
) -> (Inbox, Look) {
    let known = Identity { addr: settings.addr, port: settings.port, slot: None };
    let identity = watch::Sender::new(known);
    let reports = start_registers(settings, want, &identity);
    let (ready_in, ready) = watch::channel(false);
    let (probes_in, probes) = mpsc::unbounded_channel();
    let (serves_in, serves) = mpsc::unbounded_channel();
    let look = Look::new(&settings.readiness, identity.clone(), probes_in.clone(), serves_in);
    let (readiness, notify) = (settings.readiness.clone(), Arc::new(notify));
    task::keep_alive("readiness", move || {
        let (readiness, identity) = (readiness.clone(), identity.subscribe());
        readiness::run(
            readiness,
            identity,
            ready_in.clone(),
            Arc::clone(&notify),
            probes_in.clone(),
        )
    });
    (Inbox { reports, ready, probes, serves }, look)
}

fn start_registers(
    settings: &Settings,
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
    if let Some(haproxy) = &settings.haproxy {
        let (haproxy, holdings) = (Arc::new(haproxy.clone()), Holdings::default());
        for target in &haproxy.servers {
            let channels = channels.named(format!("haproxy {target}"));
            let (target, haproxy) = (target.clone(), Arc::clone(&haproxy));
            let (holdings, resolver) = (holdings.clone(), resolver.clone());
            task::keep_alive("registrar", move || {
                let (haproxy, resolver) = (Arc::clone(&haproxy), resolver.clone());
                fleet::run(target.clone(), haproxy, channels.clone(), holdings.clone(), resolver)
            });
        }
    }
    if let Some(dns) = &settings.dns {
        let dns = Arc::new(dns.clone());
        let channels = channels.named("dns");
        let resolver = resolver.clone();
        task::keep_alive("dns", move || {
            dns::run(Arc::clone(&dns), channels.clone(), resolver.clone())
        });
    }
    #[cfg(feature = "traefik")]
    start_stores(settings, &channels, &resolver);
    reports
}

/// A register for each store of Traefik's.
#[cfg(feature = "traefik")]
fn start_stores(settings: &Settings, channels: &Channels, resolver: &Resolver) {
    if let Some(traefik) = &settings.traefik {
        let settings = Arc::new(traefik.clone());
        for store in &traefik.stores {
            let channels = channels.named(format!("traefik {store}"));
            let (store, settings, resolver) =
                (store.clone(), Arc::clone(&settings), resolver.clone());
            task::keep_alive("traefik", move || {
                let (store, settings) = (store.clone(), Arc::clone(&settings));
                traefik::run(store, settings, channels.clone(), resolver.clone())
            });
        }
    }
}
