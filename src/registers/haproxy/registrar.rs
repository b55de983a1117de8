//! One container at one HAProxy: what the [machine](machine) asks for is done here, and nothing is
//! decided.
//!
//! Every event (start, lost race, restart, reload, an operator's hand) takes the same path. The
//! registrar never touches the app, and dropping it at any await is safe, because the next turn
//! starts from what HAProxy shows.

mod ask;
mod discovery;
mod machine;
mod notice;
mod traffic;

use std::sync::Arc;
use std::time::Instant;

use tokio::time::sleep;

use crate::net::random;
use crate::registers::haproxy::{Client, ClientError, Overview, Settings};
use crate::registers::{Channels, Standing};
use ask::{Ask, Heard, Moment};
use machine::Machine;
use notice::News;

pub use discovery::{Unfit, who_am_i};

/// Why a turn got nowhere.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Registers with one HAProxy for as long as the container lives.
pub async fn run(client: Client, settings: Arc<Settings>, mut channels: Channels) {
    let started = Instant::now();
    let mut machine = Machine::new(settings);
    let mut heard = Heard::Woken;
    // The life cycle must know of this register before it can hold anything.
    let epoch = channels.want.borrow().epoch;
    channels.report(epoch, Standing::Absent);
    loop {
        let want = *channels.want.borrow_and_update();
        let luck = random::fraction();
        let at = Moment { desired: want.desired, now: started.elapsed(), luck };
        let standing = machine.next(heard, at);
        machine.news().iter().for_each(|news| tell(news, &channels));
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

/// Does what is asked for.
async fn answer(client: &Client, ask: &Ask) -> Heard {
    let heard = match ask {
        Ask::Rest(time) => {
            sleep(*time).await;
            Ok(Heard::Woken)
        }
        Ask::Ping => client.ping().await.map(|()| Heard::Alive),
        Ask::Table { backend, .. } => client.overview(backend.as_deref()).await.map(|overview| {
            // Over a Unix socket nothing is said of our address.
            let local = overview.local.or_else(discovery::outward);
            Heard::Table(Overview { local, ..overview })
        }),
        Ask::Verify(slot) | Ask::Work(slot) | Ask::Emptied { slot, .. } => {
            client.stat(slot).await.map(Heard::Line)
        }
        Ask::Change(step) => {
            tracing::trace!(endpoint = %client.endpoint(), ?step);
            client.change(&step.commands()).await.map(|()| Heard::Done)
        }
    };
    heard.unwrap_or_else(Heard::Failed)
}

/// Makes known what is new: to the log, and to the other registers.
fn tell(news: &News, channels: &Channels) {
    news.log(&channels.register);
    channels.identity.send_if_modified(|identity| match news {
        News::Known(endpoint) => {
            let unknown = identity.addr.is_none() || identity.port.is_none();
            identity.addr.get_or_insert(endpoint.ip());
            identity.port.get_or_insert(endpoint.port());
            unknown
        }
        News::Claimed(slot) => {
            let unknown = identity.slot.is_none();
            identity.slot.get_or_insert_with(|| Arc::clone(&slot.name));
            unknown
        }
        _ => false,
    });
}
