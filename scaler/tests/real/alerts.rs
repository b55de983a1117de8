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
        (&format!("{{\"rule\": \"{}\"}}", "x".repeat(1 << 20)), "413 Payload Too Large"),
    ] {
        let error = site.alert(body).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = site.alert("{\"policy_name\": \"other\"}").await.unwrap_err();
    assert!(
        error.contains("no policy is called") && error.contains("there are: web (service "),
        "{error}"
    );

    for token in [None, Some(Secret("letmeout".to_owned()))] {
        let client = Client::new(None, token.as_ref(), Duration::from_secs(5)).unwrap();
        let url = format!("http://{}/alerts", site.alerts);
        let answer = client.post(&url, "application/json", alert("scale_up", "x")).await;
        assert!(format!("{:#}", answer.unwrap_err()).contains("401"));
    }

    let elastalert = format!(
        "{{\"rule\": \"busy\", \"service_name\": \"{service}\", \"num_hits\": \"3\", \
         \"autoscale_action\": \"scale_up\"}}"
    );
    let alertmanager = format!(
        "{{\"version\": \"4\", \"groupKey\": \"g\", \"alerts\": [{{\"status\": \"firing\", \
         \"labels\": {{\"alertname\": \"busy\", \"service_name\": \"{service}\", \
         \"action\": \"scale_up\"}}, \"startsAt\": \"2026-01-01T00:00:00Z\", \"fingerprint\": \"f\"}}, {{\"status\": \"resolved\", \
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

/// A site whose policies are known, and whose only Docker host is nowhere.
async fn inlet(policies: &str) -> (Site, crate::support::Process) {
    let site = Site::new(
        None,
        &format!("[[docker]]\nname = \"a\"\nhost = \"tcp://127.0.0.1:1\"\n{policies}"),
    );
    let scaler = site.run(None);
    site.listening().await;
    eventually("the policies are known", async || {
        site.alert("{\"rule\": \"nobody\"}").await.is_err().then_some(())
    })
    .await;
    (site, scaler)
}

#[tokio::test]
async fn each_alert_of_a_group_counts_by_itself() {
    let (site, _scaler) = inlet(&policy("web", "")).await;
    let one = |n: usize, status: &str, labels: &str| {
        format!(
            "{{\"status\": \"{status}\", \"labels\": {{\"alertname\": \"busy\", {labels}}}, \
             \"startsAt\": \"2026-01-01T00:00:00Z\", \"fingerprint\": \"{n}\"}}"
        )
    };
    let web = "\"service_name\": \"web\", \"autoscale_action\": \"scale_up\"";
    let mut alerts = vec![
        one(0, "firing", "\"service_name\": \"somebody else\\u0027s\""),
        one(1, "firing", "\"service_name\": \"web\", \"autoscale_action\": \"grow\""),
        one(2, "firing", "\"service_name\": \"web\", \"autoscale_action\": \"scale_up_node\""),
        one(3, "firing", "\"service_name\": \"web\""),
        one(4, "resolved", "\"service_name\": \"somebody else\\u0027s\""),
        one(5, "resolved", "\"autoscale_action\": \"grow\""),
    ];
    alerts.extend((10..160).map(|n| {
        let summary = "x".repeat(1000);
        one(n, "firing", &format!("{web}, \"summary\": \"{summary}\""))
    }));
    let body = format!("{{\"groupKey\": \"g\", \"alerts\": [{}]}}", alerts.join(","));
    let answer: serde_json::Value =
        serde_json::from_str(&site.alert(&body).await.unwrap()).unwrap();
    assert_eq!(answer["alerts"].as_array().unwrap().len(), 150, "{answer}");
    assert_eq!(
        (&answer["alerts"][0]["asks"], &answer["resolved"]),
        (&"scale_up".into(), &2.into())
    );
    let refused = answer["refused"].as_array().unwrap();
    for (why, expected) in refused.iter().zip([
        "no policy has service_name",
        "alerts[1]: autoscale_action: expected one of",
        "needs a group of nodes",
        "it names no autoscale_action: expected scale_up or scale_down",
    ]) {
        assert!(why.as_str().unwrap().contains(expected), "{why}: {expected}");
    }
    assert_eq!(refused.len(), 4, "{refused:#?}");
}

/// Connections that send what they are given and then nothing more.
async fn dribblers(site: &Site, count: usize, head: &str) -> Vec<tokio::net::TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = tokio::net::TcpStream::connect(site.alerts).await.unwrap();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await;
        all.push(stream);
    }
    all
}

#[tokio::test]
async fn who_dribbles_keeps_nobody_out() {
    let (site, _scaler) = inlet(&policy("web", "pause = \"both\"")).await;
    let head = "POST /alerts HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n";
    let with_token = format!("{head}authorization: bearer  letmein\r\n\r\n{{");
    for (n, head) in ["P", head, &with_token].iter().enumerate() {
        let _dribblers = dribblers(&site, 140, head).await;
        site.alert(&alert("scale_up", &n.to_string())).await.unwrap();
    }
    // Nothing is read of whoever may not come in.
    let [stranger] = &mut dribblers(&site, 1, &format!("{head}\r\n")).await[..] else { return };
    let mut answer = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(stranger, &mut answer);
    tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let [slow] = &mut dribblers(&site, 1, &with_token).await[..] else { return };
    answer.clear();
    let read = tokio::io::AsyncReadExt::read_to_string(slow, &mut answer);
    tokio::time::timeout(Duration::from_secs(50), read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "the scheme is known in any case: {answer}");
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
