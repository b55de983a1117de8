//! `simulate` as an operator meets it, who may be careless.

use std::process::Command;

use crate::commands::told;

fn simulate(arguments: &[&str]) -> (i32, String) {
    told(Command::new(env!("CARGO_BIN_EXE_berth-scaler")).arg("simulate").args(arguments))
}

const POLICY: &str = "
[[policy]]
policy_name = 'web'
service_name = 'web'
autoscale_max_instance = 40
start_time = '45s'
[[policy.metric]]
name = 'requests'
target = 35
";

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let policy = file("policy.toml", POLICY.as_bytes());
    let steps = POLICY.replace("target = 35", "[[policy.metric.step]]\nabove = 9\nadd = 1");
    let steps = file("steps.toml", steps.as_bytes());
    let bytes = file("load.gz", &[0x1f, 0x8b, 0xff, 0x00]);
    for (arguments, words) in [
        (&["step", "--times", "1e39"][..], "more than 1e12 requests"),
        (&["step", "--target", "60", "--capacity", "50"], "--target 60 is above --capacity 50"),
        (&["step", "--warm-up", "1"], "leave nothing of it to count"),
        (&["step", "--from", "0.5", "--to", "0.50001"], "leave nothing of it to count"),
        (&["step", "--max", "10001"], "up to 10000"),
        (&["step", "--max", "0"], "from 1 on"),
        (&["step", "--min", "5", "--max", "3"], "above the most"),
        (&["step", "--name", "web"], "--name needs --policy"),
        (&["step", "--frontier", "--svg", "none.svg"], "cannot be used with"),
        (&["step", "--frontier", "--changed", &policy], "cannot be used with"),
        (&["step", "--policy", &policy, "--headroom", "1"], "cannot be used with"),
        (&["step", "--policy", &steps, "--frontier"], "has a metric with a target"),
        (&["--bench", "4", "--json"], "cannot be used with"),
        (&[&bytes], "valid UTF-8"),
        (&["nosuch"], "is none of step, ramp"),
    ] {
        let (code, said) = simulate(arguments);
        assert!(code == 64 && said.contains(words), "{arguments:?}: {code} {said}");
    }
    let (_, said) = simulate(&[&bytes]);
    assert!(!said.contains("none of"), "there is such a file: {said}");
}

#[test]
fn a_policy_brings_its_start_time_and_stands_on_the_frontier() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.toml");
    std::fs::write(&policy, POLICY).unwrap();
    let policy = policy.to_str().unwrap();
    let (code, said) = simulate(&["step", "--policy", policy]);
    assert!(code == 0 && said.contains("start 45 s"), "{said}");
    let (code, said) = simulate(&["step", "--policy", policy, "--frontier"]);
    assert!(code == 0 && said.contains("web, headroom 0.17"), "{said}");
    let (_, all) = simulate(&["step", "--warm-up", "0.5"]);
    assert!(all.contains(": 0.5 h,"), "only what is counted: {all}");
}
