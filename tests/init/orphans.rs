//! Orphans: reaped while the app runs, ended when it has.

use std::process::Command;

use crate::process::{
    Pid, Role, Running, children, command, finish, kill, roles, roles_of_pid_1, script, state,
    status, until,
};

const ORPHANS: usize = 500;

/// Makes orphans (their parent, a subshell, ends at once), waits until each has written its line,
/// and stays.
fn orphans() -> String {
    format!(
        "file=$(mktemp); n=0
        while [ $n -lt {ORPHANS} ]; do (echo >> $file &); n=$((n + 1)); done
        while [ $(wc -l < $file) -lt {ORPHANS} ]; do sleep 0.01; done
        rm $file; echo done; exec sleep 1000"
    )
}

fn zombies(parent: Pid) -> usize {
    children(parent).into_iter().filter(|child| state(*child) == Some('Z')).count()
}

#[test]
fn every_orphan_is_reaped() {
    for role in roles() {
        let mut running = Running::start(&mut script(role, &orphans()));
        running.expect("done");
        let berth = running.berth(role);
        until("only the app to be left", || (children(berth).len() == 1).then_some(()));
        running.signal(role, libc::SIGTERM);
        assert_eq!(running.code(), Ok(143));
    }
}

#[test]
fn an_orphan_is_berths_where_berth_is_not_pid_1() {
    for role in roles().filter(|role| !role.pid_1) {
        let text = "(sleep 1000 > /dev/null & echo $!); exec sleep 1000";
        let running = Running::start(&mut script(role, text));
        let orphan: Pid = running.line().parse().unwrap();
        let berth = running.berth(role).to_string();
        until("Berth to be its parent", || (status(orphan, "PPid")? == berth).then_some(()));
        kill(orphan, libc::SIGKILL);
    }
}

/// The negative control: under a PID 1 that reaps nothing the same orphans stay.
#[test]
fn orphans_would_stay_without_berth() {
    for role in roles_of_pid_1().filter(|role| !role.registers) {
        let program = format!("({}) & exec sleep 1000", orphans());
        let running = Running::start(&mut command(role, &["sh", "-c", &program]));
        running.expect("done");
        let init = running.berth(role);
        until("the zombies", || (zombies(init) == ORPHANS).then_some(()));
    }
}

#[test]
fn orphans_are_told_to_end_when_the_app_has_ended() {
    let text = "(trap 'echo told; exit' TERM; echo ready; while :; do sleep 0.01; done) & exit 4";
    for role in roles() {
        let finished = finish(script(role, text).env("SIGNAL_GROUP", "1"));
        assert_eq!(finished.code, Some(4));
        // The signal may come before the trap stands, but then it has ended all the same.
        assert!(["ready\ntold\n", "ready\n", ""].contains(&finished.stdout.as_str()));
    }
}

#[test]
fn an_orphan_may_finish_its_work_before_pid_1_ends() {
    let text = "(trap 'sleep 0.1; echo finished; exit' TERM; echo > ready; sleep 1000 & wait) &
        while ! [ -e ready ]; do sleep 0.01; done; exit 4";
    for role in roles_of_pid_1() {
        let folder = tempfile::tempdir().unwrap();
        let finished = finish(script(role, text).current_dir(&folder));
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(4), "finished\n"));
    }
}

/// Were the wait unbounded, the test would run into its deadline.
#[test]
fn an_orphan_that_will_not_end_does_not_keep_pid_1() {
    let text = "(trap '' TERM; echo > ready; while :; do sleep 1000; done) &
        while ! [ -e ready ]; do sleep 0.01; done; exit 4";
    for role in roles_of_pid_1() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(finish(script(role, text).current_dir(&folder)).code, Some(4));
    }
}

#[test]
fn an_ordinary_process_ends_only_its_own_group() {
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let text = "setsid sleep 1000 > /dev/null & echo $!; sleep 1000 > /dev/null & echo $!
        read line; exit 4";
    let mut command = script(Role::PROCESS, text);
    command.env("SIGNAL_GROUP", "1");
    let mut running = Running::start(command.stdin(std::process::Stdio::piped()));
    let [elsewhere, here] = [(); 2].map(|()| running.line().parse::<Pid>().unwrap());
    until("setsid", || (status(elsewhere, "Name")? == "sleep").then_some(()));
    drop(running.child.stdin.take());
    assert_eq!(running.code(), Ok(4));
    until("the group's end", || matches!(state(here), None | Some('Z')).then_some(()));
    assert_eq!(state(elsewhere), Some('S'), "a daemon of its own group lives on");
    assert_eq!(bystander.try_wait().unwrap(), None, "nobody else is signalled");
    kill(elsewhere, libc::SIGKILL);
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}
