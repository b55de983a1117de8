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

use berth::arguments::{self, Request};
use berth::config::Config;
use berth::inherited::Inherited;
use berth::supervisor::SpawnOptions;
use berth::{exit, init};

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
    let command = match arguments::parse(arguments) {
        Ok(Request::Wrap(command)) => command,
        Ok(Request::Help) => return print("usage: berth [OPTIONS] [--] COMMAND [ARG...]"),
        Ok(Request::Version) => return print(concat!("berth ", env!("CARGO_PKG_VERSION"))),
        Err(error) => return fail(error, exit::USAGE),
    };
    let config = match Config::from_vars(std::env::vars_os()) {
        Ok(config) => config,
        Err(error) => return fail(error, exit::USAGE),
    };
    let app = config.app;
    let options = SpawnOptions {
        environment: Vec::new(),
        signal_group: app.signal_group,
        signal_rewrite: app.signal_rewrite,
    };
    init::run(&command, inherited, options, app.stop_timeout, &app.exit_remap)
        .unwrap_or_else(|error| fail(&error, error.code()))
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
