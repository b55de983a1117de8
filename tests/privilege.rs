//! What a container may be denied: root, capabilities, a writable disk, any network but its servers;
//! and what nobody else gets to see.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::Path;

use support::agent::{Agent, berth, hello};
use support::bind::{Bind, KEY, ZONE};
use support::docker::{Site, docker};
use support::haproxy::{ARTICLE, Haproxy};
use support::namespace::alone;
use support::tls::{Ca, with_tls};
use support::{Port, eventually};

/// Copies what is run to where every user may execute it.
fn for_everybody(dir: &Path, files: &[&Path]) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    for file in files {
        fs::copy(file, dir.join(file.file_name().unwrap())).unwrap();
    }
}

#[test]
fn runs_without_rights_disk_or_any_network_but_its_servers() {
    if !alone("runs_without_rights_disk_or_any_network_but_its_servers") {
        return;
    }
    let Some(bind) = Bind::start() else { return };
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    for_everybody(dir.path(), &[Path::new(support::binary()), &hello()]);
    let path = |name| dir.path().join(name).display().to_string();
    for user in ["0", "65534", "1234567"] {
        let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
        let read_only = "mount --make-rprivate / && mount -o remount,bind,ro / && exec \"$@\"";
        let line = [
            &["unshare", "--mount", "--", "sh", "-c", read_only, "sh"][..],
            &["setpriv", &uid, &gid, "--clear-groups", "--bounding-set=-all"],
            &["--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"],
            &[&path("berth"), "--", &path("hello")],
        ];
        let port = Port::free();
        let mut agent = Agent::line(&line.concat())
            .at(&haproxy)
            .env("NAME", user)
            .env("PORT", port)
            .env("APP_PORT", port)
            .env("DNS_SERVER", bind.addr)
            .env("DNS_ZONE", ZONE)
            .env("DNS_NAME", "app")
            .env("DNS_TSIG_KEY", key(&bind))
            .start();
        let name = format!("app.{ZONE}");
        eventually("served", || haproxy.get("/") == format!("hello from {user}\n"));
        eventually("in DNS", || bind.dig(&name, "A") == ["127.0.0.1"]);
        let proc = |file| fs::read_to_string(format!("/proc/{}/{file}", agent.pid())).unwrap();
        let status = proc("status");
        for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{status}");
        }
        assert!(status.contains(&format!("Uid:\t{user}\t{user}")), "{status}");
        let root = |line: &&str| line.split(' ').nth(4) == Some("/");
        let mounts = proc("mountinfo");
        assert!(mounts.lines().find(root).unwrap().contains(" / ro"), "{mounts}");

        assert_eq!(agent.stop(), 143);
        assert!(haproxy.ready().is_empty());
        eventually("out of DNS", || bind.dig(&name, "A").is_empty());
    }
}

/// `DNS_TSIG_KEY` for this server.
fn key(bind: &Bind) -> String {
    format!("hmac-sha256:{KEY}:{}", secret(bind))
}

fn secret(bind: &Bind) -> String {
    let file = fs::read_to_string(bind.key_file()).unwrap();
    file.split('"').find(|word| word.ends_with('=')).unwrap().to_owned()
}

#[test]
fn secrets_are_nowhere_to_be_found_after_the_start() {
    let Some(bind) = Bind::start() else { return };
    let ca = Ca::new(&["127.0.0.1"]);
    let (haproxy, tls_port) = with_tls("haproxy".into(), &ca);
    let dir = tempfile::tempdir().unwrap();
    let seen = |name: &str| dir.path().join(name).display().to_string();
    let port = Port::free();
    let (addr, port_text, tls_port) =
        (bind.addr.to_string(), port.to_string(), tls_port.to_string());
    let key = key(&bind);
    let mut env = vec![
        ("HAPROXY_SERVER", "127.0.0.1"),
        ("HAPROXY_PORT", &tls_port),
        ("APP_PORT", &port_text),
        ("DNS_SERVER", &addr),
        ("DNS_ZONE", ZONE),
        ("DNS_NAME", "app"),
        ("DNS_TSIG_KEY", &key),
        ("LOG_LEVEL", "trace"),
    ];
    let tls = ca.env();
    env.extend(tls.iter().map(|(name, value)| (*name, value.as_str())));
    let app = format!("env > {}; exec {}", seen("app"), hello().display());
    let mut agent = Agent::new(&["sh", "-c", &app])
        .env("PORT", port)
        .env("READY_CHECK", format!("cmd:env > {}", seen("check")));
    for (name, value) in &env {
        agent = agent.env(name, value);
    }
    let mut agent = agent.start();
    eventually("served", || haproxy.get("/").starts_with("hello"));
    eventually("in DNS", || bind.dig(&format!("app.{ZONE}"), "A") == ["127.0.0.1"]);

    let mut found = vec![("app", fs::read_to_string(seen("app")).unwrap())];
    found.push(("check", fs::read_to_string(seen("check")).unwrap()));
    for pid in agent.children().into_iter().chain([agent.pid()]) {
        for file in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            found.push((file, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    for option in ["--status", "--status=json"] {
        let (code, out, err) = berth(&[option], &env);
        assert!(code == 0 && out.contains("webapp"), "{out}{err}");
        found.push((option, out + &err));
    }
    assert_eq!(agent.stop(), 143);
    let log = agent.log();
    assert!(log.contains("TRACE") && log.contains("app"), "{log}");
    found.push(("log", log));
    // The rest of the environment is there, so the search can find something.
    assert!(found.iter().filter(|(_, text)| text.contains("HAPROXY_SERVER")).count() >= 4);

    let tls_key = fs::read_to_string(ca.path("agent.key")).unwrap();
    let tls_key = tls_key.lines().find(|line| !line.starts_with('-')).unwrap();
    for (place, text) in &found {
        for secret in [&secret(&bind), tls_key] {
            assert!(!text.contains(secret), "a secret is in {place}: {text}");
        }
    }
}

#[test]
fn a_wrong_secret_is_not_quoted() {
    let (code, _, said) = berth(
        &["true"],
        &[
            ("DNS_SERVER", "127.0.0.1"),
            ("DNS_ZONE", ZONE),
            ("DNS_NAME", "app"),
            ("DNS_TSIG_KEY", "hmac-sha256:name:T0pS3cret!"),
        ],
    );
    assert_eq!(code, 64);
    assert!(said.contains("DNS_TSIG_KEY") && !said.contains("T0pS3cret"), "{said}");
}

#[test]
fn a_locked_down_container_from_scratch_registers_over_tls() {
    use std::os::unix::fs::PermissionsExt;
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let gateway = network.ip(1);
    let ca = Ca::new(&["lb.example"]);
    let (mut haproxy, port) = with_tls("haproxy".into(), &ca);
    let config = haproxy.dir().join("haproxy.cfg");
    let local = fs::read_to_string(&config).unwrap();
    let bind = format!("bind 127.0.0.1:{port}");
    fs::write(&config, local.replace(&bind, &format!("bind {gateway}:{port}"))).unwrap();
    haproxy.restart();

    let mut app = site
        .app("scratch", &network)
        .on("scratch")
        .option(&["--read-only", "--cap-drop", "ALL"])
        .option(&["--user", "65534:65534", "--security-opt", "no-new-privileges"])
        .option(&["--pids-limit", "20", "--memory", "32m"])
        .option(&["--add-host", &format!("lb.example:{gateway}")])
        .env("HAPROXY_SERVER", format!("lb.example:{port}"));
    for (variable, file) in ca.env() {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        app = app.option(&["--volume", &format!("{file}:{file}:ro")]).env(variable, file);
    }
    let app = app.start();
    eventually("served through the frontend", || haproxy.get("/") == "hello from scratch\n");
    assert!(app.check());
    let pid = app.inspect("{{.State.Pid}}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let with = docker(&["info", "-f", "{{.SecurityOptions}}"]);
    assert_eq!(status.contains("Seccomp:\t2"), with.contains("name=seccomp"), "{status}{with}");
    assert_eq!(app.stop(), 143);
    assert_eq!(app.inspect("{{.State.OOMKilled}}"), "false");
    let slots = haproxy.servers().into_iter().filter(|server| &*server.backend == "webapp");
    assert!(slots.into_iter().all(|server| server.admin.in_maint()));
}
