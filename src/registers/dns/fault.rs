//! What can go wrong between us and the server, and what to do about it.

use std::fmt;
use std::net::SocketAddr;

use domain::base::iana::{Rcode, TsigRcode};

use super::wire::name::DnsName;
use super::wire::tsig::TsigFault;

/// Why a question or an update came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No server can be found to talk to.
    NoServer(String),
    /// The server does not answer, or not in DNS.
    Silent(SocketAddr, String),
    /// The server refuses.
    Refused { server: SocketAddr, rcode: Rcode, update: bool, signed: bool },
    /// The server's or our signature is not accepted.
    Tsig(SocketAddr, TsigFault),
    /// The server has the zone from elsewhere, or not at all.
    NotAuthoritative(SocketAddr, DnsName),
    /// It says that it has made a change at a name that it does not show; an alias may be there.
    Ignored { server: SocketAddr, name: DnsName, alias: bool },
    /// It finds, time and again, that the records at a name are not those that it shows.
    Contested(SocketAddr, DnsName),
    /// The name has more records than a message holds, by TCP too.
    TooMany(DnsName),
    /// A name that cannot be used.
    BadName(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer(why) | Self::BadName(why) => f.write_str(why),
            Self::Silent(server, how) => write!(f, "{server}: {how}"),
            Self::Refused { server, rcode, update, signed } => {
                let what = if *update { "an update" } else { "a question" };
                let proof = if *signed { "" } else { " (unsigned, so perhaps not its own word)" };
                write!(f, "{server} says {rcode} to {what}{proof}")
            }
            Self::Tsig(server, fault) => write!(f, "{server} {fault}"),
            Self::NotAuthoritative(server, name) => {
                write!(f, "{server} answers for {name} from a cache or not at all")
            }
            Self::TooMany(name) => write!(f, "{name} has more records than a message holds"),
            Self::Ignored { server, name, .. } => {
                write!(f, "{server} accepts the record of {name} and does not show it")
            }
            Self::Contested(server, name) => write!(
                f,
                "{server} refuses to change {name}: time and again its records are others than those \
                 that it shows"
            ),
        }
    }
}

impl Fault {
    /// Whether nobody has answered at all.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Silent(..) | Self::NoServer(_))
    }

    /// What an operator should look at.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::NoServer(_) => "check DNS_SERVER and DNS_ZONE",
            Self::Silent(..) => {
                "check that it runs, that DNS_SERVER has the right port, and the network between"
            }
            Self::Refused { rcode, update, .. } => match *rcode {
                Rcode::REFUSED if !update => {
                    "check that the server has DNS_ZONE, and that this key or address may ask \
                     (allow-query)"
                }
                Rcode::REFUSED => {
                    "let the key (or this address) change these records: update-policy or \
                     allow-update of the zone, TXT below DNS_NAME included unless DNS_LEASE=0; BIND \
                     also refuses a '_' in the owner of an address (check-names), and everything \
                     while the zone is frozen (rndc freeze, until rndc thaw)"
                }
                Rcode::NOTAUTH => "check DNS_ZONE, and that this server is its primary",
                Rcode::NOTZONE => "a name is outside the zone: check DNS_ZONE and the names",
                Rcode::SERVFAIL => {
                    "see the server's log: often the zone did not load, its directory is not \
                     writable for the journal, or a name has as many addresses as BIND's \
                     max-records-per-type allows (100)"
                }
                Rcode::NOTIMP => "this server takes no updates: name another in DNS_SERVER",
                _ => "see the server's log",
            },
            Self::Tsig(_, fault) => match fault {
                TsigFault::Server(TsigRcode::BADKEY) => {
                    "the server has no key of this name and algorithm: compare with its \
                     configuration, and rndc reload it"
                }
                TsigFault::Server(TsigRcode::BADSIG) => {
                    "the server has another secret under the key's name: compare the secrets"
                }
                TsigFault::BadTime { .. } => "set the clocks right (NTP) on both sides",
                TsigFault::Unsigned => {
                    "check that DNS_SERVER is the server that has the key, not one on the way"
                }
                _ => "compare the key with the server's",
            },
            Self::NotAuthoritative(..) => "DNS_SERVER must be the zone's primary, not a resolver",
            Self::Ignored { alias: true, .. } => {
                "there is a CNAME at that name, which allows no other record: remove it, or choose \
                 another name"
            }
            Self::Ignored { .. } | Self::Contested(..) => {
                "DNS_SERVER must be the zone's primary alone: does a secondary, another view or a \
                 load balancer answer there, or does somebody else write the same records?"
            }
            Self::TooMany(_) => {
                "remove records: nobody who asks for so many gets an answer (some 4000 addresses fit)"
            }
            Self::BadName(_) => "check DNS_NODE_NAME",
        }
    }

    /// Whether `other` is the same trouble again, whatever the details.
    pub(super) fn like(&self, other: &Self) -> bool {
        self.advice() == other.advice()
            && std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}
