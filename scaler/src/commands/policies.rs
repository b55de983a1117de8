//! `policies`: what holds, and what labels made of it.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::table::table;
use super::{Listed, Listing, Misused, listing, show, shown, with_store};
use crate::run::policies::Effect;
use crate::store::memory::pause_word;

/// Prints every policy; one JSON object each for machines. What is wrong in the file or the table is
/// an error in the end.
pub fn policies(file: &Path, as_json: bool) -> Result<()> {
    with_store(file, async |store, outline| {
        let listing = listing(&store, &outline).await?;
        show(|out| match as_json {
            true => print_json(out, &listing),
            false => print(out, &listing),
        })?;
        match (listing.wrong.is_empty(), outline.wrong.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => bail!("{}", listing.wrong.join("\n")),
            (false, false) => bail!(Misused(listing.wrong.join("\n"))),
        }
    })
}

fn print_json(out: &mut dyn Write, listing: &Listing) -> io::Result<()> {
    let mut listed = listing.policies.iter();
    listed.try_for_each(|listed| writeln!(out, "{}", in_json(listed, &listing.effects)))
}

fn print(out: &mut dyn Write, listing: &Listing) -> io::Result<()> {
    let head = ["policy", "service", "replicas", "actions", "metrics", "hosts", "from", "paused"];
    table(out, &head, listing.policies.iter().map(line).collect())?;
    listing.effects.iter().try_for_each(|effect| {
        let kept = if effect.refused.is_none() { ": taken over" } else { "" };
        writeln!(out, "{}{kept}", shown(&effect.to_string()))
    })
}

fn line(listed: &Listed) -> Vec<String> {
    let policy = &listed.policy;
    let max = match policy.max {
        u32::MAX => "no limit".to_owned(),
        max => max.to_string(),
    };
    vec![
        policy.name.clone(),
        policy.service.clone(),
        format!("{}…{max}", policy.min),
        or_none(policy.actions.list.iter().map(|a| a.as_str())),
        or_none(policy.metrics.iter().map(|m| m.name.as_str())),
        match policy.hosts.is_empty() {
            true => "any".to_owned(),
            false => policy.hosts.join(","),
        },
        listed.from.to_owned(),
        pause_word(policy.pause).to_owned(),
    ]
}

fn or_none<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<&str> = words.collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

fn in_json(listed: &Listed, effects: &[Effect]) -> Value {
    let policy = &listed.policy;
    let actions: Vec<&str> = policy.actions.list.iter().map(|a| a.as_str()).collect();
    let metrics: Vec<&str> = policy.metrics.iter().map(|m| m.name.as_str()).collect();
    let labels = effects.iter().filter(|effect| effect.service == policy.service);
    let labels = labels.map(
        |effect| json!({ "label": effect.label, "asked": effect.asked, "refused": effect.refused }),
    );
    json!({
        "policy_name": policy.name, "service_name": policy.service,
        "alert_service_name": policy.alert_service,
        "naming_convention": policy.naming_convention,
        "autoscale_min_instance": policy.min, "autoscale_max_instance": policy.max,
        "autoscale_action": actions, "metrics": metrics, "from": listed.from,
        "pause": pause_word(policy.pause), "dry_run": policy.dry_run,
        "hosts": policy.hosts, "template": listed.template, "labels": labels.collect::<Vec<_>>(),
    })
}
