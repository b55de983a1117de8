//! `history`: what was done and why.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;

use super::table::columns;
use super::{listing, show, shown, unknown, with_store};
use crate::store::audit::Entry;

/// Prints the latest rows of the audit, of one policy or all; one JSON object each for machines.
pub fn history(file: &Path, policy: Option<&str>, limit: u32, json: bool) -> Result<()> {
    with_store(file, async |store, config| {
        let rows = store.history(policy, limit).await?;
        if let Some(name) = policy
            && rows.is_empty()
        {
            let mut names: BTreeSet<String> = listing(&store, &config).await?.names();
            names.extend(store.audited_policies().await?);
            if !names.contains(name) {
                return Err(unknown(name, names));
            }
        }
        Ok(show(|out| match (json, rows.is_empty()) {
            (true, _) => {
                rows.iter().try_for_each(|row| writeln!(out, "{}", serde_json::to_string(row)?))
            }
            (false, true) => writeln!(out, "nothing yet"),
            (false, false) => story(out, &rows),
        })?)
    })
}

/// A line for each decision, and one below it for each container that it concerned.
fn story(out: &mut dyn Write, rows: &[Entry]) -> io::Result<()> {
    let policies = rows.iter().map(|row| row.policy.chars().count());
    let width = policies.max().unwrap_or(0);
    let same = |a: &Entry, b: &Entry| {
        (&a.policy, a.decided_at, &a.reason) == (&b.policy, b.decided_at, &b.reason)
    };
    for decision in rows.chunk_by(same) {
        let first = &decision[0];
        let times =
            if first.repeats > 1 { format!(" (×{})", first.repeats) } else { String::new() };
        let reason = shown(&first.reason);
        writeln!(out, "{}  {:width$}  {reason}{times}", first.at, shown(&first.policy))?;
        let acts = decision.iter().filter_map(act).collect::<Vec<_>>();
        columns(out, "    ", &acts)?;
    }
    Ok(())
}

/// What was done to a container and how it ended; `None` when nothing was to be done.
fn act(row: &Entry) -> Option<Vec<String>> {
    let (host, name) = (row.host.as_ref()?, row.container_name.as_ref()?);
    let took = row.duration_ms.map(|ms| format!(" after {:.1} s", ms as f64 / 1000.0));
    let problem = row.problem.as_ref().map(|problem| format!(": {}", shown(problem)));
    Some(vec![
        row.action.clone(),
        format!("{host}/{name}"),
        row.status.clone().unwrap_or_else(|| "-".to_owned()),
        format!(
            "{}{}{}",
            row.outcome.as_str(),
            took.unwrap_or_default(),
            problem.unwrap_or_default()
        ),
    ])
}
