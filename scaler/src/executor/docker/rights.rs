//! What a container may do to its host beyond running on it. Whoever may have it on one host must
//! not get it on another by being cloned.

use bollard::models::{HostConfig, Mount, MountType};

/// Every such right, in words; none when a clone may be made on any host.
pub(super) fn rights(host: &HostConfig) -> Vec<String> {
    let mut rights = Vec::new();
    if host.privileged == Some(true) {
        rights.push("it is privileged".to_owned());
    }
    for capability in host.cap_add.iter().flatten() {
        rights.push(format!("the capability {capability}"));
    }
    devices(host, &mut rights);
    namespaces(host, &mut rights);
    for option in host.security_opt.iter().flatten() {
        if !option.starts_with("no-new-privileges") {
            rights.push(format!(
                "the security option {}",
                option.chars().take(60).collect::<String>()
            ));
        }
    }
    // What is hidden by default is an empty list where nothing is hidden.
    if [&host.masked_paths, &host.readonly_paths]
        .iter()
        .any(|l| l.as_ref().is_some_and(Vec::is_empty))
    {
        rights.push("the kernel's settings in /proc and /sys".to_owned());
    }
    volumes(host, &mut rights);
    rights
}

fn devices(host: &HostConfig, rights: &mut Vec<String>) {
    for device in host.devices.iter().flatten() {
        rights.push(format!("the device {}", device.path_on_host.as_deref().unwrap_or("?")));
    }
    if host.device_requests.as_ref().is_some_and(|list| !list.is_empty()) {
        rights.push("devices by a driver, such as GPUs".to_owned());
    }
    if host.device_cgroup_rules.as_ref().is_some_and(|list| !list.is_empty()) {
        rights.push("a rule for devices".to_owned());
    }
}

fn namespaces(host: &HostConfig, rights: &mut Vec<String>) {
    // The cgroup namespace is left out: with cgroups v1 all containers are in the host's.
    let modes = [
        ("network", &host.network_mode),
        ("PID", &host.pid_mode),
        ("IPC", &host.ipc_mode),
        ("UTS", &host.uts_mode),
        ("user", &host.userns_mode),
    ];
    for (name, mode) in modes {
        match mode.as_deref() {
            Some("host") => rights.push(format!("the host's {name} namespace")),
            Some(mode) if mode.starts_with("container:") => {
                rights.push(format!("another container's {name} namespace"));
            }
            _ => {}
        }
    }
    if host.cgroup_parent.as_deref().is_some_and(|parent| !parent.is_empty()) {
        rights.push("a control group of the host".to_owned());
    }
}

fn volumes(host: &HostConfig, rights: &mut Vec<String>) {
    for bind in host.binds.iter().flatten() {
        let from = bind.split(':').next().unwrap_or_default();
        rights.push(path_or_volume(from));
    }
    for mount in host.mounts.iter().flatten() {
        rights.extend(mounted(mount));
    }
    for of in host.volumes_from.iter().flatten() {
        rights.push(format!("the volumes of the container {of}"));
    }
}

fn mounted(mount: &Mount) -> Option<String> {
    let from = mount.source.as_deref().unwrap_or_default();
    let by_driver = mount.volume_options.as_ref().is_some_and(|o| o.driver_config.is_some());
    match mount.typ {
        Some(MountType::TMPFS | MountType::IMAGE) => None,
        // One without a name is made anew for each container.
        Some(MountType::VOLUME) if from.is_empty() && !by_driver => None,
        Some(MountType::VOLUME) if by_driver => Some(format!("the volume {from} of a driver")),
        _ => Some(path_or_volume(from)),
    }
}

fn path_or_volume(from: &str) -> String {
    if from.starts_with('/') { format!("the path {from}") } else { format!("the volume {from}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_the_host_is_seen() {
        for (config, expected) in [
            (json!({"Privileged": true}), "it is privileged"),
            (json!({"CapAdd": ["SYS_ADMIN"]}), "the capability SYS_ADMIN"),
            (json!({"Devices": [{"PathOnHost": "/dev/sda"}]}), "the device /dev/sda"),
            (json!({"DeviceRequests": [{"Count": -1}]}), "devices by a driver, such as GPUs"),
            (json!({"DeviceCgroupRules": ["a *:* rwm"]}), "a rule for devices"),
            (json!({"NetworkMode": "host"}), "the host's network namespace"),
            (json!({"PidMode": "host"}), "the host's PID namespace"),
            (json!({"IpcMode": "container:x"}), "another container's IPC namespace"),
            (json!({"UTSMode": "host"}), "the host's UTS namespace"),
            (json!({"UsernsMode": "host"}), "the host's user namespace"),
            (
                json!({"SecurityOpt": ["seccomp=unconfined"]}),
                "the security option seccomp=unconfined",
            ),
            (json!({"MaskedPaths": []}), "the kernel's settings in /proc and /sys"),
            (json!({"CgroupParent": "/x"}), "a control group of the host"),
            (json!({"Binds": ["/:/host:ro"]}), "the path /"),
            (json!({"Binds": ["/var/run/docker.sock:/s"]}), "the path /var/run/docker.sock"),
            (json!({"Binds": ["data:/data"]}), "the volume data"),
            (json!({"Mounts": [{"Type": "bind", "Source": "/etc"}]}), "the path /etc"),
            (json!({"Mounts": [{"Type": "volume", "Source": "data"}]}), "the volume data"),
            (
                json!({"Mounts": [{"Type": "volume", "VolumeOptions": {"DriverConfig": {
                    "Name": "local", "Options": {"device": "/", "o": "bind"}}}}]}),
                "the volume  of a driver",
            ),
            (json!({"VolumesFrom": ["db"]}), "the volumes of the container db"),
        ] {
            let host: HostConfig = serde_json::from_value(config).unwrap();
            assert_eq!(rights(&host), [expected]);
        }
    }

    #[test]
    fn what_every_container_has_is_no_right() {
        let host = json!({
            "Privileged": false, "CapAdd": null, "CapDrop": ["NET_RAW"], "Devices": [],
            "NetworkMode": "front", "PidMode": "", "IpcMode": "private", "CgroupnsMode": "host",
            "SecurityOpt": ["no-new-privileges:true"], "Binds": null, "CgroupParent": "",
            "MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"], "Memory": 1,
            "Mounts": [{"Type": "tmpfs", "Target": "/tmp"}, {"Type": "volume", "Target": "/x"}]
        });
        assert_eq!(rights(&serde_json::from_value(host).unwrap()), [""; 0]);
    }
}
