//! A clone is like its original in everything but what one container alone can have.

use std::process::Command;

use serde_json::Value;

use crate::scale::policy;
use crate::support::{Containers, Site, output, unique};

/// A container of a service with a clone beside it, made by one round.
struct Pair {
    containers: Containers,
}

impl Pair {
    /// `options` are those of `docker run`; before the clone is made, `then` happens.
    fn new(image: &[&str], options: &[&str], then: impl Fn(&Containers)) -> Option<Self> {
        let mut containers = Containers::new()?;
        if !image.is_empty() {
            let plain = std::mem::replace(&mut containers.image, unique("berth-test-image"));
            let id = docker(&["create", &plain, "/bin/busybox"]);
            let mut commit = vec!["commit"];
            image.iter().for_each(|change| commit.extend(["--change", change]));
            docker(&[&commit[..], &[&id, &containers.image]].concat());
            docker(&["rm", &id]);
            docker(&["rmi", &plain]);
        }
        let (name, label) =
            (format!("{}_1", containers.service), format!("service_name={}", containers.service));
        let script = "trap 'exit 0' TERM; while :; do busybox sleep 1 & wait $!; done";
        let mut args = vec!["run", "-d", "--name", &name, "--label", &label];
        args.extend(options);
        args.extend([containers.image.as_str(), "/bin/busybox", "sh", "-c", script]);
        docker(&args);
        then(&containers);
        let policy =
            policy(&containers.service, "").replace("min_instance = 1", "min_instance = 2");
        output(&mut Site::new(None, &policy).command(&["once"]));
        Some(Self { containers })
    }

    fn inspected(&self, n: u32) -> Value {
        let text = docker(&["inspect", &format!("{}_{n}", self.containers.service)]);
        let mut list: Vec<Value> = serde_json::from_str(&text).unwrap();
        let found = list.remove(0);
        assert_eq!(found["State"]["Running"], true, "{found:#}");
        found
    }
}

fn docker(args: &[&str]) -> String {
    output(Command::new("docker").args(args))
}

#[test]
fn in_another_containers_network_with_ports_of_its_image() {
    let Some(other) = Containers::new() else { return };
    let name = format!("{}-vpn", other.service);
    other.run(&name, &[], 0);
    let network = format!("container:{name}");
    let pair = Pair::new(&["EXPOSE 80"], &["--network", &network], |_| {}).unwrap();
    let modes = [1, 2].map(|n| pair.inspected(n)["HostConfig"]["NetworkMode"].clone());
    assert_eq!(modes[0], modes[1]);
}

#[test]
fn without_the_entrypoint_of_its_image() {
    let options = ["--network", "none", "--entrypoint", ""];
    let image = ["ENTRYPOINT [\"/bin/nothing\"]"];
    let Some(pair) = Pair::new(&image, &options, |_| {}) else { return };
    assert_eq!(pair.inspected(1)["Args"], pair.inspected(2)["Args"]);
}

#[test]
fn of_an_image_whose_name_means_another_one_now_or_nothing() {
    let options = ["--network", "none"];
    let retag = |containers: &Containers| {
        docker(&[
            "commit",
            "--change",
            "ENV V=2",
            &format!("{}_1", containers.service),
            &containers.image,
        ]);
    };
    let Some(pair) = Pair::new(&["ENV V=1"], &options, retag) else { return };
    assert_eq!(pair.inspected(1)["Image"], pair.inspected(2)["Image"]);
    let untag = |containers: &Containers| {
        let image = &containers.image;
        docker(&["tag", image, &format!("{image}-kept")]);
        docker(&["rmi", image]);
    };
    let pair = Pair::new(&[], &options, untag).unwrap();
    assert_eq!(pair.inspected(1)["Image"], pair.inspected(2)["Image"]);
    docker(&["rmi", "-f", &format!("{}-kept", pair.containers.image)]);
}

/// A network of Docker's, removed at the end.
struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["network", "rm", &self.0]).output();
    }
}

#[test]
fn in_a_network_by_the_services_names_and_not_by_the_originals() {
    if Containers::new().is_none() {
        return;
    }
    let network = Network(unique("berth-test"));
    docker(&["network", "create", &network.0]);
    let service_alias = ["--network-alias", "web", "--network-alias", "a"];
    let options = [&["--network", &network.0, "--hostname", "custom"][..], &service_alias].concat();
    let options = [&options[..], &["-p", "127.0.0.1:23900-23910:80"]].concat();
    let pair = Pair::new(&[], &options, |_| {}).unwrap();
    let clone = pair.inspected(2);
    let aliases = &clone["NetworkSettings"]["Networks"][&network.0]["Aliases"];
    let id = clone["Id"].as_str().unwrap();
    let aliases: Vec<&str> = aliases.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let own = |alias: &&&str| !id.starts_with(**alias) || alias.len() < 12;
    let mut of_service: Vec<&&str> = aliases.iter().filter(own).collect();
    of_service.sort();
    of_service.dedup();
    assert_eq!(of_service, [&"a", &"web"]);
    assert_eq!(clone["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "23900-23910");
    drop(pair);
}
