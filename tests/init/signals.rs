//! Signals on their way through Berth, and what the app is born with.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{
    Role, Running, berth, children, command, finish, given, kill, roles, script, set, signal_set,
    state, status, until, wrapped,
};

const RTMIN: i32 = 34;
/// The signals that glibc keeps for itself.
const LIBC: u64 = 1 << 31 | 1 << 32;
/// Every signal that can be blocked.
const ALL: u64 = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));

#[test]
fn mask_and_ignored_signals_are_as_given() {
    let look = ["grep", "-E", "^(Sig(Pnd|Blk|Ign|Cgt)|ShdPnd):", "/proc/self/status"];
    let berth = berth();
    let wrapped: Vec<&str> = [berth].into_iter().chain(look).collect();
    for role in roles() {
        for blocked in [0, ALL, set(&[1, 13, 15, 17, 32, 33, 34, 64]), set(&[20, 21, 22])] {
            for ignored in [&[][..], &[13], &[17], &[1, 2, 3, 13, 15, 17, 20, 21, 22, 40, 64]] {
                let seen = |program: &[&str]| {
                    let mut command = command(role, program);
                    given(&mut command, blocked, ignored);
                    let finished = finish(&mut command);
                    (finished.code, finished.stdout)
                };
                let bare = seen(&look);
                // unshare's C library keeps two signals from PID 1, the same with and without Berth.
                let blocked = if role.pid_1 { blocked & !LIBC } else { blocked };
                assert!(bare.1.contains(&format!("SigBlk:\t{blocked:016x}")), "{}", bare.1);
                assert_eq!(seen(&wrapped), bare, "{role:?}");
            }
        }
    }
}

/// With everything blocked the app's pending set shows what has arrived.
#[test]
fn every_signal_but_kill_stop_and_chld_is_forwarded() {
    let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let others: Vec<i32> =
        (1..=64).filter(|n| ![9, libc::SIGSTOP].contains(n) && !stops.contains(n)).collect();
    for role in roles() {
        // Stop signals and CONT discard each other, and pause an ordinary process.
        for signals in [stops.to_vec(), others.clone()] {
            if !role.pid_1 && signals == stops {
                continue;
            }
            let mut command = wrapped(role, &["sleep", "1000"]);
            given(&mut command, ALL, &[]);
            let running = Running::start(&mut command);
            let app = asleep(&running, role);
            let sent = if role.pid_1 { set(&signals) & !LIBC } else { set(&signals) };
            for signal in signals.iter().filter(|signal| sent & set(&[**signal]) != 0) {
                running.signal(role, *signal);
            }
            let expected = sent & !set(&[libc::SIGCHLD]);
            until("every signal", || (signal_set(app, "ShdPnd")? == expected).then_some(()));
            kill(app, libc::SIGKILL);
        }
    }
}

#[test]
fn a_signal_in_the_first_milliseconds_is_not_lost() {
    for role in roles() {
        let rounds = |seed: u64| {
            (0..75)
                .filter(|round| {
                    let (blocked, code) = signal_early(role, (seed + round * 97) % 6000);
                    // An ordinary process may get it before its first statement.
                    let early = !role.pid_1 && code == Err("killed by Some(15)".into());
                    assert!(early || code == Ok(143), "{role:?} round {round}: {code:?}");
                    blocked
                })
                .count()
        };
        let blocked: usize = thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|n| scope.spawn(move || rounds(n * 1493)));
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert!(blocked > 0, "{role:?} was never seen with every signal blocked");
    }
}

/// A pending signal survives exec.
#[test]
fn a_signal_that_was_pending_before_berth_is_not_lost() {
    // Not a shell: it would unblock the signal.
    let pending = "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGUSR1));
        system qq(kill -USR1 $$); exec @ARGV";
    let berth = berth();
    for role in roles() {
        let mut command = command(role, &["perl", "-e", pending, berth, "sleep", "1000"]);
        let running = Running::start(&mut command);
        let app = asleep(&running, role);
        until("USR1", || (signal_set(app, "ShdPnd")? == set(&[libc::SIGUSR1])).then_some(()));
        kill(app, libc::SIGKILL);
    }
}

/// In the handler itself, as perl's deferred handlers coalesce.
const COUNT: &str = "use POSIX; $| = 1;
    sigaction($ARGV[0], POSIX::SigAction->new(sub { syswrite STDOUT, qq(got\n) }));
    syswrite STDOUT, qq(ready\n); sleep 1 while 1";

#[test]
fn fifty_real_time_signals_are_fifty() {
    for role in roles() {
        let signal = RTMIN + 6;
        let app = ["perl", "-e", COUNT, &signal.to_string()];
        let mut running = Running::start(&mut wrapped(role, &app));
        running.expect("ready");
        (0..50).for_each(|_| running.signal(role, signal));
        (0..50).for_each(|_| running.expect("got"));
        running.signal(role, libc::SIGTERM);
        assert_eq!((running.code(), running.rest().as_str()), (Ok(143), ""));
    }
}

#[test]
fn a_stop_signal_continues_a_stopped_app_and_nothing_else_does() {
    let text = "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; trap 'echo cont' CONT
        echo ready; while :; do sleep 0.01; done";
    for role in roles() {
        let mut running = Running::start(&mut script(role, text));
        running.expect("ready");
        let app = running.app(role);
        kill(app, libc::SIGSTOP);
        until("the app to stop", || (state(app)? == 'T').then_some(()));
        running.signal(role, libc::SIGUSR1);
        until("USR1 to arrive", || {
            (signal_set(app, "ShdPnd")? & set(&[libc::SIGUSR1]) != 0).then_some(())
        });
        assert_eq!(state(app), Some('T'));
        running.signal(role, libc::SIGTERM);
        assert_eq!(running.code(), Ok(3));
        assert!(running.rest().ends_with("term\n"));

        let mut running = Running::start(&mut script(role, text));
        running.expect("ready");
        running.signal(role, libc::SIGTERM);
        assert_eq!((running.code(), running.rest().as_str()), (Ok(3), "term\n"));
    }
}

/// Both news wait for a Berth that was stopped itself, and the kernel hands out TERM before SIGCHLD.
#[test]
fn a_stop_signal_continues_an_app_whose_stop_is_yet_to_be_told() {
    for role in roles() {
        let mut command = wrapped(role, &["sleep", "1000"]);
        let mut running = Running::start(command.env("SIGNAL_REWRITE", "CONT:0"));
        let app = asleep(&running, role);
        let berth = running.berth(role);
        kill(berth, libc::SIGSTOP);
        until("Berth to stop", || (state(berth)? == 'T').then_some(()));
        kill(app, libc::SIGSTOP);
        until("the app to stop", || (state(app)? == 'T').then_some(()));
        kill(berth, libc::SIGTERM);
        kill(berth, libc::SIGCONT);
        assert_eq!(running.code(), Ok(143));
    }
}

#[test]
fn an_app_that_was_continued_is_not_continued_again() {
    let text = "trap 'echo cont' CONT; trap 'echo term' TERM; trap 'exit 3' USR1
        echo ready; while :; do sleep 0.01; done";
    for role in roles() {
        let mut running = Running::start(&mut script(role, text));
        running.expect("ready");
        let app = running.app(role);
        kill(app, libc::SIGSTOP);
        until("the app to stop", || (state(app)? == 'T').then_some(()));
        running.signal(role, libc::SIGCONT);
        running.expect("cont");
        running.signal(role, libc::SIGTERM);
        running.expect("term");
        running.signal(role, libc::SIGUSR1);
        assert_eq!((running.code(), running.rest().as_str()), (Ok(3), ""));
    }
}

#[test]
fn a_stopped_app_does_not_end_berth() {
    for role in roles() {
        let mut running = Running::start(&mut script(role, "echo ready; kill -STOP $$; exit 3"));
        running.expect("ready");
        let app = running.app(role);
        until("the app to stop", || (state(app)? == 'T').then_some(()));
        kill(app, libc::SIGCONT);
        assert_eq!(running.code(), Ok(3));
    }
}

#[test]
fn the_process_group_gets_signals_when_asked() {
    let text = "trap 'echo app' USR1; trap 'exit 0' TERM
        (trap 'echo child' USR1; trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done) &
        while :; do sleep 0.01; done";
    for role in roles() {
        for (group, expected) in [("0", &["app"][..]), ("1", &["app", "child"])] {
            let mut command = script(role, text);
            let mut running = Running::start(command.env("SIGNAL_GROUP", group));
            running.expect("ready");
            running.signal(role, libc::SIGUSR1);
            let mut told: Vec<String> = expected.iter().map(|_| running.line()).collect();
            told.sort();
            assert_eq!(told, expected);
            let child = children(running.app(role))[0];
            running.signal(role, libc::SIGTERM);
            if group == "0" && !role.pid_1 {
                assert_eq!(running.code(), Ok(0));
                kill(child, libc::SIGKILL);
                assert_eq!(running.rest(), "", "it was told nothing");
                continue;
            }
            assert_eq!((running.code(), running.rest().as_str()), (Ok(0), ""));
        }
    }
}

#[test]
fn signals_are_rewritten() {
    for role in roles() {
        for (rewrite, sent, code) in [
            ("TERM:QUIT,HUP:USR1", libc::SIGTERM, 128 + libc::SIGQUIT),
            ("TERM:QUIT,HUP:USR1", libc::SIGHUP, 128 + libc::SIGUSR1),
            ("15:SIGRTMIN+3", libc::SIGTERM, 128 + RTMIN + 3),
            ("TERM:KILL", libc::SIGTERM, 128 + libc::SIGKILL),
            ("TERM:QUIT", libc::SIGINT, 128 + libc::SIGINT),
        ] {
            let mut command = wrapped(role, &["sleep", "1000"]);
            let mut running = Running::start(command.env("SIGNAL_REWRITE", rewrite));
            asleep(&running, role);
            running.signal(role, sent);
            assert_eq!(running.code(), Ok(code), "{rewrite}");
        }
    }
}

#[test]
fn a_signal_rewritten_to_nothing_does_not_arrive() {
    for role in roles() {
        let mut command = wrapped(role, &["sleep", "1000"]);
        let mut running = Running::start(command.env("SIGNAL_REWRITE", "INT:0"));
        asleep(&running, role);
        running.signal(role, libc::SIGINT);
        running.signal(role, libc::SIGTERM);
        assert_eq!(running.code(), Ok(143));
    }
}

#[test]
fn an_app_that_outstays_the_stop_timeout_is_killed() {
    for role in roles() {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
            let mut command =
                script(role, "trap '' TERM INT QUIT; echo ready; while :; do sleep 0.05; done");
            let mut running = Running::start(command.env("STOP_TIMEOUT", "50ms"));
            running.expect("ready");
            running.signal(role, signal);
            assert_eq!(running.code(), Ok(137));
        }
    }
}

#[test]
fn without_a_stop_timeout_the_app_takes_its_time() {
    for role in roles() {
        for timeout in ["0", "30s"] {
            let mut command = script(
                role,
                "trap 'sleep 0.2; exit 5' TERM; echo ready; while :; do sleep 0.01; done",
            );
            let mut running = Running::start(command.env("STOP_TIMEOUT", timeout));
            running.expect("ready");
            running.signal(role, libc::SIGTERM);
            assert_eq!(running.code(), Ok(5));
        }
    }
}

#[test]
fn ignored_sigchld_does_not_hide_the_apps_end() {
    for role in roles() {
        let mut command = script(role, "exit 9");
        given(&mut command, 0, &[libc::SIGCHLD]);
        let mut running = Running::start(command.stderr(Stdio::inherit()));
        assert_eq!(running.code(), Ok(9));
    }
}

/// Sends TERM to a Berth that is just starting, this many µs after its first statement, or after its
/// start where it is no PID 1 (of which the kernel drops what comes earlier). Returns whether it
/// was seen with every signal blocked, and how it ended.
fn signal_early(role: Role, after: u64) -> (bool, Result<i32, String>) {
    let mut running = Running::start(&mut wrapped(role, &["sleep", "1000"]));
    let berth = running.berth(role);
    let blocked = || signal_set(berth, "SigBlk") == Some(ALL);
    let seen_blocked = until("Berth's first statement", || {
        let blocked = blocked();
        (blocked || !role.pid_1 || !children(berth).is_empty()).then_some(blocked)
    });
    let moment = Instant::now() + Duration::from_micros(after);
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    running.signal(role, libc::SIGTERM);
    (seen_blocked, running.code())
}

/// The app's pid once `sleep` runs in it.
fn asleep(running: &Running, role: Role) -> i32 {
    until("the app to run", || {
        let app = *children(running.berth(role)).first()?;
        (status(app, "Name")? == "sleep").then_some(app)
    })
}
