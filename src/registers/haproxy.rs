//! Registration in HAProxy: a slot of a `server-template`, claimed, held and given back over the stats
//! socket, or a server of one's own, added and deleted. Reading order: [`wire`], [`client`], [`slot`] and
//! [`dynamic`], [`registrar`], [`fleet`].

pub mod client;
pub mod dynamic;
pub mod fleet;
pub mod pem;
pub mod registrar;
pub mod settings;
pub mod slot;
#[cfg(not(feature = "tls"))]
#[path = "haproxy/no_tls.rs"]
pub mod tls;
#[cfg(feature = "tls")]
pub mod tls;
pub mod wire;

pub use client::{Client, ClientError, Endpoint, Exchange, Overview, Peers, Swept};
pub use pem::TlsFiles;
pub use settings::{ServerOptions, Settings, Slots};
pub use tls::Tls;
pub use wire::TableError;
pub use wire::command::{Command, ServerState};
pub use wire::process::Process;
pub use wire::server::{AdminState, Checks, Server};
pub use wire::stat::{ServerStat, StatTable};
