//! What `docker` does to a container: run, stop, kill, restart, pause, rm.

use crate::support::docker::{Container, Site};
use crate::support::{eventually, stays};

on_each_haproxy!(
    three_variables_are_enough_and_a_stop_gives_the_slot_back,
    the_slot_of_a_killed_container_is_taken_over,
    the_slot_of_a_container_removed_by_force_is_taken_over,
    a_restarted_container_comes_back_with_one_slot,
    a_paused_container_is_out_of_rotation_until_it_goes_on,
    a_new_container_with_a_dead_ones_address_has_one_slot,
);

fn three_variables_are_enough_and_a_stop_gives_the_slot_back(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy(version, &network);
    let app = site.app("one", &network).start();
    haproxy.serves(&app.at(&network));
    eventually("served", || haproxy.get("/") == "hello from one\n");
    let ip = app.ip(&network);
    assert_eq!(app.stop(), 143);
    let servers = haproxy.servers();
    assert!(servers.iter().all(|slot| slot.addr != Some(ip.parse().unwrap())));
    assert!(servers.iter().all(|slot| slot.admin.in_maint()));
}

fn the_slot_of_a_killed_container_is_taken_over(version: &str) {
    the_slot_is_taken_over_after(version, |killed| {
        killed.docker(&["kill"]);
        assert_eq!(killed.exit_code(), 137);
    });
}

fn the_slot_of_a_container_removed_by_force_is_taken_over(version: &str) {
    the_slot_is_taken_over_after(version, |gone| {
        gone.docker(&["rm", "--force"]);
    });
}

fn the_slot_is_taken_over_after(version: &str, end: impl Fn(&Container)) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy(version, &network);
    let one_slot = |name, address| {
        let app = site.app(name, &network).env("NODE_COUNT", 1).env("RECLAIM_AFTER", "2s");
        app.option(&["--ip", &network.ip(address)]).start()
    };
    let dead = one_slot("dead", 11);
    haproxy.serves(&dead.at(&network));
    let heir = one_slot("heir", 12);
    eventually("logged", || heir.log().contains("every slot is taken"));
    end(&dead);
    eventually("taken over", || haproxy.get("/") == "hello from heir\n");
    assert_eq!(haproxy.serves(&heir.at(&network)), "node1");
    haproxy.has_forgotten(&network.ip(11));
}

fn a_restarted_container_comes_back_with_one_slot(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy(version, &network);
    let app = site.app("one", &network).start();
    haproxy.serves(&app.at(&network));
    let started = app.inspect("{{.State.StartedAt}}");
    app.docker(&["restart", "--time", "15"]);
    assert_ne!(app.inspect("{{.State.StartedAt}}"), started);
    haproxy.serves(&app.at(&network));
    eventually("served", || haproxy.get("/") == "hello from one\n");
    assert_eq!(haproxy.ready().len(), 1);
    // The first life gave back what it held.
    assert_eq!(app.log().matches("released").count(), 1, "{}", app.log());
}

/// The kernel of a paused container goes on accepting connections, so only a check that waits for an
/// answer finds it.
fn a_paused_container_is_out_of_rotation_until_it_goes_on(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let asking = ("backend webapp\n", "backend webapp\n    option httpchk GET /health\n");
    let haproxy = site.new_haproxy(version, &network).config(asking.0, asking.1).start();
    let [frozen, other] = ["frozen", "other"].map(|name| site.app(name, &network).start());
    let slot = haproxy.serves(&frozen.at(&network));
    haproxy.serves(&other.at(&network));
    frozen.docker(&["pause"]);
    eventually("found down", || {
        let servers = haproxy.servers();
        servers.iter().any(|server| *server.name == *slot && !server.running)
    });
    (0..4).for_each(|_| assert_eq!(haproxy.get("/"), "hello from other\n"));
    frozen.docker(&["unpause"]);
    eventually("served again", || haproxy.get("/") == "hello from frozen\n");
    assert_eq!(haproxy.serves(&frozen.at(&network)), slot);
}

fn a_new_container_with_a_dead_ones_address_has_one_slot(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy(version, &network);
    let start = |name| {
        let at = network.ip(11);
        site.app(name, &network).option(&["--ip", &at]).start()
    };
    let dead = start("dead");
    let slot = haproxy.serves(&dead.at(&network));
    dead.docker(&["rm", "--force"]);
    assert_eq!(haproxy.slots_of(&format!("{}:3128", network.ip(11))), [slot]);
    let heir = start("heir");
    eventually("served", || haproxy.get("/") == "hello from heir\n");
    let slot = haproxy.serves(&heir.at(&network));
    stays("one slot", || haproxy.slots_of(&heir.at(&network)) == [slot.as_str()]);
    assert_eq!(haproxy.ready().len(), 1);
    assert_eq!(heir.stop(), 143);
    assert!(haproxy.ready().is_empty());
}
