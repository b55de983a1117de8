//! Whole routes from the container, TCP services, a Traefik that is stuck, and every register at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;

use support::agent::Agent;
use support::bind::{Bind, ZONE};
use support::container::shared;
use support::haproxy::{ARTICLE, Haproxy, http_get};
use support::kv::{Kind, Kv, stores};
use support::traefik::{Traefik, app};
use support::{Port, eventually, stays};

const HELLO: &str = "hello from one\n";
const RULE: &str = "traefik/http/routers/web/rule";

#[test]
fn the_whole_route_comes_from_the_container() {
    for kv in stores() {
        let throttle = ["--providers.providersthrottleduration=50ms"];
        let Some(traefik) = Traefik::with(&kv, &throttle, false) else { return };
        let mut agent = app(&kv, "one", Port::free())
            .env("TRAEFIK_RULE", "PathPrefix(`/`)")
            .env("TRAEFIK_ENTRYPOINTS", "web")
            .env("TRAEFIK_DRAIN", "500ms")
            .start();
        eventually("served", || traefik.get("/") == HELLO);
        kv.delete(RULE);
        eventually("put back", || kv.get(RULE) == "PathPrefix(`/`)");
        assert_eq!(agent.stop(), 143);
        assert_eq!(traefik.get("/"), "status 503", "the route stays");
    }
}

#[test]
fn containers_that_disagree_about_the_route_are_told() {
    for kv in stores() {
        let first = app(&kv, "one", Port::free()).env("TRAEFIK_RULE", "Path(`/a`)").start();
        eventually("the first", || kv.get(RULE) == "Path(`/a`)");
        eventually("and it has looked", || first.log().contains("in Traefik's store"));
        let second = app(&kv, "two", Port::free()).env("TRAEFIK_RULE", "Path(`/b`)").start();
        eventually("the second", || kv.get(RULE) == "Path(`/b`)");
        eventually("it says so", || second.log().contains("changed it"));
        eventually("the first too", || first.log().contains("another container has given"));
        stays("nobody fights", || kv.get(RULE) == "Path(`/b`)");
        assert_eq!(first.log().matches("another container has given").count(), 1);
    }
}

#[test]
fn a_tcp_service_is_served_and_empty_when_its_last_container_goes() {
    for kv in stores() {
        let Some(traefik) = Traefik::start(&kv) else { return };
        let mut agent = app(&kv, "one", Port::free())
            .env("TRAEFIK_SERVICE", "db")
            .env("TRAEFIK_SCHEME", "tcp")
            .env("TRAEFIK_API", format!("127.0.0.1:{}", traefik.api))
            .start();
        let get = || http_get(SocketAddr::from(([127, 0, 0, 1], traefik.tcp.0)), "/");
        eventually("served", || get() == HELLO);
        assert_eq!(agent.stop(), 143);
        assert!(get() != HELLO);
        assert_eq!(kv.keys(), ["traefik/berth/db"]);
    }
}

#[test]
fn an_ipv6_address_and_another_root() {
    for kv in stores() {
        let root = format!("--providers.{}.rootkey=edge", kv.kind);
        let Some(traefik) = Traefik::with(&kv, &[&root], true) else { return };
        let _agent = app(&kv, "one", Port::free())
            .env("ADDR", "[::1]")
            .env("APP_ADDR", "::1")
            .env("TRAEFIK_ROOT", "edge")
            .start();
        eventually("served", || traefik.get("/") == HELLO);
    }
}

#[test]
fn a_traefik_that_is_stuck_at_somebody_elses_key_is_recognised() {
    for kv in stores() {
        let Some(traefik) = Traefik::start(&kv) else { return };
        let api = format!("127.0.0.1:{}", traefik.api);
        let _first = app(&kv, "one", Port::free()).start();
        eventually("served", || traefik.get("/") == HELLO);
        let bad = "traefik/http/services/other/loadbalancer/servers/1/bogus";
        kv.set(bad, "x");
        let late = app(&kv, "two", Port::free()).env("TRAEFIK_API", &api).start();
        eventually("it is said", || late.log().contains("Traefik takes no notice of it"));
        kv.delete(bad);
        eventually("it is over", || late.log().contains("Traefik sends requests to this"));
    }
}

#[test]
fn haproxy_dns_and_both_stores_at_once() {
    let (Some(redis), Some(etcd)) = (Kv::start(Kind::Redis), Kv::start(Kind::Etcd)) else { return };
    let (Some(bind), Some(traefik)) = (Bind::start(), Traefik::start(&redis)) else { return };
    let haproxy = Haproxy::start(ARTICLE);
    let mut agent = Agent::hello(&haproxy, "one", Port::free())
        .env("TRAEFIK_KV", format!("{},{}", redis.url(), etcd.url()))
        .env("TRAEFIK_API", format!("127.0.0.1:{}", traefik.api))
        .env("TRAEFIK_DRAIN", "300ms")
        .env("SERVICE_NAME", "webapp")
        .env("TRAEFIK_SERVICE", "web")
        .env("DNS_SERVER", bind.addr)
        .env("DNS_ZONE", ZONE)
        .env("DNS_TSIG_KEYFILE", bind.key_file().display())
        .start();
    eventually("by HAProxy", || haproxy.get("/") == HELLO);
    eventually("by Traefik", || traefik.get("/") == HELLO);
    eventually("in etcd and DNS", || etcd.servers("web").len() == 1 && !shared(&bind).is_empty());
    let frontend = SocketAddr::from(([127, 0, 0, 1], haproxy.http.0));
    let request = std::thread::spawn(move || http_get(frontend, "/sleep/1500"));
    eventually("it runs", || haproxy.count("webapp", "BACKEND", "scur") == 1);
    agent.signal("TERM");
    eventually("out of all", || {
        redis.servers("web").is_empty()
            && etcd.servers("web").is_empty()
            && shared(&bind).is_empty()
    });
    assert_eq!(request.join().unwrap(), HELLO, "one drain for all of them");
    assert_eq!(agent.wait(), 143);
    assert!(haproxy.ready().is_empty());
}
