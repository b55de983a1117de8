//! What the app finds open, and what Berth keeps open.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use crate::process::{
    Role, Running, berth, command, finish, roles, script, status, until, wrapped,
};

#[test]
fn input_and_output_pass_through() {
    for role in roles() {
        let mut command = wrapped(role, &["cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sent = vec![b'x'; 1 << 20];
        let copy = sent.clone();
        let writer = thread::spawn(move || stdin.write_all(&copy));
        let mut received = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
        writer.join().unwrap().unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(received, sent);
    }
}

#[test]
fn closed_standard_descriptors_reach_the_app_closed() {
    // Tells, in `told`, which of 0, 1 and 2 the app has.
    let look = "open=; for fd in 0 1 2; do
        if [ -e /proc/$$/fd/$fd ]; then open=$open$fd; fi; done; echo \"open:$open\" > told";
    for role in roles() {
        for (closed, open) in
            [(&[][..], "012"), (&[0], "12"), (&[1], "02"), (&[2], "01"), (&[0, 1, 2], "")]
        {
            let folder = tempfile::tempdir().unwrap();
            let mut command = script(role, look);
            command.current_dir(&folder).stdout(Stdio::null());
            close(&mut command, closed);
            assert_eq!(command.status().unwrap().code(), Some(0), "{role:?} {closed:?}");
            let told = std::fs::read_to_string(folder.path().join("told")).unwrap();
            assert_eq!(told, format!("open:{open}\n"), "{role:?}");
        }
    }
}

/// Else Berth would log into a connection to HAProxy.
#[test]
fn nothing_of_berths_own_lands_on_a_closed_standard_descriptor() {
    for role in roles() {
        let mut command = wrapped(role, &["sleep", "1000"]);
        command.stdout(Stdio::null());
        close(&mut command, &[0, 1, 2]);
        let running = Running::start(&mut command);
        let app = running.app(role);
        until("the app", || (status(app, "Name")? == "sleep").then_some(()));
        let berth = running.berth(role);
        until("Berth to be at work", || (!role.registers || opened(berth) > 3).then_some(()));
        for fd in 0..=2 {
            let link = std::fs::read_link(format!("/proc/{berth}/fd/{fd}")).unwrap();
            assert_eq!(link.to_str(), Some("/"), "{role:?}");
        }
    }
}

fn opened(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn berth_without_standard_descriptors_fails_all_the_same() {
    let mut command = wrapped(Role::PROCESS, &["nosuch"]);
    command.stdout(Stdio::null());
    close(&mut command, &[0, 1, 2]);
    assert_eq!(command.status().unwrap().code(), Some(127));
}

#[test]
fn an_inherited_descriptor_is_the_apps_alone() {
    for role in roles() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = script(role, "echo kept >&9; exec 9>&-; echo closed; exec sleep 1000");
        let inherited = writer.as_raw_fd();
        let pipe = std::fs::read_link(format!("/proc/self/fd/{inherited}")).unwrap();
        let prepare = move || {
            // SAFETY: system calls on integers. To itself, dup2 keeps close-on-exec.
            unsafe {
                libc::dup2(inherited, 9);
                libc::fcntl(9, libc::F_SETFD, 0);
            }
            Ok(())
        };
        // SAFETY: a system call only.
        unsafe { command.pre_exec(prepare) };
        let running = Running::start(&mut command);
        drop(writer);
        running.expect("closed");
        // unshare holds its copy for as long as it runs: count Berth's own there.
        let berth = running.berth(role);
        until("Berth to close its copy", || {
            // Something of its own may have got the number.
            let there = std::fs::read_link(format!("/proc/{berth}/fd/9"));
            there.map_or(true, |there| there != pipe).then_some(())
        });
        if !role.pid_1 {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "kept\n");
        }
    }
}

#[test]
fn output_of_pid_1_stays_reachable() {
    for role in roles() {
        let finished = finish(&mut script(role, "echo logged > /proc/$PPID/fd/1"));
        assert_eq!(finished.stdout, "logged\n", "{}", finished.stderr);
    }
}

/// Too few for an event loop: what registers is then the plain init.
#[test]
fn where_descriptors_run_out_the_app_runs_all_the_same() {
    let limited = "ulimit -n $0; exec \"$@\"";
    let berth = berth();
    for role in roles() {
        for limit in ["5", "6", "7"] {
            let app =
                [berth, "sh", "-c", "trap 'exit 3' USR1; echo ready; while :; do sleep 0.01; done"];
            let words = [&["sh", "-c", limited, limit], &app[..]].concat();
            let mut command = command(role, &words);
            let mut running = Running::start(command.stderr(Stdio::piped()));
            running.expect("ready");
            running.signal(role, libc::SIGUSR1);
            // An app that was left behind would hold its stderr open.
            assert_eq!(running.code(), Ok(3), "{role:?} {limit}");
            let mut said = String::new();
            running.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            // Seven are enough, or not, with the features that tokio is built with.
            if limit != "7" {
                assert_eq!(said.contains("not registered"), role.registers, "{said}");
            }
        }
    }
}

fn close(command: &mut Command, closed: &'static [i32]) {
    let prepare = move || {
        for fd in closed {
            // SAFETY: takes an integer.
            unsafe { libc::close(*fd) };
        }
        Ok(())
    };
    // SAFETY: system calls only.
    unsafe { command.pre_exec(prepare) };
}
