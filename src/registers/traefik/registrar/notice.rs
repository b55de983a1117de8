//! Log lines of a registrar in a store: one when something changes, none while it stays so.

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{info, warn};

use crate::registers::traefik::fault::Fault;
use crate::registers::traefik::phase::News;

/// What was last said.
#[derive(Debug)]
pub(super) struct Notices {
    register: Arc<str>,
    service: Arc<str>,
    trouble: Option<Fault>,
    registered: Option<SocketAddr>,
    other_route: Option<String>,
    traefik: Traefik,
    is_deaf: bool,
}

/// What was last said of Traefik itself.
#[derive(Debug, PartialEq, Eq)]
enum Traefik {
    Unknown,
    TakenUp,
    NotTakenUp,
    Silent,
}

impl Notices {
    pub(super) fn new(register: Arc<str>, service: Arc<str>) -> Self {
        Self {
            register,
            service,
            trouble: None,
            registered: None,
            other_route: None,
            traefik: Traefik::Unknown,
            is_deaf: false,
        }
    }

    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    pub(super) fn trouble(&mut self, fault: &Fault) {
        if !self.trouble.as_ref().is_some_and(|said| said.like(fault)) {
            let (error, advice) = (fault.to_string(), fault.advice());
            warn!(register = %self.register, error, advice, "cannot register with Traefik, the app runs on; retrying");
            self.trouble = Some(fault.clone());
        }
    }

    pub(super) fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            info!(register = %self.register, "Traefik's store answers again");
        }
    }

    /// What Redis's `notify-keyspace-events` says: without K and the classes of the commands and of what
    /// expires, Traefik hears of no change.
    pub(super) fn notifies(&mut self, letters: &str) {
        let has = |letter| letters.contains(letter);
        let deaf = !(has('K') && (has('A') || ['g', '$', 'x'].into_iter().all(has)));
        if std::mem::replace(&mut self.is_deaf, deaf) == deaf {
            return;
        }
        let register = &self.register;
        match deaf {
            true => {
                warn!(%register, "Redis tells Traefik of no change: put 'notify-keyspace-events KEA' into redis.conf, since what Traefik sets itself is gone when Redis restarts");
            }
            false => info!(%register, "Redis tells Traefik of changes again"),
        }
    }

    pub(super) fn tell(&mut self, news: News) {
        let (register, service) = (&self.register, &self.service);
        match news {
            News::In(addr) => {
                self.other_route = self.other_route.take().filter(|_| self.registered.is_some());
                if self.registered.replace(addr) != Some(addr) {
                    info!(%register, %service, %addr, "in Traefik's store");
                }
            }
            News::Left(addr) => {
                info!(%register, %service, %addr, "out of Traefik's store");
                self.registered = None;
                self.traefik = Traefik::Unknown;
            }
            News::Scrubbed(keys) => {
                let keys = keys.join(", ");
                info!(%register, keys, "deleted keys of others with this container's address");
            }
            News::Rerouted(before) => {
                warn!(%register, %service, before, "the service had another route than TRAEFIK_RULE and TRAEFIK_ENTRYPOINTS say; changed it");
            }
            News::OtherRoute(theirs) => {
                if self.other_route.as_ref() != Some(&theirs) {
                    warn!(%register, %service, theirs, "another container has given the service another route, which stays; give all of them the same TRAEFIK_RULE and TRAEFIK_ENTRYPOINTS");
                    self.other_route = Some(theirs);
                }
            }
            News::TakenUp => self.traefik(Traefik::TakenUp, ""),
            News::NotTakenUp => self.traefik(Traefik::NotTakenUp, ""),
            News::ApiSilent(why) => self.traefik(Traefik::Silent, &why),
        }
    }

    fn traefik(&mut self, says: Traefik, why: &str) {
        if self.traefik == says {
            return;
        }
        let register = &self.register;
        match says {
            Traefik::TakenUp => info!(%register, "Traefik sends requests to this container"),
            Traefik::NotTakenUp => {
                warn!(%register, "this container is in the store, and Traefik takes no notice of it; is a key of somebody else's wrong ('Provider error' in Traefik's log names it), does Traefik read this store and TRAEFIK_ROOT, and does Redis have notify-keyspace-events?");
            }
            Traefik::Silent => {
                warn!(%register, why, "TRAEFIK_API does not answer; a stop waits for TRAEFIK_DRAIN instead");
            }
            Traefik::Unknown => {}
        }
        self.traefik = says;
    }
}
