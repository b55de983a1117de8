//! The whole loop: alerts and metrics in, containers started and stopped, the audit telling it.

use std::process::Stdio;

use berth_scaler::store::audit::{Entry, Outcome};
use nix::sys::signal::Signal;

use crate::support::{Containers, MariaDb, Site, eventually, output};

/// A policy that follows alerts at once, both ways.
pub(crate) fn policy(service: &str, more: &str) -> String {
    format!(
        "[[policy]]\npolicy_name = \"web\"\nservice_name = \"{service}\"\n\
         naming_convention = \"{service}_\"\nautoscale_min_instance = 1\n\
         autoscale_max_instance = 4\nstart_time = \"1s\"\ndrain_grace = \"20s\"\n\
         down = {{ window = \"0s\", unlimited = true }}\n{more}\n"
    )
}

pub(crate) fn alert(action: &str, id: &str) -> String {
    format!(
        "{{\"policy_name\": \"web\", \"autoscale_action\": \"{action}\", \"alert_id\": \"{id}\"}}"
    )
}

/// The rows of acts once none of them is open any more.
pub(crate) async fn settled(site: &Site, acts: usize) -> Vec<Entry> {
    let store = site.store().await;
    let rows = eventually("every act is done", async || {
        let rows = store.history(None, 1000).await.unwrap();
        let rows: Vec<Entry> = rows.into_iter().filter(|r| r.action != "hold").collect();
        let open = rows.iter().any(|r| r.outcome == Outcome::Intended);
        (!open && rows.len() >= acts).then_some(rows)
    })
    .await;
    store.close().await;
    rows
}

#[tokio::test]
async fn an_alert_adds_one_and_another_takes_it_away() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &["-e", "A=b", "-m", "64m"], 0);
    let site = Site::new(None, &policy(&service, ""));
    let mut scaler = site.run(None);
    site.listening().await;

    let up = alert("scale_up", "one");
    for _ in 0..3 {
        site.alert(&up).await.unwrap();
    }
    eventually("a second one runs", async || (containers.running() == 2).then_some(())).await;
    let rows = settled(&site, 1).await;
    let [row] = &rows[..] else { panic!("the same alert acts once: {rows:#?}") };
    assert_eq!((row.action.as_str(), row.from, row.to), ("create", 1, 2));
    assert_eq!(row.container_name.as_deref(), Some(format!("{service}_2").as_str()));
    assert_eq!((row.status.as_deref(), row.outcome), (Some("running"), Outcome::Done));
    let format = "{{json .Config.Env}} {{.HostConfig.Memory}} {{.HostConfig.NetworkMode}}";
    let name = format!("{service}_2");
    let mut inspect = std::process::Command::new("docker");
    let made = output(inspect.args(["inspect", "--format", format, &name]));
    assert!(made.starts_with("[\"A=b\"") && made.ends_with(" 67108864 none"), "{made}");

    site.alert(&alert("scale_down", "two")).await.unwrap();
    eventually("one is left", async || (containers.list().len() == 1).then_some(())).await;
    assert_eq!(containers.list(), [format!("{service}_1 running")], "the template stays");
    let rows = settled(&site, 2).await;
    rows.iter().for_each(|row| replay(&site, row));
    assert_eq!((rows[1].action.as_str(), rows[1].status.as_deref()), ("stop", Some("deleted")));

    let store = site.store().await;
    let alerts = store.all_alerts().await.unwrap();
    assert_eq!(alerts.iter().map(|a| a.status.as_str()).collect::<Vec<_>>(), ["processed"; 2]);
    assert_eq!(alerts[0].repeats, 3);
    store.close().await;

    let table = output(&mut site.command(&["history"]));
    assert!(table.contains("create") && table.contains("1 → 2"), "{table}");
    let json = output(&mut site.command(&["history", "--json", "web"]));
    for line in json.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["policy"], "web");
    }
    scaler.signal(Signal::SIGTERM);
    assert!(scaler.wait().success(), "{}", site.log());
}

#[test]
fn the_exit_code_tells_a_wrong_command_line_from_a_failure() {
    let nowhere = Site::new(Some("sqlite:/nowhere/at/all.db"), "");
    let wrong = Site::new(None, "[[policy]]\n");
    for (site, arguments, expected) in [
        (&nowhere, &["history"][..], 1),
        (&nowhere, &["run"], 1),
        (&nowhere, &["history", "--nonsense"], 64),
        (&wrong, &["history"], 0),
        (&wrong, &["policies"], 64),
        (&wrong, &["run"], 64),
    ] {
        let out = site.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(expected), "{arguments:?}: {said}");
        assert!(said.matches("unable to open").count() <= 1, "{said}");
    }
}

/// Decides again from what a row holds: the same comes of it.
fn replay(site: &Site, row: &Entry) {
    let said = output(&mut site.command(&["replay", &row.id.to_string()]));
    assert!(said.contains(&row.reason), "{said}");
}

#[tokio::test]
async fn killing_the_scaler_for_good_leaves_the_containers_alone() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let site = Site::new(None, &policy(&service, ""));
    let mut scaler = site.run(None);
    site.listening().await;
    site.alert(&alert("scale_up", "one")).await.unwrap();
    eventually("a second one runs", async || (containers.running() == 2).then_some(())).await;
    let before = containers.list();
    scaler.signal(Signal::SIGKILL);
    scaler.wait();
    assert_eq!(containers.list(), before);
}

#[tokio::test]
async fn max_and_min_hold_and_a_wish_beyond_is_recorded() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &["--label", "autoscale_min_instances=2"], 0);
    let more = "alert_step = 2\n";
    let site =
        Site::new(None, &policy(&service, more).replace("max_instance = 4", "max_instance = 3"));
    let _scaler = site.run(None);
    site.listening().await;
    eventually("the label's minimum holds", async || (containers.running() == 2).then_some(()))
        .await;
    site.alert(&alert("scale_up", "one")).await.unwrap();
    eventually("the maximum is reached", async || (containers.running() == 3).then_some(())).await;
    site.alert(&alert("scale_up", "two")).await.unwrap();
    let store = site.store().await;
    let reason = eventually("the second alert is skipped", async || {
        let alerts = store.all_alerts().await.unwrap();
        alerts.into_iter().find(|a| a.status == "skipped")?.reason
    })
    .await;
    assert!(reason.contains("maximum of 3"), "{reason}");
    assert_eq!(containers.running(), 3);
    store.close().await;
}

#[tokio::test]
async fn draining_holds_nobody_up() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 15);
    let site = Site::new(None, &policy(&service, ""));
    let _scaler = site.run(None);
    site.listening().await;
    site.alert(&alert("scale_up", "one")).await.unwrap();
    settled(&site, 1).await;
    site.alert(&alert("scale_down", "two")).await.unwrap();
    let store = site.store().await;
    eventually("one drains", async || {
        let open = store.open_intents().await.unwrap();
        open.iter().any(|e| e.status.as_deref() == Some("draining")).then_some(())
    })
    .await;
    site.alert(&alert("scale_up", "three")).await.unwrap();
    eventually("a new one runs next to the one that drains", async || {
        (containers.running() == 3).then_some(())
    })
    .await;
    store.close().await;
    settled(&site, 3).await;
    assert_eq!(containers.running(), 2);
}

#[tokio::test]
async fn availability_brings_back_what_crashed_or_was_deleted_but_not_what_was_stopped() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    let name = |n: u32| format!("{service}-{n}");
    for n in 1..=4 {
        containers.run(&name(n), &[], 0);
    }
    let text = policy(&service, "autoscale_action = \"service_availability\"");
    let site = Site::new(None, &text);
    let _scaler = site.run(None);
    let store = site.store().await;
    eventually("all are known", async || {
        let known = store.known_containers().await.unwrap();
        let mine = known.iter().filter(|k| k.service == service && k.spec.is_some());
        (mine.count() == 4).then_some(())
    })
    .await;
    store.close().await;
    let docker = |args: &[&str]| {
        let mut command = std::process::Command::new("docker");
        output(command.args(args).stderr(Stdio::inherit()))
    };
    docker(&["stop", &name(2)]);
    docker(&["rm", "-f", &name(3)]);
    // A signal that ends nothing does not make the crash after it an operator's stop.
    docker(&["kill", "--signal", "WINCH", &name(4)]);
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &name(4)]);
    let crash = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(crash, Signal::SIGKILL).unwrap();
    settled(&site, 2).await;
    eventually("two are back", async || (containers.running() == 3).then_some(())).await;
    let expected = [
        format!("{} running", name(1)),
        format!("{} exited", name(2)),
        format!("{} running", name(3)),
        format!("{} running", name(4)),
    ];
    assert_eq!(containers.list(), expected);
}

#[tokio::test]
async fn two_scalers_on_one_mariadb_and_one_leads() {
    let Some(containers) = Containers::new() else { return };
    let Some(mariadb) = MariaDb::start().await else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let text = policy(&service, "");
    let sites = [Site::new(Some(&mariadb.url), &text), Site::new(Some(&mariadb.url), &text)];
    let mut scalers = [sites[0].run(None), sites[1].run(None)];
    sites[0].listening().await;
    sites[1].listening().await;
    // Each of them takes alerts in, whoever leads.
    let (up, again) = (alert("scale_up", "one"), alert("scale_up", "one"));
    let (a, b) = tokio::join!(sites[0].alert(&up), sites[1].alert(&again));
    a.unwrap();
    b.unwrap();
    let rows = settled(&sites[0], 1).await;
    assert_eq!((rows.len(), containers.running()), (1, 2));

    let leader = eventually("one leads", async || {
        let pages = [sites[0].get("/metrics").await.ok()?, sites[1].get("/metrics").await.ok()?];
        let leads = pages.map(|page| page.contains("\nberth_scaler_leading 1\n"));
        (leads[0] != leads[1]).then(|| usize::from(leads[1]))
    })
    .await;
    scalers[leader].signal(Signal::SIGKILL);
    scalers[leader].wait();
    let other = &sites[1 - leader];
    other.alert(&alert("scale_up", "two")).await.unwrap();
    let rows = settled(other, 2).await;
    assert_eq!((rows.len(), containers.running()), (2, 3));
    assert!(rows[1].epoch > rows[0].epoch, "{rows:#?}");
}

#[tokio::test]
async fn pause_and_resume_and_a_wrong_reload() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let site = Site::new(None, &policy(&service, ""));
    let scaler = site.run(None);
    site.listening().await;
    assert!(output(&mut site.command(&["pause", "web"])).starts_with("paused: web"));
    site.alert(&alert("scale_up", "one")).await.unwrap();
    eventually("what was wanted is in the audit", async || {
        let history = output(&mut site.command(&["history"]));
        (history.contains("hold") && history.contains("paused")).then_some(())
    })
    .await;
    assert_eq!(containers.running(), 1);

    site.configure(None, "[[policy]]\nnonsense = 1\n");
    scaler.signal(Signal::SIGHUP);
    eventually("the reload is refused", async || {
        site.get("/metrics").await.ok()?.contains("\nberth_scaler_reload_failed 1\n").then_some(())
    })
    .await;
    site.configure(None, &policy(&service, ""));
    output(&mut site.command(&["resume", "web"]));
    eventually("the last good policy holds", async || (containers.running() == 2).then_some(()))
        .await;
    let policies = output(&mut site.command(&["policies"]));
    assert!(policies.contains("1…4") && policies.contains("none"), "{policies}");
    assert_eq!(site.get("/healthz").await.unwrap(), "ok\n");

    let named = policy(&service, "").replace("\"web\"", "\"other\"");
    site.configure(None, &named);
    scaler.signal(Signal::SIGHUP);
    eventually("the page shows the new policy and not the one that is gone", async || {
        let page = site.get("/metrics").await.ok()?;
        let shows =
            |policy: &str| page.contains(&format!("recommended_replicas{{policy={policy:?}"));
        (shows("other") && !shows("web")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &["--label", "autoscale_min_instance=3"], 0);
    let site = Site::new(None, &policy(&service, ""));
    output(&mut site.command(&["once", "--dry-run"]));
    assert_eq!(containers.running(), 1);
    let history = output(&mut site.command(&["history"]));
    assert!(history.contains("hold") && history.contains("dry run"), "{history}");
    output(&mut site.command(&["once"]));
    assert_eq!(containers.running(), 3);
}

#[tokio::test]
async fn down_to_none_and_back() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let site =
        Site::new(None, &policy(&service, "").replace("min_instance = 1", "min_instance = 0"));
    let _scaler = site.run(None);
    site.listening().await;
    site.alert(&alert("scale_down", "one")).await.unwrap();
    eventually("none runs", async || (containers.running() == 0).then_some(())).await;
    settled(&site, 1).await;
    site.alert(&alert("scale_up", "two")).await.unwrap();
    eventually("one runs", async || (containers.running() == 1).then_some(())).await;
    assert_eq!(containers.list().len(), 1, "the one that was kept");
}
