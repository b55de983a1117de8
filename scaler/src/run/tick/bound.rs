//! Where new containers may be made: what gives one rights on its host must not be had on another
//! host by being cloned.

use crate::executor::Executor;
use crate::executor::plan::Service;
use crate::policy::Policy;
use crate::run::census::Census;

/// The hosts on which containers of a service may be made, and why they are not all.
pub(super) fn hosts_for(
    policy: &Policy,
    service: &Service<'_>,
    hosts: &[String],
    census: &Census,
    executor: &dyn Executor,
) -> (Vec<String>, Option<String>) {
    let allowed = |host: &&String| policy.hosts.is_empty() || policy.hosts.contains(host);
    let hosts: Vec<String> = hosts.iter().filter(allowed).cloned().collect();
    let everywhere = (hosts.clone(), None);
    let Some(template) = &service.template else { return everywhere };
    if policy.clone_privileged || hosts.iter().all(|host| *host == template.0) {
        return everywhere;
    }
    let known = census.get(template).and_then(|known| known.spec.clone());
    let rights =
        known.map_or_else(|| vec!["nobody knows what".to_owned()], |spec| executor.rights(&spec));
    if rights.is_empty() {
        return everywhere;
    }
    let why = format!(
        "policy {}: clones stay on the host {}, since the template has rights there: {}; \
         clone_privileged = true in the policy lifts that",
        policy.name,
        template.0,
        rights.join(", ")
    );
    (hosts.into_iter().filter(|host| *host == template.0).collect(), Some(why))
}
