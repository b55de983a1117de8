//! Registration in HAProxy: a slot of a `server-template`, claimed, held and given back over the stats
//! socket. Never touches the app, and knows of no other register. Reading order: [`wire`], [`client`],
//! [`slot`], [`registrar`], [`fleet`].

pub mod client;
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
pub use settings::Settings;
pub use tls::Tls;
pub use wire::TableError;
pub use wire::command::{Command, ServerState};
pub use wire::process::Process;
pub use wire::server::{AdminState, Checks, Server};
pub use wire::stat::{ServerStat, StatTable};
