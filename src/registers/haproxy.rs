//! Registration in HAProxy: a slot of a `server-template`, claimed, held and given back over the stats
//! socket. Reading order: [`wire`], [`client`], [`slot`], [`registrar`], [`fleet`].

pub mod client;
pub mod fleet;
pub mod registrar;
pub mod settings;
pub mod slot;
pub mod wire;

pub use client::{Client, ClientError, Endpoint, Exchange, Overview, Peers, Swept, TLS};
pub use settings::Settings;
pub use wire::TableError;
pub use wire::command::{Command, ServerState};
pub use wire::process::Process;
pub use wire::server::{AdminState, Checks, Server};
pub use wire::stat::{ServerStat, StatTable};
