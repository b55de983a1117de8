use super::*;
use crate::policy::Direction;

fn labels(list: &[(&str, &str)]) -> Labels {
    list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// The policies that come of the labels of the service `web`, and what was refused.
fn merged(
    policies: Vec<Policy>,
    trust: Trust,
    list: &[(&str, &str)],
) -> (Vec<Policy>, Vec<String>) {
    let mut effects = Vec::new();
    let labels = HashMap::from([("web", labels(list))]);
    let policies = with_labels(policies, &labels, trust, &mut effects);
    let refused = effects.iter().filter(|e| e.refused.is_some()).map(ToString::to_string);
    (policies, refused.collect())
}

/// Everything that a label can say, and more of it than the policy allows.
const WIDE: [(&str, &str); 8] = [
    ("autoscale_min_instance", "9"),
    ("autoscale_max_instance", "10"),
    ("autoscale_action", "scale_up,scale_up_service"),
    ("naming_convention", "other_"),
    ("alert_service_name", "db"),
    ("service_availability", "true"),
    ("policy_name", "db"),
    ("unknown", "x"),
];

#[test]
fn in_full_trust_a_label_wins_field_by_field() {
    let (policies, refused) = merged(vec![Policy::new("p", "web", 2, 8)], Trust::Full, &WIDE);
    let [p] = &policies[..] else { panic!("one") };
    assert_eq!((p.min, p.max, p.naming_convention.as_deref()), (9, 10, Some("other_")));
    assert_eq!((p.name.as_str(), p.alert_service.as_str()), ("p", "db"));
    assert!(p.actions.availability() && p.actions.list.contains(&Action::ScaleUpService));
    assert_eq!(refused, [""; 0]);
    let lower = [("autoscale_max_instances", "1")];
    let (policies, _) = merged(vec![Policy::new("p", "web", 2, 8)], Trust::Full, &lower);
    assert_eq!((policies[0].min, policies[0].max), (1, 1), "the minimum gives way");
}

#[test]
fn narrow_trust_lets_nothing_out_of_the_policys_bounds() {
    let policy = Policy::new("p", "web", 2, 8);
    let (policies, refused) = merged(vec![policy.clone()], Trust::Narrow, &WIDE);
    assert_eq!(policies, [policy]);
    assert_eq!(refused.len(), 6, "{refused:#?}");
    assert!(refused.iter().all(|why| why.contains("trust = \"full\"")), "{refused:#?}");
}

#[test]
fn narrow_trust_lets_a_label_narrow() {
    let mut policy = Policy::new("p", "web", 2, 8);
    policy.actions.list.push(Action::ServiceAvailability);
    let list = [
        ("autoscale_min_instance", "3"),
        ("autoscale_max_instance", "5"),
        ("autoscale_action", "scale_up, service_availability"),
        ("service_availability", "false"),
    ];
    let (policies, refused) = merged(vec![policy.clone()], Trust::Narrow, &list);
    let p = &policies[0];
    assert_eq!((p.min, p.max, &p.actions.list[..]), (3, 5, &[Action::ScaleUp][..]));
    assert_eq!(refused, [""; 0]);
    let (policies, refused) = merged(vec![policy.clone()], Trust::Off, &list);
    assert_eq!((&policies[..], refused.len()), (&[policy][..], 4), "{refused:#?}");
}

#[test]
fn a_wrong_label_changes_nothing_and_is_named() {
    let list = [
        ("autoscale_min_instance", "9"),
        ("autoscale_action", "grow"),
        ("service_availability", "perhaps"),
        ("autoscale_max_instances", "10001"),
        ("naming_convention", "../../info?x="),
    ];
    for trust in [Trust::Narrow, Trust::Full] {
        let (policies, refused) = merged(vec![Policy::new("p", "web", 2, 8)], trust, &list);
        assert_eq!(policies, [Policy::new("p", "web", 2, 8)]);
        assert_eq!(refused.len(), 5, "{refused:?}");
    }
}

#[test]
fn a_label_that_no_store_could_hold_counts_as_none() {
    for name in ["x".repeat(LONGEST_NAME + 1), "a\u{1b}[2Jb".to_owned()] {
        assert_eq!(service_of(&labels(&[("service_name", &name)])), None, "{name:?}");
    }
}

#[test]
fn labels_alone_make_a_policy_in_full_trust_only() {
    let list = [("service_availability", "true")];
    let (policies, _) = merged(Vec::new(), Trust::Full, &list);
    assert!(policies[0].actions.availability());
    assert!(!policies[0].actions.allows(Direction::Up));
    let (policies, refused) = merged(Vec::new(), Trust::Narrow, &list);
    assert!(policies.is_empty());
    let expected = "labels of web: service_availability=true: refused: a policy made of labels \
                    alone takes [labels] trust = \"full\"; or give the service a [[policy]] with \
                    service_name = \"web\"";
    assert_eq!(refused, [expected]);
    let (policies, refused) = merged(Vec::new(), Trust::Full, &[("x", "y")]);
    assert!(policies.is_empty() && refused.is_empty());
}

#[test]
fn not_even_in_full_trust_a_label_takes_what_is_anothers() {
    let db = || vec![Policy::new("db", "database", 1, 2)];
    let own = ("autoscale_max_instance", "3");
    let (policies, refused) = merged(db(), Trust::Full, &[own, ("policy_name", "db")]);
    assert_eq!((policies.len(), refused.len()), (1, 1), "{refused:?}");
    let (policies, _) = merged(db(), Trust::Full, &[own, ("policy_name", "*")]);
    assert_eq!(policies.len(), 1, "a name that stands for all policies");
    for theirs in ["db", "database"] {
        let list = [own, ("alert_service_name", theirs)];
        let (policies, refused) = merged(db(), Trust::Full, &list);
        assert_eq!(policies[1].alert_service, "web");
        assert!(refused[0].ends_with("those are the alerts of the policy db"), "{refused:?}");
    }
}
