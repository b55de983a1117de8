//! Whatever a daemon does wrong, and whenever the scaler dies of it: one alert is one step, nothing
//! is signalled that was not asked to stop, and in the end everything agrees.

use std::sync::Arc;
use std::time::Duration;

use berth_scaler::alerts::Alert;
use berth_scaler::clock::now;
use berth_scaler::config::Config;
use berth_scaler::config::StoreUrl;
use berth_scaler::executor::docker::{DockerExecutor, Hosts};
use berth_scaler::notify::Notifier;
use berth_scaler::policy::Action;
use berth_scaler::run::tick::{Pacing, Round};
use berth_scaler::sources::Sources;
use berth_scaler::store::Store;
use berth_scaler::store::audit::{Entry, Outcome};
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::fake_docker::{Endpoint, FakeDocker, Fault};
use crate::support::lead;

const ASK: Duration = Duration::from_millis(60);
const MAX: usize = 4;

/// What happens.
#[derive(Clone, Debug)]
struct Course {
    /// Which way it goes, and how many alerts ask for it together; with none on the way up it is the
    /// minimum.
    up: bool,
    alerts: usize,
    /// Containers at first: the eldest is somebody else's, and `strangers` more.
    running: usize,
    strangers: usize,
    deaf: bool,
    faults: Vec<(Endpoint, Fault)>,
    /// After how many rounds each scaler dies.
    deaths: Vec<usize>,
}

fn courses() -> impl Strategy<Value = Course> {
    let endpoint = prop_oneof![
        1 => Just(Endpoint::List),
        2 => Just(Endpoint::Inspect),
        3 => Just(Endpoint::Create),
        3 => Just(Endpoint::Start),
        3 => Just(Endpoint::Kill),
        3 => Just(Endpoint::Remove),
        1 => Just(Endpoint::Events),
    ];
    let status = prop_oneof![Just(409), Just(500), Just(503), Just(403)];
    let fault = prop_oneof![
        3 => status.clone().prop_map(Fault::Refuses),
        2 => status.prop_map(Fault::DoneAnd),
        2 => Just(Fault::DoneAndMute),
        2 => Just(Fault::DoneTooLate),
        1 => Just(Fault::Mute),
        1 => Just(Fault::Twice),
    ];
    (
        any::<bool>(),
        0..4_usize,
        1..=MAX,
        0..3_usize,
        any::<bool>(),
        vec((endpoint, fault), 0..9),
        vec(1..5_usize, 0..3),
    )
        .prop_map(|(up, alerts, running, strangers, deaf, faults, deaths)| Course {
            up,
            alerts: if up { alerts } else { alerts.max(1) },
            running,
            strangers: strangers.min(running - 1),
            deaf,
            faults,
            deaths,
        })
}

/// `BERTH_FAULT_CASES` asks for more than a quick look.
fn cases() -> u32 {
    std::env::var("BERTH_FAULT_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(32)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(), failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default()
    })]

    #[test]
    fn one_alert_is_one_step_whatever_the_daemon_answers(course in courses()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(lives(&course))?;
    }
}

/// Every case that was once wrong.
#[test]
fn what_went_wrong_before() {
    use Endpoint::{Create, Kill, Remove, Start};
    let course = |up, running, strangers, faults: &[(Endpoint, Fault)], deaths: &[usize]| Course {
        up,
        alerts: 1,
        running,
        strangers,
        deaf: false,
        faults: faults.to_vec(),
        deaths: deaths.to_vec(),
    };
    let busy = [(Remove, Fault::Refuses(500)); 3];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for course in [
        // One alert took 5 → 4 → 3 → 2.
        course(false, 4, 0, &busy, &[]),
        course(false, 4, 0, &[(Remove, Fault::Refuses(409)), (Remove, Fault::DoneAnd(500))], &[]),
        // One alert took 2 → 8.
        course(true, 2, 1, &[(Start, Fault::Refuses(500)), (Create, Fault::Refuses(500))], &[]),
        // A slow daemon's container was removed as litter.
        course(true, 1, 0, &[(Create, Fault::DoneTooLate), (Start, Fault::DoneAndMute)], &[2]),
        // What is under way was decided again.
        Course { alerts: 0, ..course(true, 1, 0, &[(Create, Fault::Refuses(500)); 4], &[2, 2]) },
        // It was killed without a word.
        course(false, 3, 0, &[(Kill, Fault::Refuses(500)), (Kill, Fault::DoneAndMute)], &[1, 1]),
    ] {
        runtime.block_on(lives(&course)).unwrap_or_else(|e| panic!("{course:?}: {e}"));
    }
}

async fn lives(course: &Course) -> Result<(), TestCaseError> {
    let docker = FakeDocker::start();
    for n in 1..=course.running {
        let stranger = n <= 1 + course.strangers;
        let clone: &[(&str, &str)] = &[("service_name", "web"), ("berth.scaler.intent", "1")];
        let labels = if stranger { &clone[..1] } else { clone };
        docker.world().add(&format!("web_{n}"), "running", labels);
    }
    for container in &mut docker.world().containers {
        container.deaf = course.deaf;
    }
    let dir = TempDir::new().unwrap();
    let store = Store::open(&StoreUrl::Sqlite(dir.path().join("scaler.db"))).await.unwrap();
    // A round before anything happens, so that the containers are known.
    let mut round = round(&docker, &store, 1);
    let mut lease = lead(&store, "first", Duration::from_secs(60)).await;
    round.tick(&lease).await.unwrap();

    for n in 0..course.alerts {
        let action = if course.up { Action::ScaleUp } else { Action::ScaleDown };
        let (key, service) = (format!("alert {n}"), Some("web".to_owned()));
        let alert = Alert { key, service, action: Some(action), ..Alert::default() };
        store.receive(&alert, now(), now() + Duration::from_secs(300)).await.unwrap();
    }
    let least = if course.alerts == 0 { bounded(course) } else { 1 };
    drop(round);
    let mut round = self::round(&docker, &store, least);
    docker.world().faults.extend(course.faults.iter().copied());
    docker.world().count_from_here();
    for (n, rounds) in course.deaths.iter().enumerate() {
        for _ in 0..*rounds {
            let _ = round.tick(&lease).await;
        }
        // It dies with all that it has under way, and another takes its place.
        drop(round);
        store.release_lease(&lease).await.unwrap();
        round = self::round(&docker, &store, least);
        lease = lead(&store, &format!("after {n}"), Duration::from_secs(60)).await;
    }
    let end = Instant::now() + Duration::from_secs(20);
    let mut quiet = 0;
    while quiet < 5 {
        let rounded = round.tick(&lease).await.unwrap();
        let waits = !store.waiting_alerts().await.unwrap().is_empty();
        quiet = if rounded.open == 0 && rounded.acted == 0 && !waits { quiet + 1 } else { 0 };
        sleep(Duration::from_millis(5)).await;
        prop_assert!(Instant::now() < end, "{:#?}", store.history(None, 100).await);
    }
    // What comes too late has come by now.
    while docker.world().under_way > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..3 {
        round.tick(&lease).await.unwrap();
    }
    let rows = store.history(None, 1000).await.unwrap();
    let alerts = store.all_alerts().await.unwrap();
    drop(round);
    store.close().await;
    agrees(course, &docker, &rows)?;
    let expected = if bounded(course) == course.running { "skipped" } else { "processed" };
    for alert in alerts {
        prop_assert_eq!(alert.status.as_str(), expected, "{:?}", alert.reason);
    }
    Ok(())
}

/// How many there are to be in the end.
fn bounded(course: &Course) -> usize {
    if course.up { (course.running + 1).min(MAX) } else { (course.running - 1).max(1) }
}

fn agrees(course: &Course, docker: &FakeDocker, rows: &[Entry]) -> Result<(), TestCaseError> {
    let world = docker.world();
    let wanted = bounded(course);
    let told = format!("{rows:#?}\n{world:#?}");
    prop_assert_eq!(world.running(), wanted, "{}", told);
    let (least, most) = (course.running.min(wanted), course.running.max(wanted));
    prop_assert!((least..=most).contains(&world.ran.0), "{}", told);
    prop_assert!((least..=most).contains(&world.ran.1), "{}", told);

    let mut acts = rows.iter().filter(|r| !["hold", "remove"].contains(&r.action.as_str()));
    prop_assert_eq!(acts.clone().count(), course.running.abs_diff(wanted), "{}", told);
    prop_assert!(rows.iter().all(|r| r.outcome != Outcome::Intended), "{}", told);
    prop_assert!(acts.all(|r| r.outcome == Outcome::Done), "{}", told);

    let stopped = rows.iter().find(|r| ["stop", "park"].contains(&r.action.as_str()));
    let stopped = stopped.and_then(|r| r.container_id.as_deref());
    for (n, (id, signal)) in world.signals.iter().enumerate() {
        prop_assert_eq!(Some(id.as_str()), stopped, "{}", told);
        let warned = world.signals[..n].iter().any(|(_, before)| before == "SIGTERM");
        prop_assert!(signal == "SIGTERM" || (course.deaf && warned), "{}", told);
    }
    // Only who cannot see the first one sends a second one: it would cut the drain.
    let blind = |(of, fault): &(Endpoint, Fault)| {
        *of == Endpoint::Kill && matches!(fault, Fault::Twice | Fault::DoneTooLate)
    };
    let warnings = world.signals.iter().filter(|(_, signal)| signal == "SIGTERM").count();
    prop_assert!(warnings <= 1 || course.faults.iter().any(blind), "{}", told);
    let ours = |labels: &std::collections::HashMap<String, String>| {
        labels.contains_key("berth.scaler.intent")
    };
    let litter = world.containers.iter().find(|c| c.state != "running" && ours(&c.labels));
    prop_assert!(litter.is_none(), "{}", told);
    let strangers = world.containers.iter().filter(|c| !ours(&c.labels)).count();
    prop_assert_eq!(strangers, 1 + course.strangers, "{}", told);
    Ok(())
}

fn round(docker: &FakeDocker, store: &Store, least: usize) -> Round {
    let text = format!(
        "[[docker]]\nname = \"a\"\nhost = \"unix://{}\"\n\
         [[policy]]\npolicy_name = \"web\"\nservice_name = \"web\"\nnaming_convention = \"web_\"\n\
         autoscale_min_instance = {least}\nautoscale_max_instance = {MAX}\nstart_time = \"1ms\"\n\
         drain_grace = \"80ms\"\ndown = {{ window = \"0s\", unlimited = true }}\n",
        docker.socket.display()
    );
    let config = Config::parse(&text, &|_| None).unwrap();
    let hosts = Hosts::new(&config.docker, ASK).unwrap();
    let executor = DockerExecutor::new(hosts, ASK).with_patience_for_acts(ASK);
    let mut round = Round::new(
        Arc::new(config),
        store.clone(),
        Arc::new(executor),
        Sources::from_named([].into()),
        Notifier::start(&[]).unwrap(),
        Arc::default(),
    );
    let (first, longest) = (Duration::from_millis(5), Duration::from_millis(40));
    round.pacing = Pacing { round: ASK * 2, first, longest, ..Pacing::default() };
    round
}
