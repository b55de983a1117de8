//! The `berth` binary: gathers what it was given, runs, returns an exit code.
//!
//! `main` is the C one, so that nothing precedes it: Rust's own would have ignored SIGPIPE and opened
//! closed descriptors by now, which the app must not see. (A constructor in `.init_array` would come
//! first too, but then those changes would follow and had to be undone.) The price: on musl
//! `std::env::args` is empty, so the arguments come from `argv`.
#![cfg_attr(not(test), no_main)]

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};

use berth::arguments::{self, Format, Request};
use berth::config::{Config, VARIABLES};
use berth::dns::SECRETS;
use berth::inherited::Inherited;
use berth::resolve::Resolver;
use berth::supervisor::SpawnOptions;
use berth::{exit, init, log, run, secret, status};

#[cfg(not(test))]
#[allow(unsafe_code, reason = "the C main, see above")]
mod entry {
    use std::ffi::{CStr, OsString, c_char, c_int};
    use std::os::unix::ffi::OsStringExt;
    use std::panic::catch_unwind;

    use berth::exit;
    use berth::inherited::Inherited;

    // SAFETY: the one `main` of this program, with C's signature.
    #[unsafe(no_mangle)]
    extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
        let inherited = Inherited::capture();
        // Unwinding out of C's main aborts, which for PID 1 is a crash.
        let code = catch_unwind(|| super::berth(arguments(argc, argv), inherited));
        code.unwrap_or(exit::SOFTWARE).into()
    }

    fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
        // SAFETY: C hands main `argc` strings that live as long as the process.
        let argument = |index| unsafe { CStr::from_ptr(*argv.add(index)) };
        (1..argc.unsigned_abs() as usize)
            .map(|index| OsString::from_vec(argument(index).to_bytes().to_vec()))
            .collect()
    }
}

#[cfg_attr(test, allow(dead_code))]
fn berth(arguments: Vec<OsString>, inherited: Inherited) -> u8 {
    let request = match arguments::parse(arguments) {
        Ok(Request::Help) => return print(&help()),
        Ok(Request::Version) => return print(concat!("berth ", env!("CARGO_PKG_VERSION"))),
        Ok(request) => request,
        Err(error) => return fail(error, exit::USAGE),
    };
    let config = match Config::from_vars(std::env::vars_os()) {
        Ok(config) => config,
        Err(error) => return fail(error, exit::USAGE),
    };
    secret::scrub(SECRETS);
    log::init(config.log_level, config.log_format);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match request {
        Request::Wrap(command) => wrap(&command, inherited, &config),
        Request::Status(format) => status(&config, Some(format)),
        _ => status(&config, None),
    }
}

fn wrap(command: &[OsString], inherited: Inherited, config: &Config) -> u8 {
    let options = SpawnOptions {
        environment: SECRETS.iter().map(|name| (name.into(), None)).collect(),
        signal_group: config.app.signal_group,
        signal_rewrite: config.app.signal_rewrite.clone(),
    };
    let code = match config.registers() {
        true => run::run(command, inherited, options, config),
        false => {
            init::run(command, inherited, options, config.app.stop_timeout, &config.app.exit_remap)
        }
    };
    code.unwrap_or_else(|error| fail(&error, error.code()))
}

/// Asks the servers; says by exit code alone what `--check` is for.
fn status(config: &Config, format: Option<Format>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error, exit::SOFTWARE),
    };
    let status = runtime.block_on(status::ask(config, &Resolver::default()));
    match format {
        None if status.registered => 0,
        None => 1,
        Some(Format::Table) => print(status.to_string().trim_end()),
        Some(Format::Json) => match serde_json::to_string_pretty(&status) {
            Ok(json) => print(&json),
            Err(error) => fail(error, exit::SOFTWARE),
        },
    }
}

fn help() -> String {
    let mut text = String::from(
        "berth starts COMMAND as an init should, and keeps it registered while it serves.

Usage: berth [--] COMMAND [ARG...]

  --status        which slot holds this container, as the servers themselves say
  --status=json   the same for machines
  --check         the same by exit code: 0 = registered wherever it should be
  --help          this text
  --version       the version

Environment (default in brackets):
",
    );
    for variable in VARIABLES {
        text += &format!("  {:<20}  {} [{}]\n", variable.name, variable.meaning, variable.default);
    }
    text + "
Exit code: that of COMMAND; 128 + n when signal n killed it; 126 or 127 when it cannot be executed
or is not found; 64 when a variable or an option is wrong."
}

fn print(text: &str) -> u8 {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => 0,
        Err(_) => exit::SOFTWARE,
    }
}

/// Unlike `eprintln!`, no panic where nobody listens.
fn fail(error: impl Display, code: u8) -> u8 {
    for line in error.to_string().lines() {
        let _ = writeln!(io::stderr(), "berth: {line}");
    }
    code
}
