//! Berth on a terminal: as the first process there (`docker run -it`), and under a shell.

use std::process::Command;

use crate::process::{
    Pid, Role, berth, children, command, kill, roles, roles_of_pid_1, set, signal_set, status,
    unshare, until, wrapped,
};
use crate::pty::{CTRL_C, CTRL_D, CTRL_Z, Pty};

const BASH: [&str; 5] = ["bash", "--norc", "--noprofile", "--noediting", "-i"];

/// Waits for a Ctrl-C. Not in a shell: dash loses one that comes while it starts something.
const WAIT: &str = r#"$| = 1; print "star"."ted\n"; sleep 1000"#;

/// Berth as the leader of the terminal's session, in each role, around `app`.
fn leaders(app: &[&str]) -> impl Iterator<Item = Pty> {
    roles().map(move |role| {
        if !role.pid_1 {
            return Pty::start(&mut wrapped(role, app));
        }
        let berth = berth();
        let words = [&["setsid", "--ctty", berth], app].concat();
        Pty::start_without_control(&mut command(role, &words))
    })
}

/// An interactive shell that knows Berth as `berth`.
fn shell() -> Pty {
    let mut pty = Pty::start(&mut command(Role::PROCESS, &BASH));
    pty.expect("> ");
    pty.send(&format!("berth() {{ {} \"$@\"; }}\n", berth()));
    pty.expect("> ");
    pty
}

fn job_control_works(pty: &mut Pty) {
    pty.expect("> ");
    pty.send(&format!("perl -e '{WAIT}'\n"));
    pty.expect("started");
    pty.send(CTRL_C);
    pty.expect("> ");
    pty.send("echo code-$?\n");
    pty.expect("code-130");
    pty.send("sh -c 'echo star''ted; read x; echo re''ad-$x'\n");
    pty.expect("started");
    pty.send(CTRL_Z);
    pty.expect("Stopped");
    pty.send("fg\n");
    pty.send("line\n");
    pty.expect("read-line");
    pty.send("sleep 1000 & echo bg-$?\n");
    pty.expect("bg-0");
    pty.send("kill %1; wait %1; echo waited-$?\n");
    pty.expect("waited-143");
}

#[test]
fn a_shell_has_its_job_control() {
    for mut pty in leaders(&BASH) {
        job_control_works(&mut pty);
        pty.send("exit 6\n");
        assert_eq!(pty.code(), Some(6));
    }
}

/// As it would be without Berth.
#[test]
fn the_app_leads_a_session_in_the_foreground_of_its_terminal() {
    for mut pty in leaders(&["sh", "-c", STAT]) {
        pty.expect("session leader foreground");
        assert_eq!(pty.code(), Some(0));
    }
}

#[test]
fn the_app_is_in_the_foreground_under_a_shell() {
    let mut pty = shell();
    pty.send(&format!("berth sh -c '{STAT}'\n"));
    pty.expect("group leader foreground");
}

/// Tells what the shell that runs it leads, and whether its group has the terminal's foreground.
const STAT: &str = "read -r pid name state parent group session tty foreground rest < /proc/$$/stat
    if [ $pid = $session ]; then leader=session; elif [ $pid = $group ]; then leader=group; fi
    if [ $group = $foreground ]; then where=foreground; fi; echo $leader leader $where";

#[test]
fn ctrl_z_does_not_freeze_the_container() {
    for mut pty in leaders(&["sh", "-c", "echo started; exec sed -u s/^/got-/"]) {
        pty.expect("started");
        pty.send(CTRL_Z);
        pty.send("line\n");
        pty.expect("got-line");
        pty.send(CTRL_D);
        assert_eq!(pty.code(), Some(0));
    }
}

#[test]
fn ctrl_c_ends_the_container() {
    for mut pty in leaders(&["perl", "-e", WAIT]) {
        pty.expect("started");
        pty.send(CTRL_C);
        assert_eq!(pty.code(), Some(130));
    }
}

/// Giving up the controlling terminal sends Berth HUP and CONT.
#[test]
fn the_app_is_not_told_of_the_terminals_change_of_hands() {
    let app = "trap 'echo hup' HUP; trap 'echo cont' CONT; echo started; read line; echo end-$line";
    for mut pty in leaders(&["sh", "-c", app]) {
        pty.expect("started");
        pty.send("1\n");
        let told = pty.rest();
        assert!(
            told.contains("end-1") && !told.contains("hup") && !told.contains("cont"),
            "{told}"
        );
    }
}

#[test]
fn a_hangup_that_was_pending_before_is_not_taken_for_that() {
    let pending = "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGHUP));
        system qq(kill -HUP $$); exec @ARGV";
    let words = ["perl", "-e", pending, berth(), "sleep", "1000"];
    let pty = Pty::start(&mut command(Role::PROCESS, &words));
    let berth = pty.child.id() as Pid;
    let app = until("the app to run", || {
        let app = *children(berth).first()?;
        (status(app, "Name")? == "sleep").then_some(app)
    });
    until("HUP", || (signal_set(app, "ShdPnd")? == set(&[libc::SIGHUP])).then_some(()));
    kill(app, libc::SIGKILL);
}

#[test]
fn a_terminal_is_found_without_dev_tty() {
    let berth = berth();
    let hide = "mount -t tmpfs none /dev && : > /dev/null && exec setsid --ctty \"$@\"";
    let words = [&["sh", "-c", hide, "sh", berth][..], &BASH].concat();
    for role in roles_of_pid_1() {
        job_control_works(&mut Pty::start_without_control(&mut command(role, &words)));
    }
}

#[test]
fn ctrl_c_reaches_the_app_under_a_shell() {
    let mut pty = shell();
    pty.send(&format!("berth perl -e '{WAIT}'\n"));
    pty.expect("started");
    pty.send(CTRL_C);
    pty.expect("> ");
    pty.send("echo code-$?\n");
    pty.expect("code-130");
    pty.send("berth sh -c 'trap \"echo caught; exit 3\" INT; echo star''ted; while :; do sleep 0.01; done'\n");
    pty.expect("started");
    pty.send(CTRL_C);
    pty.expect("caught");
    pty.send("echo code-$?\n");
    pty.expect("code-3");
}

/// perl ignores the signal while it waits for a child, and ends when that does.
#[test]
fn ctrl_c_reaches_the_apps_children_under_a_shell() {
    let app = format!("perl -e 'system qw(perl -e), q({WAIT})'");
    let mut pty = shell();
    for pipe in ["", " | cat"] {
        pty.send(&format!("berth {app}{pipe}\n"));
        pty.expect("started");
        pty.send(CTRL_C);
        pty.expect("> ");
    }
}

#[test]
fn a_job_stops_and_continues_under_a_shell() {
    let mut pty = shell();
    pty.send("berth sh -c 'echo star''ted; exec sed -u s/^/got-/'\n");
    pty.expect("started");
    for round in ["one", "two"] {
        pty.send(CTRL_Z);
        pty.expect("Stopped");
        pty.send("fg\n");
        pty.send(&format!("{round}\n"));
        pty.expect(&format!("got-{round}"));
    }
    pty.send(CTRL_D);
    pty.expect("> ");
    pty.send("echo code-$?\n");
    pty.expect("code-0");
}

#[test]
fn a_job_goes_on_in_the_background_under_a_shell() {
    let mut pty = shell();
    pty.send("berth sh -c 'echo star''ted; exec sleep 1000'\n");
    pty.expect("started");
    pty.send(CTRL_Z);
    pty.expect("Stopped");
    pty.send("bg\n");
    pty.send("jobs\n");
    pty.expect("Running");
    pty.send("kill %1; wait %1; echo waited-$?\n");
    pty.expect("waited-143");
}

#[test]
fn a_background_job_gets_the_terminal_when_it_comes_to_the_foreground() {
    let mut pty = shell();
    pty.send("berth sed -u s/^/got-/ &\n");
    pty.expect("> ");
    pty.send("sleep 0.2; jobs\n");
    pty.expect("Stopped");
    pty.send("fg\n");
    pty.send("line\n");
    pty.expect("got-line");
    pty.send(CTRL_D);
    pty.expect("> ");
}

#[test]
fn a_shell_in_berth_in_a_shell_has_its_job_control() {
    let mut pty = shell();
    pty.send(&format!("PS1='> ' berth {}\n", BASH.join(" ")));
    job_control_works(&mut pty);
    pty.send("suspend -f\n");
    pty.expect("Stopped");
    pty.send("fg\n");
    pty.send("echo inner-$((1 + 1))\n");
    pty.expect("inner-2");
    pty.send("exit 6\n");
    pty.send("echo outer-$?\n");
    pty.expect("outer-6");
}

/// There the terminal belongs to whoever reads it.
#[test]
fn a_pipeline_keeps_the_terminal() {
    let mut pty = shell();
    pty.send("berth perl -e '$| = 1; print qq(\\n); sleep 1000' | sh -c 'read x; read y < /dev/tty; echo read-$y'\n");
    pty.send("1\n");
    pty.expect("read-1");
    pty.send(CTRL_C);
    pty.expect("> ");
    pty.send("berth sh -c 'read y < /dev/tty; echo 1$y' | sed s/^/piped-/\n");
    pty.send("2\n");
    pty.expect("piped-12");
    pty.expect("> ");
}

#[test]
fn berth_in_berth_stops_and_continues_under_a_shell() {
    let mut pty = shell();
    pty.send(&format!("berth {} sh -c 'echo star''ted; exec sed -u s/^/got-/'\n", berth()));
    pty.expect("started");
    pty.send(CTRL_Z);
    pty.expect("Stopped");
    pty.send("fg\n");
    pty.send("line\n");
    pty.expect("got-line");
}

/// PID 1 cannot be stopped, so its app goes on.
#[test]
fn ctrl_z_is_harmless_in_a_namespace_under_a_shell() {
    let Some(unshare) = unshare() else { return };
    let mut pty = shell();
    let app = "sh -c 'echo star''ted; exec sed -u s/^/got-/'";
    pty.send(&format!("{} {} {app}\n", unshare.join(" "), berth()));
    pty.expect("started");
    pty.send(CTRL_Z);
    pty.send("line\n");
    pty.expect("got-line");
}

#[test]
fn a_script_gets_the_terminal_back_after_berth() {
    let mut pty = shell();
    pty.send(&format!("sh -c '{} true; read x; echo re''ad-$x'\n", berth()));
    pty.send("1\n");
    pty.expect("read-1");
}

#[test]
fn ctrl_z_stops_the_script_around_berth_too() {
    let mut pty = shell();
    pty.send(&format!(
        "sh -c '{} sh -c \"echo star\"\"ted; exec sed -u s/^/got-/\"; echo af''ter'\n",
        berth()
    ));
    pty.expect("started");
    pty.send(CTRL_Z);
    pty.expect("Stopped");
    pty.send("fg\n");
    pty.send("line\n");
    pty.expect("got-line");
    pty.send(CTRL_D);
    pty.expect("after");
}

/// Nobody could continue it: no shell with job control is there.
#[test]
fn ctrl_z_is_harmless_where_there_is_no_shell() {
    let script = format!("{} sh -c 'echo started; exec sed -u s/^/got-/'; echo after", berth());
    let mut words = vec![Vec::from(["sh", "-c", &script])];
    let berth = berth();
    if let Some(unshare) = unshare() {
        // PID 1 in the session of another.
        let program = ["sh", "-c", "echo started; exec sed -u s/^/got-/"];
        words.push([unshare, &[berth], &program].concat());
    }
    for words in words {
        let mut command = Command::new(words[0]);
        let mut pty = Pty::start(command.args(&words[1..]));
        pty.expect("started");
        pty.send(CTRL_Z);
        pty.send("line\n");
        pty.expect("got-line");
        pty.send(CTRL_D);
        assert_eq!(pty.code(), Some(0));
    }
}
