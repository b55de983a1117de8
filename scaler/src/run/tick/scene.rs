//! What a round looks at: the containers of each service, what their labels say, and the readings.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::executor::plan::Service;
use crate::executor::{Instance, Sight, State};
use crate::observation::Reading;
use crate::policy::{Law, Metric, Policy, Target, ValueOf};
use crate::ports::Question;
use crate::run::blind::Blind;
use crate::run::census::{Census, Keep};
use crate::run::policies::service_of;
use crate::run::templates::Templates;
use crate::sources::Sources;
use crate::store::audit::Entry;
use crate::store::containers::{Fate, Known};
use crate::timestamp::Timestamp;

/// What every policy looks at, sorted once.
pub(super) struct Scene<'a> {
    instances: HashMap<&'a str, Vec<&'a Instance>>,
    known: HashMap<&'a str, Vec<&'a Known>>,
    open: HashMap<&'a str, Vec<&'a Entry>>,
    templates: &'a Templates,
    pub(super) load: HashMap<&'a str, usize>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        sight: &'a Sight,
        census: &'a Census,
        open: &'a [Entry],
        templates: &'a Templates,
        blind: &Blind,
    ) -> Self {
        let mut scene = Self {
            instances: HashMap::new(),
            known: HashMap::new(),
            open: HashMap::new(),
            templates,
            load: HashMap::new(),
        };
        for instance in &sight.instances {
            *scene.load.entry(&instance.host).or_default() += 1;
            if let Some(service) = service_of(&instance.labels) {
                scene.instances.entry(service).or_default().push(instance);
            }
        }
        let silent: HashSet<&str> = blind.hosts().collect();
        let usable = |k: &&Known| {
            let waits = matches!(k.fate, Fate::Crashed | Fate::Deleted | Fate::Parked);
            !(waits && silent.contains(k.host.as_str()))
        };
        for known in census.values().filter(usable) {
            scene.known.entry(&known.service).or_default().push(known);
        }
        let reachable =
            |e: &&Entry| !e.step.as_ref().is_some_and(|step| silent.contains(step.host.as_str()));
        for entry in open.iter().filter(reachable) {
            scene.open.entry(&entry.service).or_default().push(entry);
        }
        scene
    }

    pub(super) fn service(&self, policy: &Policy) -> Service<'_> {
        let service = policy.service.as_str();
        let instances = self.instances.get(service).map_or(&[][..], Vec::as_slice);
        let known = self.known.get(service).map_or(&[][..], Vec::as_slice);
        let open = self.open.get(service).map_or(&[][..], Vec::as_slice);
        let mut found = Service::new(instances, known, open);
        let template = self.templates.get(service).map(|t| (t.host.clone(), t.id.clone()));
        // Where the policy names one, nothing else takes its place.
        if template.is_some() || policy.template.is_some() {
            found.template = template;
        }
        found
    }
}

/// One reading for each metric of each policy.
pub(super) async fn read(
    sources: &mut Sources,
    policies: &[Policy],
    sight: &Sight,
    at: Timestamp,
    patience: Duration,
) -> Vec<Vec<Reading>> {
    let asks_each = |m: &Metric| sources.asks_each(&m.query.source);
    let mut members: HashMap<&str, Vec<&Instance>> = HashMap::new();
    if policies.iter().any(|policy| policy.metrics.iter().any(asks_each)) {
        for instance in sight.instances.iter().filter(|i| i.state == State::Running) {
            if let Some(service) = service_of(&instance.labels) {
                members.entry(service).or_default().push(instance);
            }
        }
    }
    let question = |(policy, metric): (&Policy, &Metric)| Question {
        service: policy.service.clone(),
        query: metric.query.clone(),
        value: match metric.law {
            Law::Target(Target { value, .. }) => value,
            Law::Backlog { .. } => ValueOf::Total,
            Law::Steps(_) => ValueOf::Average,
        },
        members: match members.get(policy.service.as_str()) {
            Some(members) if asks_each(metric) => members.iter().map(|i| (*i).clone()).collect(),
            _ => Vec::new(),
        },
    };
    let metrics = policies.iter().flat_map(|p| p.metrics.iter().map(move |m| (p, m)));
    let questions: Vec<Question> = metrics.map(question).collect();
    let mut readings = sources.read(questions, at, patience).await.into_iter();
    policies.iter().map(|policy| readings.by_ref().take(policy.metrics.len()).collect()).collect()
}

pub(super) fn keeps(policies: &[Policy]) -> HashMap<String, Keep> {
    let keep = |p: &Policy| if p.actions.availability() { Keep::Every } else { Keep::One };
    policies.iter().map(|p| (p.service.clone(), keep(p))).collect()
}
