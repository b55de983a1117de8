//! `pause` and `resume`.

use std::path::Path;

use anyhow::{Result, bail};

use super::{Misused, listing, show, unknown, with_store};
use crate::policy::Pause;
use crate::store::memory::{EVERY_POLICY, pause_word};

/// Holds back one policy, or all when `name` is `None`; [`Pause::None`] lets it act again.
pub fn pause(file: &Path, name: Option<&str>, direction: Pause) -> Result<()> {
    with_store(file, async |store, config| {
        if let Some(name) = name {
            let names = listing(&store, &config).await?.names();
            // One that is gone may still be paused, and is resumed.
            let paused = direction == Pause::None && store.pauses().await?.contains_key(name);
            if !names.contains(name) && !paused {
                return Err(unknown(name, names));
            }
        }
        store.set_pause(name.unwrap_or(EVERY_POLICY), direction).await?;
        let who = name.unwrap_or("every policy");
        let what = match direction {
            Pause::None => "resumed",
            Pause::Up => "paused upwards",
            Pause::Down => "paused downwards",
            Pause::Both => "paused",
        };
        let still = match direction {
            Pause::None => still_paused(store.pauses().await?, name),
            _ => Vec::new(),
        };
        Ok(show(|out| {
            writeln!(out, "{what}: {who}, at {}", crate::clock::now())?;
            still.iter().try_for_each(|(still, pause)| {
                writeln!(out, "still paused ({}): {still}", pause_word(*pause))
            })
        })?)
    })
}

/// Which policy is meant: by its name, or every one by the word for it.
pub fn whom<'n>(command: &str, name: Option<&'n str>, all: bool) -> Result<Option<&'n str>> {
    match (name, all) {
        (Some(name), false) => Ok(Some(name)),
        (None, true) => Ok(None),
        (None, false) => bail!(Misused(format!("{command}: which policy? Or --all of them"))),
        (Some(_), true) => bail!(Misused(format!("{command}: either a policy or --all"))),
    }
}

/// What keeps the resumed from acting all the same.
fn still_paused(
    pauses: impl IntoIterator<Item = (String, Pause)>,
    resumed: Option<&str>,
) -> Vec<(String, Pause)> {
    let concerns = |who: &str| resumed.is_none() || who == EVERY_POLICY;
    let left = pauses.into_iter().filter(|(who, _)| concerns(who));
    let told = |(who, pause): (String, Pause)| match who == EVERY_POLICY {
        true => ("every policy, by --all".to_owned(), pause),
        false => (who, pause),
    };
    left.map(told).collect()
}
