//! Where the kernel or whoever reads the log does not do what an init may expect.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use berth_testkit::broken::breaks;

use crate::process::{Role, Running, finish, roles, script, until, wrapped};

/// A wait that fails is not a deadline that has passed.
#[test]
fn an_app_is_not_killed_where_signals_cannot_be_waited_for() {
    for role in roles().filter(|role| !role.registers) {
        for timeout in ["0", "30s"] {
            let mut command = script(role, "echo ready; read line; exit 3");
            command.env("STOP_TIMEOUT", timeout).stdin(Stdio::piped()).stderr(Stdio::null());
            breaks(&mut command, libc::SYS_rt_sigtimedwait, None, libc::EPERM);
            let mut running = Running::start(&mut command);
            running.expect("ready");
            drop(running.child.stdin.take());
            assert_eq!(running.code(), Ok(3), "{role:?} {timeout}");
        }
    }
}

#[test]
fn it_is_said_once_that_signals_cannot_be_waited_for() {
    let mut command = script(Role::PROCESS, "sleep 0.5; exit 3");
    breaks(&mut command, libc::SYS_rt_sigtimedwait, None, libc::EPERM);
    let finished = finish(&mut command);
    assert_eq!(finished.code, Some(3));
    assert_eq!(finished.stderr.matches("signals cannot be read").count(), 1, "{}", finished.stderr);
}

/// Berth logs into a terminal, a socket, a pipe that nobody reads, more than fits: the next signal
/// reaches the app all the same.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    for role in roles() {
        for (what, kept, stderr) in [terminal(), socket(), pipe()] {
            // The app is not to write there itself.
            let text =
                "exec 2>/dev/null; trap 'exit 3' USR1; echo ready; while :; do sleep 0.01; done";
            let mut command = script(role, text);
            command.env("LOG_LEVEL", "trace").stderr(stderr);
            let mut running = Running::start(&mut command);
            drop(command);
            running.expect("ready");
            let berth = running.berth(role);
            for _ in 0..3000 {
                running.signal(role, libc::SIGWINCH);
                running.signal(role, libc::SIGURG);
            }
            running.signal(role, libc::SIGUSR1);
            until(&format!("the end of {berth} beside a full {what}, {role:?}"), || {
                running.child.try_wait().unwrap()
            });
            drop(kept);
        }
    }
}

fn terminal() -> (&'static str, OwnedFd, Stdio) {
    let (mut master, mut slave) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: the numbers live through the call; the rest may be null.
    let made =
        unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
    assert_eq!(made, 0);
    // SAFETY: they have just been made for us alone.
    let [master, slave] = [master, slave].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    ("terminal", master, slave.into())
}

fn socket() -> (&'static str, OwnedFd, Stdio) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ("socket", ours.into(), OwnedFd::from(theirs).into())
}

fn pipe() -> (&'static str, OwnedFd, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    ("pipe", reader.into(), writer.into())
}

/// A file is written to behind what is there, by whoever shares it.
#[test]
fn lines_in_a_file_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut file = File::create(&log).unwrap();
    std::io::Write::write_all(&mut file, b"before\n").unwrap();
    let mut command =
        wrapped(Role { pid_1: false, registers: true }, &["sh", "-c", "echo app >&2"]);
    command.env("LOG_LEVEL", "info").stderr(file);
    assert_eq!(command.status().unwrap().code(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("before\n") && text.contains("app\n"), "{text}");
    assert!(text.contains("the app has ended"), "{text}");
}
