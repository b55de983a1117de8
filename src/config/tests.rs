use super::*;

fn parse(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_vars(vars.iter().map(|(name, value)| (name.into(), value.into())))
}

#[test]
fn an_empty_environment_is_a_plain_init() {
    let config = parse(&[]).unwrap();
    assert!(!config.registers());
    assert!(config.warnings.is_empty());
}

#[test]
fn the_articles_three_variables_are_enough() {
    let config =
        parse(&[("HAPROXY_SERVER", "lb"), ("HAPROXY_PORT", "9999"), ("NODE_COUNT", "100")])
            .unwrap();
    let haproxy = config.haproxy.unwrap();
    assert_eq!(haproxy.servers, [Target::Name { name: "lb".into(), port: 9999 }]);
    assert_eq!(haproxy.node_count, Some(100));
    assert_eq!(haproxy.backend, None);
    assert_eq!(config.app.ready_check, ReadyCheck::Tcp);
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
        ("HAPROXY_HOST", None),
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
    let plain = parse(&[("DRAIN_TIMOUT", "x"), ("HAPROXY_HOST", "x")]).unwrap();
    assert!(plain.warnings.is_empty(), "{:?}", plain.warnings);
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
    let servers =
        |text| parse(&[("HAPROXY_SERVER", text)]).map(|config| config.haproxy.unwrap().servers);
    assert_eq!(servers("lb, lb:9999 ,b").unwrap().len(), 2);
    let error = servers("lb,b:0,,c").unwrap_err().to_string();
    assert!(error.starts_with("HAPROXY_SERVER has 'b:0', '', expected host names"), "{error}");
}

#[test]
fn a_message_is_one_short_line_whatever_the_value() {
    let huge = "9".repeat(100_000);
    for value in ["1\n2", "\x1b[31m", "\u{85}x", "☃", &huge] {
        let error = parse(&[("NODE_COUNT", value)]).unwrap_err().to_string();
        assert!(error.len() < 250 && !error.contains(char::is_control), "{error}");
        assert!(error.contains("expected a whole number"), "{error}");
    }
    let invalid: OsString = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    let error = Config::from_vars([("NODE_COUNT".into(), invalid)]).unwrap_err().to_string();
    assert_eq!(error, "NODE_COUNT is not valid UTF-8, expected text");
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
    assert_eq!(config.haproxy.unwrap().servers, [Target::Name { name: "lb".into(), port: 9999 }]);
    assert_eq!(config.app.port, None);
    for (name, _) in ports {
        assert!(config.warnings.iter().any(|line| line.starts_with(name)), "{name}");
    }
}

#[test]
fn an_empty_value_is_an_unset_variable() {
    assert!(!parse(&[("HAPROXY_SERVER", ""), ("NODE_COUNT", "")]).unwrap().registers());
}

#[test]
fn what_is_read_is_what_the_table_of_variables_says() {
    let mut env = Env::new(std::iter::empty());
    app(&mut env);
    haproxy(&mut env);
    DnsConfig::parse(&mut env, None);
    let mut read = env.names_read();
    read.extend(["LOG_LEVEL", "LOG_FORMAT"]);
    let mut table: Vec<_> = VARIABLES.iter().map(|variable| variable.name).collect();
    read.sort_unstable();
    table.sort_unstable();
    assert_eq!(read, table);
}
