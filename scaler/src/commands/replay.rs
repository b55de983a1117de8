//! `replay`: whether a row of the audit comes of what it says was seen.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{show, with_store};
use crate::decide::Inputs;

/// Decides again what a row says was decided; an error when it comes to something else.
pub fn replay(file: &Path, row: i64, json: bool) -> Result<()> {
    with_store(file, async |store, _| {
        let Some(entry) = store.row(row).await? else { bail!("the audit has no row {row}") };
        let Some(inputs) = &entry.inputs else {
            bail!("row {row} does not say what was seen: it is no decision's")
        };
        let inputs = Inputs::read(inputs).with_context(|| {
            format!("row {row} was written by an earlier version, or is damaged")
        })?;
        let decision = inputs.decide(entry.decided_at);
        show(|out| match json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(&decision)?),
            false => writeln!(out, "{}  {}  {}", entry.decided_at, entry.policy, decision.reason),
        })?;
        if decision.reason != entry.reason {
            bail!("the row says otherwise: {}", entry.reason);
        }
        Ok(())
    })
}
