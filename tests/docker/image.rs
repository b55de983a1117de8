//! The image and how it is run: the check, no rights, another init, compose.

use std::process::Command;

use crate::support::control::is_ready;
use crate::support::docker::{Site, docker, haproxy_config};
use crate::support::eventually;
use crate::support::images::{agent_image, image};

on_each_haproxy!(the_check_follows_what_haproxy_says_and_the_image_has_no_health_check);

fn the_check_follows_what_haproxy_says_and_the_image_has_no_health_check(version: &str) {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy(version, &network);
    let app = site.app("one", &network).start();
    assert_eq!(app.inspect("{{json .Config.Healthcheck}}"), "null");
    assert!(app.exec(&["/berth", "--check", "--wait", "20s"]).is_ok());
    let slot = haproxy.serves(&app.at(&network));
    haproxy.command(&format!("set server webapp/{slot} state maint"));
    eventually("not registered", || !app.check());
    haproxy.command(&format!("set server webapp/{slot} state ready"));
    eventually("registered again", || app.check());
    haproxy.container.docker(&["kill"]);
    eventually("nobody can tell", || {
        app.exec(&["/berth", "--check"]).is_err_and(|said| said.contains("no server can tell"))
    });
    assert!(app.is_running());
}

#[test]
fn nothing_is_needed_in_the_image_and_no_rights() {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy("3.2", &network);
    for base in ["scratch", "debian"] {
        let app = site
            .app(base, &network)
            .on(base)
            .option(&["--read-only", "--cap-drop", "ALL", "--user", "1234:1234"])
            .option(&["--security-opt", "no-new-privileges", "--pids-limit", "10"])
            .start();
        eventually("served", || haproxy.get("/") == format!("hello from {base}\n"));
        assert!(app.check());
        let status = app.exec(&["/berth", "--status"]).unwrap();
        assert!(status.contains("webapp/node") && status.contains("UP"), "{status}");
        assert_eq!(
            app.inspect("{{.HostConfig.ReadonlyRootfs}} {{.Config.User}}"),
            "true 1234:1234"
        );
        assert_eq!(app.stop(), 143);
        assert!(haproxy.ready().is_empty());
    }
}

#[test]
fn dockers_own_init_on_top_changes_nothing() {
    let Some(site) = Site::start() else { return };
    let network = site.network("front");
    let haproxy = site.haproxy("3.2", &network);
    let app = site.app("one", &network).option(&["--init"]).start();
    haproxy.serves(&app.at(&network));
    let processes = docker(&["top", &app.name, "-o", "pid,args"]);
    assert!(processes.contains("docker-init") && processes.contains("/berth"), "{processes}");
    assert!(app.check());
    assert_eq!(app.stop(), 143);
    assert!(haproxy.ready().is_empty(), "the slot was given back");
}

#[test]
fn compose_scales_a_service_up_and_down() {
    let Some(site) = Site::start() else { return };
    // The example's own service, with an image that is here and a HAProxy without `configs`, which
    // the older compose does not know.
    let example = include_str!("../../examples/compose.yaml");
    let start = example.find("  webapp:").unwrap();
    let service = &example[start..example.find("\nnetworks:").unwrap()];
    let (dir, haproxy) = site.haproxy_dir("lb", &haproxy_config());
    let file = format!(
        "services:\n  haproxy:\n    image: {}\n    command: [/lb/haproxy.cfg]\n    \
         volumes: ['{dir}:/lb']\n    networks: [front]\n\n{}\nnetworks:\n  front:\n",
        image("haproxy-3.2"),
        service.replace("image: webapp", &format!("image: {}", agent_image("debian"))),
    );
    std::fs::write(format!("{dir}/compose.yaml"), file).unwrap();
    let compose = |words: &[&str]| {
        let plugin = Command::new("docker").args(["compose", "version"]).output();
        let mut compose = match plugin.is_ok_and(|output| output.status.success()) {
            true => Command::new("docker"),
            false => Command::new("docker-compose"),
        };
        if compose.get_program() == "docker" {
            compose.arg("compose");
        }
        compose.args(["-f", &format!("{dir}/compose.yaml"), "-p", site.id()]).args(words);
        let output = compose.output().expect("docker compose, or docker-compose");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for nodes in [5, 2, 3] {
        compose(&["up", "--detach", "--scale", &format!("webapp={nodes}")]);
        eventually("as many slots as containers", || {
            haproxy
                .try_servers()
                .is_ok_and(|servers| servers.iter().filter(|slot| is_ready(slot)).count() == nodes)
        });
    }
    compose(&["down"]);
}
