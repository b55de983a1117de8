use super::*;
use crate::executor::label;
use std::time::Duration;

fn instance(name: &str, host: &str, created: i64) -> Instance {
    Instance {
        host: host.to_owned(),
        id: format!("id-{name}"),
        name: name.to_owned(),
        ips: Vec::new(),
        labels: [].into(),
        state: State::Running,
        health: Health::Unchecked,
        created: Timestamp::from_secs(created),
    }
}

fn clone(name: &str, host: &str, created: i64) -> Instance {
    let mut instance = instance(name, host, created);
    instance.labels.insert(label::INTENT.to_owned(), "1".to_owned());
    instance
}

fn known(of: &Instance, fate: Fate) -> Known {
    Known {
        host: of.host.clone(),
        id: of.id.clone(),
        name: of.name.clone(),
        service: "web".to_owned(),
        fate,
        seen_at: Timestamp(0),
        spec: Some("{}".to_owned()),
    }
}

fn policy() -> Policy {
    let mut policy = Policy::new("web", "web", 1, 10);
    policy.naming_convention = Some("web_".to_owned());
    policy
}

fn steps(policy: &Policy, service: &Service<'_>, action: Move) -> Vec<(StepKind, String, String)> {
    let hosts = ["a".to_owned(), "b".to_owned()];
    let (load, avoid) = (HashMap::from([("a", 1), ("b", 9)]), HashSet::new());
    let names = HashSet::from(["web_1".to_owned(), "web_3".to_owned()]);
    let around = Surroundings {
        hosts: &hosts,
        load: &load,
        avoid: &avoid,
        names: &names,
        sessions: &HashMap::new(),
    };
    let plan = plan(policy, service, &around, action).unwrap();
    plan.steps.into_iter().map(|s| (s.kind, s.host, s.name)).collect()
}

fn create(n: u32) -> Move {
    Move::Out { take_back: 0, restart: 0, create: n }
}

#[test]
fn new_ones_take_the_next_free_number_and_spread_over_hosts() {
    let one = instance("web_1", "a", 1);
    let service = Service::new(&[&one], &[], &[]);
    let made = steps(&policy(), &service, create(3));
    let expected = [("b", "web_2"), ("a", "web_4"), ("b", "web_5")];
    let expected = expected.map(|(h, n)| (StepKind::Create, h.to_owned(), n.to_owned()));
    assert_eq!(made, expected);
}

#[test]
fn the_template_is_never_a_victim_and_the_newest_clone_goes_first() {
    let (first, old, new) = (instance("one", "a", 5), clone("old", "a", 6), clone("new", "a", 7));
    let service = Service::new(&[&new, &first, &old], &[], &[]);
    assert_eq!(service.template, Some(("a".to_owned(), "id-one".to_owned())));
    let gone = steps(&policy(), &service, Move::In { stop: 3 });
    let names: Vec<&str> = gone.iter().map(|(_, _, name)| name.as_str()).collect();
    assert_eq!(names, ["new", "old"]);
}

#[test]
fn down_to_none_the_template_is_parked_and_comes_back_first() {
    let mut policy = policy();
    policy.min = 0;
    let first = instance("one", "a", 5);
    let service = Service::new(&[&first], &[], &[]);
    let gone = steps(&policy, &service, Move::In { stop: 1 });
    assert_eq!(gone, [(StepKind::Park, "a".to_owned(), "one".to_owned())]);
    let mut ended = first.clone();
    ended.state = State::Ended;
    let parked = known(&first, Fate::Parked);
    let service = Service::new(&[&ended], &[&parked], &[]);
    let back = steps(&policy, &service, create(2));
    assert_eq!(back[0], (StepKind::Start, "a".to_owned(), "one".to_owned()));
    assert_eq!(back[1].0, StepKind::Create);
}

#[test]
fn what_crashed_is_started_and_what_was_deleted_is_made_again_under_its_name() {
    let (alive, crashed, deleted) = (
        instance("one", "a", 1),
        known(&instance("two", "b", 2), Fate::Crashed),
        known(&instance("three", "a", 3), Fate::Deleted),
    );
    let mut ended = instance("two", "b", 2);
    ended.state = State::Ended;
    let service = Service::new(&[&alive, &ended], &[&crashed, &deleted], &[]);
    assert_eq!(service.replicas(&policy(), Timestamp::from_secs(100)).stopped, 2);
    let back = steps(&policy(), &service, Move::Out { take_back: 0, restart: 2, create: 0 });
    assert_eq!(
        back,
        [
            (StepKind::Start, "b".to_owned(), "two".to_owned()),
            (StepKind::Create, "a".to_owned(), "three".to_owned())
        ]
    );
}

#[test]
fn an_operators_stop_is_left_alone() {
    let mut stopped = instance("one", "a", 1);
    stopped.state = State::Ended;
    let fate = known(&stopped, Fate::Stopped);
    let service = Service::new(&[&stopped], &[&fate], &[]);
    assert_eq!(service.replicas(&policy(), Timestamp(0)), Replicas::default());
}

#[test]
fn open_intents_count_before_docker_shows_them() {
    let one = instance("one", "a", 1);
    let entry = |kind: StepKind, of: &Instance| {
        let mut entry = Entry::new(Timestamp(1), "web", "web", kind.as_str());
        entry.container_id = Some(of.id.clone());
        entry.step = Some(of_instance(&policy(), kind, of));
        entry
    };
    let coming = entry(StepKind::Create, &instance("web_2", "a", 2));
    let going = entry(StepKind::Stop, &one);
    let service = Service::new(&[&one], &[], &[&coming, &going]);
    let replicas = service.replicas(&policy(), Timestamp::from_secs(100));
    assert_eq!((replicas.starting, replicas.running, replicas.draining), (1, 0, 1));
    let mut sent = going.clone();
    sent.status = Some("draining".to_owned());
    let service = Service::new(&[&one], &[], &[&sent]);
    assert_eq!(service.replicas(&policy(), Timestamp::from_secs(100)), Replicas::default());
}

#[test]
fn health_and_age_tell_capacity_from_the_rest() {
    let mut all: Vec<Instance> = (0..4).map(|n| instance(&format!("i{n}"), "a", 0)).collect();
    all[0].health = Health::Unhealthy;
    all[1].health = Health::Starting;
    all[2].created = Timestamp::from_secs(95);
    let refs: Vec<&Instance> = all.iter().collect();
    let mut policy = policy();
    policy.start_time = Duration::from_secs(20);
    let replicas = Service::new(&refs, &[], &[]).replicas(&policy, Timestamp::from_secs(100));
    assert_eq!((replicas.unhealthy, replicas.starting, replicas.running), (1, 2, 1));
}

#[test]
fn nothing_to_clone_is_said_in_words() {
    let service = Service::default();
    let (load, avoid, names) = (HashMap::new(), HashSet::new(), HashSet::new());
    let around = Surroundings {
        hosts: &["a".to_owned()],
        load: &load,
        avoid: &avoid,
        names: &names,
        sessions: &HashMap::new(),
    };
    let error = plan(&policy(), &service, &around, create(1)).unwrap_err();
    assert!(error.contains("service_name=web"), "{error}");
}

#[test]
fn what_somebody_else_made_is_stopped_and_kept_and_comes_back_first() {
    let (first, second) = (instance("one", "a", 1), instance("two", "a", 2));
    let service = Service::new(&[&first, &second], &[], &[]);
    let gone = steps(&policy(), &service, Move::In { stop: 1 });
    assert_eq!(gone, [(StepKind::Park, "a".to_owned(), "two".to_owned())]);
    // Pruned meanwhile, or made with --rm: it is made again under its name.
    let parked = known(&second, Fate::Parked);
    let service = Service::new(&[&first], &[&parked], &[]);
    let back = steps(&policy(), &service, create(1));
    assert_eq!(back, [(StepKind::Create, "a".to_owned(), "two".to_owned())]);
}

/// What is done instead of a step that was refused; `seen` is what has its name on its host.
fn instead(
    service: &Service<'_>,
    step: &Step,
    seen: Option<&Instance>,
) -> Option<(String, String, Option<String>)> {
    let hosts = ["a".to_owned(), "b".to_owned()];
    let (load, avoid) = (HashMap::new(), HashSet::from(["a".to_owned()]));
    let names = HashSet::from(["web_1".to_owned(), "web_2".to_owned()]);
    let around = Surroundings {
        hosts: &hosts,
        load: &load,
        avoid: &avoid,
        names: &names,
        sessions: &HashMap::new(),
    };
    let other = another_way(&policy(), service, &around, step, seen)?;
    assert_eq!(other.kind, StepKind::Create);
    Some((other.host, other.name, other.replaces.map(|(_, id)| id)))
}

#[test]
fn what_a_host_refuses_is_done_elsewhere_by_the_same_step() {
    let one = instance("one", "a", 1);
    let service = Service::new(&[&one], &[], &[]);
    let create = made(&policy(), "a", "web_2".to_owned(), ("a".to_owned(), one.id.clone()));
    let text = str::to_owned;
    assert_eq!(instead(&service, &create, None), Some((text("b"), text("web_2"), None)));
    let taken = instance("web_2", "a", 2);
    let other = Some((text("b"), text("web_3"), None));
    assert_eq!(instead(&service, &create, Some(&taken)), other, "its name is somebody else's");
    let half = clone("web_2", "a", 2);
    assert_eq!(instead(&service, &create, Some(&half)), None, "it is still there");
}

#[test]
fn one_that_cannot_be_started_is_replaced_by_the_same_step() {
    let (one, mut lost) = (instance("one", "a", 1), instance("two", "a", 2));
    lost.state = State::Ended;
    let crashed = known(&lost, Fate::Crashed);
    let service = Service::new(&[&one, &lost], &[&crashed], &[]);
    let start = back(&policy(), &service, &crashed);
    assert_eq!(start.kind, StepKind::Start);
    let id = Some(lost.id.clone());
    let text = str::to_owned;
    assert_eq!(
        instead(&service, &start, Some(&lost)),
        Some((text("b"), text("web_3"), id.clone()))
    );
    assert_eq!(instead(&service, &start, None), Some((text("a"), text("two"), id)), "it is gone");
    // While its replacement is under way it is not lost.
    let mut entry = Entry::new(Timestamp(1), "web", "web", "create");
    let replaces = Some((lost.host.clone(), lost.id.clone()));
    let like = ("a".to_owned(), one.id.clone());
    entry.step = Some(Step { replaces, ..made(&policy(), "b", "web_3".to_owned(), like) });
    let service = Service::new(&[&one, &lost], &[&crashed], &[&entry]);
    assert_eq!((service.lost.len(), service.coming), (0, 1));
}

#[test]
fn who_comes_last_beyond_the_maximum_pushes_nobody_out() {
    let mut policy = policy();
    policy.max = 3;
    let first = instance("first", "a", 1);
    let clones = [clone("c1", "a", 2), clone("c2", "a", 3)];
    let late = [instance("late1", "b", 4), instance("late2", "b", 5)];
    let all = [&first, &clones[0], &clones[1], &late[0], &late[1]];
    let gone = steps(&policy, &Service::new(&all, &[], &[]), Move::In { stop: 3 });
    let names: Vec<&str> = gone.iter().map(|(_, _, name)| name.as_str()).collect();
    assert_eq!(names, ["late2", "late1", "c2"]);
    assert!(gone[..2].iter().all(|(kind, ..)| *kind == StepKind::Park), "stopped and kept");
    // Within the maximum, and where clones came later, clones go first.
    policy.max = 9;
    let gone = steps(&policy, &Service::new(&all, &[], &[]), Move::In { stop: 1 });
    assert_eq!(gone[0].2, "c2");
    policy.max = 2;
    let old = [instance("old1", "b", 1), instance("old2", "b", 1)];
    let all = [&first, &old[0], &old[1], &clones[0]];
    let gone = steps(&policy, &Service::new(&all, &[], &[]), Move::In { stop: 1 });
    assert_eq!(gone[0].2, "c1");
}
