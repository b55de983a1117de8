//! What it takes to make another container like one that runs: its inspection, less what belongs
//! to that one container alone.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, NetworkingConfig,
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
        // Another container's network is its own host name, too.
        body.hostname = None;
        if let Some(labels) = &mut body.labels {
            labels.retain(|name, _| !name.starts_with(COMPOSE));
        }
        for bindings in host.port_bindings.iter_mut().flat_map(HashMap::values_mut).flatten() {
            bindings.iter_mut().for_each(|binding| binding.host_port = None);
        }
        host.container_id_file = None;
        body.host_config = Some(host);

        let networks = inspected.network_settings.and_then(|n| n.networks).unwrap_or_default();
        let shared = mode.starts_with("container:") || mode == "host" || mode == "none";
        let networks = if shared { HashMap::new() } else { networks };
        let mut networks: BTreeMap<String, EndpointSettings> =
            networks.into_iter().map(|(name, e)| (name.clone(), endpoint(&name, e, &id))).collect();
        // Before API 1.44 a container is created with one network only.
        let first = networks.remove_entry(&mode).or_else(|| networks.pop_first());
        body.networking_config =
            first.map(|first| NetworkingConfig { endpoints_config: Some([first].into()) });
        Ok(Self { body, more_networks: networks })
    }

    /// What a container of this spec may do to its host.
    pub(super) fn rights(text: &str) -> Vec<String> {
        match serde_json::from_str::<Self>(text) {
            Ok(spec) => rights(&spec.body.host_config.unwrap_or_default()),
            Err(_) => vec!["nobody knows what".to_owned()],
        }
    }
}

/// An endpoint without the addresses and names of the one container that has it.
fn endpoint(network: &str, of: EndpointSettings, id: &str) -> EndpointSettings {
    let plain = PLAIN_NETWORKS.contains(&network);
    let aliases = of.aliases.filter(|_| !plain).map(|aliases| {
        aliases.into_iter().filter(|a| !is_short_id(a) && !id.starts_with(a.as_str())).collect()
    });
    EndpointSettings {
        aliases,
        links: of.links,
        driver_opts: of.driver_opts,
        ..EndpointSettings::default()
    }
}

/// Docker's own alias of a container: the first twelve digits of its id.
fn is_short_id(alias: &str) -> bool {
    alias.len() == 12 && alias.bytes().all(|b| b.is_ascii_hexdigit())
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
}
