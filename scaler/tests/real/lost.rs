//! One thing's trouble stays its own: a host that is down, a host that never answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use berth_scaler::config::{Config, StoreUrl};
use berth_scaler::executor::{
    BoxFuture, Ending, Executor, Health, Instance, Progress, State, Status, StepError, StepKind,
    Task,
};
use berth_scaler::notify::Notifier;
use berth_scaler::run::tick::Round;
use berth_scaler::sources::Sources;
use berth_scaler::store::Store;
use berth_scaler::timestamp::Timestamp;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Site, eventually, lead};

/// Two hosts at which everything works, until one of them is cut off.
#[derive(Default)]
struct Two {
    containers: Mutex<Vec<Instance>>,
    cut: AtomicBool,
}

impl Two {
    fn put(&self, host: &str, name: &str, service: &str) {
        self.containers.lock().unwrap().push(Instance {
            host: host.to_owned(),
            id: format!("{host}-{name}"),
            name: name.to_owned(),
            ips: Vec::new(),
            labels: BTreeMap::from([("service_name".to_owned(), service.to_owned())]),
            state: State::Running,
            health: Health::Healthy,
            created: Timestamp::from_secs(1),
        });
    }

    fn on(&self, host: &str, service: &str) -> usize {
        let containers = self.containers.lock().unwrap();
        let here = |i: &&Instance| i.host == host && i.labels["service_name"] == service;
        containers.iter().filter(here).count()
    }
}

impl Executor for Two {
    fn hosts(&self) -> Vec<String> {
        ["a", "b"].map(str::to_owned).into()
    }
    fn look<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, StepError>> {
        let cut = self.cut.load(Relaxed) && host == "b";
        let containers = self.containers.lock().unwrap();
        let here: Vec<Instance> = containers.iter().filter(|i| i.host == host).cloned().collect();
        let away = Err(StepError::Unreachable("no answer".to_owned()));
        Box::pin(async move { if cut { away } else { Ok(here) } })
    }
    fn spec<'a>(&'a self, host: &'a str, id: &'a str) -> BoxFuture<'a, Result<String, StepError>> {
        let service = id.split('_').next().unwrap().rsplit('-').next().unwrap().to_owned();
        let away = self.cut.load(Relaxed) && host == "b";
        Box::pin(async move {
            if away { Err(StepError::Unreachable("no answer".to_owned())) } else { Ok(service) }
        })
    }
    fn rights(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn ending<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Ending, StepError>> {
        Box::pin(async { Ok(Ending::Unknown) })
    }
    fn advance<'a>(&'a self, task: &'a Task) -> BoxFuture<'a, Result<Progress, StepError>> {
        Box::pin(async move {
            if self.cut.load(Relaxed) && task.step.host == "b" {
                return Err(StepError::Unreachable("no answer".to_owned()));
            }
            assert_eq!(task.step.kind, StepKind::Create, "{task:?}");
            let service = task.spec.as_deref().unwrap();
            self.put(&task.step.host, &task.step.name, service);
            let id = format!("{}-{}", task.step.host, task.step.name);
            Ok(Progress::done(&id, Status::Running))
        })
    }
}

fn policy(service: &str, min: u32, more: &str) -> String {
    format!(
        "[[policy]]\npolicy_name = \"{service}\"\nservice_name = \"{service}\"\n\
         naming_convention = \"{service}_\"\nautoscale_min_instance = {min}\n\
         autoscale_max_instance = 9\nstart_time = \"1s\"\n{more}\n"
    )
}

#[tokio::test]
async fn a_host_that_is_down_hides_what_is_on_it_and_is_replaced_after_a_while() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&StoreUrl::Sqlite(dir.path().join("scaler.db"))).await.unwrap();
    let lease = lead(&store, "me", Duration::from_secs(600)).await;
    let both = "autoscale_action = [\"scale_up\", \"service_availability\"]";
    let text = |lost_after: &str, min: u32| {
        let hosts = ["a", "b"].map(|name| {
            format!(
                "[[docker]]\nname = \"{name}\"\nhost = \"unix:///nowhere\"\n\
                 lost_after = \"{lost_after}\"\n"
            )
        });
        let policies =
            [policy("web", 2, ""), policy("jobs", 0, both), policy("api", min, "")].concat();
        Config::parse(&(hosts.concat() + &policies), &|_| None).unwrap()
    };
    let world = Arc::new(Two::default());
    world.put("a", "web_1", "web");
    world.put("b", "web_2", "web");
    world.put("b", "jobs_1", "jobs");
    world.put("a", "jobs_2", "jobs");
    world.put("a", "api_1", "api");
    let mut round = Round::new(
        Arc::new(text("1h", 1)),
        store.clone(),
        world.clone(),
        Sources::from_named([].into()),
        Notifier::start(&[]).unwrap(),
        Arc::default(),
    );
    for _ in 0..2 {
        assert_eq!(round.tick(&lease).await.unwrap().acted, 0, "all is as it should be");
    }

    world.cut.store(true, Relaxed);
    round.config = Arc::new(text("1h", 3));
    for _ in 0..3 {
        round.tick(&lease).await.unwrap();
    }
    assert_eq!(world.on("a", "api"), 3, "nothing of it is hidden");
    assert_eq!((world.on("a", "web"), world.on("a", "jobs")), (1, 1), "it may be there still");

    round.config = Arc::new(text("0s", 3));
    for _ in 0..6 {
        round.tick(&lease).await.unwrap();
    }
    assert_eq!((world.on("a", "web"), world.on("a", "jobs")), (2, 2), "each is replaced once");
    assert_eq!(world.on("a", "api"), 3);

    // The next leader knows nothing of the host but what the store says.
    round.stand_by().await;
    round.config = Arc::new(text("1h", 3));
    for _ in 0..2 {
        round.tick(&lease).await.unwrap();
    }
    assert_eq!((world.on("a", "web"), world.on("a", "jobs")), (2, 2));
    world.cut.store(false, Relaxed);
    for _ in 0..3 {
        round.tick(&lease).await.unwrap();
    }
    assert_eq!((world.on("b", "web"), world.on("b", "jobs")), (1, 1), "what is back is left alone");
    assert_eq!((world.on("a", "web"), world.on("a", "jobs")), (2, 2));
    store.close().await;
}

#[tokio::test]
async fn a_signal_in_the_middle_of_a_round_ends_it_and_gives_the_lead_back() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("docker.sock");
    // Takes connections and says nothing.
    let _deaf = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let hosts = format!("[[docker]]\nname = \"deaf\"\nhost = \"unix://{}\"\n", socket.display());
    let site = Site::new(None, &(policy("web", 1, "") + &hosts));
    let text = std::fs::read_to_string(site.config()).unwrap();
    let text = text.replace("[loop]\n", "[loop]\ntimeout = \"10m\"\n");
    std::fs::write(site.config(), text.replace("lease = \"1s\"", "lease = \"10m\"")).unwrap();
    let mut scaler = site.run(None);
    eventually("it leads", async || site.log().contains("leading").then_some(())).await;
    scaler.signal(Signal::SIGTERM);
    assert!(scaler.wait().success());
    let store = site.store().await;
    assert!(store.see_lease().await.unwrap().free, "{}", site.log());
    store.close().await;
}
