//! Whoever supervises Berth by sd_notify(3), and what of the app's messages is for him.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::time::timeout;
use tracing::warn;

/// Longest wait for room in his queue.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Statements that are not passed on. Berth is the main process, not the app, whose pid may mean
/// another process outside; descriptors to keep would come back to Berth after a restart, as would the
/// end of a barrier; and who may speak is between him and Berth.
const NOT_PASSED_ON: [&[u8]; 10] = [
    b"MAINPID",
    b"MAINPIDFD",
    b"MAINPIDFDID",
    b"FDSTORE",
    b"FDSTOREREMOVE",
    b"FDNAME",
    b"FDPOLL",
    b"BARRIER",
    b"NOTIFYACCESS",
    b"",
];

/// The address in a `NOTIFY_SOCKET`: `/path`, or `@name` for an abstract one.
pub(super) fn address(text: &OsStr) -> Option<SocketAddr> {
    match text.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(text).ok(),
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name).ok(),
        _ => None,
    }
}

/// Where messages are passed on to, if anywhere.
#[derive(Debug)]
pub(super) struct Outer {
    address: Option<SocketAddr>,
    told: bool,
}

impl Outer {
    pub(super) fn new(address: Option<SocketAddr>) -> Self {
        Self { address, told: false }
    }

    /// Passes on what of a message is for him. Takes a second at most; a failure is said once.
    pub(super) async fn pass_on(&mut self, message: &[u8]) {
        let Some(address) = &self.address else { return };
        let message = selected(message);
        if message.is_empty() {
            return;
        }
        let sent = timeout(TIMEOUT, send(address, &message)).await;
        let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match sent {
            Ok(()) => self.told = false,
            Err(error) if !std::mem::replace(&mut self.told, true) => {
                warn!(%error, "what the app says cannot be passed on to NOTIFY_SOCKET");
            }
            Err(_) => {}
        }
    }
}

/// On a socket of its own each time: he may have been started anew since.
async fn send(address: &SocketAddr, message: &[u8]) -> io::Result<()> {
    let socket = StdDatagram::unbound()?;
    socket.connect_addr(address)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)?.send(message).await.map(drop)
}

/// The lines that are for him.
fn selected(message: &[u8]) -> Vec<u8> {
    let lines = message.split(|byte| *byte == b'\n');
    let passed = lines.filter(|line| {
        let name = line.split(|byte| *byte == b'=').next().unwrap_or_default();
        !NOT_PASSED_ON.contains(&name)
    });
    passed.collect::<Vec<_>>().join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_processes_and_descriptors_stays_here() {
        for (message, passed) in [
            ("READY=1\nSTATUS=a=b\nMAINPID=7\n", "READY=1\nSTATUS=a=b"),
            ("FDSTORE=1\nFDNAME=x", ""),
            ("BARRIER=1", ""),
            ("WATCHDOG=1\n", "WATCHDOG=1"),
            ("RELOADING=1\nMONOTONIC_USEC=5", "RELOADING=1\nMONOTONIC_USEC=5"),
            ("\n\n", ""),
        ] {
            assert_eq!(selected(message.as_bytes()), passed.as_bytes(), "{message:?}");
        }
    }

    #[test]
    fn a_path_and_an_abstract_name_are_addresses() {
        let path = address(OsStr::new("/run/x")).unwrap();
        assert_eq!(path.as_pathname(), Some(std::path::Path::new("/run/x")));
        let name = address(OsStr::new("@x/y")).unwrap();
        assert_eq!(name.as_abstract_name(), Some(&b"x/y"[..]));
        for text in ["", "@", "run/x", "vsock:2:1"] {
            assert!(address(OsStr::new(text)).is_none(), "{text}");
        }
    }
}
