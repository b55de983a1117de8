//! sd_notify(3): the app says by itself when it can serve.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::path::PathBuf;

use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::net::random;

/// The socket that the app finds under `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct NotifySocket {
    socket: StdDatagram,
    name: String,
}

impl NotifySocket {
    /// Binds an abstract address, which needs no writable directory and leaves nothing behind.
    pub fn bind() -> io::Result<Self> {
        let name = format!("berth-notify-{:016x}", random::bits());
        let addr = SocketAddr::from_abstract_name(&name)?;
        let socket = StdDatagram::bind_addr(&addr)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, name })
    }

    /// The value for the app's `NOTIFY_SOCKET`.
    pub fn address(&self) -> PathBuf {
        PathBuf::from(OsStr::new(&format!("@{}", self.name)))
    }
}

/// A datagram may be this long; more of it is cut off.
const MAX_DATAGRAM: usize = 4096;

pub(super) async fn run(socket: &Option<NotifySocket>, ready: watch::Sender<bool>) {
    let socket = socket.as_ref().and_then(|notify| notify.socket.try_clone().ok());
    let Some(socket) = socket.and_then(|socket| UnixDatagram::from_std(socket).ok()) else {
        warn!("READY_CHECK=notify: no socket could be bound, hence the app is never ready");
        return ready.closed().await;
    };
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let received = tokio::select! {
            received = socket.recv(&mut buffer) => received,
            () = ready.closed() => return,
        };
        let Ok(length) = received else { continue };
        if let Some(state) = parse(buffer.get(..length).unwrap_or_default())
            && ready.send_if_modified(|ready| std::mem::replace(ready, state) != state)
            && !state
        {
            info!("the app says that it stops or reloads: draining");
        }
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
