use super::*;
use crate::policy::{Action, Law, Query, Step};
use crate::store::policies::PolicyRow;

const WHOLE: &str = r#"
[store]
url = "mysql://scaler:${DB_PASSWORD}@10.0.0.3:3306/berth"

[loop]
interval = "2s"

[alerts]
listen = "0.0.0.0:8080"
token = "${ALERT_TOKEN}"

[[haproxy]]
name = "edge"
servers = ["10.0.0.5:9999", "10.0.0.6:9999"]

[[prometheus]]
name = "prom"
url = "http://10.0.0.7:9090"

[[docker]]
name = "a"
host = "tcp://10.0.0.8:2376"
tls_ca = "/certs/ca.pem"
tls_cert = "/certs/cert.pem"
tls_key = "/certs/key.pem"

[[policy]]
policy_name = "webapp"
service_name = "webapp"
alert_service_name = "haproxy"
naming_convention = "webapp_"
autoscale_min_instance = 2
autoscale_max_instance = 20
autoscale_action = ["haproxy_scale_up", "scale_down", "service_availability"]
down = { window = "2m", limit_percent = 25, limit_period = "1m" }

[[policy.metric]]
name = "sessions"
source = "edge"
backend = "web"
column = "scur"
target = 50

[[policy.metric]]
name = "slow"
source = "prom"
query = "histogram_quantile(0.9, x)"
step = [{ above = 0.5, add = 1 }, { above = 2, add = 4 }, { below = 0.1, remove = 1 }]

[[policy.schedule]]
cron = "0 8 * * MON-FRI"
time_zone = "Europe/Paris"
duration = "10h"
min = 5
"#;

fn env(name: &str) -> Option<String> {
    match name {
        "DB_PASSWORD" | "ALERT_TOKEN" => Some(format!("<{name}>")),
        "EMPTY" => Some("\n".to_owned()),
        _ => None,
    }
}

fn errors(text: &str) -> Vec<String> {
    let errors = Config::parse(text, &env).expect_err("must not be accepted");
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn reads_every_section() {
    let config = Config::parse(WHOLE, &env).expect("right");
    assert_eq!(
        config.store.url,
        StoreUrl::Mysql("mysql://scaler:%3CDB_PASSWORD%3E@10.0.0.3:3306/berth".to_owned())
    );
    assert_eq!(config.timing.interval, Duration::from_secs(2));
    assert_eq!(config.alerts.expect("there").token, Some(Secret("<ALERT_TOKEN>".to_owned())));
    let [p] = &config.policies[..] else { panic!("one policy") };
    assert_eq!((p.min, p.max, p.alert_service.as_str()), (2, 20, "haproxy"));
    assert_eq!(p.actions.list[0], Action::ScaleUp);
    assert!(p.actions.availability());
    assert_eq!(p.down.window, Duration::from_secs(120));
    let asks = serde_json::json!({"backend": "web", "column": "scur", "take": "sum"});
    assert_eq!(p.metrics[0].query, Query::new("edge", asks));
    let Law::Steps(steps) = &p.metrics[1].law else { panic!("steps") };
    assert_eq!(steps[1], Step::Above { threshold: 2.0, add: 4 });
    assert_eq!(p.schedules[0].min, Some(5));
}

#[test]
fn never_prints_a_secret() {
    let config = Config::parse(WHOLE, &env).expect("right");
    let printed = format!("{config:?}");
    assert!(!printed.contains("<DB_PASSWORD>") && !printed.contains("<ALERT_TOKEN>"), "{printed}");
}

#[test]
fn a_user_in_a_sources_url_is_a_secret_and_not_shown() {
    let text = "[[prometheus]]\nname = 'p'\nurl = 'https://me:p%40ss%zz@prom:9090/x@y?q'\n";
    let config = Config::parse(text, &env).expect("right");
    let hosts = config.sources[0].settings.hosts();
    assert_eq!(hosts, [("url", "https://prom:9090/x@y?q".to_owned())]);
    assert!(!format!("{config:?}").contains("ss%zz"), "{config:?}");
    let both = format!("{text}token = 't'\n");
    assert!(errors(&both)[0].starts_with("line 4: prometheus[p].token: is one way to log in"));
}

#[test]
fn names_every_error_with_line_and_field_in_one_pass() {
    let text = r#"
[alerts]
listen = "0.0.0.0:8080"

[[policy]]
policy_name = "webapp"
service_name = "webapp"
autoscale_min_instance = 5
autoscale_max_instance = 3
autoscale_actions = "scale_up"
pause = "maybe"
down = { tolerance = 2 }

[[policy.metric]]
name = "sessions"
source = "egde"
target = 0

[[policy.schedule]]
cron = "0 8 * *"
time_zone = "Europe/Pariss"
duration = "soon"
"#;
    let found = errors(text);
    let expected = [
        "line 3: alerts.listen: 0.0.0.0:8080 can be reached from outside",
        "line 8: policy[webapp].autoscale_min_instance: 5 is above autoscale_max_instance 3",
        "line 10: policy[webapp].autoscale_actions: is not known; did you mean autoscale_action?",
        "line 11: policy[webapp].pause: expected one of none, up, down, both, not \"maybe\"",
        "line 12: policy[webapp].down: a tolerance of 1 or more would never scale in",
        "line 16: policy[webapp].metric[sessions].source: no source is called \"egde\"",
        "line 17: policy[webapp].metric[sessions].target: expected a number above 0, not 0",
        "line 19: policy[webapp].schedule[1].min: is missing",
        "line 22: policy[webapp].schedule[1].duration: expected a duration",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found:?} does not start with {expected:?}");
    }
}

#[test]
fn refuses_what_cannot_be_meant() {
    let policy = "[[policy]]\npolicy_name = 'p'\nautoscale_max_instance = 3\nservice_name = 's'\n";
    let with = |more: &str| format!("{policy}{more}");
    let cases = [
        ("store = 3".to_owned(), "line 1: store: expected a table [store]"),
        ("[store]\nurl = 'postgres://x/y'".to_owned(), "line 2: store.url: expected sqlite:PATH"),
        ("[loop]\ninterval = 0".to_owned(), "line 2: loop.interval: must be longer than 0s"),
        ("[alerts]\nlisten = 'web:80'".to_owned(), "line 2: alerts.listen: expected IP:PORT"),
        (
            "[alerts]\nlisten = '127.0.0.1:1'\ntoken = '${NOPE}'".to_owned(),
            "line 3: alerts.token: the environment variable NOPE is not set",
        ),
        (
            "[alerts]\nlisten = '127.0.0.1:1'\ntoken = '${EMPTY}'".to_owned(),
            "line 3: alerts.token: must not be empty: there is nothing in ${EMPTY}",
        ),
        ("a = [".to_owned(), "line 1: syntax:"),
        (
            "[[docker]]\nname = 'a'\nhost = 'tcp://10.0.0.1:2375'".to_owned(),
            "line 3: docker[a].host: over TCP whoever connects is root there",
        ),
        (
            "[[haproxy]]\nname = 'docker'\nservers = 'x'".to_owned(),
            "line 2: haproxy[docker].name: another source is called \"docker\" already",
        ),
        (with("autoscale_action = 'scale'"), "line 5: policy[p].autoscale_action: expected one of"),
        (
            with("autoscale_action = 'scale_up_service'"),
            "line 1: policy[p].naming_convention: is missing",
        ),
        (
            with("container_policy_name = 'q'"),
            "line 5: policy[p].container_policy_name: is the same",
        ),
        (format!("{policy}{policy}"), "line 6: policy[p].policy_name: \"p\" is there twice"),
        (
            policy.replace("= 3", "= 10001"),
            "line 3: policy[p].autoscale_max_instance: expected at most 10000, not 10001",
        ),
        (
            with("naming_convention = '../../info?x='"),
            "line 5: policy[p].naming_convention: containers are called by it: expected letters",
        ),
        (
            with("autoscale_action = []"),
            "line 5: policy[p].autoscale_action: is empty: expected an action; pause = \"both\" is",
        ),
        (
            with("hosts = []"),
            "line 5: policy[p].hosts: is empty: expected the name of a Docker host",
        ),
        (
            with("hosts = ['local', 'b']"),
            "line 5: policy[p].hosts: no [[docker]] is called \"b\"; there are: local",
        ),
        (with("template = '/x'"), "line 5: policy[p].template: containers are called by it"),
        (
            policy.replace("'s'", "'../x'"),
            "line 4: policy[p].service_name: containers are called by it: expected letters",
        ),
        (policy.replace("'p'", "'*'"), "line 2: policy[*].policy_name: a policy's name does not"),
        (
            "[labels]\ntrust = 'some'".to_owned(),
            "line 2: labels.trust: expected one of off, narrow, full, not \"some\"",
        ),
        (
            with("autoscale_action = 'scale_up_node'"),
            "line 5: policy[p].autoscale_action: scale_up_node needs",
        ),
        (with("up = { limit_count = 2 }"), "line 5: policy[p].up.limit_period: is missing"),
        (
            with(
                "[[policy.schedule]]\ncron = '0 8 * *'\ntime_zone = 'UTC'\nduration = '1h'\nmin = 1",
            ),
            "line 6: policy[p].schedule[1].cron: ",
        ),
        (
            with(
                "[[policy.schedule]]\ncron = '0 0 30 2 *'\ntime_zone = 'UTC'\nduration = '1h'\nmin = 1",
            ),
            "line 6: policy[p].schedule[1].cron: it never comes",
        ),
        (
            with(
                "[[policy.schedule]]\ncron = '0 8 * * *'\ntime_zone = 'Mars/X'\nduration = '1h'\nmin = 1",
            ),
            "line 7: policy[p].schedule[1].time_zone: ",
        ),
        (
            with(
                "[[policy.metric]]\nname = 'm'\nsource = 'docker'\nstat = 'cpu'\nstep = [{ above = 1, add = 3 }, { above = 2, add = 1 }]",
            ),
            "line 9: policy[p].metric[m].step: a step further out must not do less",
        ),
        (
            with(
                "[[policy.metric]]\nname = 'm'\nsource = 'docker'\nstat = 'cpu'\nstep = [{ above = 1, add = 3 }, { below = 2, remove = 1 }]",
            ),
            "line 9: policy[p].metric[m].step: below 2 and above 1 overlap",
        ),
        (
            with(
                "[[policy.metric]]\nname = 'm'\nsource = 'docker'\nstat = 'cpu'\ntarget = 1\nbacklog_rate = 1",
            ),
            "line 9: policy[p].metric[m].target: expected only one of",
        ),
    ];
    for (text, expected) in cases {
        let found = errors(&text);
        assert!(found[0].starts_with(expected), "{found:#?} does not start with {expected:?}");
    }
}

#[test]
fn a_row_of_the_policy_table_cannot_read_the_environment() {
    let row = PolicyRow {
        policy_name: "web".to_owned(),
        service_name: "${PATH}".to_owned(),
        naming_convention: Some("x".to_owned()),
        max: 3,
        settings: Some("drain_grace = \"${PATH}\"".to_owned()),
        ..PolicyRow::default()
    };
    let error = row.parse(&Sources::any()).expect_err("that is no duration");
    assert!(error.contains("not \"${PATH}\""), "{error}");
    let policy = PolicyRow { settings: None, ..row }.parse(&Sources::any()).expect("right");
    assert_eq!(
        (policy.service.as_str(), policy.naming_convention.as_deref()),
        ("${PATH}", Some("x"))
    );
}

#[test]
fn the_simulator_needs_no_sources() {
    let [policy] = &parse_policies(WHOLE, &Sources::any()).expect("right")[..] else {
        panic!("one policy")
    };
    assert!(policy.metrics.iter().all(|m| m.query == Query::default()));
}

#[test]
fn the_example_shows_every_key_that_is_read() {
    const EXAMPLE: &str = include_str!("../../../examples/scaler.toml");
    /// Older names of keys, which nobody needs to learn.
    const OLDER: [&str; 4] = [
        "autoscale_min_instances",
        "autoscale_max_instances",
        "container_policy_name",
        "container_naming_convention",
    ];
    let env = |_: &str| Some("x".to_owned());
    let config = Config::parse(EXAMPLE, &env).expect("right");
    assert_eq!(config.policies[0].metrics.len(), 4);
    let doc = Document::new(EXAMPLE, &env);
    let root = doc.root();
    sections::config(&Fields::root(&doc, &root));
    let words = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let shown: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split(words))
        .collect();
    let asked = doc.asked.borrow();
    let missing: Vec<_> =
        asked.iter().filter(|key| !OLDER.contains(key) && !shown.contains(key)).collect();
    assert_eq!(missing, [&""; 0]);
}

#[test]
fn a_source_is_written_by_its_kind_or_in_the_kinds_own_table() {
    let own = "[[haproxy]]\nname = \"edge\"\nservers = [\"lb\"]\nsettle = \"9s\"\n";
    let by_kind = own.replace("[[haproxy]]", "[[source]]\nkind = \"haproxy\"");
    let read = |text: &str| {
        let config = Config::parse(text, &env).expect("right");
        let sources = config.sources.iter();
        sources.map(|s| format!("{} {} {:?}", s.name, s.kind, s.settings)).collect::<Vec<_>>()
    };
    assert_eq!(read(own), read(&by_kind));
    assert_eq!(read(own).len(), 2, "docker is always there");
    let two =
        format!("{own}{by_kind}timeout = \"0s\"\n[[source]]\nkind = \"graphite\"\nname = \"g\"\n");
    assert_eq!(
        errors(&two),
        [
            "line 7: source[edge].name: another source is called \"edge\" already",
            "line 10: source[edge].timeout: must be longer than 0s",
            "line 12: source[g].kind: expected one of haproxy, prometheus, http, docker, not \"graphite\"",
        ]
    );
}
