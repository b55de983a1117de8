//! Which container new ones are made like. It is chosen once and stays: a container that somebody
//! starts later must not decide what is cloned and what the labels say. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::census::Census;
use super::policies::{said, service_of};
use crate::executor::{Instance, Sight, State, label};
use crate::policy::Policy;
use crate::store::containers::Fate;
use crate::store::templates::Template;

/// Templates by service.
pub type Templates = BTreeMap<String, Template>;

/// The templates of all services that are seen or remembered, given those of the round before.
///
/// A policy may name its template. Otherwise it is the eldest living container that the scaler did
/// not make, and stays it for as long as it is there and nobody stopped it on purpose. One that is
/// gone stays it too, if it is remembered how to make it and nobody has started another one.
pub fn choose(
    before: &Templates,
    sight: &Sight,
    census: &Census,
    policies: &[Policy],
) -> Templates {
    let mut seen: HashMap<&str, Vec<&Instance>> = HashMap::new();
    for instance in &sight.instances {
        if let Some(service) = service_of(&instance.labels) {
            seen.entry(service).or_default().push(instance);
        }
    }
    let named = policies.iter().filter_map(|p| Some((p.service.as_str(), p.template.as_deref()?)));
    let named: HashMap<&str, &str> = named.collect();
    let services: BTreeSet<&str> =
        seen.keys().copied().chain(before.keys().map(String::as_str)).collect();
    let choice = |service: &str| {
        let choice = Choice {
            pinned: before.get(service),
            seen: seen.get(service).map_or(&[], Vec::as_slice),
            sight,
            census,
        };
        let template = match named.get(service) {
            Some(name) => choice.by_name(service, name),
            None => choice.eldest(service),
        };
        template.map(|template| (service.to_owned(), template))
    };
    services.into_iter().filter_map(choice).collect()
}

/// What there is to choose from for one service.
struct Choice<'a> {
    pinned: Option<&'a Template>,
    seen: &'a [&'a Instance],
    sight: &'a Sight,
    census: &'a Census,
}

impl Choice<'_> {
    fn by_name(&self, service: &str, name: &str) -> Option<Template> {
        let there = self.seen.iter().find(|i| i.name == name);
        let remembered =
            || self.pinned.filter(|p| p.name == name && self.is_remembered(p)).cloned();
        there.map(|i| template(service, i)).or_else(remembered)
    }

    fn eldest(&self, service: &str) -> Option<Template> {
        let living = |i: &&&Instance| matches!(i.state, State::Running | State::Unable);
        let by_age = |i: &&&Instance| (i.created, i.id.clone());
        let (clones, others): (Vec<&Instance>, Vec<&Instance>) =
            self.seen.iter().partition(|i| i.labels.contains_key(label::INTENT));
        let eldest = |list: &[&Instance]| {
            list.iter().filter(living).min_by_key(by_age).map(|i| template(service, i))
        };
        let pinned = self.pinned.filter(|pinned| {
            self.sight.blind.iter().any(|(host, _)| *host == pinned.host)
                || others.iter().any(|i| self.stays(pinned, i))
        });
        pinned
            .cloned()
            .or_else(|| eldest(&others))
            .or_else(|| self.pinned.filter(|p| self.is_remembered(p)).cloned())
            .or_else(|| eldest(&clones))
    }

    /// Whether this is the pinned one, and nobody has stopped it on purpose.
    fn stays(&self, pinned: &Template, instance: &Instance) -> bool {
        let fate = || self.known(pinned).map(|(fate, _)| fate);
        (&pinned.host, &pinned.id) == (&instance.host, &instance.id)
            && (instance.state != State::Ended || fate() != Some(Fate::Stopped))
    }

    fn is_remembered(&self, pinned: &Template) -> bool {
        self.known(pinned).is_some_and(|(fate, has_spec)| has_spec && fate != Fate::Stopped)
    }

    fn known(&self, pinned: &Template) -> Option<(Fate, bool)> {
        let known = self.census.get(&(pinned.host.clone(), pinned.id.clone()))?;
        Some((known.fate, known.spec.is_some()))
    }
}

fn template(service: &str, instance: &Instance) -> Template {
    Template {
        service: service.to_owned(),
        host: instance.host.clone(),
        id: instance.id.clone(),
        name: instance.name.clone(),
        labels: said(&instance.labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Health;
    use crate::store::containers::Known;
    use crate::timestamp::Timestamp;

    fn instance(name: &str, created: i64) -> Instance {
        Instance {
            host: "a".to_owned(),
            id: format!("id-{name}"),
            name: name.to_owned(),
            ips: Vec::new(),
            labels: [("service_name".to_owned(), "web".to_owned())].into(),
            state: State::Running,
            health: Health::Unchecked,
            created: Timestamp::from_secs(created),
        }
    }

    fn known(of: &Instance, fate: Fate) -> Census {
        let known = Known {
            host: of.host.clone(),
            id: of.id.clone(),
            name: of.name.clone(),
            service: "web".to_owned(),
            fate,
            seen_at: Timestamp(0),
            spec: Some("{}".to_owned()),
        };
        [((of.host.clone(), of.id.clone()), known)].into()
    }

    /// The name of the template of `web`.
    fn chosen(
        before: &Templates,
        instances: &[&Instance],
        census: &Census,
        policies: &[Policy],
    ) -> (Option<String>, Templates) {
        let sight = Sight {
            hosts: vec!["a".to_owned()],
            instances: instances.iter().map(|i| (*i).clone()).collect(),
            blind: Vec::new(),
        };
        let templates = choose(before, &sight, census, policies);
        (templates.get("web").map(|t| t.name.clone()), templates)
    }

    fn pinned(to: &Instance) -> Templates {
        chosen(&Templates::new(), &[to], &Census::new(), &[]).1
    }

    #[test]
    fn the_first_choice_is_the_eldest_that_somebody_started_and_it_stays() {
        let (old, new) = (instance("old", 5), instance("new", 6));
        let mut clone = instance("clone", 1);
        clone.labels.insert(label::INTENT.to_owned(), "1".to_owned());
        let (none, no_one) = (Templates::new(), Census::new());
        let (name, first) = chosen(&none, &[&new, &clone, &old], &no_one, &[]);
        assert_eq!(name.as_deref(), Some("old"));
        // On a host whose clock is behind, or only for a moment.
        let before = instance("before", 1);
        let mut crashed = old.clone();
        crashed.state = State::Ended;
        for there in [&old, &crashed] {
            let (name, _) = chosen(&first, &[&before, there], &known(&old, Fate::Crashed), &[]);
            assert_eq!(name.as_deref(), Some("old"));
        }
        // Somebody stopped it on purpose, or it is gone and another one was started.
        let stopped = known(&old, Fate::Stopped);
        let (name, _) = chosen(&first, &[&new, &crashed], &stopped, &[]);
        assert_eq!(name.as_deref(), Some("new"));
        let (name, _) = chosen(&first, &[&new], &known(&old, Fate::Alive), &[]);
        assert_eq!(name.as_deref(), Some("new"));
        let (name, _) = chosen(&first, &[], &known(&old, Fate::Alive), &[]);
        assert_eq!(name.as_deref(), Some("old"), "what is remembered can be made again");
        assert_eq!(chosen(&first, &[], &no_one, &[]).0, None);
        assert_eq!(chosen(&none, &[&clone], &no_one, &[]).0.as_deref(), Some("clone"));
    }

    #[test]
    fn a_host_that_does_not_answer_changes_no_template() {
        let (old, new) =
            (instance("old", 5), Instance { host: "b".to_owned(), ..instance("new", 6) });
        let sight = Sight {
            hosts: vec!["b".to_owned()],
            instances: vec![new],
            blind: vec![("a".to_owned(), "down".to_owned())],
        };
        let templates = choose(&pinned(&old), &sight, &Census::new(), &[]);
        assert_eq!(templates["web"].name, "old");
    }

    #[test]
    fn a_policy_names_its_template() {
        let (old, new) = (instance("old", 5), instance("new", 6));
        let mut policy = Policy::new("p", "web", 1, 2);
        policy.template = Some("new".to_owned());
        let policies = [policy];
        let name = |there: &[&Instance], census: &Census| {
            chosen(&pinned(&new), there, census, &policies).0
        };
        assert_eq!(name(&[&old, &new], &Census::new()).as_deref(), Some("new"));
        assert_eq!(name(&[&old], &known(&new, Fate::Alive)).as_deref(), Some("new"));
        assert_eq!(name(&[&old], &Census::new()), None, "nothing else takes its place");
    }
}
