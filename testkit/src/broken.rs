//! System calls that fail on request, which a real kernel does not offer: a seccomp filter, which the
//! process that is started hands down.
#![allow(unsafe_code, reason = "a filter is installed by system calls")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes a system call fail with `errno` in what the command starts: always, or where its third
/// argument is this.
pub fn breaks(command: &mut Command, call: i64, third: Option<u32>, errno: i32) {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value, no| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, no, value);
    let give = |what| op(libc::BPF_RET | libc::BPF_K, 0, 0, what);
    let fails = give(libc::SECCOMP_RET_ERRNO | errno as u32);
    let goes_on = give(libc::SECCOMP_RET_ALLOW);
    let number = u32::try_from(call).unwrap();
    // struct seccomp_data: the number, architecture, instruction pointer, then six arguments.
    let filter = match third {
        None => vec![load(0), equal(number, 1), fails, goes_on],
        Some(value) => {
            vec![load(0), equal(number, 3), load(32), equal(value, 1), fails, goes_on]
        }
    };
    let install = move || {
        let program =
            libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the program and its filter live through the calls, which take integers else.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
                    != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: system calls only.
    unsafe { command.pre_exec(install) };
}
