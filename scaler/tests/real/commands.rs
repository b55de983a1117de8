//! The command line as an operator meets it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::scale::{alert, policy, settled};
use crate::support::{Containers, Process, Site, eventually};

/// The exit code, and all that was printed.
pub(crate) fn told(command: &mut Command) -> (i32, String) {
    let out = command.output().unwrap();
    let all = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap(), String::from_utf8_lossy(&all).into_owned())
}

fn expect(site: &Site, arguments: &[&str], code: i32, words: &str) {
    let (found, said) = told(&mut site.command(arguments));
    assert!(
        found == code && said.contains(words),
        "{arguments:?}: {found}, expected {code} and {words:?}: {said}"
    );
}

#[test]
fn every_command_helps() {
    let scaler = || Command::new(env!("CARGO_BIN_EXE_berth-scaler"));
    for name in
        ["run", "once", "check", "history", "policies", "pause", "resume", "replay", "simulate"]
    {
        let (code, said) = told(scaler().args([name, "--help"]));
        assert!(code == 0 && said.contains(&format!("berth-scaler {name}")), "{said}");
    }
    let (code, said) = told(scaler().args(["completions", "bash"]));
    assert!(code == 0 && said.contains("complete -F"), "{said}");
    assert_eq!(told(&mut scaler()).0, 64);
    assert_eq!(told(scaler().arg("rnu")).0, 64);
}

#[test]
fn in_an_incident_nothing_is_needed_but_the_store() {
    let site = Site::new(None, &policy("web-service", ""));
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("letmein", "${BERTH_TEST_NOT_SET}")).unwrap();
    expect(&site, &["run"], 64, "BERTH_TEST_NOT_SET");
    expect(&site, &["history"], 0, "nothing yet");
    expect(&site, &["history", "web"], 0, "nothing yet");
    expect(&site, &["pause", "web"], 0, "paused: web");
    expect(&site, &["policies"], 0, "both");
    expect(&site, &["resume", "web"], 0, "resumed: web");
    for name in ["history", "pause", "resume"] {
        expect(&site, &[name, "nosuch"], 64, "there are: web");
    }
    expect(&site, &["pause"], 64, "--all");
    expect(&site, &["resume"], 64, "--all");
    expect(&site, &["pause", "--all", "--down"], 0, "paused downwards: every policy");
    expect(&site, &["resume", "web"], 0, "still paused (down): every policy");
    expect(&site, &["resume", "--all"], 0, "resumed: every policy");
}

#[test]
fn check_finds_what_run_would_stumble_over() {
    let docker = "[[docker]]\nname = \"a\"\nhost = \"tcp://nosuch.invalid:2376\"\n\
                  tls_ca = \"/nowhere/ca.pem\"\n";
    let site = Site::new(None, &format!("{docker}{}", policy("web", "")));
    expect(&site, &["check", "--offline"], 64, "docker[a]: ");
    expect(&site, &["check", "--offline"], 64, "/nowhere/ca.pem");
    let named = "[[http]]\nname = \"q\"\nurl = \"http://nosuch.invalid/q\"\n";
    site.configure(None, &format!("{named}{}", policy("web", "")));
    expect(&site, &["check"], 64, "http[q].url: host nosuch.invalid: ");
    expect(&site, &["check", "--offline"], 0, "is valid: 1 policy, 1 Docker host");
    let never = "[[policy.schedule]]\ncron = \"0 0 30 2 *\"\ntime_zone = \"UTC\"\n\
                 duration = \"1h\"\nmin = 1";
    site.configure(None, &policy("web", never));
    expect(&site, &["check"], 64, "never comes");
    site.configure(None, &policy("web", &never.replace("30 2", "29 2")));
    expect(&site, &["check"], 0, "is valid");
}

#[test]
fn once_fails_when_an_act_did() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    let gone = tempfile::TempDir::new().unwrap();
    let mount = format!("type=bind,source={},target=/x", gone.path().display());
    containers.run(&format!("{service}_1"), &["--mount", &mount], 0);
    drop(gone);
    let site =
        Site::new(None, &policy(&service, "").replace("min_instance = 1", "min_instance = 2"));
    expect(&site, &["once"], 1, &format!("web: create {service}_2: "));
    assert_eq!(containers.running(), 1);
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure_and_a_full_disk_is_one() {
    let site = Site::new(None, &policy("web-service", ""));
    let bare = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-scaler"));
        command.args(arguments);
        command
    };
    let commands = || {
        let file: [&[&str]; 5] =
            [&["check"], &["policies"], &["history"], &["pause", "web"], &["resume", "web"]];
        let none: [&[&str]; 3] =
            [&["completions", "bash"], &["simulate", "step"], &["simulate", "--bench", "4"]];
        file.map(|arguments| site.command(arguments)).into_iter().chain(none.map(bare))
    };
    for mut command in commands() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let out = out.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.is_empty(), "{command:?}: {}: {said}", out.status);
    }
    for mut command in commands() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, said) = told(command.stdout(full));
        assert!(code == 1 && said.contains(": standard output: "), "{command:?}: {code}: {said}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_yet_keeps_nothing_from_starting() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let place = tempfile::TempDir::new().unwrap();
    let socket = place.path().join("docker.sock");
    let docker = format!("[[docker]]\nname = \"later\"\nhost = \"unix://{}\"\n", socket.display());
    let site = Site::new(None, &policy(&service, &docker));
    expect(&site, &["once"], 1, "1 Docker host did not say what runs there");
    let _scaler = site.run(None);
    site.listening().await;
    eventually("the missing host is told", async || {
        site.log().contains("docker host later: ").then_some(())
    })
    .await;
    site.alert(&alert("scale_up", "one")).await.unwrap();
    std::os::unix::fs::symlink("/var/run/docker.sock", &socket).unwrap();
    settled(&site, 1).await;
    assert_eq!(containers.running(), 2);
}

#[test]
fn a_signal_that_comes_before_the_store_answers_is_heeded() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("mysql://me:secret@{}/berth", silent.local_addr().unwrap());
    let site = Site::new(Some(&url), &policy("web", ""));
    let mut scaler: Process = site.run(None);
    let _asked = silent.accept().unwrap();
    scaler.signal(Signal::SIGTERM);
    assert_eq!(scaler.wait().code(), Some(0), "{}", site.log());
}
