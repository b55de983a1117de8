//! What a registrar says: one line when something changes, none while it stays so.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::registers::haproxy::slot::{Full, Release};
use crate::registers::haproxy::{Server, ServerStat};

/// Different troubles that one outage may log.
const MAX_TROUBLES: usize = 4;

/// How long a slot is DOWN until it is said. An app may restart, or be slow to begin with.
const DOWN_AFTER: Duration = Duration::from_secs(10);

/// Something to be made known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registers::haproxy) enum News {
    /// The address and port that this container advertises.
    Known(SocketAddr),
    /// They were these and are those.
    Moved(SocketAddr, SocketAddr),
    /// A turn failed, for this reason.
    Trouble(String),
    /// What failed works again.
    Reachable,
    /// Several processes answer in turn.
    Divided,
    /// One does again.
    United,
    /// The slot is in rotation.
    Claimed(Slot),
    /// The slot that was held is no longer, or not in rotation; what follows will be said.
    Changed(Slot),
    /// HAProxy has found the slot DOWN for a while; the outcome of its last check.
    Down(Slot, SocketAddr, Box<str>),
    /// It has not any more.
    Up(Slot),
    /// An operator took the slot out of rotation.
    Operator(Slot),
    /// HAProxy itself holds the slot out of rotation.
    HeldBack(Slot, Bar),
    /// The slot does not stay in rotation.
    InVain(Slot),
    /// The slot takes no new work.
    Draining(Slot),
    /// Another registrar of this container holds this slot at the same HAProxy.
    Second(Slot),
    /// The slot is given back.
    Released(Slot),
    /// So many are.
    ReleasedAll(usize),
    /// So many servers of others are deleted.
    Buried(usize),
    /// No slot can be had.
    Full(Full),
}

/// Why HAProxy holds a slot out of rotation that nobody took out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registers::haproxy) enum Bar {
    Tracked,
    Unresolved,
}

/// A slot, or another server, by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its backend's name.
    pub backend: Arc<str>,
    /// Its own.
    pub name: Arc<str>,
}

impl From<&Server> for Slot {
    fn from(server: &Server) -> Self {
        Self { backend: Arc::clone(&server.backend), name: Arc::clone(&server.name) }
    }
}

impl News {
    /// Writes the line that tells it, if there is one.
    pub(in crate::registers::haproxy) fn log(&self, register: &str) {
        match self {
            Self::Known(_) => {}
            Self::Moved(from, to) => {
                info!(register, %from, %to, "this container's address has changed; registering the new one");
            }
            Self::Trouble(error) => {
                warn!(register, error, "cannot register, the app runs on; retrying");
            }
            Self::Reachable => news(register, "HAProxy answers again"),
            Self::Divided => warning(
                register,
                "several HAProxys answer at this address in turn, so this container is registered with none \
                 of them; let HAPROXY_SERVER list an address of each, or a name with all of these",
            ),
            Self::United => news(register, "one HAProxy answers at this address again"),
            Self::Claimed(slot) => slot.news(register, "in rotation"),
            Self::Changed(slot) => {
                slot.news(register, "changed by somebody else, or HAProxy has restarted");
            }
            Self::Down(Slot { backend, name: slot }, address, check) => {
                warn!(
                    register, %backend, %slot, %address, %check,
                    "HAProxy finds this container DOWN, so it gets no requests; \
                     can HAProxy reach its address, and does the check suit the app?"
                );
            }
            Self::Up(slot) => slot.news(register, "HAProxy finds this container UP again"),
            Self::Operator(slot) => {
                slot.warning(register, "taken out of rotation by an operator; left so");
            }
            Self::HeldBack(Slot { backend, name: slot }, bar) => {
                let why = match bar {
                    Bar::Tracked => "the server that it tracks is in maintenance or drains",
                    Bar::Unresolved => "the name in the template does not resolve any more",
                };
                warn!(register, %backend, %slot, why, "held out of rotation by HAProxy until that is over");
            }
            Self::InVain(slot) => slot.warning(
                register,
                "does not stay in rotation; does an agent-check or a script take it out?",
            ),
            Self::Draining(slot) => slot.news(register, "draining"),
            Self::Second(slot) => slot.news(
                register,
                "this address leads to an HAProxy that another one leads to, too; one slot is held there",
            ),
            Self::Released(slot) => slot.news(register, "released"),
            Self::ReleasedAll(slots) => {
                info!(register, slots, "released slots that nobody is behind");
            }
            Self::Buried(servers) => {
                info!(register, servers, "deleted servers of containers that are gone");
            }
            Self::Full(why @ Full::Taken { slots }) => warn!(register, slots, "{why}"),
            Self::Full(why) => warning(register, &why.to_string()),
        }
    }
}

// Each place that logs is half a kB of code, hence one for all lines with the same fields.

fn news(register: &str, text: &str) {
    info!(register, "{text}");
}

fn warning(register: &str, text: &str) {
    warn!(register, "{text}");
}

impl Slot {
    fn news(&self, register: &str, text: &str) {
        info!(register, backend = %self.backend, slot = %self.name, "{text}");
    }

    fn warning(&self, register: &str, text: &str) {
        warn!(register, backend = %self.backend, slot = %self.name, "{text}");
    }
}

/// What was last said about one HAProxy, and what is to be said next.
#[derive(Clone, Debug, Default)]
pub(in crate::registers::haproxy) struct Notices {
    troubles: Vec<String>,
    /// What was last said of the slots.
    said: Option<News>,
    endpoint: Option<SocketAddr>,
    down: Option<Down>,
    next: Vec<News>,
}

/// The slot is DOWN.
#[derive(Clone, Copy, Debug)]
struct Down {
    since: Duration,
    said: bool,
}

impl Notices {
    /// What is to be said.
    pub(in crate::registers::haproxy) fn take(&mut self) -> Vec<News> {
        mem::take(&mut self.next)
    }

    pub(in crate::registers::haproxy) fn known(&mut self, endpoint: SocketAddr) {
        match self.endpoint.replace(endpoint) {
            None => self.next.push(News::Known(endpoint)),
            Some(before) if before != endpoint => {
                self.next.push(News::Moved(before, endpoint));
                self.said = None;
            }
            Some(_) => {}
        }
    }

    pub(in crate::registers::haproxy) fn trouble(&mut self, error: String) {
        if self.troubles.len() < MAX_TROUBLES && !self.troubles.contains(&error) {
            self.next.push(News::Trouble(error.clone()));
            self.troubles.push(error);
        }
        self.said = None;
    }

    pub(in crate::registers::haproxy) fn reachable(&mut self) {
        if !self.troubles.is_empty() {
            self.troubles.clear();
            self.next.push(News::Reachable);
        }
    }

    pub(in crate::registers::haproxy) fn divided(&mut self) {
        self.next.push(News::Divided);
        self.said = None;
    }

    pub(in crate::registers::haproxy) fn united(&mut self) {
        self.next.push(News::United);
    }

    pub(in crate::registers::haproxy) fn claimed(&mut self, slot: &Server) {
        // What is barred will be seen to stay out.
        if !slot.admin.is_barred() {
            self.joined(slot.into());
        }
    }

    pub(in crate::registers::haproxy) fn joined(&mut self, slot: Slot) {
        self.say(News::Claimed(slot));
    }

    /// What HAProxy's health checks say of the slot that is held.
    pub(in crate::registers::haproxy) fn checked(
        &mut self,
        slot: &Server,
        line: &ServerStat,
        now: Duration,
    ) {
        if !line.is_down() {
            if self.down.take().is_some_and(|down| down.said) {
                self.next.push(News::Up(slot.into()));
            }
            return;
        }
        let down = self.down.get_or_insert(Down { since: now, said: false });
        if !down.said
            && now.saturating_sub(down.since) >= DOWN_AFTER
            && let Some(endpoint) = line.endpoint
        {
            down.said = true;
            let check = line.check.clone().unwrap_or_default();
            self.next.push(News::Down(slot.into(), endpoint, check));
        }
    }

    /// The slot that was held is no longer, or not in rotation.
    pub(in crate::registers::haproxy) fn changed(&mut self) {
        if let Some(News::Claimed(slot)) = &self.said {
            self.next.push(News::Changed(slot.clone()));
            self.said = None;
        }
    }

    pub(in crate::registers::haproxy) fn operator(&mut self, slot: &Server) {
        let bar = if slot.admin.is_unresolved() { Bar::Unresolved } else { Bar::Tracked };
        self.say(match slot.admin.is_held_back() {
            true => News::HeldBack(slot.into(), bar),
            false => News::Operator(slot.into()),
        });
    }

    pub(in crate::registers::haproxy) fn in_vain(&mut self, slot: Slot) {
        self.say(News::InVain(slot));
    }

    pub(in crate::registers::haproxy) fn draining(&mut self, slot: &Server) {
        self.say(News::Draining(slot.into()));
    }

    pub(in crate::registers::haproxy) fn second(&mut self, slot: &Slot) {
        self.next.push(News::Second(slot.clone()));
        self.said = None;
    }

    pub(in crate::registers::haproxy) fn released(&mut self, releases: &[Release]) {
        self.given_back(releases.iter().map(|release| (&release.slot).into()).collect());
    }

    pub(in crate::registers::haproxy) fn given_back(&mut self, mut slots: Vec<Slot>) {
        self.next.push(match slots.pop() {
            Some(slot) if slots.is_empty() => News::Released(slot),
            _ => News::ReleasedAll(slots.len() + 1),
        });
        self.said = None;
    }

    pub(in crate::registers::haproxy) fn buried(&mut self, servers: usize) {
        self.next.push(News::Buried(servers));
    }

    pub(in crate::registers::haproxy) fn full(&mut self, why: Full) {
        self.say(News::Full(why));
    }

    /// Says it unless it was the last thing said.
    fn say(&mut self, news: News) {
        if self.said.as_ref() != Some(&news) {
            self.next.push(news.clone());
            self.said = Some(news);
        }
    }
}
