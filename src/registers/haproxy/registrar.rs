//! One container at one HAProxy: what the `machine` asks for is done here, and nothing is
//! decided.
//!
//! Every event (start, lost race, restart, reload, an operator's hand) takes the same path. The
//! registrar never touches the app, and dropping it at any await is safe, because the next turn
//! starts from what HAProxy shows.

pub(super) mod address;
pub(super) mod ask;
pub(super) mod discovery;
mod holdings;
mod machine;
pub(super) mod notice;
pub(super) mod processes;
pub(super) mod traffic;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::sleep;

use crate::net::random;
use crate::registers::haproxy::client::line;
use crate::registers::haproxy::{Client, ClientError, Overview, Settings, Slots, dynamic};
use crate::registers::{Channels, Standing};
use ask::{Ask, Heard, Moment};
use holdings::Holding;
use machine::Machine;
use notice::News;

pub use discovery::{Unfit, Whoami, who_am_i};
pub use holdings::Holdings;

/// Why a turn got nowhere.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Registers with one HAProxy for as long as the container lives.
pub async fn run(
    client: Client,
    settings: Arc<Settings>,
    mut channels: Channels,
    holdings: Holdings,
) {
    let place = holdings.place(&channels.register);
    let mut machine = Mind::new(settings);
    let mut told = Told { channels: channels.clone(), addr: None, port: None, slot: None };
    let mut heard = Heard::Woken;
    // The life cycle must know of this register before it can hold anything.
    let epoch = channels.want.borrow().epoch;
    channels.report(epoch, Standing::Absent);
    loop {
        let want = *channels.want.borrow_and_update();
        let luck = random::fraction();
        let at = Moment { desired: want.desired, now: place.now(), luck };
        machine.beside(place.before());
        let standing = machine.next(heard, at);
        place.holds(machine.holding());
        machine.news().iter().for_each(|news| told.tell(news));
        if let Some(standing) = standing {
            channels.report(want.epoch, standing);
        }
        heard = tokio::select! {
            biased;
            changed = channels.want.changed() => match changed {
                Ok(()) => Heard::Woken,
                Err(_) => return,
            },
            heard = answer(&client, machine.ask()) => heard,
        };
    }
}

/// What decides here.
enum Mind {
    Template(Box<Machine>),
    Dynamic(Box<dynamic::machine::Machine>),
}

impl Mind {
    fn new(settings: Arc<Settings>) -> Self {
        match settings.slots.clone() {
            Slots::Template => Self::Template(Box::new(Machine::new(settings))),
            Slots::Dynamic(backend, options) => {
                Self::Dynamic(Box::new(dynamic::machine::Machine::new(settings, &backend, options)))
            }
        }
    }

    /// What the registrars before this one hold. A server's name is the same at each address of one HAProxy,
    /// so there it is no matter.
    fn beside(&mut self, others: Vec<Holding>) {
        if let Self::Template(machine) = self {
            machine.beside(others);
        }
    }

    fn holding(&self) -> Option<&Holding> {
        match self {
            Self::Template(machine) => machine.holding(),
            Self::Dynamic(_) => None,
        }
    }

    fn next(&mut self, heard: Heard, at: Moment) -> Option<Standing> {
        match self {
            Self::Template(machine) => machine.next(heard, at),
            Self::Dynamic(machine) => machine.next(heard, at),
        }
    }

    fn ask(&self) -> &Ask {
        match self {
            Self::Template(machine) => machine.ask(),
            Self::Dynamic(machine) => machine.ask(),
        }
    }

    fn news(&mut self) -> Vec<News> {
        match self {
            Self::Template(machine) => machine.news(),
            Self::Dynamic(machine) => machine.news(),
        }
    }
}

/// Does what is asked for.
async fn answer(client: &Client, ask: &Ask) -> Heard {
    let heard = match ask {
        Ask::Rest(time) => {
            sleep(*time).await;
            Ok(Heard::Woken)
        }
        Ask::Route => Ok(Heard::Route(discovery::route(client.endpoint()))),
        Ask::Ping => client.ping().await.map(Heard::Alive),
        Ask::Table { backend, .. } => client.overview(backend.as_deref()).await.map(|overview| {
            let Overview { servers, mut peers } = overview;
            // Over a Unix socket nothing is said of our address.
            peers.local = peers.local.or_else(discovery::outward);
            Heard::Table(Overview { servers, peers })
        }),
        Ask::Verify(slot) | Ask::Work(slot) | Ask::Emptied { slot, .. } => {
            client.stat(slot).await.map(|(line, local)| Heard::Line { line, local })
        }
        Ask::Change(step) => {
            tracing::trace!(endpoint = %client.endpoint(), ?step);
            client.change(&step.commands()).await.map(Heard::Done)
        }
        Ask::Sweep(sweep) => {
            let sweep = sweep.clone();
            let choose = move |servers: &[_]| {
                let step = sweep.choose(servers);
                let commands = step.commands();
                (!commands.is_empty()).then(|| line(&commands))
            };
            client.sweep(choose).await.map(Heard::Swept)
        }
        Ask::Act(step) => {
            tracing::trace!(endpoint = %client.endpoint(), ?step);
            let acted = client.act(&step.commands()).await;
            acted.map(|(peers, refused)| Heard::Acted { peers, refused })
        }
    };
    heard.unwrap_or_else(Heard::Failed)
}

/// What this registrar has told the others of this container. Another may have told it first.
struct Told {
    channels: Channels,
    addr: Option<IpAddr>,
    port: Option<u16>,
    slot: Option<Arc<str>>,
}

impl Told {
    /// Makes known what is new: to the log, and to the other registers.
    fn tell(&mut self, news: &News) {
        news.log(&self.channels.register);
        let (addr, port, slot) = (&mut self.addr, &mut self.port, &mut self.slot);
        self.channels.identity.send_if_modified(|identity| match news {
            News::Known(endpoint) | News::Moved(_, endpoint) => {
                let addr = update(&mut identity.addr, addr, &endpoint.ip());
                update(&mut identity.port, port, &endpoint.port()) || addr
            }
            News::Claimed(held) => update(&mut identity.slot, slot, &held.name),
            _ => false,
        });
    }
}

/// Sets what is not known yet, or known from here; whether that is news.
fn update<T: Clone + PartialEq>(known: &mut Option<T>, told: &mut Option<T>, now: &T) -> bool {
    let mine = known.is_none() || known == told;
    let news = mine && known.as_ref() != Some(now);
    if mine {
        *known = Some(now.clone());
        told.clone_from(known);
    }
    news
}
