//! Writing to standard error without ever waiting for whoever reads it.
//!
//! Its blocking mode is shared with the app, hence left alone: a pipe or a terminal is opened anew for
//! each line, which gives a mode of its own. Lines are few, and a descriptor that is held could be the
//! one that the app's start lacks. What would have to wait is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

/// The same file as standard error, as the kernel shows it.
const STDERR: &str = "/proc/self/fd/2";

/// Writes a line, or drops it.
pub(super) fn write(line: &str) {
    let (stderr, line) = (io::stderr(), line.as_bytes());
    let now = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    if send(stderr.as_fd().as_raw_fd(), line, now) != Err(Errno::ENOTSOCK) {
        return;
    }
    match own() {
        Some(mut own) => drop(own.write(line)),
        // A regular file, which is never waited for, or one that cannot be opened again: a pipe of
        // another user. There a line that does not fit behind what the app writes at that very moment
        // waits.
        None if is_writable(&stderr) => drop(stderr.lock().write_all(line)),
        None => {}
    }
}

/// A pipe or a terminal, opened anew. A regular file would be written from its beginning.
fn own() -> Option<File> {
    let kind = std::fs::metadata(STDERR).ok()?.file_type();
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    (kind.is_fifo() || kind.is_char_device()).then(|| options.open(STDERR).ok())?
}

/// Whether a line can be written without waiting, as far as that can be asked.
fn is_writable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(1)
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT))
}
