//! Readings from real servers.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_scaler::clock::now;
use berth_scaler::config::Config;
use berth_scaler::executor::docker::{DockerExecutor, Hosts};
use berth_scaler::executor::{Executor, Instance};
use berth_scaler::observation::Reading;
use berth_scaler::policy::{Law, Target, ValueOf};
use berth_scaler::ports::Question;
use berth_scaler::sources::Sources;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::scale::{policy, settled};
use crate::support::{
    Containers, DEADLINE, HaProxy, Process, Site, certificates, eventually, find, free_address,
    have,
};

/// Takes connections and keeps them open.
async fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    address
}

/// One reading for each metric of the only policy of a configuration.
async fn read(sources: &mut Sources, config: &Config, members: &[&Instance]) -> Vec<Reading> {
    let questions = config.policies[0]
        .metrics
        .iter()
        .map(|m| Question {
            service: config.policies[0].service.clone(),
            query: m.query.clone(),
            value: match m.law {
                Law::Target(Target { value, .. }) => value,
                _ => ValueOf::Total,
            },
            members: members.iter().map(|member| (*member).clone()).collect(),
        })
        .collect();
    sources.read(questions, now(), DEADLINE).await
}

fn sources(text: &str) -> (Config, Sources) {
    let config = Config::parse(text, &|_| None).unwrap();
    let hosts = Hosts::new(&config.docker, config.timing.timeout).unwrap();
    let sources = Sources::new(&config, &hosts).unwrap();
    (config, sources)
}

fn value(reading: &Reading) -> f64 {
    let Reading::Value { v, .. } = reading else { panic!("{reading:?}") };
    *v
}

#[tokio::test]
async fn sessions_on_haproxy_scale_out_and_in() {
    let Some(containers) = Containers::new() else { return };
    let (service, backend, front) = (containers.service.clone(), sink().await, free_address());
    let config = format!(
        "listen web\n mode tcp\n bind {front}\n server one {backend}\n server two {backend}\n\
         \x20server off {backend} disabled"
    );
    let Some(haproxy) = HaProxy::start(&config).await else { return };
    containers.run(&format!("{service}_1"), &[], 0);
    let metric = format!(
        "[[policy.metric]]\nname = \"sessions\"\nsource = \"edge\"\nbackend = \"web\"\n\
         column = \"scur\"\ntarget = 2\nlook_ahead = \"0s\"\n[[haproxy]]\nname = \"edge\"\n\
         servers = [\"unix:{}\"]\nsettle = \"0s\"\n",
        haproxy.socket.display()
    );
    let site = Site::new(None, &policy(&service, &metric));
    let _scaler = site.run(None);
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = TcpStream::connect(front).await.unwrap();
        client.write_all(b"x").await.unwrap();
        clients.push(client);
    }
    eventually("six sessions at two each need three", async || {
        (containers.running() == 3).then_some(())
    })
    .await;
    let rows = settled(&site, 1).await;
    assert!(rows.iter().any(|r| r.metric.as_deref() == Some("sessions")), "{rows:#?}");

    drop(haproxy);
    let store = site.store().await;
    eventually("a dead HAProxy is no idle HAProxy", async || {
        let rows = store.history(None, 100).await.unwrap();
        rows.iter().any(|r| r.action == "hold" && r.reason.contains("sessions")).then_some(())
    })
    .await;
    assert_eq!(containers.running(), 3);
    assert_eq!(site.log().matches("cannot be read: nothing is stopped").count(), 1, "once");
    drop(clients);
    let Some(again) = HaProxy::start(&config).await else { return };
    let text = std::fs::read_to_string(site.config()).unwrap();
    let at = text.find("unix:").unwrap();
    let end = at + text[at..].find('"').unwrap();
    let text = format!("{}unix:{}{}", &text[..at], again.socket.display(), &text[end..]);
    std::fs::write(site.config(), text).unwrap();
    _scaler.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("without sessions one is left", async || {
        (containers.list().len() == 1).then_some(())
    })
    .await;
    store.close().await;
}

#[tokio::test]
async fn a_counter_is_a_rate_across_a_restart_of_haproxy() {
    let (backend, front) = (sink().await, free_address());
    let config = format!("listen web\n mode tcp\n bind {front}\n server one {backend}");
    let Some(mut haproxy) = HaProxy::start(&config).await else { return };
    let text = format!(
        "[[haproxy]]\nname = \"edge\"\nservers = [\"unix:{0}\", \"unix:{0}\"]\nsettle = 0\n[[policy]]\n\
         policy_name = \"p\"\nservice_name = \"s\"\nautoscale_max_instance = 2\n\
         [[policy.metric]]\nname = \"rate\"\nsource = \"edge\"\nbackend = \"web\"\ncolumn = \"stot\"\n\
         take = \"backend\"\ntarget = 1\n",
        haproxy.socket.display()
    );
    let (config, mut sources) = sources(&text);
    assert_eq!(read(&mut sources, &config, &[]).await, [Reading::Missing]);
    // A restart shows by a counter that fell.
    for (restart, connections) in [(false, 5.0), (true, 2.0)] {
        if restart {
            haproxy.restart().await;
        }
        for _ in 0..connections as u32 {
            drop(TcpStream::connect(front).await.unwrap());
        }
        eventually("the connections are counted", async || {
            let table = berth::registers::haproxy::Client::new(
                berth::registers::haproxy::Endpoint::Unix(haproxy.socket.clone()),
            );
            let table = table.stats().await.ok()?;
            let row = table.rows().find(|r| r.text("svname") == Some("BACKEND"))?;
            row.number("stot").filter(|n| *n >= connections)
        })
        .await;
        let readings = read(&mut sources, &config, &[]).await;
        assert!(value(&readings[0]) > 0.0, "restart {restart}: {readings:?}");
    }
    drop(haproxy);
    assert!(matches!(&read(&mut sources, &config, &[]).await[0], Reading::Error(_)));
}

#[tokio::test]
async fn after_a_reload_a_gauge_may_be_more_until_the_new_process_has_had_its_time() {
    let (backend, front) = (sink().await, free_address());
    let config = format!("listen web\n mode tcp\n bind {front}\n server one {backend}");
    let Some(mut haproxy) = HaProxy::start(&config).await else { return };
    let text = format!(
        "[[haproxy]]\nname = \"edge\"\nservers = [\"unix:{}\"]\nsettle = \"2s\"\n[[policy]]\n\
         policy_name = \"p\"\nservice_name = \"s\"\nautoscale_max_instance = 2\n\
         [[policy.metric]]\nname = \"n\"\nsource = \"edge\"\nbackend = \"web\"\ncolumn = \"scur\"\n\
         target = 1\n",
        haproxy.socket.display()
    );
    let (config, sources) = sources(&text);
    let sources = tokio::sync::Mutex::new(sources);
    let look = async || read(&mut *sources.lock().await, &config, &[]).await.remove(0);
    let mut client = TcpStream::connect(front).await.unwrap();
    client.write_all(b"x").await.unwrap();
    eventually("the process has had its time", async || {
        matches!(look().await, Reading::Value { v: 1.0, .. }).then_some(())
    })
    .await;
    let _older = haproxy.reload().await;
    let hidden = eventually("the new process answers", async || match look().await {
        Reading::AtLeast { v: 0.0, why, .. } => Some(why),
        _ => None,
    })
    .await;
    assert!(hidden.contains("one before it may have sessions"), "{hidden}");
    client.write_all(b"x").await.unwrap();
    eventually("the new process has had its time", async || {
        matches!(look().await, Reading::Value { v: 0.0, .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stats_socket_behind_mutual_tls() {
    let (backend, front, tls) = (sink().await, free_address(), free_address());
    let dir = TempDir::new().unwrap();
    certificates(dir.path());
    let at = dir.path().display();
    let [cert, key] =
        ["server.pem", "server.key"].map(|n| std::fs::read_to_string(dir.path().join(n)));
    std::fs::write(dir.path().join("both.pem"), cert.unwrap() + &key.unwrap()).unwrap();
    let socket = dir.path().join("inner.sock");
    let config = format!(
        "global\n stats socket {} level admin\n\
         listen web\n mode tcp\n bind {front}\n server one {backend}\n\
         listen stats-tls\n mode tcp\n bind {tls} ssl crt {at}/both.pem ca-file {at}/ca.pem verify required\n\
         \x20server cli unix@{}",
        socket.display(),
        socket.display()
    );
    let Some(_haproxy) = HaProxy::start(&config).await else { return };
    let text = |files: &str| {
        format!(
            "[[haproxy]]\nname = \"edge\"\nservers = [\"localhost:{}\"]\nsettle = 0\n{files}\n[[policy]]\n\
             policy_name = \"p\"\nservice_name = \"s\"\nautoscale_max_instance = 2\n\
             [[policy.metric]]\nname = \"m\"\nsource = \"edge\"\nbackend = \"web\"\n\
             column = \"scur\"\ntake = \"backend\"\ntarget = 1\n",
            tls.port()
        )
    };
    let ours = format!(
        "tls_ca = \"{at}/ca.pem\"\ntls_cert = \"{at}/client.pem\"\ntls_key = \"{at}/client.key\""
    );
    // localhost may have two addresses, of which one listens.
    let text = |files: &str| text(files).replace("localhost", "127.0.0.1");
    let (config, mut with) = sources(&text(&ours));
    assert_eq!(value(&read(&mut with, &config, &[]).await[0]), 0.0);
    let (config, mut without) = sources(&text(&format!("tls_ca = \"{at}/ca.pem\"")));
    assert!(matches!(&read(&mut without, &config, &[]).await[0], Reading::Error(_)));
}

#[tokio::test]
async fn prometheus_gives_one_number_or_none() {
    if !have(&["prometheus"]) {
        return;
    }
    let (dir, listen) = (TempDir::new().unwrap(), free_address());
    let scrape = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: self\n  static_configs:\n  - targets: ['{listen}']\n"
    );
    std::fs::write(dir.path().join("prometheus.yml"), scrape).unwrap();
    let mut command = Command::new(find("prometheus").unwrap());
    command
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={listen}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let prometheus = Process::start(&mut command);
    let queries =
        ["sum(up{job=\"self\"})", "absent_metric", "{__name__=~\"prometheus_.*\"}", "sum(", "0/0"];
    let mut text = format!(
        "[[prometheus]]\nname = \"prom\"\nurl = \"http://{listen}\"\n[[policy]]\npolicy_name = \"p\"\n\
         service_name = \"s\"\nautoscale_max_instance = 2\n"
    );
    for (n, query) in queries.iter().enumerate() {
        text += &format!(
            "[[policy.metric]]\nname = \"m{n}\"\nsource = \"prom\"\nquery = '{query}'\ntarget = 1\n"
        );
    }
    let (config, sources) = sources(&text);
    let sources = tokio::sync::Mutex::new(sources);
    let readings = eventually("Prometheus has scraped itself", async || {
        let readings = read(&mut *sources.lock().await, &config, &[]).await;
        matches!(readings[0], Reading::Value { v: 1.0, .. }).then_some(readings)
    })
    .await;
    assert_eq!(readings[1], Reading::Missing);
    assert!(
        matches!(&readings[2], Reading::Error(why) if why.contains("aggregate")),
        "{readings:?}"
    );
    assert!(matches!(&readings[3], Reading::Error(why) if why.contains("400")), "{readings:?}");
    assert_eq!(readings[4], Reading::Missing);
    drop(prometheus);
    let readings = read(&mut *sources.lock().await, &config, &[]).await;
    assert!(readings.iter().all(|r| matches!(r, Reading::Error(_))), "{readings:?}");
}

#[tokio::test]
async fn docker_tells_cpu_and_memory() {
    let Some(containers) = Containers::new() else { return };
    containers.run(&format!("{}_1", containers.service), &[], 0);
    let mut text =
        "[[policy]]\npolicy_name = \"p\"\nservice_name = \"s\"\nautoscale_max_instance = 2\n"
            .to_owned();
    for stat in ["cpu", "memory"] {
        text += &format!(
            "[[policy.metric]]\nname = \"{stat}\"\nsource = \"docker\"\nstat = \"{stat}\"\n\
             target = 1\nvalue = \"average\"\n"
        );
    }
    let (config, mut sources) = sources(&text);
    let hosts = Hosts::new(&config.docker, Duration::from_secs(5)).unwrap();
    let executor = DockerExecutor::new(hosts, Duration::from_secs(5));
    let instances = executor.look("local").await.unwrap();
    let mine = |i: &&Instance| i.labels.get("service_name") == Some(&containers.service);
    let members: Vec<&Instance> = instances.iter().filter(mine).collect();
    let first = read(&mut sources, &config, &members).await;
    assert_eq!(first[0], Reading::Missing, "one look gives no rate");
    assert!(value(&first[1]) > 1000.0, "{first:?}");
    let second = read(&mut sources, &config, &members).await;
    assert!((0.0..200.0).contains(&value(&second[0])), "{second:?}");
}

#[tokio::test]
async fn a_document_over_http_and_its_bounds() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bodies: HashMap<&str, Vec<u8>> = HashMap::from([
        ("/depth", b"{\"queue\": {\"size\": 17}}".to_vec()),
        ("/depth?key=a%26b&dedup=true", b"\xef\xbb\xbf{\"queue\": {\"size\": \"18\"}}".to_vec()),
        ("/huge", vec![b' '; 5 << 20]),
        ("/html", b"<html>".to_vec()),
    ]);
    std::thread::spawn(move || {
        for stream in listener.incoming().take(5) {
            let mut stream = stream.unwrap();
            let mut head = [0; 2048];
            let n = std::io::Read::read(&mut stream, &mut head).unwrap();
            let path =
                String::from_utf8_lossy(&head[..n]).split(' ').nth(1).unwrap_or("").to_owned();
            let Some(body) = bodies.get(path.as_str()) else { continue };
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(body);
        }
    });
    let ask = async |path: &str, more: &str| {
        let text = format!(
            "[[http]]\nname = \"q\"\nurl = \"http://{address}{path}\"\n{more}[[policy]]\npolicy_name = \"p\"\n\
             service_name = \"s\"\nautoscale_max_instance = 2\n[[policy.metric]]\nname = \"depth\"\n\
             source = \"q\"\npointer = \"/queue/size\"\ntarget = 1\n"
        );
        let (config, mut sources) = sources(&text);
        read(&mut sources, &config, &[]).await.remove(0)
    };
    assert_eq!(value(&ask("/depth", "").await), 17.0);
    let more = "parameters = [\"dedup=true\"]\n";
    assert_eq!(value(&ask("/depth?key=a%26b", more).await), 18.0);
    for path in ["/huge", "/html", "/closed"] {
        assert!(matches!(ask(path, "").await, Reading::Error(_)), "{path}");
    }
}
