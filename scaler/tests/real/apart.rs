//! What hangs keeps nobody else waiting: of two services one goes on as if the other were well. What
//! hangs does so for longer than any test lasts.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use berth_scaler::store::audit::Outcome;
use nix::sys::signal::Signal;

use crate::fake_docker::{Endpoint, FakeDocker, Fault};
use crate::support::{MariaDb, Process, Site, eventually};

/// Both follow alerts at once. `ill` comes first in every round.
fn policies(more: &str) -> String {
    let policy = |name: &str, more: &str| {
        format!(
            "[[policy]]\npolicy_name = \"{name}\"\nservice_name = \"{name}\"\n\
             naming_convention = \"{name}_\"\nautoscale_min_instance = 1\n\
             autoscale_max_instance = 9\nstart_time = \"1ms\"\ndrain_grace = \"5s\"\n\
             autoscale_action = [\"scale_up\", \"scale_down\", \"service_availability\"]\n\
             down = {{ window = \"0s\", unlimited = true }}\n{more}\n"
        )
    };
    policy("ill", more) + &policy("well", "")
}

fn host(name: &str, docker: &FakeDocker) -> String {
    let socket = docker.socket.display();
    format!("[[docker]]\nname = \"{name}\"\nhost = \"unix://{socket}\"\n")
}

/// A site whose scaler would wait for everybody for ten minutes.
fn patient(store: Option<&str>, rest: &str) -> Site {
    let site = Site::new(store, rest);
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("[loop]\n", "[loop]\ntimeout = \"10m\"\n")).unwrap();
    site
}

async fn alert(site: &Site, policy: &str, action: &str, id: &str) {
    let body = format!(
        "{{\"policy_name\": \"{policy}\", \"autoscale_action\": \"{action}\", \"alert_id\": \"{id}\"}}"
    );
    site.alert(&body).await.unwrap();
}

/// Up, up and down again: the steps of the service that is well, each done and none of them twice.
async fn goes_on(site: &Site, docker: &FakeDocker, what: &str) {
    let store = site.store().await;
    for (n, (action, expected)) in
        [("scale_up", 2), ("scale_up", 3), ("scale_down", 2)].into_iter().enumerate()
    {
        alert(site, "well", action, &format!("{what} {n}")).await;
        eventually(&format!("{what}: {action} is done"), async || {
            let rows = store.history(Some("well"), 100).await.unwrap();
            let done = rows.iter().filter(|row| row.outcome == Outcome::Done).count();
            (done == n + 1).then_some(())
        })
        .await;
        assert_eq!(docker.world().running_of("well"), expected, "{what}");
    }
    store.close().await;
}

/// It ends soon, and the next one can lead at once.
async fn ends_well(site: &Site, mut scaler: Process) {
    let asked = std::time::Instant::now();
    scaler.signal(Signal::SIGTERM);
    assert!(scaler.wait().success(), "{}", site.log());
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(20), "a hang was waited for: {took:?}");
    let store = site.store().await;
    assert!(store.see_lease().await.unwrap().free, "{}", site.log());
    store.close().await;
}

#[tokio::test]
async fn a_host_that_hangs_at_any_question_holds_up_nothing_elsewhere() {
    use Endpoint::{Create, Events, Inspect, Kill, List, Remove, Start};
    for endpoint in [List, Inspect, Create, Start, Kill, Remove, Events] {
        let (ill, well) = (FakeDocker::start(), FakeDocker::start());
        let ours = &[("service_name", "ill"), ("berth.scaler.intent", "1")];
        for n in 1..=3 {
            ill.world().add(&format!("ill_{n}"), "running", if n == 1 { &ours[..1] } else { ours });
        }
        well.world().add("well_1", "running", &[("service_name", "well")]);
        // New ones of either service are made where it is already.
        let rest = host("a", &ill) + &host("b", &well);
        let more = "hosts = [\"a\"]";
        let text = policies(more)
            .replace("policy_name = \"well\"", "hosts = [\"b\"]\npolicy_name = \"well\"");
        let site = patient(None, &(text + &rest));
        let scaler = site.run(None);
        site.listening().await;
        let store = site.store().await;
        eventually("both hosts are known", async || {
            (store.known_containers().await.unwrap().len() == 4).then_some(())
        })
        .await;
        store.close().await;
        ill.world().hangs.push(endpoint);
        // One is to come, one is to go, and one crashes.
        alert(&site, "ill", "scale_up", "up").await;
        ill.world().crash("ill_3");
        goes_on(&site, &well, &format!("{endpoint:?} hangs")).await;
        alert(&site, "ill", "scale_down", "down").await;
        goes_on_down(&site, &well).await;
        ends_well(&site, scaler).await;
    }
}

/// One more step down.
async fn goes_on_down(site: &Site, docker: &FakeDocker) {
    alert(site, "well", "scale_down", "the last").await;
    eventually("it goes down", async || (docker.world().running_of("well") == 1).then_some(()))
        .await;
}

#[tokio::test]
async fn acts_that_hang_on_the_same_host_take_no_place_from_another_service() {
    let docker = FakeDocker::start();
    docker.world().add("ill_1", "running", &[("service_name", "ill")]);
    docker.world().add("well_1", "running", &[("service_name", "well")]);
    let text = policies("").replacen("min_instance = 1", "min_instance = 9", 1);
    let site = patient(None, &(text + &host("a", &docker)));
    docker.world().faults.extend([(Endpoint::Create, Fault::Mute); 8]);
    let scaler = site.run(None);
    site.listening().await;
    eventually("eight creates hang", async || docker.world().faults.is_empty().then_some(())).await;
    goes_on(&site, &docker, "eight creates hang").await;
    ends_well(&site, scaler).await;
}

#[tokio::test]
async fn a_source_that_never_answers_holds_up_nobody_else() {
    let docker = FakeDocker::start();
    docker.world().add("ill_1", "running", &[("service_name", "ill")]);
    docker.world().add("well_1", "running", &[("service_name", "well")]);
    // Takes connections and says nothing.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = deaf.local_addr().unwrap();
    let metric =
        "[[policy.metric]]\nname = \"depth\"\nsource = \"deaf\"\npointer = \"/n\"\ntarget = 1";
    let source = format!("[[http]]\nname = \"deaf\"\nurl = \"http://{address}/\"\n");
    let site = patient(None, &(policies(metric) + &source + &host("a", &docker)));
    let scaler = site.run(None);
    site.listening().await;
    goes_on(&site, &docker, "a source hangs").await;
    ends_well(&site, scaler).await;
}

#[tokio::test]
async fn a_row_that_somebody_has_locked_holds_up_its_own_policy_alone() {
    let Some(database) = MariaDb::start().await else { return };
    let docker = FakeDocker::start();
    docker.world().add("ill_1", "running", &[("service_name", "ill")]);
    docker.world().add("well_1", "running", &[("service_name", "well")]);
    let site = patient(Some(&database.url), &(policies("") + &host("a", &docker)));
    let mut first = site.run(Some("alert_stored"));
    site.listening().await;
    let body =
        "{\"policy_name\": \"ill\", \"autoscale_action\": \"scale_up\", \"alert_id\": \"one\"}";
    site.alert(body).await.unwrap_err();
    first.wait();
    let id = database.sql("SELECT id FROM berth.alerts");
    let lock = format!("BEGIN; SELECT id FROM berth.alerts WHERE id = {id} FOR UPDATE;");
    let mut client = database.client(&format!("{lock} SELECT SLEEP(600)"));
    let locked = Process::start(client.stdout(Stdio::null()));
    eventually("the alert's row is locked", async || {
        let running = database.sql("SELECT info FROM information_schema.processlist");
        running.lines().any(|line| line == "SELECT SLEEP(600)").then_some(())
    })
    .await;
    let scaler = site.run(None);
    site.listening().await;
    goes_on(&site, &docker, "a row is locked").await;
    assert_eq!(docker.world().running_of("ill"), 1);
    drop(locked);
    eventually("the other goes on, too", async || {
        (docker.world().running_of("ill") == 2).then_some(())
    })
    .await;
    ends_well(&site, scaler).await;
}
