use std::time::Duration;

use super::*;
use crate::container::readiness::ReadyCheck;
use crate::net::target::Target;

fn parse(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(vars.iter().map(|(name, value)| (name.into(), value.into())))
}

#[test]
fn an_empty_environment_is_a_plain_init() {
    let config = parse(&[]).unwrap();
    assert!(!config.container.registers());
    assert!(config.warnings.is_empty());
}

#[test]
fn the_articles_three_variables_are_enough() {
    let config =
        parse(&[("HAPROXY_SERVER", "lb"), ("HAPROXY_PORT", "9999"), ("NODE_COUNT", "100")])
            .unwrap();
    let haproxy = config.container.haproxy.unwrap();
    assert_eq!(haproxy.servers, [Target::Name { name: "lb".into(), port: 9999 }]);
    assert_eq!(haproxy.limit, Some(100));
    assert_eq!(haproxy.backend, None);
    assert_eq!(config.container.readiness.check, ReadyCheck::Tcp(None));
}

#[test]
fn every_wrong_variable_is_named_in_one_message() {
    let error = parse(&[
        ("HAPROXY_SERVER", "lb,,"),
        ("HAPROXY_PORT", "99999"),
        ("NODE_COUNT", "many"),
        ("APP_PORT", "0"),
        ("APP_ADDR", "0.0.0.0"),
        ("READY_CHECK", "http"),
        ("SYNC_INTERVAL", "0"),
        ("DRAIN_TIMEOUT", "-5s"),
        ("SIGNAL_GROUP", "yes please"),
        ("SIGNAL_REWRITE", "TERM"),
        ("EXIT_REMAP", "143"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("HAPROXY_TLS_CERT", "/cert.pem"),
        ("HAPROXY_BACKEND", "a; shutdown"),
    ])
    .unwrap_err();
    for name in [
        "HAPROXY_SERVER",
        "HAPROXY_PORT",
        "NODE_COUNT",
        "APP_PORT",
        "APP_ADDR",
        "READY_CHECK",
        "SYNC_INTERVAL",
        "DRAIN_TIMEOUT",
        "SIGNAL_GROUP",
        "SIGNAL_REWRITE",
        "EXIT_REMAP",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "HAPROXY_TLS_KEY",
        "HAPROXY_TLS_CA",
        "HAPROXY_BACKEND",
    ] {
        let lines = error.0.iter().filter(|line| line.starts_with(name)).count();
        assert_eq!(lines, 1, "{name} in {error}");
    }
}

#[test]
fn a_misspelt_variable_is_pointed_out() {
    let config = parse(&[("HAPROXY_SEVER", "lb")]).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("did you mean HAPROXY_SERVER"), "{:?}", config.warnings);
    assert!(parse(&[("DNS_SERVR", "x")]).unwrap().warnings[0].contains("DNS_SERVER"));
}

#[test]
fn what_was_probably_meant_is_named_and_nothing_far_fetched() {
    for (name, meant) in [
        ("HAPROXY_PROT", Some("HAPROXY_PORT")),
        ("HAPROXY_NODE_COUNT", Some("NODE_COUNT")),
        ("NODES_COUNT", Some("NODE_COUNT")),
        ("DRAIN_TIMOUT", Some("DRAIN_TIMEOUT")),
        ("HAPROXY_HOST", Some("HAPROXY_SERVER")),
        ("HAPROXY_FOO", None),
        ("DNS_FOO", None),
    ] {
        let config = parse(&[("HAPROXY_SERVER", "lb"), (name, "x")]).unwrap();
        let [warning] = &config.warnings[..] else { panic!("{name}: {:?}", config.warnings) };
        assert!(warning.starts_with(name), "{warning}");
        let hint = meant.map(|meant| format!("did you mean {meant}?"));
        assert!(
            hint.map_or(!warning.contains("mean "), |hint| warning.ends_with(&hint)),
            "{warning}"
        );
    }
    for name in ["SERVICE_NAMES", "APP_PORTS", "PORT", "HOME"] {
        let config = parse(&[("HAPROXY_SERVER", "lb"), (name, "x")]).unwrap();
        assert!(config.warnings.is_empty(), "{name}: {:?}", config.warnings);
    }
    for (name, meant) in [("DRAIN_TIMOUT", "DRAIN_TIMEOUT"), ("HAPROXY_HOST", "HAPROXY_SERVER")] {
        let warnings = parse(&[(name, "x")]).unwrap().warnings;
        assert!(
            warnings.len() == 1 && warnings[0].contains(meant),
            "in a plain init: {warnings:?}"
        );
    }
    assert!(parse(&[("HAPROXY_FOO", "x"), ("DNS_FOO", "x")]).unwrap().warnings.is_empty());
}

#[test]
fn variables_for_a_registration_that_nothing_asks_for_are_pointed_out() {
    let config =
        parse(&[("NODE_COUNT", "3"), ("DNS_TSIG_KEY", "hmac-sha256:a:c2VjcmV0LWtleS0xMjM0NQ==")]);
    let warnings = config.unwrap().warnings;
    assert!(warnings[0].starts_with("NODE_COUNT without HAPROXY_SERVER"), "{warnings:?}");
    assert!(warnings[1].starts_with("DNS_TSIG_KEY without DNS_SERVER"), "{warnings:?}");
}

#[test]
fn each_server_counts_once_and_wrong_ones_are_named() {
    let servers = |text| {
        parse(&[("HAPROXY_SERVER", text)]).map(|config| config.container.haproxy.unwrap().servers)
    };
    assert_eq!(servers("lb, lb:9999 ,b").unwrap().len(), 2);
    let error = servers("lb,b:0,,c").unwrap_err().to_string();
    assert!(error.starts_with("HAPROXY_SERVER has 'b:0', '', expected host names"), "{error}");
}

#[test]
fn a_message_is_one_short_line_whatever_the_value() {
    let huge = "9".repeat(100_000);
    for value in ["1\n2", "\x1b[31m", "\u{85}x", "☃", &huge] {
        let error =
            parse(&[("HAPROXY_SERVER", "lb"), ("NODE_COUNT", value)]).unwrap_err().to_string();
        assert!(error.len() < 250 && !error.contains(char::is_control), "{error}");
        assert!(error.contains("expected a whole number"), "{error}");
    }
    let invalid: OsString = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    let error = Config::from_vars([("SIGNAL_GROUP".into(), invalid)]).unwrap_err().to_string();
    assert_eq!(error, "SIGNAL_GROUP is not valid UTF-8, expected text");
}

#[test]
fn lists_of_pairs_say_what_is_wrong_in_them() {
    let error = parse(&[("SIGNAL_REWRITE", "TERM:QUIT,HUP:FOO"), ("EXIT_REMAP", "143:0,1:300")]);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("\"FOO\" is no signal") && error.contains("\"1:300\", expected"),
        "{error}"
    );
}

/// The app may have variables by these names, and a plain init is a drop-in for others.
#[test]
fn variables_of_the_app_do_not_stop_a_plain_init() {
    let shared = [
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "%(message)s"),
        ("APP_PORT", "http"),
        ("APP_ADDR", ":8080"),
        ("SERVICE_NAME", "my service"),
    ];
    let config = parse(&shared).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    for more in [("HAPROXY_SERVER", "lb"), ("STOP_TIMEOUT", "soon")] {
        let error = parse(&[&shared[..], &[more]].concat()).unwrap_err();
        for (name, _) in shared {
            assert!(error.0.iter().any(|line| line.starts_with(name)), "{name} in {error}");
        }
    }
}

#[test]
fn levels_in_the_words_of_other_loggers_are_understood() {
    for (text, level) in
        [("WARNING", "warn"), ("Fatal", "error"), ("notice", "info"), ("off", "off")]
    {
        assert_eq!(parse(&[("LOG_LEVEL", text)]).unwrap().log_level.to_string(), level);
    }
}

#[test]
fn variables_of_an_orchestrator_are_not_taken_for_ours() {
    let quiet = [("HAPROXY_SERVICE_HOST", "10.0.0.1"), ("HAPROXY_PORT_80_TCP_ADDR", "10.0.0.1")];
    assert!(parse(&quiet).unwrap().warnings.is_empty());
}

/// As Kubernetes sets them where services are called `haproxy`, `dns` and `app`.
#[test]
fn a_port_that_describes_a_service_does_not_count() {
    let ports = ["HAPROXY_PORT", "DNS_PORT", "APP_PORT"].map(|name| (name, "tcp://10.0.0.1:80"));
    assert!(parse(&ports).unwrap().warnings.is_empty(), "a plain init has no use for ports");
    let config = parse(&[&ports[..], &[("HAPROXY_SERVER", "lb")]].concat()).unwrap();
    assert_eq!(
        config.container.haproxy.unwrap().servers,
        [Target::Name { name: "lb".into(), port: 9999 }]
    );
    assert_eq!(config.container.port, None);
    for (name, _) in ports {
        assert!(config.warnings.iter().any(|line| line.starts_with(name)), "{name}");
    }
}

#[test]
fn an_empty_value_is_an_unset_variable() {
    assert!(!parse(&[("HAPROXY_SERVER", ""), ("NODE_COUNT", "")]).unwrap().container.registers());
}

/// README and `--help` show the same words.
#[test]
fn what_holds_when_nothing_is_set() {
    let vars = [("HAPROXY_SERVER", "lb"), ("DNS_SERVER", "ns"), ("DNS_NAME", "a.b")];
    let config = parse(&vars).unwrap();
    let container = config.container;
    let seconds = Duration::from_secs;
    let readiness = &container.readiness;
    assert_eq!(readiness.check, ReadyCheck::Tcp(None));
    assert_eq!((readiness.interval, readiness.timeout), (seconds(2), seconds(2)));
    assert_eq!((readiness.rise, readiness.fall, readiness.port), (2, 3, None));
    assert_eq!((container.addr, container.port), (None, None));
    assert_eq!(container.drain_timeout, seconds(5));
    assert_eq!(container.init.stop_timeout, Duration::ZERO);
    assert!(!container.init.signal_group);
    assert_eq!(container.init.exit_remap, Default::default());
    let haproxy = container.haproxy.unwrap();
    assert_eq!(haproxy.servers, [Target::Name { name: "lb".into(), port: 9999 }]);
    assert_eq!((haproxy.prefix.as_str(), haproxy.limit), ("node", None));
    assert_eq!((haproxy.backend, haproxy.service_name), (None, None));
    assert_eq!((haproxy.sync_interval, haproxy.reclaim_after), (seconds(1), seconds(30)));
    assert_eq!(haproxy.drain_timeout, seconds(5));
    assert!(haproxy.tls.is_none());
    let dns = container.dns.unwrap();
    assert_eq!(dns.servers, [Target::Name { name: "ns".into(), port: 53 }]);
    assert_eq!((dns.port, dns.ttl, dns.lease), (53, 30, Some(seconds(120))));
    assert!(!dns.ptr && dns.key.is_none() && dns.node.is_none() && dns.srv.is_none());
    assert_eq!(config.log_level, LevelFilter::INFO);
    assert_eq!(config.log_format, LogFormat::Text);
}

#[test]
fn a_default_that_is_a_value_is_one_that_could_be_set() {
    for variable in VARIABLES {
        if let Unset::Value(text) = variable.default {
            let vars = [("HAPROXY_SERVER", "lb"), ("DNS_SERVER", "ns"), ("DNS_NAME", "a.b")];
            let set = parse(&[&vars[..], &[(variable.name, text)]].concat()).unwrap();
            let unset = parse(&vars).unwrap();
            assert_eq!(format!("{set:?}"), format!("{unset:?}"), "{}", variable.name);
        }
    }
}

#[test]
fn every_variable_reaches_its_own_field() {
    for variable in VARIABLES {
        let env = Env::new([(variable.name.into(), "x".into())]);
        let set: Vec<_> = VARIABLES.iter().filter(|other| env.is_set(other)).collect();
        assert!(set.len() == 1 && set[0].name == variable.name, "{}: {set:?}", variable.name);
    }
}

/// They may be meant for the app, or set by somebody who runs containers.
#[test]
fn a_plain_init_starts_whatever_the_variables_of_a_registration_say() {
    for variable in VARIABLES {
        let asks =
            ["HAPROXY_SERVER", "DNS_SERVER", "DNS_ZONE", "TRAEFIK_KV"].contains(&variable.name);
        let value = "*/5 * * * *";
        match parse(&[(variable.name, value)]) {
            Ok(config) => assert!(!config.container.registers() && !asks, "{}", variable.name),
            Err(_) => assert!(asks || variable.group == Group::Init, "{}", variable.name),
        }
    }
    for (name, value) in [
        ("DNS_NAME", "/web/dns"),
        ("SYNC_INTERVAL", "*/5 * * * *"),
        ("NODE_COUNT", "auto"),
        ("HAPROXY_BACKEND", "web server"),
    ] {
        let warnings = parse(&[(name, value)]).unwrap().warnings;
        assert!(warnings.iter().any(|line| line.starts_with(name)), "{name}: {warnings:?}");
    }
}

#[test]
fn a_file_that_nothing_needs_is_not_read() {
    let vars = ["DNS_TSIG_KEYFILE", "HAPROXY_TLS_CA", "TRAEFIK_PASSWORD_FILE"];
    let vars = vars.map(|name| (name, "/no/such/file"));
    assert!(!parse(&vars).unwrap().container.registers());
}

#[test]
fn blanks_are_no_value() {
    for variable in VARIABLES {
        let config = parse(&[(variable.name, " \t ")]).unwrap();
        assert!(!config.container.registers() && config.warnings.is_empty(), "{}", variable.name);
    }
}

/// Of Kubernetes, where services are called `haproxy-web` and `dns-web`.
#[test]
fn what_describes_services_is_no_news() {
    let names = [
        ("HAPROXY_WEB_PORT", "tcp://10.0.0.1:80"),
        ("HAPROXY_WEB_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("HAPROXY_WEB_SERVICE_HOST", "10.0.0.1"),
        ("DNS_WEB_SERVICE_PORT_DNS_TCP", "53"),
        ("DNS_WEB_PORT", "udp://10.0.0.1:53"),
    ];
    for more in [&[][..], &[("HAPROXY_SERVER", "lb")]] {
        let config = parse(&[&names[..], more].concat()).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}
