//! The kernel's interface as safe functions: what nix does not wrap, or not well enough for an init.
//!
//! - *Masks, pending sets, taking signals*: sets go to the kernel as they are (64 bits). The C
//!   libraries, and nix with them, hide the two or three signals that they use themselves, and a mask
//!   that passes through Berth must come out with every bit.
//! - *Sending and receiving*: nix's `Signal` ends at 31; real-time signals are forwarded too.
//! - *Waiting*: nix answers a death by a real-time signal with EINVAL, after having reaped it, and
//!   cannot tell which signal that was.
//! - *Dispositions, two requests to a terminal, descriptors by number*: nix has them as unsafe
//!   functions, or only with a signal handler at hand.
//!
//! Every return value that is dropped here belongs to a call whose failure has no remedy (a process
//! that is gone, a terminal that was hung up).
#![allow(unsafe_code, reason = "the kernel's interface; each block says why it is sound")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr::null;
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{self, setpgid, setsid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::init::Pid;
use crate::init::exit::Ended;
use crate::init::signal::{Received, Signal, SignalSet};

/// Standard input, output and error: always open, see [`occupy_closed_stdio`].
// SAFETY: Berth never closes them.
pub(crate) const STDIO: [BorrowedFd<'static>; 3] =
    unsafe { [BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1), BorrowedFd::borrow_raw(2)] };

/// Bytes in the kernel's set of signals.
const SET_SIZE: usize = size_of::<u64>();

/// Sets the calling thread's mask of blocked signals and returns the old one.
pub(crate) fn set_mask(mask: SignalSet) -> SignalSet {
    let mut old = SignalSet::NONE;
    // SAFETY: both pointers are to SET_SIZE bytes that live through the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            SET_SIZE,
        );
    }
    old
}

/// Blocked signals that wait to be taken.
pub(crate) fn pending() -> SignalSet {
    let mut set = SignalSet::NONE;
    // SAFETY: the pointer is to SET_SIZE bytes that live through the call.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set, SET_SIZE) };
    set
}

/// Takes one pending signal of `set`, which must be blocked; waits for it until `timeout` has
/// passed, for ever without one.
///
/// # Errors
/// `WouldBlock` after the timeout, `Interrupted` when the process was stopped and continued.
pub(crate) fn take_signal(set: SignalSet, timeout: Option<Duration>) -> io::Result<Received> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i32::MAX.into()),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to a set, a siginfo_t and a timespec (or null) that live through the
    // call.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            &raw mut info,
            timeout.as_ref().map_or(null(), std::ptr::from_ref),
            SET_SIZE,
        )
    })?;
    // SAFETY: si_pid overlays other fields of the same plain integers; Received::new knows for
    // which codes it means a sender.
    let sender = unsafe { info.si_pid() };
    Ok(Received::new(info.si_signo, info.si_code, sender))
}

/// A signalfd for `set`, which must be blocked, registered with the tokio runtime.
///
/// # Errors
/// When descriptors or memory run out.
pub(crate) fn signalfd(set: SignalSet) -> io::Result<AsyncFd<File>> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the pointer is to SET_SIZE bytes that live through the call.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const set, SET_SIZE, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let file = unsafe { File::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) };
    // SAFETY: a File keeps its one descriptor open until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }?)
}

/// Whether a signal is ignored.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all-zero bytes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks; the old one lives through the call.
    unsafe { libc::sigaction(signal.number(), null(), &raw mut action) };
    action.sa_sigaction == libc::SIG_IGN
}

/// Ignores a signal, or gives it its default action.
pub(crate) fn set_ignored(signal: Signal, ignored: bool) {
    let action = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither action is a handler of ours.
    unsafe { libc::signal(signal.number(), action) };
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One process.
    Process(Pid),
    /// All processes of the group that this process leads.
    Group(Pid),
    /// All processes of Berth's own group, Berth included.
    OwnGroup,
    /// Every process but PID 1: only for PID 1.
    Everyone,
}

/// Sends a signal.
///
/// # Errors
/// When no such process exists, or the kernel does not permit it.
pub(crate) fn kill(target: Target, signal: Signal) -> io::Result<()> {
    let pid = match target {
        Target::Process(pid) => pid,
        Target::Group(leader) => -leader,
        Target::OwnGroup => 0,
        Target::Everyone => -1,
    };
    // SAFETY: takes two integers.
    check(unsafe { libc::kill(pid, signal.number()) }.into()).map(drop)
}

/// Sends a signal to the calling thread alone.
#[cfg(test)]
pub(crate) fn raise(signal: Signal) {
    // SAFETY: takes an integer.
    unsafe { libc::raise(signal.number()) };
}

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is gone, and reaped.
    Ended(Ended),
    /// It was stopped by this signal.
    Stopped(Signal),
    /// It goes on.
    Continued,
}

/// What [`wait_any`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// This child changed.
    Changed(Pid, Change),
    /// There are children, none with news.
    NoNews,
    /// There is no child.
    NoChild,
}

/// Takes the next news of any child, without waiting. The end of `kept` is told but not taken: it
/// stays as a zombie, and until [`reap`] neither its number nor that of its group can be another's.
pub(crate) fn wait_any(kept: Pid) -> Waited {
    const NEWS: i32 = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
    match waitid(libc::P_ALL, 0, NEWS | libc::WNOWAIT) {
        Err(_) => Waited::NoChild,
        Ok(None) => Waited::NoNews,
        Ok(Some((pid, change @ Change::Ended(_)))) if pid == kept => Waited::Changed(pid, change),
        Ok(Some((pid, seen))) => {
            let news = if pid == kept { NEWS & !libc::WEXITED } else { NEWS };
            let taken = waitid(libc::P_PID, pid, news).ok().flatten();
            Waited::Changed(pid, taken.map_or(seen, |(_, change)| change))
        }
    }
}

/// Takes the end of this child.
pub(crate) fn reap(child: Pid) {
    let _ = waitid(libc::P_PID, child, libc::WEXITED);
}

/// Which child changed and how, without waiting.
fn waitid(kind: libc::idtype_t, child: Pid, news: i32) -> io::Result<Option<(Pid, Change)>> {
    // SAFETY: all-zero bytes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a siginfo_t that lives through the call.
    let result =
        unsafe { libc::waitid(kind, child.cast_unsigned(), &raw mut info, news | libc::WNOHANG) };
    check(result.into())?;
    // SAFETY: for a child these fields are set; they are zero when there is no news.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then(|| (pid, change(info.si_code, status))))
}

fn change(code: i32, status: i32) -> Change {
    match code {
        libc::CLD_CONTINUED => Change::Continued,
        libc::CLD_STOPPED | libc::CLD_TRAPPED => Change::Stopped(Signal::from_kernel(status)),
        libc::CLD_EXITED => Change::Ended(Ended::Exited((status & 0xff) as u8)),
        _ => Change::Ended(Ended::Killed(Signal::from_kernel(status))),
    }
}

/// Orphaned descendants become our children, as they do for PID 1.
pub(crate) fn become_subreaper() {
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Our own process group; 0 when it lies outside our PID namespace.
pub(crate) fn own_group() -> Pid {
    unistd::getpgrp().as_raw()
}

/// Whether we lead our session.
pub(crate) fn leads_session() -> bool {
    unistd::getsid(None) == Ok(unistd::getpid())
}

/// The foreground process group of our controlling terminal; `None` when `tty` is not that.
pub(crate) fn foreground(tty: impl AsFd) -> Option<Pid> {
    unistd::tcgetpgrp(tty).map(unistd::Pid::as_raw).ok()
}

/// Makes a process group the foreground of our controlling terminal. Not stopped by TTOU, which is
/// blocked.
pub(crate) fn set_foreground(tty: impl AsFd, group: Pid) {
    let _ = unistd::tcsetpgrp(tty, unistd::Pid::from_raw(group));
}

/// Gives up the controlling terminal. When we lead its session, the foreground group gets HUP and
/// CONT.
pub(crate) fn give_up_terminal(tty: impl AsFd) {
    // SAFETY: takes a descriptor that the caller holds.
    unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCNOTTY) };
}

/// Occupies those of descriptors 0, 1 and 2 that are closed, so that nothing Berth opens lands
/// there. What occupies them (a path descriptor) fails reads and writes as a closed one does, and
/// is gone after exec: the app sees them closed, as given.
pub(crate) fn occupy_closed_stdio() {
    for _ in (0..=2).filter(|fd| !is_open(*fd)) {
        let _ =
            open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map(OwnedFd::into_raw_fd);
    }
}

/// Takes charge of every open descriptor above 2. To be called once, before anything is opened.
pub(crate) fn open_descriptors() -> Vec<OwnedFd> {
    let listed: Vec<i32> = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => {
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
        }
        // Without /proc: as far as people number descriptors by hand.
        Err(_) => (0..=255).collect(),
    };
    let open = listed.into_iter().filter(|fd| *fd > 2 && is_open(*fd));
    // SAFETY: they are open (which the listing's own is no longer), and nobody here owns them.
    open.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// Closes descriptors that came with a message, which are ours and nobody's else.
pub(crate) fn close_all(descriptors: Vec<i32>) {
    // SAFETY: the kernel has just made them for the caller.
    descriptors.into_iter().for_each(|fd| drop(unsafe { OwnedFd::from_raw_fd(fd) }));
}

fn is_open(fd: i32) -> bool {
    // SAFETY: takes integers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// How a child process starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// The signals that it has blocked.
    pub mask: SignalSet,
    /// Whether it has SIGCHLD ignored.
    pub child_ignored: bool,
    /// Whether it has SIGPIPE ignored.
    pub pipe_ignored: bool,
    /// Where it lives.
    pub place: Place<'a>,
}

/// Session and group of a new child.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// A session of its own, with this as its controlling terminal.
    Session(Option<BorrowedFd<'a>>),
    /// A process group of its own, which is made the foreground of this terminal.
    Group(Option<BorrowedFd<'a>>),
}

/// Spawns a command. std does so by fork and exec, and returns after the exec or its failure. Until
/// the very end the child has everything blocked, as we have, so TTOU does not stop it.
///
/// # Errors
/// Those of fork and exec.
pub(crate) fn spawn(command: &mut Command, setup: &Setup<'_>) -> io::Result<Child> {
    let Setup { mask, child_ignored, pipe_ignored, .. } = *setup;
    let (session, tty) = match setup.place {
        Place::Session(tty) => (true, tty.map(|tty| tty.as_raw_fd())),
        Place::Group(tty) => (false, tty.map(|tty| tty.as_raw_fd())),
    };
    let prepare = move || {
        // SAFETY: `tty` is open, as `setup` borrows it in the parent.
        let tty = tty.map(|tty| unsafe { BorrowedFd::borrow_raw(tty) });
        if session {
            setsid()?;
            // SAFETY: takes integers.
            tty.map(|tty| unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY, 0) });
        } else {
            setpgid(unistd::Pid::from_raw(0), unistd::Pid::from_raw(0))?;
            tty.map(|tty| unistd::tcsetpgrp(tty, unistd::getpid()));
        }
        set_ignored(Signal::CHLD, child_ignored);
        set_ignored(Signal::PIPE, pipe_ignored);
        set_mask(mask);
        Ok(())
    };
    // SAFETY: between fork and exec this makes system calls only and allocates nothing.
    unsafe { command.pre_exec(prepare) }.spawn()
}

/// Stops this process until somebody continues it.
pub(crate) fn stop_self() {
    let _ = kill(Target::Process(std::process::id().cast_signed()), Signal::STOP);
}

/// Stops our process group as the terminal would, and returns when we are continued. Returns at
/// once where nobody could continue us: in PID 1, in an orphaned group, with TSTP ignored.
pub(crate) fn stop_own_group() {
    let _ = kill(Target::OwnGroup, Signal::TSTP);
    let mask = set_mask(SignalSet::ALL.without(SignalSet::of(&[Signal::TSTP])));
    set_mask(mask);
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The host's name (gethostname(2)); `None` when it is not text.
pub(crate) fn host_name() -> Option<String> {
    let name = unistd::gethostname().ok()?.into_string().ok()?;
    Some(name).filter(|name| !name.is_empty())
}
