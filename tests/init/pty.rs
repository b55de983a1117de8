//! A terminal to type at.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use crate::process::{DEADLINE, until};

pub const CTRL_C: &str = "\x03";
pub const CTRL_D: &str = "\x04";
pub const CTRL_Z: &str = "\x1a";

/// A terminal with a command that leads a session on it; killed when dropped.
pub struct Pty {
    master: File,
    pub child: Child,
    output: Receiver<String>,
    /// What has come out and was not yet expected.
    unread: String,
}

impl Pty {
    /// Starts a command on a new terminal, which becomes its controlling terminal.
    pub fn start(command: &mut Command) -> Self {
        Self::open(command, true)
    }

    /// Starts a command on a new terminal that controls no session yet.
    pub fn start_without_control(command: &mut Command) -> Self {
        Self::open(command, false)
    }

    fn open(command: &mut Command, control: bool) -> Self {
        let (master, slave) = pair();
        let prepare = move || {
            // SAFETY: system calls on integers; 0 is the terminal.
            unsafe {
                libc::setsid();
                if control {
                    libc::ioctl(0, libc::TIOCSCTTY, 0);
                }
            }
            Ok(())
        };
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio()).env("TERM", "dumb").env("PS1", "> ");
        // SAFETY: system calls only.
        let child = unsafe { command.pre_exec(prepare) }.spawn().unwrap();
        // The command holds copies of the terminal, whose end we are to see.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, output) = mpsc::channel();
        let mut reader = master.try_clone().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        Self { master, child, output, unread: String::new() }
    }

    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this comes out, after all that was expected before. What is typed is echoed, so
    /// it must not contain what is expected.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.unread.find(text) {
                self.unread.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(more) => self.unread += &more,
                Err(error) => panic!("no {text:?} ({error}) in {:?}", self.unread),
            }
        }
    }

    pub fn code(&mut self) -> Option<i32> {
        until("the end of the session", || self.child.try_wait().unwrap()).code()
    }

    /// Everything that comes out until the terminal is closed.
    pub fn rest(mut self) -> String {
        self.code();
        let mut text = std::mem::take(&mut self.unread);
        while let Ok(more) = self.output.recv_timeout(DEADLINE) {
            text += &more;
        }
        text
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn pair() -> (File, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut;
    // SAFETY: the pointers are to two integers; the rest is optional.
    let result = unsafe {
        libc::openpty(&raw mut master, &raw mut slave, null(), std::ptr::null(), std::ptr::null())
    };
    assert_eq!(result, 0, "openpty: {}", std::io::Error::last_os_error());
    // SAFETY: openpty has just made these two.
    let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    for fd in [master.as_raw_fd(), slave.as_raw_fd()] {
        // SAFETY: takes integers.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    (master, slave)
}
