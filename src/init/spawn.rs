//! Starting a command as a shell would: found in PATH, run by /bin/sh when it has no `#!` line,
//! refused with 126 or 127.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::init::Pid;
use crate::init::exit;
use crate::init::sys::{self, Setup};

/// Changes to the environment that Berth's children get: a value, or `None` to remove it.
pub type Environment = Vec<(OsString, Option<OsString>)>;

/// A command that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot execute {program:?}: {}", self.reason())]
pub struct SpawnError {
    program: OsString,
    #[source]
    source: io::Error,
}

impl SpawnError {
    /// The exit code that shells give: 127 when the command is not found, else 126.
    pub fn code(&self) -> u8 {
        match self.source.kind() {
            io::ErrorKind::NotFound => exit::NOT_FOUND,
            _ => exit::NOT_EXECUTABLE,
        }
    }

    fn reason(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::NotFound => {
                let place = if has_slash(&self.program) { "no such file" } else { "not in PATH" };
                format!("{place}, or the interpreter that it names does not exist")
            }
            _ if self.source.raw_os_error() == Some(libc::ENOEXEC) => {
                "built for another kind of machine".to_owned()
            }
            _ => self.source.to_string(),
        }
    }
}

/// Starts `command`: its first word is the program.
pub(crate) fn spawn(
    command: &[OsString],
    environment: &Environment,
    setup: &Setup<'_>,
) -> Result<Pid, SpawnError> {
    let [program, arguments @ ..] = command else {
        let source = io::ErrorKind::NotFound.into();
        return Err(SpawnError { program: OsString::new(), source });
    };
    let mut direct = Command::new(program);
    direct.args(arguments);
    let spawned = start(&mut direct, environment, setup).or_else(|error| {
        if error.raw_os_error() != Some(libc::ENOEXEC) {
            return Err(error);
        }
        // musl's execvp leaves it at this; glibc's has already done the same.
        let script = script(program, environment).ok_or(error)?;
        start(Command::new("/bin/sh").arg(script).args(arguments), environment, setup)
    });
    spawned.map_err(|source| SpawnError { program: program.clone(), source })
}

/// Starts `command` with a changed environment. The child is waited for by pid, not through std.
pub(crate) fn start(
    command: &mut Command,
    environment: &Environment,
    setup: &Setup<'_>,
) -> io::Result<Pid> {
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ok(sys::spawn(command, setup)?.id().cast_signed())
}

/// The file that execvp found for `program`, unless it is a binary.
fn script(program: &OsStr, environment: &Environment) -> Option<PathBuf> {
    let path = environment.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or_else(|| std::env::var_os("PATH"), |(_, value)| value.clone());
    let file = if has_slash(program) {
        PathBuf::from(program)
    } else {
        std::env::split_paths(&path?).map(|folder| folder.join(program)).find(|file| {
            file.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })?
    };
    let mut magic = Vec::new();
    File::open(&file).ok()?.take(4).read_to_end(&mut magic).ok()?;
    (magic != b"\x7fELF").then_some(file)
}

/// PATH is searched for names without a slash only.
fn has_slash(program: &OsStr) -> bool {
    program.as_encoded_bytes().contains(&b'/')
}
