//! One step, and the commands that take it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::registers::haproxy::{Command, Server, ServerState};

/// The next step of one container at one HAProxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The read is too old to act upon.
    Reread,
    /// A claim was written a moment ago and does not show yet, or what looks empty may be so only
    /// for a moment: read again.
    Settle,
    /// Write my address on this slot, marked with weight 0, and read again.
    Claim {
        /// The slot, as read.
        slot: Server,
        /// My address and port.
        endpoint: SocketAddr,
    },
    /// The slot is mine and out of rotation by our own doing: put it in.
    MakeReady(Server),
    /// The slot is mine and in rotation.
    Hold {
        /// The slot, as read.
        slot: Server,
        /// There are ghosts that I shall release if they stay: read again soon.
        watching: bool,
    },
    /// The slot is mine, and an operator took it out of rotation: leave it so.
    LeaveToOperator(Server),
    /// Take the slot out of rotation for new work.
    Drain(Server),
    /// The slot takes no new work: wait until the old is done.
    AwaitIdle(Server),
    /// Give back slots that show my address and must not, and ghosts: slots in rotation that nobody
    /// is behind.
    Release(Vec<Release>),
    /// No slot can be claimed.
    Full(Full),
    /// All is as wanted, and nothing is held.
    Nothing,
}

/// Why no slot can be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Full {
    /// All that I might have claimed are taken.
    Taken {
        /// How many.
        slots: usize,
    },
    /// Some have no address yet, because the template's name does not resolve.
    Unresolved,
    /// Some have no IP address, and HAProxy gives them none.
    NoAddress,
    /// The template has weight 0.
    Weightless,
}

impl Full {
    pub(super) fn of(candidates: &[&Server]) -> Self {
        let mut without = candidates.iter().filter(|slot| slot.addr.is_none());
        match without.next() {
            None => Self::Taken { slots: candidates.len() },
            Some(slot) if slot.has_name => Self::Unresolved,
            Some(_) => Self::NoAddress,
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken { .. } => "every slot is taken; waiting for one to be released",
            Self::Unresolved => {
                "the name in the template does not resolve yet, and HAProxy gives no address to its \
                 slots before it does; waiting for that (a template with 'localhost' need not wait)"
            }
            Self::NoAddress => {
                "the template has no IP address, and HAProxy gives none to its slots; write a name or \
                 an address into it, such as 'localhost'"
            }
            Self::Weightless => {
                "the template has weight 0, so no slot would get a request; give it a weight"
            }
        })
    }
}

/// A slot to be given back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// The slot, as read.
    pub slot: Server,
    /// The port that it gets, with the unspecified address.
    pub port: u16,
}

/// Bytes after which a line of commands takes in no further slot. HAProxy 3.2 refuses a line that
/// does not fit its buffer (`tune.bufsize`, 16 kB).
const LONG_LINE: usize = 6 << 10;

impl Step {
    /// The commands of this step, none when it only reads or waits. Lines of several agents may
    /// interleave at one slot; in this order they never leave it in maintenance with an address and
    /// a weight, as an operator does.
    pub fn commands(&self) -> Vec<Command<'_>> {
        match self {
            Self::Claim { slot, endpoint } => {
                let (backend, name) = (&*slot.backend, &*slot.name);
                vec![
                    Command::SetState(backend, name, ServerState::Maint),
                    Command::SetWeight(backend, name, 0),
                    Command::SetAddr(backend, name, *endpoint),
                ]
            }
            Self::MakeReady(slot) => vec![
                Command::SetWeight(&slot.backend, &slot.name, 100),
                Command::SetState(&slot.backend, &slot.name, ServerState::Ready),
            ],
            Self::Drain(slot) => vec![
                Command::SetWeight(&slot.backend, &slot.name, 0),
                Command::SetState(&slot.backend, &slot.name, ServerState::Drain),
            ],
            Self::Release(releases) => {
                let mut length = 0;
                let fits = |release: &&Release| {
                    let before = length;
                    length +=
                        release.commands().iter().map(|one| one.to_string().len()).sum::<usize>();
                    before < LONG_LINE
                };
                releases.iter().take_while(fits).flat_map(Release::commands).collect()
            }
            Self::Reread
            | Self::Settle
            | Self::Hold { .. }
            | Self::LeaveToOperator(_)
            | Self::AwaitIdle(_)
            | Self::Full(_)
            | Self::Nothing => Vec::new(),
        }
    }
}

impl Release {
    fn commands(&self) -> [Command<'_>; 3] {
        let (backend, name) = (&*self.slot.backend, &*self.slot.name);
        let unspecified = match self.slot.addr {
            Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        [
            Command::SetState(backend, name, ServerState::Maint),
            Command::SetWeight(backend, name, 100),
            Command::SetAddr(backend, name, SocketAddr::new(unspecified, self.port)),
        ]
    }
}
