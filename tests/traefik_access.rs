//! Passwords, least rights, and TLS to the stores that Traefik reads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::agent::{Agent, berth};
use support::kv::{Kind, Kv, stores};
use support::tls::Ca;
use support::traefik::{Traefik, app};
use support::{Port, eventually, stays};

/// What docs/traefik.md gives a container of service `web` in Redis.
const REDIS_RIGHTS: &str = "resetkeys ~traefik/http/services/web/* +set +get +del";

/// Another user may do all, and who gives no name nothing.
fn redis_with_user(rights: &str) -> Option<Kv> {
    let mut kv = Kv::start(Kind::Redis)?;
    let words: Vec<_> = rights.split(' ').collect();
    let user = ["ACL", "SETUSER", "web", "reset", "on", ">sec:ret@"];
    assert_eq!(kv.client(&[&user[..], &words].concat()), "OK");
    assert_eq!(kv.client(&["ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all"]), "OK");
    assert_eq!(kv.client(&["ACL", "SETUSER", "default", "off"]), "OK");
    kv.client_needs(&["--user", "admin", "--pass", "admin", "--no-auth-warning"]);
    Some(kv)
}

/// A user `web` with the role that docs/traefik.md gives a container of service `web` in etcd.
fn etcd_with_user() -> Option<Kv> {
    let mut kv = Kv::start(Kind::Etcd)?;
    for line in [
        "user add root:root",
        "user grant-role root root",
        "role add web",
        "role grant-permission web readwrite --prefix=true traefik/http/services/web/",
        "user add web:sec:ret@",
        "user grant-role web web",
        "auth enable",
    ] {
        let words: Vec<_> = line.split(' ').collect();
        let said = kv.client(&words);
        assert!(!said.contains("Error"), "{line}: {said}");
    }
    kv.client_needs(&["--user", "root:root"]);
    Some(kv)
}

#[test]
fn least_rights_are_enough_to_come_to_stay_and_to_go() {
    for kv in [redis_with_user(REDIS_RIGHTS), etcd_with_user()].into_iter().flatten() {
        let port = Port::free();
        let mut agent = app(&kv, "one", port)
            .env("TRAEFIK_KV", kv.url_as("web:sec%3Aret%40"))
            .env("TRAEFIK_LEASE", "3s")
            .env("TRAEFIK_DRAIN", "100ms")
            .start();
        let there = || kv.servers("web") == [format!("127.0.0.1:{port}")];
        eventually("registered", there);
        for _ in 0..3 {
            stays("registered", there);
        }
        assert_eq!(agent.stop(), 143);
        assert!(kv.servers("web").is_empty());
        assert!(
            !agent.log().contains("WARN") && !agent.log().contains("sec:ret"),
            "{}",
            agent.log()
        );
    }
}

#[test]
fn what_a_user_may_not_do_is_said_with_what_to_do() {
    for kv in [redis_with_user(REDIS_RIGHTS), etcd_with_user()].into_iter().flatten() {
        let mut agent = app(&kv, "one", Port::free())
            .env("TRAEFIK_KV", kv.url_as("web"))
            .env("TRAEFIK_PASSWORD", "sec:ret@")
            .env("TRAEFIK_SERVICE", "other")
            .start();
        eventually("it is said", || agent.log().contains("give this user the rights"));
        assert_eq!(agent.stop(), 143);
        assert!(kv.servers("other").is_empty());
    }
}

#[test]
fn a_wrong_or_missing_password_is_said_and_a_file_may_hold_the_right_one() {
    for kv in [redis_with_user(REDIS_RIGHTS), etcd_with_user()].into_iter().flatten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "sec:ret@\n").unwrap();
        let wrong = |url: String| app(&kv, "one", Port::free()).env("TRAEFIK_KV", url).start();
        for agent in [wrong(kv.url_as("web:wrong")), wrong(kv.url())] {
            eventually("it is said", || agent.log().contains("check name and password"));
            assert!(kv.servers("web").is_empty());
        }
        let port = Port::free();
        let _agent = app(&kv, "one", port)
            .env("TRAEFIK_KV", kv.url_as("web"))
            .env("TRAEFIK_PASSWORD_FILE", file.display())
            .start();
        eventually("registered", || kv.servers("web") == [format!("127.0.0.1:{port}")]);
    }
}

#[test]
fn the_app_does_not_see_the_password() {
    for kv in stores() {
        let agent = Agent::new(&["sh", "-c", "env; cat /proc/$PPID/environ; exec sleep 600"])
            .env("TRAEFIK_KV", kv.url_as("web:secret"))
            .env("TRAEFIK_PASSWORD", "secret")
            .env("TRAEFIK_SERVICE", "web")
            .env("APP_PORT", Port::free())
            .start();
        eventually("it has started", || agent.out().contains("TRAEFIK_SERVICE=web"));
        assert!(!agent.out().contains("secret"), "{}", agent.out());
    }
}

/// With its files, and in `more` what else is to be set.
fn tls_app(kv: &Kv, ca: &Ca, port: Port, identity: bool) -> Agent {
    let path = |name| ca.path(name).display().to_string();
    let agent = app(kv, "one", port).env("TRAEFIK_TLS_CA", path("ca.pem"));
    match identity {
        true => agent
            .env("TRAEFIK_TLS_CERT", path("agent.pem"))
            .env("TRAEFIK_TLS_KEY", path("agent.key")),
        false => agent,
    }
}

#[test]
fn tls_and_mutual_tls_to_the_stores() {
    let ca = Ca::new(&["127.0.0.1"]);
    for (kind, mutual) in
        [(Kind::Redis, false), (Kind::Redis, true), (Kind::Etcd, false), (Kind::Etcd, true)]
    {
        let Some(kv) = Kv::with_tls(kind, &ca, mutual) else { return };
        let port = Port::free();
        let mut agent = tls_app(&kv, &ca, port, mutual).env("TRAEFIK_DRAIN", "100ms").start();
        eventually("registered", || kv.servers("web") == [format!("127.0.0.1:{port}")]);
        if mutual {
            let stranger = tls_app(&kv, &ca, Port::free(), false).start();
            eventually("it is told why", || {
                stranger.log().contains("it wants a client certificate")
            });
        }
        assert_eq!(agent.stop(), 143);
        assert!(kv.servers("web").is_empty());
    }
}

#[test]
fn a_store_that_is_another_or_speaks_no_tls_is_told_apart() {
    let (ca, other) = (Ca::new(&["127.0.0.1"]), Ca::new(&["store.example"]));
    for kind in [Kind::Redis, Kind::Etcd] {
        let Some(kv) = Kv::with_tls(kind, &ca, false) else { return };
        let agent = tls_app(&kv, &other, Port::free(), false).start();
        eventually("not ours", || agent.log().contains("we refused the store's certificate"));
        // Not a word in plain text to where TLS is wanted, nor TLS to where it is not.
        let Some(plain) = Kv::start(kind) else { return };
        let url = plain.url().replace("://", "s://");
        let agent = tls_app(&kv, &ca, Port::free(), false).env("TRAEFIK_KV", url).start();
        eventually("no TLS", || agent.log().contains("cannot register with Traefik"));
        assert!(plain.keys().is_empty());
    }
}

#[test]
fn tls_without_its_files_or_files_without_tls_are_configuration_errors() {
    let ca = Ca::new(&["127.0.0.1"]);
    let ca_file = ca.path("ca.pem").display().to_string();
    for (url, more, complaint) in [
        ("rediss://kv", None, "TRAEFIK_TLS_CA is not set"),
        ("redis://kv", Some(("TRAEFIK_TLS_CA", ca_file.as_str())), "TRAEFIK_TLS_CA is set"),
        (
            "etcds://kv",
            Some(("TRAEFIK_TLS_CA", "/no/such/file")),
            "TRAEFIK_TLS_CA names /no/such/file",
        ),
        ("etcds://kv", Some(("TRAEFIK_TLS_CERT", "/cert")), "TRAEFIK_TLS_KEY is not set"),
    ] {
        let mut env = vec![("TRAEFIK_KV", url), ("TRAEFIK_SERVICE", "web"), ("APP_PORT", "80")];
        env.extend(more);
        let (code, _, said) = berth(&["true"], &env);
        assert!(code == 64 && said.contains(complaint), "{url}: {said}");
    }
}

#[test]
fn traefik_and_the_container_with_a_password_each() {
    let Some(kv) = redis_with_user(REDIS_RIGHTS) else { return };
    let login = ["--providers.redis.username=admin", "--providers.redis.password=admin"];
    let Some(traefik) = Traefik::with(&kv, &login, true) else { return };
    let _agent =
        app(&kv, "one", Port::free()).env("TRAEFIK_KV", kv.url_as("web:sec%3Aret%40")).start();
    eventually("served", || traefik.get("/") == "hello from one\n");
}
