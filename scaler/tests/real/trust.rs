//! Who counts as a replica, and whose clones are whose.

use std::process::Command;

use crate::scale::{alert, policy, settled};
use crate::support::{Containers, Site, eventually, output};

fn docker(args: &[&str]) -> String {
    output(Command::new("docker").args(args))
}

#[tokio::test]
async fn one_off_commands_and_labels_of_images_are_no_replicas() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    let name = |of: &str| format!("{service}_{of}");
    containers.run(&name("1"), &[], 0);
    containers.run(&name("job"), &["--label", "com.docker.compose.oneoff=True"], 0);
    // An image that is made from a container has its labels.
    let image = format!("{}:committed", containers.image);
    docker(&["commit", &name("1"), &image]);
    docker(&["run", "-d", "--name", &name("heir"), "--network", "none", &image]);
    let text = policy(&service, "").replace("min_instance = 1", "min_instance = 2");
    let site = Site::new(None, &text);
    let scaler = site.run(None);
    site.listening().await;
    let rows = settled(&site, 1).await;
    assert_eq!((rows[0].from, rows[0].to), (1, 2), "one is a replica: {rows:#?}");
    site.configure(None, &policy(&service, ""));
    scaler.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the minimum is lower", async || {
        site.log().contains("configuration reloaded").then_some(())
    })
    .await;
    site.alert(&alert("scale_down", "one")).await.unwrap();
    settled(&site, 2).await;
    let left = ["1", "heir", "job"].map(|of| format!("{} running", name(of)));
    assert_eq!(containers.list(), left);
    for why in ["docker compose run made it", "the label is its image's"] {
        assert!(site.log().contains(why), "{why}");
    }
    drop((scaler, containers));
    docker(&["rmi", "-f", &image]);
}

#[tokio::test]
async fn two_scalers_leave_each_others_clones_alone() {
    let Some(containers) = Containers::new() else { return };
    let service = containers.service.clone();
    containers.run(&format!("{service}_1"), &[], 0);
    let two = policy(&service, "").replace("min_instance = 1", "min_instance = 2");
    let (one, other) = (Site::new(None, &two), Site::new(None, &two));
    output(&mut one.command(&["once"]));
    assert_eq!(containers.running(), 2);
    output(&mut other.command(&["once"]));
    assert_eq!(containers.running(), 3, "the other's is not its own");
    let none = two
        .replace("min_instance = 2", "min_instance = 1")
        .replace("max_instance = 4", "max_instance = 1");
    other.configure(None, &none);
    output(&mut other.command(&["once"]));
    assert_eq!(containers.list(), ["1", "2"].map(|n| format!("{service}_{n} running")));
    let store = one.store().await;
    let owner = store.owner().await.unwrap();
    store.close().await;
    let label = "{{index .Config.Labels \"berth.scaler.owner\"}}";
    assert_eq!(docker(&["inspect", "--format", label, &format!("{service}_2")]), owner);
    // Whoever says so takes them over.
    other.configure(None, &format!("[labels]\nowner = \"{owner}\"\n{none}"));
    output(&mut other.command(&["once"]));
    assert_eq!(containers.list(), [format!("{service}_1 running")]);
}
