//! What Berth's exit code says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::process::{Finished, Role, berth, finish, roles, script, wrapped};

#[test]
fn the_apps_exit_code_is_berths() {
    for role in roles() {
        for code in [0, 1, 7, 64, 127, 255] {
            assert_eq!(finish(&mut script(role, &format!("exit {code}"))).code, Some(code));
        }
    }
}

#[test]
fn a_death_by_signal_is_128_plus_its_number() {
    for role in roles() {
        for signal in [1, 9, 15, 31, 37, 64] {
            let code = finish(&mut script(role, &format!("kill -{signal} $$"))).code;
            assert_eq!(code, Some(128 + signal), "{role:?}");
        }
    }
}

#[test]
fn a_core_dump_does_not_show_in_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    for role in roles() {
        let mut command = script(role, "ulimit -c unlimited; kill -SEGV $$");
        assert_eq!(finish(command.current_dir(&folder)).code, Some(139));
    }
}

#[test]
fn berth_inside_berth_says_the_same() {
    for role in roles() {
        let berth = berth();
        assert_eq!(finish(&mut wrapped(role, &[berth, "--", "sh", "-c", "exit 5"])).code, Some(5));
        assert_eq!(finish(&mut wrapped(role, &[berth, "nosuch"])).code, Some(127));
    }
}

#[test]
fn exit_codes_are_remapped() {
    for role in roles() {
        for (app, code) in [("kill -TERM $$", 0), ("exit 3", 7), ("exit 4", 4)] {
            let mut command = script(role, app);
            assert_eq!(finish(command.env("EXIT_REMAP", "143:0,3:7")).code, Some(code), "{app}");
        }
    }
}

fn refused(command: &mut Command, code: i32, named: &str) {
    let Finished { code: actual, stderr, stdout } = finish(command);
    assert_eq!((actual, stdout.as_str()), (Some(code), ""), "{named}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("berth: ") && stderr.contains(named), "{stderr}");
}

#[test]
fn what_is_not_found_is_127_and_what_cannot_be_executed_126() {
    let folder = tempfile::tempdir().unwrap();
    let plain = file(&folder, "plain", "echo ran\n", 0o644);
    let no_interpreter = file(&folder, "no-interpreter", "#!/no/such/interpreter\n", 0o755);
    for role in roles() {
        for (app, code) in [
            ("nosuch", 127),
            ("/no/such/file", 127),
            (&no_interpreter, 127),
            ("", 127),
            (&plain, 126),
            ("/etc", 126),
            (&format!("{plain}/x"), 126),
        ] {
            refused(&mut wrapped(role, &["--", app]), code, &format!("cannot execute {app:?}"));
        }
    }
}

#[test]
fn a_script_without_a_first_line_for_the_kernel_is_run_by_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let script = file(&folder, "no-shebang", "echo \"$#:$1:$2\"; exit 3\n", 0o755);
    for role in roles() {
        for name in [script.as_str(), "no-shebang"] {
            let mut command = wrapped(role, &[name, "a b", "c"]);
            let path = format!("/nonexistent:{}:/usr/bin:/bin", folder.path().display());
            let finished = finish(command.env("PATH", path));
            assert_eq!((finished.code, finished.stdout.as_str()), (Some(3), "2:a b:c\n"));
        }
    }
}

/// glibc hands such a file to the shell by itself, the static binary for containers does not.
#[test]
#[cfg(target_env = "musl")]
fn a_binary_for_another_machine_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let binary = file(&folder, "foreign", "\x7fELF nothing that runs here", 0o755);
    refused(&mut wrapped(Role::PROCESS, &[&binary]), 126, "another kind of machine");
}

#[test]
fn a_command_line_without_a_command_is_64() {
    for (arguments, named) in
        [(&[][..], "no command"), (&["--"], "no command"), (&["--nosuch", "true"], "--nosuch")]
    {
        refused(&mut wrapped(Role::PROCESS, arguments), 64, named);
    }
}

#[test]
fn every_wrong_variable_is_named_before_the_app_starts() {
    let mut command = script(Role::PROCESS, "echo started");
    command.envs([
        ("SIGNAL_GROUP", "maybe"),
        ("SIGNAL_REWRITE", "TERM:FOO"),
        ("EXIT_REMAP", "143"),
        ("STOP_TIMEOUT", "soon"),
    ]);
    let Finished { code, stdout, stderr } = finish(&mut command);
    assert_eq!((code, stdout.as_str()), (Some(64), ""));
    for wrong in ["SIGNAL_GROUP", "SIGNAL_REWRITE", "EXIT_REMAP", "STOP_TIMEOUT"] {
        assert!(stderr.contains(wrong), "{stderr}");
    }
}

#[test]
fn help_and_version_are_told_on_stdout() {
    let help = finish(&mut wrapped(Role::PROCESS, &["--help"]));
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("COMMAND"), "{}", help.stdout);
    let version = finish(&mut wrapped(Role::PROCESS, &["--version"]));
    assert_eq!(version.stdout, concat!("berth ", env!("CARGO_PKG_VERSION"), "\n"));
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str, mode: u32) -> String {
    let path: &Path = &folder.path().join(name);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}
