//! The built binary registered with real Traefiks, by way of real stores.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::agent::berth;
use support::kv::{Kind, Kv, stores};
use support::traefik::{Traefik, app, silent};
use support::{Port, eventually, stays};

const HELLO: &str = "hello from one\n";

fn kept() -> String {
    "traefik/http/services/web/loadbalancer/passhostheader".to_owned()
}

#[test]
fn an_app_is_served_once_it_is_ready_and_gone_before_it_is_stopped() {
    for kv in stores() {
        let Some(traefik) = Traefik::start(&kv) else { return };
        let port = Port::free();
        let mut agent = app(&kv, "one", port)
            .env("TRAEFIK_API", format!("127.0.0.1:{}", traefik.api))
            .env("START_AFTER_MS", 300)
            .start();
        eventually("served", || traefik.get("/") == HELLO);
        let at = format!("127.0.0.1:{port}");
        assert!(kv.servers("web") == [at.clone()] && kv.get(&kept()) == "true");
        eventually("Berth knows", || agent.log().contains("Traefik sends requests to this"));
        agent.signal("TERM");
        assert_eq!(agent.wait(), 143);
        assert!(!traefik.shows(&at), "gone from Traefik before the app was stopped");
        assert_eq!(kv.keys(), [kept()]);
        assert_eq!(traefik.get("/"), "status 503", "an empty service, and no ghost");
    }
}

#[test]
fn without_the_api_a_stop_takes_its_time_and_a_request_that_runs_is_answered() {
    for kv in stores() {
        let Some(traefik) = Traefik::start(&kv) else { return };
        let mut agent = app(&kv, "one", Port::free()).env("TRAEFIK_DRAIN", "1s").start();
        eventually("served", || traefik.get("/") == HELLO);
        let frontend = std::net::SocketAddr::from(([127, 0, 0, 1], traefik.http.0));
        let request =
            std::thread::spawn(move || support::haproxy::http_get(frontend, "/sleep/600"));
        std::thread::sleep(std::time::Duration::from_millis(100));
        agent.signal("TERM");
        eventually("out of the store", || kv.servers("web").is_empty());
        assert!(agent.is_running(), "the app serves on for a second");
        assert_eq!(request.join().unwrap(), HELLO);
        assert_eq!(agent.wait(), 143);
    }
}

#[test]
fn an_app_that_ends_by_itself_leaves_nothing_behind() {
    for kv in stores() {
        let mut agent = app(&kv, "one", Port::free()).start();
        eventually("in the store", || kv.servers("web").len() == 1);
        agent.children().into_iter().for_each(|pid| support::agent::signal(pid, "KILL"));
        assert_eq!(agent.wait(), 137);
        assert_eq!(kv.keys(), [kept()]);
    }
}

#[test]
fn a_container_killed_without_a_word_is_gone_with_its_lease() {
    for kv in stores() {
        let Some(traefik) = Traefik::start(&kv) else { return };
        let (port, other) = (Port::free(), Port::free());
        let lease = ("TRAEFIK_LEASE", "3s");
        let mut agent = app(&kv, "one", port).env(lease.0, lease.1).start();
        let _other = app(&kv, "two", other).env(lease.0, lease.1).start();
        let at = |port| format!("127.0.0.1:{port}");
        eventually("both", || traefik.shows(&at(port)) && traefik.shows(&at(other)));
        // Several leases long.
        for _ in 0..3 {
            stays("both", || traefik.shows(&at(port)) && traefik.shows(&at(other)));
        }
        agent.crash();
        eventually("gone", || !traefik.shows(&at(port)));
        assert!(traefik.shows(&at(other)));
    }
}

#[test]
fn a_store_that_comes_back_empty_has_everybody_again() {
    for mut kv in stores() {
        let Some(traefik) = Traefik::start(&kv) else { return };
        let agents: Vec<_> =
            (0..5).map(|n| app(&kv, &format!("{n}"), Port::free()).start()).collect();
        eventually("all", || kv.servers("web").len() == 5);
        eventually("served", || traefik.get("/").starts_with("hello"));
        kv.kill();
        stays("Traefik serves on", || traefik.get("/").starts_with("hello"));
        kv.restart_empty();
        eventually("all again", || kv.servers("web").len() == 5 && kv.get(&kept()) == "true");
        eventually("served", || traefik.get("/").starts_with("hello"));
        drop(agents);
    }
}

#[test]
fn keys_that_somebody_deletes_or_changes_are_put_back() {
    for kv in stores() {
        let port = Port::free();
        let _agent = app(&kv, "one", port).start();
        let key = format!("traefik/http/services/web/loadbalancer/servers/127.0.0.1:{port}/url");
        let url = format!("http://127.0.0.1:{port}");
        eventually("in the store", || kv.get(&key) == url);
        kv.delete(&key);
        eventually("again", || kv.get(&key) == url);
        kv.set(&key, "http://10.9.9.9:1");
        eventually("right again", || kv.get(&key) == url);
        kv.delete(&kept());
        eventually("the service's own key", || kv.get(&kept()) == "true");
    }
}

#[test]
fn other_keys_with_the_containers_address_are_deleted() {
    for kv in stores() {
        let port = Port::free();
        let servers = "traefik/http/services/web/loadbalancer/servers";
        kv.set(&format!("{servers}/1/url"), &format!("http://127.0.0.1:{port}"));
        kv.set(&format!("{servers}/2/url"), "http://10.9.9.9:1");
        let _agent = app(&kv, "one", port).start();
        eventually("its own, and somebody else's", || {
            kv.servers("web") == [format!("127.0.0.1:{port}"), "2".to_owned()]
        });
    }
}

#[test]
fn a_store_that_is_away_or_hangs_delays_nothing() {
    let (listener, port) = silent();
    let away = Port::free();
    for url in [
        format!("redis://127.0.0.1:{away}"),
        format!("etcd://127.0.0.1:{away}"),
        format!("redis://127.0.0.1:{port}"),
        format!("etcd://127.0.0.1:{port}"),
    ] {
        let Some(kv) = Kv::start(Kind::Redis) else { return };
        let app_port = Port::free();
        let mut agent = app(&kv, "one", app_port).env("TRAEFIK_KV", &url).start();
        let here = std::net::SocketAddr::from(([127, 0, 0, 1], app_port.0));
        eventually("the app serves", || support::haproxy::http_get(here, "/") == HELLO);
        eventually("it is said", || agent.log().contains("cannot register with Traefik"));
        let began = std::time::Instant::now();
        assert_eq!(agent.stop(), 143);
        println!("{url}: stopped after {:.1?}", began.elapsed());
        assert_eq!(agent.log().matches("cannot register with Traefik").count(), 1);
    }
    drop(listener);
}

#[test]
fn a_traefik_that_is_killed_comes_back_with_everybody() {
    for kv in stores() {
        let Some(mut traefik) = Traefik::start(&kv) else { return };
        let mut agent = app(&kv, "one", Port::free())
            .env("TRAEFIK_API", format!("http://127.0.0.1:{}", traefik.api))
            .env("TRAEFIK_DRAIN", "500ms")
            .start();
        eventually("served", || traefik.get("/") == HELLO);
        traefik.kill();
        traefik.run();
        eventually("served again", || traefik.get("/") == HELLO);
        // Nobody answers when it stops.
        traefik.kill();
        assert_eq!(agent.stop(), 143);
        assert!(agent.log().contains("TRAEFIK_API does not answer"), "{}", agent.log());
    }
}

#[test]
fn a_redis_that_tells_traefik_nothing_is_found_out_once() {
    let Some(kv) = Kv::with(Kind::Redis, &[]) else { return };
    let agent = app(&kv, "one", Port::free()).start();
    let said = || agent.log().matches("Redis tells Traefik of no change").count();
    eventually("it is said", || said() == 1);
    // Every connection is a new one now.
    kv.client(&["CONFIG", "SET", "timeout", "1"]);
    stays("once", || said() == 1);
    kv.client(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    kv.client(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("and when it is over", || agent.log().contains("tells Traefik of changes again"));
}

#[test]
fn status_and_check_say_what_store_and_traefik_show() {
    for kv in stores() {
        let Some(traefik) = Traefik::start(&kv) else { return };
        let (port, api, url) = (Port::free().to_string(), traefik.api.to_string(), kv.url());
        let api = format!("127.0.0.1:{api}");
        let env = [
            ("TRAEFIK_KV", url.as_str()),
            ("TRAEFIK_SERVICE", "web"),
            ("TRAEFIK_API", &api),
            ("APP_PORT", &port),
        ];
        let (code, out, _) = berth(&["--status"], &env);
        assert!(code == 0 && out.contains("not registered"), "{out}");
        let (code, _, line) = berth(&["--check"], &env);
        assert!(code == 1 && line.contains("its key is not there"), "{line}");
        let _agent = app(&kv, "one", Port(port.parse().unwrap())).start();
        let (code, _, line) = berth(&["--check", "--wait", "20s"], &env);
        assert!(code == 0, "{line}");
        let (_, out, _) = berth(&["--status"], &env);
        assert!(out.contains("in the store and shown by Traefik"), "{out}");
        let (_, json, _) = berth(&["--status=json"], &env);
        assert!(json.contains("\"taken_up\": true") && json.contains("\"registered\": true"));
        drop(traefik);
        let (_, out, _) = berth(&["--status"], &env);
        assert!(out.contains("in the store; TRAEFIK_API"), "{out}");
    }
}
