//! The built binary around an app, as users run it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::haproxy::Haproxy;
use super::{DEADLINE, Port, binary, built, eventually};

/// What to run, with which environment.
pub struct Agent {
    command: Command,
}

/// The example app.
pub fn hello() -> PathBuf {
    built("examples/hello")
}

impl Agent {
    /// Berth around `command`, with an environment of its own.
    pub fn new(command: &[&str]) -> Self {
        Self::line(&[&[binary(), "--"], command].concat())
    }

    /// A whole command line, which must end in running Berth in the place of the process.
    pub fn line(words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(&words[1..]).stdin(Stdio::null());
        Self { command }
    }

    /// The example app, called `name`, on a port of its own of 127.0.0.1, registered with `haproxy`.
    pub fn hello(haproxy: &Haproxy, name: &str, port: Port) -> Self {
        Self::new(&[hello().to_str().unwrap()])
            .at(haproxy)
            .env("NAME", name)
            .env("PORT", port)
            .env("APP_PORT", port)
    }

    /// Registers with `haproxy` over TCP.
    pub fn at(self, haproxy: &Haproxy) -> Self {
        self.env("HAPROXY_SERVER", "127.0.0.1").env("HAPROXY_PORT", haproxy.stats)
    }

    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.command.env(name, value.to_string());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Changes the command that is run.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    pub fn start(mut self) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let out = File::create(dir.path().join("out")).unwrap();
        let child = self.command.stdout(out).stderr(log).spawn().unwrap();
        Running { dir, child, ended: None }
    }
}

/// A running agent, killed with its app when dropped.
pub struct Running {
    dir: TempDir,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Its own lines and the app's, on stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// What was written to stdout.
    pub fn out(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("out")).unwrap()
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// The pids of its children.
    pub fn children(&self) -> Vec<i32> {
        children(self.pid())
    }

    /// Waits until it has ended; its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        eventually("the agent ends", || {
            self.ended = self.child.try_wait().unwrap();
            self.ended.is_some()
        });
        self.ended.and_then(|status| status.code()).expect("an exit code")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Stops it as `docker stop` does; its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// Kills agent and app with -9, as a crash of their container does.
    pub fn crash(&mut self) {
        let app = self.children();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.ended = Some(ExitStatus::default());
        app.into_iter().for_each(|pid| signal(pid, "KILL"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() && self.is_running() {
            self.crash();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the agent\n{}", self.log());
        }
    }
}

/// The pids of a process's children.
pub fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Sends a signal by name.
pub fn signal(pid: i32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(status.success() || name == "KILL", "kill -s {name} {pid}");
}

/// Runs the binary to its end within the deadline; exit code, stdout, stderr.
pub fn berth(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let output = Command::new("timeout")
        .arg(DEADLINE.as_secs().to_string())
        .arg(binary())
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}
