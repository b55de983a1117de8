//! The README says what the binary knows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use berth::config::VARIABLES;

#[test]
fn the_table_of_variables_is_the_one_that_config_knows() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut table = String::from("| variable | meaning | default |\n|---|---|---|\n");
    let mut group = None;
    for variable in VARIABLES {
        if group != Some(variable.group) {
            group = Some(variable.group);
            table += &format!("| **{}** | | |\n", variable.group);
        }
        table +=
            &format!("| `{}` | {} | {} |\n", variable.name, variable.meaning, variable.default);
    }
    assert!(readme.contains(&table), "the README should have this table:\n{table}");
}
