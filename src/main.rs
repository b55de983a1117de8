//! The `berth` binary: gathers what it was given, runs, returns an exit code.
//!
//! `main` is the C one, so that nothing precedes it: Rust's own would have ignored SIGPIPE and opened
//! closed descriptors by now, which the app must not see. (A constructor in `.init_array` would come
//! first too, but then those changes would follow and had to be undone.) The price: on musl
//! `std::env::args` is empty, so the arguments come from `argv`.
#![cfg_attr(not(test), no_main)]

#[cfg(not(test))]
#[allow(unsafe_code, reason = "the C main, see above")]
mod entry {
    use std::ffi::{CStr, OsString, c_char, c_int};
    use std::os::unix::ffi::OsStringExt;
    use std::panic::catch_unwind;

    use berth::cli;
    use berth::init::exit;
    use berth::init::inherited::Inherited;

    // SAFETY: the one `main` of this program, with C's signature.
    #[unsafe(no_mangle)]
    extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
        let inherited = Inherited::capture();
        // Unwinding out of C's main aborts, which for PID 1 is a crash.
        let code = catch_unwind(|| cli::run(arguments(argc, argv), inherited));
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
