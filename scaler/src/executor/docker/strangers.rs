//! Containers that carry a service's label and are no replicas of it: one-off commands of Compose,
//! those whose label comes from their image, and what another scaler made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bollard::Docker;
use bollard::models::ContainerSummary;
use tracing::info;

use super::hosts::step_error;
use crate::executor::{StepError, label};
use crate::run::policies::{SERVICE, service_of};

/// `docker compose run` makes these for one command.
const ONE_OFF: &str = "com.docker.compose.oneoff";

type Labels = HashMap<String, String>;

/// What is known of images, whose labels never change, and what was said of containers.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Labels by host and image.
    images: Mutex<HashMap<(String, String), Labels>>,
    told: Mutex<HashSet<String>>,
}

impl Strangers {
    /// Asks a host for the images that are not known yet, and forgets those that it has no
    /// container of.
    pub(super) async fn learn(
        &self,
        docker: &Docker,
        host: &str,
        containers: &[ContainerSummary],
    ) -> Result<(), StepError> {
        let labelled = containers.iter().filter(|c| {
            let labels = c.labels.iter().flatten();
            labels.into_iter().any(|(name, _)| SERVICE.contains(&name.as_str()))
        });
        let ids: HashSet<&String> = labelled.filter_map(|c| c.image_id.as_ref()).collect();
        locked(&self.images).retain(|(at, id), _| at != host || ids.contains(id));
        for id in ids {
            let key = (host.to_owned(), id.clone());
            if locked(&self.images).contains_key(&key) {
                continue;
            }
            let labels = match docker.inspect_image(id).await {
                Ok(image) => image.config.and_then(|config| config.labels).unwrap_or_default(),
                // It has been removed by force: what it said is not known any more.
                Err(bollard::errors::Error::DockerResponseServerError { .. }) => Labels::new(),
                Err(error) => return Err(step_error(error)),
            };
            locked(&self.images).insert(key, labels);
        }
        Ok(())
    }

    /// Takes the service from a container that is no replica of it, and says so once.
    pub(super) fn unlabel(
        &self,
        host: &str,
        owner: Option<&str>,
        container: &ContainerSummary,
        labels: &mut BTreeMap<String, String>,
    ) {
        let Some(service) = service_of(labels).map(str::to_owned) else { return };
        let image = container.image_id.clone().unwrap_or_default();
        let images = locked(&self.images);
        let empty = Labels::new();
        let image = images.get(&(host.to_owned(), image)).unwrap_or(&empty);
        let Some(why) = no_replica(labels, image, owner) else { return };
        labels.retain(|name, _| !SERVICE.contains(&name.as_str()));
        let id = container.id.clone().unwrap_or_default();
        if locked(&self.told).insert(id) {
            let name = container.names.iter().flatten().next().cloned().unwrap_or_default();
            let name = name.trim_start_matches('/');
            info!(host, container = name, service, why, "no replica: left alone");
        }
    }
}

/// Why a container is no replica of the service that its label names.
fn no_replica(
    labels: &BTreeMap<String, String>,
    image: &Labels,
    owner: Option<&str>,
) -> Option<String> {
    let inherited = |name: &str| labels.get(name).is_some_and(|of| image.get(name) == Some(of));
    let theirs = labels.get(label::OWNER).map(String::as_str);
    if labels.get(ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Some("docker compose run made it for one command".to_owned());
    }
    match labels.contains_key(label::INTENT) {
        true if inherited(label::INTENT) => {
            Some("its image was made from a clone and has its labels".to_owned())
        }
        true => theirs.filter(|theirs| owner.is_some_and(|owner| owner != *theirs)).map(|theirs| {
            format!("the scaler {theirs} made it; labels.owner = {theirs:?} would take it over")
        }),
        false => SERVICE.iter().any(|name| inherited(name)).then(|| {
            "the label is its image's, not its own: give it to the container alone".to_owned()
        }),
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(labels: &[(&str, &str)], image: &[(&str, &str)]) -> Option<String> {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        let mut labels: BTreeMap<_, _> = labels.iter().map(owned).collect();
        labels.insert("service_name".to_owned(), "web".to_owned());
        no_replica(&labels, &image.iter().map(owned).collect(), Some("me"))
    }

    #[test]
    fn a_replica_is_what_somebody_labelled_or_this_scaler_made() {
        let (intent, web) = (("berth.scaler.intent", "7"), ("service_name", "web"));
        let owner = |name| ("berth.scaler.owner", name);
        for (labels, image) in [
            (&[][..], &[][..]),
            (&[("com.docker.compose.oneoff", "False")], &[("service_name", "other")]),
            (&[intent, owner("me")], &[web]),
            // Made before clones had an owner.
            (&[intent], &[]),
        ] {
            assert_eq!(why(labels, image), None, "{labels:?}");
        }
        for (labels, image, expected) in [
            (&[("com.docker.compose.oneoff", "True")][..], &[][..], "docker compose run"),
            (&[], &[web], "the label is its image's"),
            (&[intent, owner("me")], &[intent], "its image was made from a clone"),
            (&[intent, owner("other")], &[], "the scaler other made it"),
        ] {
            assert!(why(labels, image).unwrap().starts_with(expected), "{labels:?}");
        }
    }
}
