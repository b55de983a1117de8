//! sd_notify(3): the app says by itself when it can serve.
//!
//! What it says is also passed on to whoever supervises Berth in the same way (systemd's
//! `Type=notify`, podman's `--sdnotify=container`), whose `NOTIFY_SOCKET` Berth's own takes the place of.

mod outer;
mod sender;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::path::PathBuf;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::container::readiness::notify::outer::Outer;
use crate::net::random;

/// The socket that the app finds under `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct NotifySocket {
    socket: StdDatagram,
    name: String,
    outer: Option<SocketAddr>,
}

impl NotifySocket {
    /// Binds an abstract address, which needs no writable directory and leaves nothing behind. What
    /// comes there is passed on to `outer`, the `NOTIFY_SOCKET` that Berth itself was given.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn bind(outer: Option<OsString>) -> io::Result<Self> {
        let name = format!("berth-notify-{:016x}", random::bits());
        let addr = SocketAddr::from_abstract_name(&name)?;
        let socket = StdDatagram::bind_addr(&addr)?;
        socket.set_nonblocking(true)?;
        // With every message comes who sent it.
        setsockopt(&socket, sockopt::PassCred, &true)?;
        let outer = outer.and_then(|text| {
            let addr = outer::address(&text);
            if addr.is_none() {
                warn!(NOTIFY_SOCKET = ?text, "expected /path or @name: nothing is passed on to it");
            }
            addr
        });
        Ok(Self { socket, name, outer })
    }

    /// The value for the app's `NOTIFY_SOCKET`.
    pub fn address(&self) -> PathBuf {
        PathBuf::from(OsStr::new(&format!("@{}", self.name)))
    }
}

/// A datagram may be this long; more of it is cut off.
const MAX_DATAGRAM: usize = 4096;

pub(super) async fn run(notify: &Option<NotifySocket>, ready: watch::Sender<bool>) {
    let parts = notify.as_ref().and_then(|notify| {
        let socket = UnixDatagram::from_std(notify.socket.try_clone().ok()?).ok()?;
        Some((socket, Outer::new(notify.outer.clone())))
    });
    let Some((socket, mut outer)) = parts else {
        warn!("READY_CHECK=notify: no socket could be bound, hence the app is never ready");
        return ready.closed().await;
    };
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut told = false;
    loop {
        let received = tokio::select! {
            received = sender::receive(&socket, &mut buffer) => received,
            () = ready.closed() => return,
        };
        let Ok((length, sender)) = received else { continue };
        if !sender.is_some_and(sender::belongs) {
            if !std::mem::replace(&mut told, true) {
                let pid = sender.map(|sender| sender.pid());
                warn!(
                    ?pid,
                    "NOTIFY_SOCKET: a message of a process that the app did not start is ignored"
                );
            }
            continue;
        }
        let message = buffer.get(..length).unwrap_or_default();
        if let Some(state) = parse(message)
            && ready.send_if_modified(|ready| std::mem::replace(ready, state) != state)
            && !state
        {
            info!("the app says that it stops or reloads: draining");
        }
        outer.pass_on(message).await;
    }
}

/// The last statement of a message about being ready: `READY=1`, `STOPPING=1` or `RELOADING=1`.
pub(super) fn parse(message: &[u8]) -> Option<bool> {
    message
        .split(|byte| *byte == b'\n')
        .filter_map(|line| match line {
            b"READY=1" => Some(true),
            b"STOPPING=1" | b"RELOADING=1" => Some(false),
            _ => None,
        })
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_about_being_ready_count() {
        assert_eq!(parse(b"READY=1\nSTATUS=serving\n"), Some(true));
        assert_eq!(parse(b"STOPPING=1"), Some(false));
        assert_eq!(parse(b"STATUS=READY=1"), None);
        assert_eq!(parse(b"\xff\x00"), None);
    }
}
