//! docs/troubleshooting.md has each warning and error of the agent, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_table_of_messages_is_the_codes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let rows: BTreeSet<_> = rows.skip(1).map(str::to_owned).collect();
    let mut messages = BTreeSet::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => messages.extend(spoken(&std::fs::read_to_string(path).unwrap())),
            }
        }
    }
    assert!(messages.len() > 20, "they are found at all: {messages:?}");
    let missing: Vec<_> = messages.difference(&rows).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md lacks: {missing:#?}");
    let gone: Vec<_> = rows.difference(&messages).collect();
    assert!(gone.is_empty(), "docs/troubleshooting.md has what nothing says any more: {gone:#?}");
}

/// The last text in each `warn!`, `error!` and `warning` (where several warnings share the one that writes
/// them) up to the tests of a file: what it says, after its fields; and the reasons for want of a slot. A
/// text that is a variable's own complaint (`{warning}`) is none of them.
fn spoken(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let starts =
        ["warn!(", "error!(", "warning("].iter().flat_map(|name| text.match_indices(*name));
    let calls = starts.map(|(at, name)| whole(&text[at + name.len()..]));
    let said = calls.filter_map(|call| call.rsplit('"').nth(1).map(one_line));
    let full = text.split_once("impl fmt::Display for Full {").map_or("", |(_, rest)| rest);
    let full = full.split("\n}\n").next().unwrap_or_default().split('"').skip(1).step_by(2);
    said.chain(full.map(one_line)).filter(|text| !text.contains('{')).collect()
}

/// A text as it is said: without the line breaks that the code has in it.
fn one_line(text: &str) -> String {
    text.split("\\\n").map(str::trim_start).collect()
}

/// The arguments up to the bracket that ends them; brackets in texts come in pairs here.
fn whole(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn messages_are_found_wherever_they_stand_in_a_call() {
    let code = r#"warn!(check, %why, "not ready");
        error!(
            %error,
            "a longer one (with brackets)"
        );
        Err(error) => tracing::warn!("{error}"),
        info!("no warning")"#;
    let mut found = spoken(code);
    found.sort();
    assert_eq!(found, ["a longer one (with brackets)", "not ready"]);
}
