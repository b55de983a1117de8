//! What it takes to make another container like one that runs: its inspection, less what belongs
//! to that one container alone.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, NetworkingConfig, PortBinding,
};
use serde::{Deserialize, Serialize};

use super::rights::rights;
use crate::executor::StepError;

/// Networks that know no aliases.
const PLAIN_NETWORKS: [&str; 5] = ["bridge", "default", "host", "none", ""];
/// Labels by which Compose counts its own containers; a clone that has them is taken for one.
const COMPOSE: &str = "com.docker.compose.";

/// A container to be made, without a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The body of the request that creates it, with its first network.
    pub(super) body: ContainerCreateBody,
    /// The other networks, to be connected before it starts.
    pub(super) more_networks: BTreeMap<String, EndpointSettings>,
    /// The id of the image; its name in the body may mean another one by now, or none.
    #[serde(default)]
    pub(super) image: Option<String>,
}

impl Spec {
    /// The spec of a clone.
    pub(super) fn of(inspected: ContainerInspectResponse) -> Result<Self, StepError> {
        let refuse = |e: serde_json::Error| StepError::Refused(format!("clone its config: {e}"));
        let id = inspected.id.unwrap_or_default();
        let config = serde_json::to_value(inspected.config.unwrap_or_default()).map_err(refuse)?;
        let mut body: ContainerCreateBody = serde_json::from_value(config).map_err(refuse)?;
        let mut host = inspected.host_config.unwrap_or_default();
        let mode = host.network_mode.clone().unwrap_or_default();
        let own_names = OwnNames {
            id,
            name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            hostname: body.hostname.take().unwrap_or_default(),
        };
        // Nothing at all means the image's own to the daemon.
        if body.entrypoint.as_ref().is_none_or(Vec::is_empty) {
            body.entrypoint = Some(vec![String::new()]);
        }
        if let Some(labels) = &mut body.labels {
            labels.retain(|name, _| !name.starts_with(COMPOSE));
        }
        for bindings in host.port_bindings.iter_mut().flat_map(HashMap::values_mut).flatten() {
            bindings.iter_mut().for_each(free_port);
        }
        for ulimit in host.ulimits.iter_mut().flatten() {
            ulimit.name = ulimit.name.take().map(plain_ulimit);
        }
        if mode.starts_with("container:") {
            // Its ports are the other container's affair, and the daemon refuses to hear of them.
            (body.exposed_ports, host.port_bindings, host.publish_all_ports) = (None, None, None);
        }
        host.container_id_file = None;
        body.host_config = Some(host);

        let networks = inspected.network_settings.and_then(|n| n.networks).unwrap_or_default();
        let shared = mode.starts_with("container:") || mode == "host" || mode == "none";
        let networks = if shared { HashMap::new() } else { networks };
        let mut networks: BTreeMap<String, EndpointSettings> = networks
            .into_iter()
            .map(|(name, e)| (name.clone(), own_names.less(&name, e)))
            .collect();
        // Before API 1.44 a container is created with one network only.
        let first = networks.remove_entry(&mode).or_else(|| networks.pop_first());
        body.networking_config =
            first.map(|first| NetworkingConfig { endpoints_config: Some([first].into()) });
        Ok(Self { body, more_networks: networks, image: inspected.image })
    }

    /// What a container of this spec may do to its host.
    pub(super) fn rights(text: &str) -> Vec<String> {
        match serde_json::from_str::<Self>(text) {
            Ok(spec) => rights(&spec.body.host_config.unwrap_or_default()),
            Err(_) => vec!["nobody knows what".to_owned()],
        }
    }
}

/// Names that one container alone answers to.
struct OwnNames {
    id: String,
    name: String,
    hostname: String,
}

impl OwnNames {
    /// An endpoint without these names and the addresses of the one container that has it.
    fn less(&self, network: &str, of: EndpointSettings) -> EndpointSettings {
        let plain = PLAIN_NETWORKS.contains(&network);
        let aliases = of.aliases.filter(|_| !plain);
        EndpointSettings {
            aliases: aliases.map(|all| all.into_iter().filter(|a| !self.has(a)).collect()),
            links: of.links,
            driver_opts: of.driver_opts,
            ..EndpointSettings::default()
        }
    }

    fn has(&self, alias: &str) -> bool {
        /// Docker's own alias of a container: so many digits of its id.
        const SHORT_ID: usize = 12;
        let is_id = alias.len() >= SHORT_ID && self.id.starts_with(alias);
        is_id || alias == self.name || alias == self.hostname
    }
}

/// A range of ports has room for more than one; of a fixed one the daemon chooses another.
fn free_port(binding: &mut PortBinding) {
    binding.host_port = binding.host_port.take().filter(|port| port.contains('-'));
}

/// Podman lists `RLIMIT_NOFILE` and takes `nofile`.
fn plain_ulimit(name: String) -> String {
    name.strip_prefix("RLIMIT_").map_or(name.clone(), str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inspected() -> ContainerInspectResponse {
        serde_json::from_value(json!({
            "Id": "0123456789abcdef",
            "Config": {
                "Hostname": "0123456789ab", "Image": "web:1", "Env": ["A=b"], "Cmd": ["serve"],
                "Labels": {"service_name": "web", "com.docker.compose.project": "x"},
                "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"
            },
            "HostConfig": {
                "NetworkMode": "front", "Memory": 1048576, "Binds": ["data:/data"],
                "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
                "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
            },
            "NetworkSettings": {"Networks": {
                "front": {"Aliases": ["web", "0123456789ab"], "IPAddress": "10.0.0.2",
                          "MacAddress": "02:42:0a:00:00:02", "IPAMConfig": {"IPv4Address": "10.0.0.2"}},
                "back": {"Aliases": ["0123456789ab"]}
            }}
        }))
        .unwrap()
    }

    #[test]
    fn a_clone_has_everything_but_what_is_one_containers_own() {
        let spec = Spec::of(inspected()).unwrap();
        let body = serde_json::to_value(&spec.body).unwrap();
        assert_eq!(body["Image"], "web:1");
        assert_eq!(body["Env"], json!(["A=b"]));
        assert_eq!(body["StopSignal"], "SIGQUIT");
        assert_eq!(body["Labels"], json!({"service_name": "web"}));
        assert_eq!(body["HostConfig"]["Memory"], 1_048_576);
        assert_eq!(body["HostConfig"]["Binds"], json!(["data:/data"]));
        assert_eq!(body["HostConfig"]["RestartPolicy"]["Name"], "always");
        assert_eq!(
            body["HostConfig"]["PortBindings"],
            json!({"80/tcp": [{"HostIp": "127.0.0.1"}]})
        );
        assert!(body.get("Hostname").is_none());
        let front = json!({"front": {"Aliases": ["web"]}});
        assert_eq!(body["NetworkingConfig"]["EndpointsConfig"], front);
        assert_eq!(spec.more_networks["back"].aliases, Some(Vec::new()));
    }

    #[test]
    fn the_default_bridge_gets_no_aliases() {
        let mut inspected = inspected();
        let host = inspected.host_config.as_mut().unwrap();
        host.network_mode = Some("default".to_owned());
        let networks = inspected.network_settings.as_mut().unwrap().networks.as_mut().unwrap();
        let front = networks.remove("front").unwrap();
        networks.clear();
        networks.insert("bridge".to_owned(), front);
        let spec = Spec::of(inspected).unwrap();
        let endpoints = spec.body.networking_config.unwrap().endpoints_config.unwrap();
        assert_eq!(endpoints["bridge"].aliases, None);
    }

    #[test]
    fn a_clone_answers_to_no_name_of_the_original_and_to_all_of_the_service() {
        let mut inspected = inspected();
        inspected.name = Some("/web_1".to_owned());
        inspected.config.as_mut().unwrap().hostname = Some("custom".to_owned());
        let networks = inspected.network_settings.as_mut().unwrap().networks.as_mut().unwrap();
        let all = ["0", "01", "web", "web_1", "custom", "0123456789ab", "deadbeefcafe"];
        networks.get_mut("front").unwrap().aliases = Some(all.map(str::to_owned).into());
        let spec = Spec::of(inspected).unwrap();
        let endpoints = spec.body.networking_config.unwrap().endpoints_config.unwrap();
        let kept = ["0", "01", "web", "deadbeefcafe"].map(str::to_owned);
        assert_eq!(endpoints["front"].aliases, Some(kept.into()));
    }

    #[test]
    fn what_the_daemon_would_refuse_or_take_for_the_images_own_is_said_otherwise() {
        let host = |config: serde_json::Value| {
            let mut inspected = inspected();
            let host = inspected.host_config.as_mut().unwrap();
            *host = serde_json::from_value(config).unwrap();
            Spec::of(inspected).unwrap().body
        };
        let body = host(json!({"NetworkMode": "container:vpn", "PublishAllPorts": true}));
        assert_eq!((body.exposed_ports, body.networking_config), (None, None));
        assert_eq!(body.entrypoint, Some(vec![String::new()]), "none, and not the image's");
        let body = host(json!({
            "PortBindings": {"80/tcp": [{"HostPort": "8000-8010"}, {"HostPort": "8080"}]},
            "Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 1, "Hard": 2}, {"Name": "core"}]
        }));
        let host = serde_json::to_value(body.host_config.unwrap()).unwrap();
        assert_eq!(host["PortBindings"], json!({"80/tcp": [{"HostPort": "8000-8010"}, {}]}));
        assert_eq!(host["Ulimits"][0]["Name"], "nofile");
        assert_eq!(host["Ulimits"][1]["Name"], "core");
        let mut plain = inspected();
        plain.config.as_mut().unwrap().entrypoint = Some(vec!["/init".to_owned()]);
        assert_eq!(Spec::of(plain).unwrap().body.entrypoint, Some(vec!["/init".to_owned()]));
    }
}
