//! The library's supervisor with probes beside the app. One test only: the reaper takes every child
//! of this process.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "this is a test")]

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use berth::init::exit::Ended;
use berth::init::inherited::Inherited;
use berth::init::supervisor::{Event, SpawnOptions, Supervisor};

/// Reaps until something has ended. (SIGCHLD goes to the main thread, which the test harness has.)
fn next(supervisor: &mut Supervisor) -> Event {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let [event, ..] = supervisor.reap()[..] {
            return event;
        }
        assert!(Instant::now() < deadline, "nothing ends");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_probe_ends_beside_the_app_and_is_killed_with_all_its_processes() {
    let command = ["sh", "-c", "[ $GIVEN = yes ] && [ -z \"$SECRET\" ] && exec sleep 1000"];
    let command = command.map(Into::into);
    let environment =
        vec![("GIVEN".into(), Some("yes".into())), ("SECRET".into(), None), ("HOME".into(), None)];
    let options = SpawnOptions { environment, ..SpawnOptions::default() };
    let mut supervisor = Supervisor::start(&command, Inherited::capture(), options).unwrap();

    let probe = |supervisor: &mut Supervisor, script: &str| {
        supervisor.spawn_probe(OsStr::new(script)).unwrap()
    };
    let good = probe(&mut supervisor, "[ $GIVEN = yes ] && [ -z \"$HOME\" ]");
    assert_eq!(next(&mut supervisor), Event::Probe(good, Ended::Exited(0)));
    let bad = probe(&mut supervisor, "exit 3");
    assert_eq!(next(&mut supervisor), Event::Probe(bad, Ended::Exited(3)));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let hanging = probe(
        &mut supervisor,
        &format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display()),
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while !file.exists() {
        assert!(Instant::now() < deadline, "the probe does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
    let sleep: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    supervisor.kill_probe(hanging);
    assert_eq!(
        next(&mut supervisor),
        Event::Probe(hanging, Ended::Killed("KILL".parse().unwrap()))
    );
    // An orphan now, so ours to reap: it is no event, but it goes away.
    while std::path::Path::new(&format!("/proc/{sleep}")).exists() {
        assert!(Instant::now() < deadline, "the probe's child lives on");
        assert_eq!(supervisor.reap(), []);
    }
    // It is unknown by now, and its pid may be another's.
    supervisor.kill_probe(hanging);

    supervisor.kill();
    assert_eq!(next(&mut supervisor), Event::App(Ended::Killed("KILL".parse().unwrap())));
    // Until the last word to its group, its number is nobody else's.
    let app = format!("/proc/{}/stat", supervisor.app());
    assert!(std::fs::read_to_string(&app).unwrap().contains(" Z "));
    assert_eq!(supervisor.reap(), [], "its end is told once");
    supervisor.finish();
    assert!(!std::path::Path::new(&app).exists());
}
