//! What can go wrong between us and a store, and what to do about it.

use std::fmt;
use std::net::SocketAddr;

/// Why a question or a change came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No address of the store is known.
    NoAddress(String),
    /// No answer, or none of a store; `lost` when the connection was closed before it.
    Silent { server: SocketAddr, how: String, lost: bool },
    /// The store refuses, in its own words.
    Refused { server: SocketAddr, words: String },
    /// It says that it has made a change that it does not show.
    Ignored(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress(why) => f.write_str(why),
            Self::Silent { server, how, .. } => write!(f, "{server}: {how}"),
            Self::Refused { server, words } => write!(f, "{server} refuses: {words}"),
            Self::Ignored(key) => write!(f, "the store takes the key {key} and does not show it"),
        }
    }
}

/// What a store's words mean, by what is in them; the first that fits counts.
const ADVICE: [(&[&str], &str); 6] = [
    (
        &["NOAUTH", "WRONGPASS", "AUTH", "authentication", "auth token", "user name is empty"],
        "check name and password: TRAEFIK_KV=redis://NAME:PASSWORD@HOST, or TRAEFIK_PASSWORD",
    ),
    (
        &["NOPERM", "permission denied"],
        "give this user the rights that docs/traefik.md lists for its service",
    ),
    (&["READONLY"], "this is a replica: TRAEFIK_KV must name the primary"),
    (&["MOVED", "CLUSTERDOWN", "CROSSSLOT"], "TRAEFIK_KV must name one Redis, not a cluster"),
    (&["LOADING"], "it still reads its data; nothing to do"),
    (&["OOM", "space exceeded"], "it is full: give it more memory or space"),
];

impl Fault {
    /// What an operator should look at.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::NoAddress(_) => "check the name in TRAEFIK_KV and the container's DNS",
            Self::Silent { .. } => {
                "check that it runs, host and port in TRAEFIK_KV, whether it wants TLS (rediss, etcds), \
                 and the network between"
            }
            Self::Refused { words, .. } => {
                let fits = |(marks, _): &&(&[&str], &str)| marks.iter().any(|m| words.contains(m));
                ADVICE.iter().find(fits).map_or("see the store's log", |(_, advice)| *advice)
            }
            Self::Ignored(_) => "does somebody else write or delete the same keys?",
        }
    }

    /// Whether the connection was closed, as one is that was not used for long.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Silent { lost: true, .. })
    }

    /// Whether `other` is the same trouble again, whatever the details.
    pub(super) fn like(&self, other: &Self) -> bool {
        self.advice() == other.advice()
            && std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}
