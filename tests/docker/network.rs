//! Names and addresses: what the container's networks make of them.

use crate::support::docker::{APP, Lb, Site};
use crate::support::{Port, eventually, stays};

on_each_haproxy!(
    on_two_networks_the_address_is_the_one_that_haproxy_reaches,
    every_haproxy_behind_one_name_gets_the_container,
);

fn on_two_networks_the_address_is_the_one_that_haproxy_reaches(version: &str) {
    let Some(site) = Site::start() else { return };
    // Docker takes the default route from the network whose name comes first.
    let (back, front) = (site.network("a-back"), site.network("b-front"));
    let haproxy = site.haproxy(version, &front);
    let app = site.app("both", &back).start();
    app.docker(&["network", "connect", &front.name]);
    // `docker network connect` names the network before the container, as this does.
    assert_ne!(app.ip(&back), app.ip(&front));
    let slot = haproxy.serves(&app.at(&front));
    eventually("served", || haproxy.get("/") == "hello from both\n");
    stays("only there", || haproxy.slots_of(&app.at(&back)).is_empty());
    assert_eq!(haproxy.serves(&app.at(&front)), slot);
    assert!(app.check());
}

/// Docker's embedded DNS answers with the addresses of all containers of one alias.
fn every_haproxy_behind_one_name_gets_the_container(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let both = ["one", "two"].map(|name| site.new_haproxy(version, &network).name(name).start());
    let app = site.app("app", &network).start();
    for haproxy in &both {
        haproxy.serves(&app.at(&network));
        eventually("served", || haproxy.get("/") == "hello from app\n");
    }
    assert!(app.check());
    assert_eq!(app.stop(), 143);
    assert!(both.iter().all(|haproxy| haproxy.ready().is_empty()));
}

#[test]
fn a_name_of_add_host_will_do() {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy("3.2", &network);
    let known = format!("lb.example:{}", haproxy.container.ip(&network));
    let app = site.app("app", &network).option(&["--add-host", &known]);
    // No server for other names: what is in the hosts file needs none.
    let app = app.option(&["--dns", "192.0.2.1"]).env("HAPROXY_SERVER", "lb.example").start();
    haproxy.serves(&app.at(&network));
    assert_eq!(app.stop(), 143);
}

#[test]
fn in_the_hosts_own_network_the_address_is_the_one_that_faces_haproxy() {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy("3.2", &network);
    let port = Port::free();
    let mut host = network.clone();
    host.name = "host".to_owned();
    let app = site
        .app("host", &host)
        .env("HAPROXY_SERVER", haproxy.container.ip(&network))
        .env("PORT", port)
        .env("APP_PORT", port)
        .start();
    haproxy.serves(&format!("{}:{port}", network.ip(1)));
    eventually("served", || haproxy.get("/") == "hello from host\n");
    assert!(app.check());
    assert_eq!(app.stop(), 143);
    assert!(haproxy.ready().is_empty());
}

#[test]
fn over_ipv6_the_address_is_an_ipv6_one() {
    let Some(site) = Site::start() else { return };
    let network = site.network_with_ipv6("six");
    let haproxy: Lb =
        site.new_haproxy("3.2", &network).config("ipv4@:9999", "ipv6@:::9999 v6only").start();
    let v6 = |name: &str| {
        let of = format!("(index .NetworkSettings.Networks \"{}\")", network.name);
        format!("{{{{{of}.{name}}}}}")
    };
    let lb = haproxy.container.inspect(&v6("GlobalIPv6Address"));
    for server in [format!("[{lb}]"), "six.example".to_owned(), "haproxy".to_owned()] {
        let app = site
            .app("six", &network)
            .env("HAPROXY_SERVER", server)
            .env("ADDR", "[::]")
            .option(&["--add-host", &format!("six.example:{lb}")])
            .start();
        let at = format!("[{}]:{APP}", app.inspect(&v6("GlobalIPv6Address")));
        haproxy.serves(&at);
        eventually("served", || haproxy.get("/") == "hello from six\n");
        assert_eq!(app.stop(), 143);
        app.docker(&["rm"]);
        assert!(haproxy.ready().is_empty());
    }
}
