//! Secrets of the environment, which nobody needs once they have been read.
//!
//! What this keeps them from: whoever may read `/proc/PID/environ` (the app, `docker exec`, monitoring),
//! and the app's own environment. What it does not: whoever may read Berth's *memory* (root, a debugger
//! of the same user, a core dump, swap) finds the key, which lies there for as long as Berth signs with
//! it. Copies that were freed on the way there tell him nothing more, so they are not hunted down.
#![allow(unsafe_code, reason = "the environment as the kernel shows it; each block says why")]

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    static environ: *const *mut c_char;
}

/// Overwrites the values of these variables where they lie, which is what `/proc/PID/environ` shows.
/// To be called before there is a second thread.
pub fn scrub(names: &[&str]) {
    // SAFETY: `environ` is null or an array of C strings that ends with a null pointer. Nobody writes
    // to it meanwhile: there is one thread, and Rust's std, which would, is not called here.
    unsafe {
        let mut entry = environ;
        while let Some(text) = entry.as_ref().filter(|text| !text.is_null()) {
            let bytes = CStr::from_ptr(*text).to_bytes();
            let (length, secret) = (bytes.len(), value_of(bytes, names));
            if let Some(start) = secret {
                text.add(start).write_bytes(0, length - start);
            }
            entry = entry.add(1);
        }
    }
}

/// Where the value starts in `NAME=value` when NAME is one of `names`.
fn value_of(entry: &[u8], names: &[&str]) -> Option<usize> {
    let equals = entry.iter().position(|byte| *byte == b'=')?;
    names.iter().any(|name| name.as_bytes() == &entry[..equals]).then_some(equals + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_values_of_secrets_are_found() {
        let names = ["KEY", "OTHER"];
        assert_eq!(value_of(b"KEY=secret", &names), Some(4));
        assert_eq!(value_of(b"OTHER=a=b", &names), Some(6));
        for entry in ["KEY_FILE=x", "MY_KEY=x", "KEY", "", "=KEY"] {
            assert_eq!(value_of(entry.as_bytes(), &names), None, "{entry}");
        }
    }
}
