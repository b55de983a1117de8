//! Runs the built binary and looks at it from outside.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

pub use berth_testkit::{DEADLINE, binary as berth};

pub type Pid = i32;

/// How Berth is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// As PID 1 of a PID namespace, else as an ordinary process.
    pub pid_1: bool,
    /// With the loop that registers (its HAProxy is away), else as a plain init.
    pub registers: bool,
}

impl Role {
    pub const PROCESS: Self = Self { pid_1: false, registers: false };
}

/// The roles that can be played here: PID 1 takes a PID namespace.
pub fn roles() -> impl Iterator<Item = Role> {
    let pid_1 = if unshare().is_some() { &[false, true][..] } else { &[false] };
    pid_1.iter().flat_map(|pid_1| [false, true].map(|registers| Role { pid_1: *pid_1, registers }))
}

/// The roles as PID 1.
pub fn roles_of_pid_1() -> impl Iterator<Item = Role> {
    roles().filter(|role| role.pid_1)
}

/// The words that make the next one PID 1; `None` (loudly) where namespaces are forbidden.
pub fn unshare() -> Option<&'static [&'static str]> {
    static UNSHARE: LazyLock<Option<&[&str]>> = LazyLock::new(|| {
        let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let unprivileged = [
            "unshare",
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ];
        let works = |words: &[&str]| {
            let output = Command::new(words[0]).args(&words[1..]).arg("true").output();
            output.is_ok_and(|output| output.status.success())
        };
        if works(&unshare) {
            return Some(Vec::leak(unshare.into()));
        }
        if works(&unprivileged) {
            return Some(Vec::leak(unprivileged.into()));
        }
        assert!(std::env::var("CI").is_err(), "no PID namespace: unshare does not work here");
        eprintln!("SKIPPED everything as PID 1: unshare does not work here");
        None
    });
    *UNSHARE
}

/// `program` in this role, with an empty environment but for PATH, and no input.
pub fn command(role: Role, program: &[impl AsRef<OsStr>]) -> Command {
    let prefix = if role.pid_1 { unshare().expect("see roles()") } else { &[] };
    let mut words = prefix.iter().map(OsStr::new).chain(program.iter().map(AsRef::as_ref));
    let mut command = Command::new(words.next().unwrap());
    command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    if role.registers {
        command.envs([("HAPROXY_SERVER", "127.0.0.1:1"), ("LOG_LEVEL", "error")]);
    }
    command.stdin(Stdio::null());
    command
}

/// Berth in this role around `app`.
pub fn wrapped(role: Role, app: &[impl AsRef<OsStr>]) -> Command {
    let berth = berth();
    let words: Vec<&OsStr> =
        [OsStr::new(&berth)].into_iter().chain(app.iter().map(AsRef::as_ref)).collect();
    command(role, &words)
}

/// Berth in this role around a shell script.
pub fn script(role: Role, text: &str) -> Command {
    wrapped(role, &["sh", "-c", text])
}

/// Sets what the command's process starts with: blocked signals (bit n − 1 for signal n) and
/// ignored ones.
pub fn given(command: &mut Command, blocked: u64, ignored: &'static [i32]) {
    let prepare = move || {
        for signal in ignored {
            // SAFETY: SIG_IGN is no handler.
            unsafe { libc::signal(*signal, libc::SIG_IGN) };
        }
        set_mask(blocked);
        Ok(())
    };
    // SAFETY: system calls only.
    unsafe { command.pre_exec(prepare) };
}

/// By the system call: the C library does not let every bit pass.
fn set_mask(blocked: u64) {
    let (how, old) = (libc::SIG_SETMASK, std::ptr::null_mut::<u64>());
    // SAFETY: the pointer is to a set of 8 bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const blocked, old, 8) };
}

/// What a finished command left.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Finished {
    let mut running = Running::start(command.stderr(Stdio::piped()));
    let mut stderr = running.child.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let status = running.wait();
    let stdout = running.rest();
    Finished { code: status.code(), stdout, stderr: errors.join().unwrap().unwrap() }
}

/// A started command, killed when dropped.
pub struct Running {
    pub child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next line of output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("no line of output")
    }

    /// Waits for this line, which must be the next.
    pub fn expect(&self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// All further lines of output, until its end.
    pub fn rest(&self) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut text = String::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => text.extend([line.as_str(), "\n"]),
                Err(mpsc::RecvTimeoutError::Disconnected) => return text,
                Err(error) => panic!("output does not end ({error}): {text}"),
            }
        }
    }

    /// Berth's pid as seen from here.
    pub fn berth(&self, role: Role) -> Pid {
        let pid = self.child.id() as Pid;
        if role.pid_1 { until("unshare's child", || children(pid).first().copied()) } else { pid }
    }

    /// The app's pid as seen from here: Berth's first child.
    pub fn app(&self, role: Role) -> Pid {
        let berth = self.berth(role);
        until("the app", || children(berth).first().copied())
    }

    /// Sends a signal to Berth.
    pub fn signal(&self, role: Role, signal: i32) {
        kill(self.berth(role), signal);
    }

    pub fn wait(&mut self) -> ExitStatus {
        until("the end", || self.child.try_wait().unwrap())
    }

    /// The exit code; a death by signal is shown as such.
    pub fn code(&mut self) -> Result<i32, String> {
        let status = self.wait();
        status.code().ok_or_else(|| format!("killed by {:?}", status.signal()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let descendants = children(self.child.id() as Pid);
            let _ = self.child.kill();
            let _ = self.child.wait();
            for pid in descendants {
                // SAFETY: takes two integers. The app leads a group.
                unsafe { libc::kill(-pid, libc::SIGKILL) };
            }
        }
    }
}

/// Waits until `condition` gives something.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn kill(pid: Pid, signal: i32) {
    assert!(pid > 0);
    // SAFETY: takes two integers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill -{signal} {pid}");
}

/// The children of a single-threaded process, zombies included.
pub fn children(pid: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// One field of `/proc/PID/status`; `None` when the process is gone.
pub fn status(pid: Pid, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| {
        line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().into())
    })
}

/// `R`, `S`, `T` (stopped), `Z` (zombie), …
pub fn state(pid: Pid) -> Option<char> {
    status(pid, "State")?.chars().next()
}

/// A set of signals of `/proc/PID/status`.
pub fn signal_set(pid: Pid, field: &str) -> Option<u64> {
    u64::from_str_radix(&status(pid, field)?, 16).ok()
}

/// The set of these signals.
pub fn set(signals: &[i32]) -> u64 {
    signals.iter().fold(0, |set, signal| set | 1 << (signal - 1))
}
