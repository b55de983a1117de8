//! What happens to the network and to the servers while containers hold their slots.

use crate::support::docker::{Container, Dns, Lb, Network, Site};
use crate::support::weather::{self, Weather};
use crate::support::{eventually, stays};

on_each_haproxy!(
    a_haproxy_that_restarts_gets_every_container_back,
    a_haproxy_at_another_address_is_found_by_its_name,
    a_haproxy_off_the_network_and_back_has_the_same_slots,
    delay_and_packet_loss_cost_nobody_a_slot,
    nothing_changes_without_a_scaler,
);

const NAMES: [&str; 3] = ["one", "two", "three"];

fn three_apps(site: &Site, network: &Network) -> [Container; 3] {
    NAMES.map(|name| site.app(name, network).start())
}

/// Waits until every container has one slot; which.
fn slots(haproxy: &Lb, apps: &[Container], network: &Network) -> Vec<String> {
    apps.iter().map(|app| haproxy.serves(&app.at(network))).collect()
}

/// By `docker restart`, and reloaded by SIGUSR2.
fn a_haproxy_that_restarts_gets_every_container_back(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy(version, &network);
    let apps = three_apps(&site, &network);
    let before = slots(&haproxy, &apps, &network);
    let as_before = || {
        // Everybody goes back to the slot it had, so nobody races.
        assert_eq!(slots(&haproxy, &apps, &network), before);
        eventually("healthy", || apps.iter().all(Container::check));
        assert_eq!(haproxy.ready().len(), 3);
    };
    haproxy.container.docker(&["restart", "--time", "1"]);
    haproxy.wait();
    as_before();
    let pid = || {
        let info = haproxy.try_command("show info").unwrap_or_default();
        info.lines().find(|line| line.starts_with("Pid: ")).map(str::to_owned)
    };
    let old = pid().expect("a process id");
    haproxy.container.docker(&["kill", "--signal", "USR2"]);
    eventually("a new worker answers", || pid().is_some_and(|pid| pid != old));
    as_before();
}

fn a_haproxy_at_another_address_is_found_by_its_name(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let old = site.new_haproxy(version, &network).option(&["--ip", &network.ip(20)]).start();
    let apps = three_apps(&site, &network);
    slots(&old, &apps, &network);
    old.container.docker(&["rm", "--force"]);
    let new = site.new_haproxy(version, &network).name("new");
    let new = new.option(&["--ip", &network.ip(30)]).start();
    slots(&new, &apps, &network);
    eventually("healthy", || apps.iter().all(Container::check));
    for app in &apps {
        // The address that nobody answers at any more holds no stop up: Docker would kill it.
        assert_eq!(app.stop(), 143);
    }
    assert!(new.ready().is_empty());
}

fn a_haproxy_off_the_network_and_back_has_the_same_slots(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy(version, &network);
    let apps = three_apps(&site, &network);
    let before = slots(&haproxy, &apps, &network);
    let ip = haproxy.container.ip(&network);
    haproxy.container.docker(&["network", "disconnect", &network.name]);
    eventually("logged", || apps.iter().all(|app| app.log().contains("cannot register")));
    eventually("all down", || haproxy.ready().iter().all(|slot| !slot.running));
    assert!(apps.iter().all(Container::is_running));
    let connect = ["network", "connect", "--alias", "haproxy", "--ip", &ip, &network.name];
    haproxy.container.docker(&connect);
    eventually("served", || {
        NAMES.iter().any(|name| haproxy.get("/") == format!("hello from {name}\n"))
    });
    assert_eq!(slots(&haproxy, &apps, &network), before);
    eventually("healthy", || apps.iter().all(Container::check));
    assert_eq!(haproxy.ready().len(), 3);
}

fn delay_and_packet_loss_cost_nobody_a_slot(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy(version, &network);
    let early = site.app("early", &network).start();
    let slot = haproxy.serves(&early.at(&network));
    let bad = Weather::new(&haproxy.container, 200, 10, "faults::handles_packets");
    eventually("served, late", || haproxy.get("/") == "hello from early\n");
    assert!(bad.packets() > 0, "what was served came through the weather");
    let late = site.app("late", &network).start();
    haproxy.serves(&late.at(&network));
    stays("one slot each", || {
        haproxy.slots_of(&early.at(&network)) == [slot.as_str()] && haproxy.ready().len() == 2
    });
    let at = late.at(&network);
    assert_eq!(late.stop(), 143);
    // Drained for sure. Whether the slot is empty as well depends on luck: a release has less than a
    // second, and else the slot is free after RECLAIM_AFTER.
    assert!(haproxy.slots_of(&at).is_empty());
    assert_eq!(haproxy.slots_of(&early.at(&network)), [slot.as_str()]);
    drop(bad);
    eventually("healthy", || early.check());
    assert!(!early.log().contains("changed by somebody else"), "{}", early.log());
}

#[test]
fn handles_packets() {
    weather::handle();
}

/// Nobody but HAProxy and the containers is in that network, and it leads nowhere.
fn nothing_changes_without_a_scaler(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.internal_network("alone");
    let haproxy = site.haproxy(version, &network);
    let apps = three_apps(&site, &network);
    slots(&haproxy, &apps, &network);
    apps[0].docker(&["restart", "--time", "15"]);
    slots(&haproxy, &apps, &network);
    haproxy.container.docker(&["restart", "--time", "1"]);
    slots(&haproxy, &apps, &network);
    assert_eq!(apps[1].stop(), 143);
    eventually("two are left", || haproxy.ready().len() == 2);
    apps[1].docker(&["start"]);
    slots(&haproxy, &apps, &network);
    eventually("healthy", || apps.iter().all(Container::check));
    for app in &apps {
        assert_eq!(app.stop(), 143);
    }
    assert!(haproxy.servers().iter().all(|slot| slot.admin.in_maint()));
}

#[test]
fn bind_gone_holds_nobody_up_and_bind_back_knows_everybody() {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy("3.2", &network);
    let bind = Dns::start(&site, &network);
    let app = |name: &str| bind.registers(site.app(name, &network)).start();
    let early = app("early");
    haproxy.serves(&early.at(&network));
    eventually("in DNS", || bind.addresses() == [early.ip(&network)]);
    eventually("healthy", || early.check());

    bind.container.docker(&["kill"]);
    let late = app("late");
    haproxy.serves(&late.at(&network));
    eventually("served", || haproxy.get("/") == "hello from late\n");
    assert!(late.check(), "DNS cannot tell, which is not the app's fault");
    assert_eq!(early.stop(), 143);
    eventually("only the late one", || haproxy.ready().len() == 1);

    bind.container.docker(&["start"]);
    eventually("the late one is in DNS", || bind.addresses().contains(&late.ip(&network)));
    eventually("healthy", || late.check());
    assert_eq!(late.stop(), 143);
    eventually("out of DNS", || !bind.addresses().contains(&network.ip(5)));
}
