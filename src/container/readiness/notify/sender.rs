//! Who sent a message. An abstract address can be reached by everything in the network namespace: the
//! whole pod, or the whole host. Only what descends from Berth, and so from the app, may speak for it.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::file;
use crate::init::{Pid, close_all};

/// The kernel attaches no more descriptors to one message (unix(7)).
const MOST_DESCRIPTORS: usize = 253;
/// No process has so many ancestors.
const MOST_ANCESTORS: usize = 1000;
/// `/proc/PID/status` names the parent before this.
const LONGEST_STATUS: usize = 4096;

/// The next message, as its length, and who sent it. Descriptors that come with it are closed, which is
/// what the sender of `BARRIER=1` waits for.
///
/// # Errors
/// When memory runs out.
pub(super) async fn receive(
    socket: &UnixDatagram,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<UnixCredentials>)> {
    let mut control = cmsg_space!(UnixCredentials, [RawFd; MOST_DESCRIPTORS]);
    socket
        .async_io(Interest::READABLE, || {
            let mut parts = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received =
                recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
            let mut sender = None;
            for message in received.cmsgs()? {
                match message {
                    ControlMessageOwned::ScmCredentials(credentials) => sender = Some(credentials),
                    ControlMessageOwned::ScmRights(descriptors) => close_all(descriptors),
                    _ => {}
                }
            }
            Ok((received.bytes, sender))
        })
        .await
}

/// Whether the sender descends from Berth.
///
/// Its pid is 0 when it lies in another PID namespace, as every other container does. Where Berth is
/// PID 1, all others are its own. Elsewhere its ancestors tell, but not those of a sender that has ended
/// by now, as a one-line helper of the app may: it counts if it ran as the same user, who could do the
/// app worse than call it ready.
pub(super) fn belongs(sender: UnixCredentials) -> bool {
    let own = std::process::id();
    match u32::try_from(sender.pid()) {
        Err(_) | Ok(0) => false,
        Ok(_) if own == 1 => true,
        Ok(_) => descends(sender.pid(), own.cast_signed(), parent)
            .unwrap_or_else(|| sender.uid() == nix::unistd::getuid().as_raw()),
    }
}

/// Whether `process` descends from `ancestor`; `None` when it has ended.
fn descends(process: Pid, ancestor: Pid, parent: impl Fn(Pid) -> Option<Pid>) -> Option<bool> {
    let mut at = parent(process)?;
    for _ in 0..MOST_ANCESTORS {
        if at == ancestor {
            return Some(true);
        }
        if at <= 1 {
            break;
        }
        // One that has ended meanwhile has left its children to another, so begin again.
        at = match parent(at) {
            Some(next) => next,
            None => parent(process)?,
        };
    }
    Some(false)
}

fn parent(process: Pid) -> Option<Pid> {
    let path = format!("/proc/{process}/status");
    let status = file::start(Path::new(&path), LONGEST_STATUS).ok()?;
    String::from_utf8_lossy(&status)
        .lines()
        .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_tell_whose_a_process_is() {
        let parent =
            |pid| [(9, 8), (8, 5), (5, 1), (7, 1)].iter().find(|p| p.0 == pid).map(|p| p.1);
        assert_eq!(descends(9, 5, parent), Some(true));
        assert_eq!(descends(8, 5, parent), Some(true));
        assert_eq!(descends(7, 5, parent), Some(false));
        assert_eq!(descends(5, 5, parent), Some(false), "Berth itself says nothing");
        assert_eq!(descends(4, 5, parent), None, "it has ended");
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(descends(2, 9, |pid| Some(if pid == 2 { 3 } else { 2 })), Some(false));
    }

    #[test]
    fn the_kernel_names_the_parent() {
        let own = std::process::id().cast_signed();
        assert_eq!(parent(own), Some(nix::unistd::getppid().as_raw()));
        assert_eq!(parent(0), None);
    }
}
