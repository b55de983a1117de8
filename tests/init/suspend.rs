//! Berth beside the app as an ordinary process: what it holds, when it pauses, whom it leaves alone. What
//! dumb-init and tini promise, and a little more.

use std::process::Stdio;

use crate::process::{
    Pid, Role, Running, children, finish, given, kill, roles, script, set, signal_set, state,
    status, until, wrapped,
};

/// A mount that Berth was started in can be unmounted once the app has left it.
#[test]
fn berth_holds_no_directory_and_the_app_keeps_its_own() {
    for role in roles() {
        let folder = tempfile::tempdir().unwrap();
        let text = "readlink /proc/$$/cwd; echo $PWD; exec sleep 1000";
        let mut command = script(role, text);
        let running = Running::start(command.current_dir(&folder));
        let there = folder.path().to_str().unwrap();
        running.expect(there);
        running.expect(there);
        let berth = running.berth(role);
        until("Berth to leave", || {
            (std::fs::read_link(format!("/proc/{berth}/cwd")).ok()?.to_str()? == "/").then_some(())
        });
    }
}

/// No shell: one that waits for the exec of a child which is stopped before it cannot be stopped itself.
const PAUSED: &str = r#"$| = 1; $SIG{CONT} = sub { print "cont\n" }; $SIG{USR1} = sub { exit 3 };
    print "ready\n"; sleep 1 while 1"#;

#[test]
fn a_suspending_signal_pauses_both_until_cont() {
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        for registers in [false, true] {
            for group in ["0", "1"] {
                let role = Role { pid_1: false, registers };
                let mut command = wrapped(role, &["perl", "-e", PAUSED]);
                let mut running = Running::start(command.env("SIGNAL_GROUP", group));
                running.expect("ready");
                let (berth, app) = (running.berth(role), running.app(role));
                kill(berth, signal);
                for pid in [berth, app] {
                    until("both to stop", || (state(pid)? == 'T').then_some(()));
                }
                kill(berth, libc::SIGCONT);
                running.expect("cont");
                until("Berth to go on", || (state(berth)? != 'T').then_some(()));
                kill(berth, libc::SIGUSR1);
                assert_eq!(running.code(), Ok(3), "{signal} {group}");
            }
        }
    }
}

/// An app that catches the signal does what it likes with it, and gets it as it was, or rewritten.
#[test]
fn a_suspending_signal_reaches_the_app() {
    let text = "trap 'echo tstp' TSTP; trap 'echo usr1' USR1; trap 'echo cont' CONT; echo ready
        while :; do sleep 0.01; done";
    for (group, rewrite, heard) in
        [("0", "HUP:INT", "tstp"), ("0", "TSTP:USR1", "usr1"), ("1", "TSTP:USR1", "usr1")]
    {
        let mut command = script(Role::PROCESS, text);
        command.env("SIGNAL_GROUP", group).env("SIGNAL_REWRITE", rewrite);
        let running = Running::start(&mut command);
        running.expect("ready");
        let berth = running.berth(Role::PROCESS);
        kill(berth, libc::SIGTSTP);
        running.expect(heard);
        until("Berth to stop", || (state(berth)? == 'T').then_some(()));
        kill(berth, libc::SIGCONT);
        running.expect("cont");
    }
}

#[test]
fn pid_1_is_not_paused() {
    for role in roles().filter(|role| role.pid_1) {
        let text =
            "trap 'echo tstp' TSTP; trap 'exit 3' USR1; echo ready; while :; do sleep 0.01; done";
        let mut running = Running::start(&mut script(role, text));
        running.expect("ready");
        running.signal(role, libc::SIGTSTP);
        running.expect("tstp");
        running.signal(role, libc::SIGUSR1);
        assert_eq!(running.code(), Ok(3));
    }
}

#[test]
fn a_suspending_signal_pends_for_an_app_that_blocks_it() {
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        let mut command = wrapped(Role::PROCESS, &["sleep", "1000"]);
        given(&mut command, !0, &[]);
        let running = Running::start(&mut command);
        let berth = running.berth(Role::PROCESS);
        let app = until("the app", || {
            let app = *children(berth).first()?;
            (status(app, "Name")? == "sleep").then_some(app)
        });
        kill(berth, signal);
        until("it to arrive", || (signal_set(app, "ShdPnd")? == set(&[signal])).then_some(()));
        kill(berth, libc::SIGCONT);
        kill(app, libc::SIGKILL);
    }
}

/// As `docker exec` users and process managers expect: without SIGNAL_GROUP the app alone is Berth's.
#[test]
fn what_the_app_leaves_is_told_to_end_only_with_its_group() {
    for registers in [false, true] {
        let role = Role { pid_1: false, registers };
        for (group, told) in [("0", false), ("1", true)] {
            let text = "sleep 1000 > /dev/null & echo $!; read line; exit 4";
            let mut command = script(role, text);
            command.env("SIGNAL_GROUP", group).stdin(Stdio::piped());
            let mut running = Running::start(&mut command);
            let left: Pid = running.line().parse().unwrap();
            let sleeps = || (status(left, "Name")? == "sleep" && state(left)? == 'S').then_some(());
            until("it to sleep", sleeps);
            drop(running.child.stdin.take());
            assert_eq!(running.code(), Ok(4));
            if told {
                until("its end", || matches!(state(left), None | Some('Z')).then_some(()));
            } else {
                assert_eq!(state(left), Some('S'), "it lives on");
                kill(left, libc::SIGKILL);
            }
        }
    }
}

#[test]
fn an_app_that_goes_into_the_background_is_pointed_out() {
    for role in roles() {
        let hint = |text: &str| {
            let mut command = script(role, text);
            let finished = finish(command.env("LOG_LEVEL", "warn"));
            (finished.code, finished.stderr.contains("put itself into the background"))
        };
        let background = "(sleep 1000 > /dev/null 2>&1 &)";
        assert_eq!(hint(&format!("{background}; exit 0")), (Some(0), true), "{role:?}");
        assert_eq!(hint(&format!("{background}; exit 1")), (Some(1), false), "it failed");
        assert_eq!(hint("exit 0"), (Some(0), false), "it is done");
    }
}
