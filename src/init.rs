//! The app as a child: started, signalled, reaped, and what its end says. Knows no register, no
//! configuration and, but for one stream of signals, no runtime.

pub mod exit;
pub mod inherited;
pub mod plain;
pub mod secret;
pub mod settings;
pub mod signal;
pub mod signals;
pub mod spawn;
pub mod supervisor;
pub(crate) mod sys;
pub(crate) mod terminal;

pub use settings::Settings;
pub(crate) use sys::{close_all, host_name};

/// The kernel's name for a process.
pub type Pid = libc::pid_t;
