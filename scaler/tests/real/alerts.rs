//! The inlet as senders see it.

use std::process::Stdio;

use berth_scaler::config::{ClientTls, Secret};
use berth_scaler::http::Client;
use std::time::Duration;

use crate::scale::{alert, policy};
use crate::support::{Containers, Site, certificates, eventually, find, have, output};

#[tokio::test]
async fn nonsense_gets_a_clear_4xx_and_the_right_thing_is_kept() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let site = Site::new(None, &policy(&service, "pause = \"both\""));
    let _scaler = site.run(None);
    site.listening().await;
    eventually("the policies are known", async || {
        site.alert("{\"rule\": \"nobody\"}").await.is_err().then_some(())
    })
    .await;
    for (body, expected) in [
        ("{", "400 Bad Request"),
        ("{}", "400 Bad Request"),
        ("{\"policy_name\": \"other\"}", "422 Unprocessable Entity"),
        (&format!("{{\"rule\": \"{}\"}}", "x".repeat(70_000)), "413 Payload Too Large"),
    ] {
        let error = site.alert(body).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = site.alert("{\"policy_name\": \"other\"}").await.unwrap_err();
    assert!(error.contains("no policy is called") && error.contains("there are: web"), "{error}");

    for token in [None, Some(Secret("letmeout".to_owned()))] {
        let client = Client::new(None, token.as_ref(), Duration::from_secs(5)).unwrap();
        let url = format!("http://{}/alerts", site.alerts);
        let answer = client.post(&url, "application/json", alert("scale_up", "x")).await;
        assert!(format!("{:#}", answer.unwrap_err()).contains("401"));
    }

    let elastalert =
        format!("{{\"rule\": \"busy\", \"service_name\": \"{service}\", \"num_hits\": \"3\"}}");
    let alertmanager = format!(
        "{{\"version\": \"4\", \"groupKey\": \"g\", \"alerts\": [{{\"status\": \"firing\", \
         \"labels\": {{\"alertname\": \"busy\", \"service_name\": \"{service}\"}}, \
         \"startsAt\": \"2026-01-01T00:00:00Z\", \"fingerprint\": \"f\"}}, {{\"status\": \"resolved\", \
         \"labels\": {{\"alertname\": \"busy\", \"service_name\": \"{service}\"}}, \
         \"startsAt\": \"2026-01-01T00:00:00Z\", \"fingerprint\": \"g\"}}]}}"
    );
    for body in [&elastalert, &alertmanager] {
        let answer = site.alert(body).await.unwrap();
        assert!(answer.contains("\"duplicate\":false"), "{answer}");
        let answer = site.alert(body).await.unwrap();
        assert!(!answer.contains("\"duplicate\":false"), "{answer}");
    }
    let store = site.store().await;
    let mut alerts = store.all_alerts().await.unwrap();
    // Before the first round it is not known that there is no such policy.
    alerts.retain(|alert| alert.alert.rule.as_deref() == Some("busy"));
    assert_eq!(alerts.len(), 3, "{alerts:#?}");
    assert_eq!(alerts.iter().filter(|a| a.status == "skipped").count(), 1, "the resolved one");
    store.close().await;
}

#[tokio::test]
async fn without_a_client_certificate_nobody_gets_in() {
    let site = Site::new(None, "");
    let at = |name: &str| site.dir.path().join(name);
    certificates(site.dir.path());
    let text = std::fs::read_to_string(site.config()).unwrap().replace(
        "token = \"letmein\"\n",
        &format!(
            "tls_cert = \"{0}/server.pem\"\ntls_key = \"{0}/server.key\"\ntls_client_ca = \"{0}/ca.pem\"\n",
            site.dir.path().display()
        ),
    );
    std::fs::write(site.config(), text).unwrap();
    let _scaler = site.run(None);
    site.listening().await;
    let url = format!("https://localhost:{}/alerts", site.alerts.port());
    let post = async |identity: Option<_>| {
        let tls = ClientTls { ca: at("ca.pem"), identity };
        let client = Client::new(Some(&tls), None, Duration::from_secs(5)).unwrap();
        format!("{:#}", client.post(&url, "application/json", "{}".to_owned()).await.unwrap_err())
    };
    let error = post(Some((at("client.pem"), at("client.key")))).await;
    assert!(error.contains("400 Bad Request"), "let in and told what is wrong: {error}");
    let error = post(None).await;
    assert!(!error.contains("400"), "{error}");
}

#[tokio::test]
async fn promtool_likes_the_page() {
    if !have(&["promtool"]) {
        return;
    }
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let site = Site::new(None, &policy(&service, ""));
    let _scaler = site.run(None);
    site.listening().await;
    site.alert(&alert("scale_up", "one")).await.unwrap();
    let page = eventually("an act is counted", async || {
        site.get("/metrics").await.ok().filter(|page| page.contains("berth_scaler_acts_total{"))
    })
    .await;
    let mut check = std::process::Command::new(find("promtool").unwrap())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut check.stdin.take().unwrap(), page.as_bytes()).unwrap();
    let said = check.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(said.is_empty(), "{said}\n{page}");
    let _ = output(&mut site.command(&["policies", "--json"]));
}
