//! Berth on a terminal: as the first process there (`docker run -it`), and under a shell.

use std::process::Command;

use crate::process::{Role, berth, command, roles, roles_of_pid_1, unshare, wrapped};
use crate::pty::{CTRL_C, CTRL_D, CTRL_Z, Pty};

const BASH: [&str; 5] = ["bash", "--norc", "--noprofile", "--noediting", "-i"];

/// Berth as the leader of the terminal's session, in each role, around `app`.
fn leaders(app: &[&str]) -> impl Iterator<Item = Pty> {
    roles().map(move |role| {
        if !role.pid_1 {
            return Pty::start(&mut wrapped(role, app));
        }
        let berth = berth();
        let words = [&["setsid", "--ctty", &berth], app].concat();
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
    pty.send("sh -c 'echo star''ted; exec sleep 1000'\n");
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
    for mut pty in leaders(&["sh", "-c", "echo started; exec sed -u s/^/got-/"]) {
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
fn a_terminal_is_found_without_dev_tty() {
    let berth = berth();
    let hide = "mount -t tmpfs none /dev && exec setsid --ctty \"$@\"";
    let words = [&["sh", "-c", hide, "sh", &berth][..], &BASH].concat();
    for role in roles_of_pid_1() {
        job_control_works(&mut Pty::start_without_control(&mut command(role, &words)));
    }
}

#[test]
fn ctrl_c_reaches_the_app_under_a_shell() {
    let mut pty = shell();
    pty.send("berth sh -c 'echo star''ted; exec sed -u s/^/got-/'; echo code-$?\n");
    pty.expect("started");
    pty.send(CTRL_C);
    pty.expect("> ");
    pty.send("berth sh -c 'trap \"echo caught; exit 3\" INT; echo star''ted; while :; do sleep 0.01; done'\n");
    pty.expect("started");
    pty.send(CTRL_C);
    pty.expect("caught");
    pty.send("echo code-$?\n");
    pty.expect("code-3");
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

/// In a pipeline the terminal belongs to whoever reads it.
#[test]
fn a_pipeline_keeps_the_terminal() {
    let mut pty = shell();
    pty.send("berth echo 1 | sh -c 'read x; read y < /dev/tty; echo read-$x$y'\n");
    pty.send("2\n");
    pty.expect("read-12");
    pty.send("berth sh -c 'read y < /dev/tty; echo 1$y' | sed s/^/piped-/\n");
    pty.send("3\n");
    pty.expect("piped-13");
    pty.expect("> ");
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
        words.push([unshare, &[berth.as_str()], &program].concat());
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
