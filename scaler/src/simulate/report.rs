//! The table.

use super::frontier::is_beaten;
use super::{Outcome, Setup};
use serde_json::json;
use std::fmt::Write;

/// One law's outcome under its name.
pub type Row = (String, Outcome);

/// A table for people: our own policy in the first row, the peers below, and a verdict on each.
pub fn table(title: &str, setup: &Setup, secs: u64, rows: &[Row]) -> String {
    let mut out = String::new();
    let hours = secs as f64 / 3600.0;
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{title}: {hours:.1} h, {} requests/s per replica at most, {} meant; start {} s, drain {} s",
        setup.capacity, setup.target, setup.start, setup.drain
    );
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(12);
    let _ = writeln!(
        out,
        "  {:width$}  {:>8}  {:>10}  {:>9}  {:>7}  {:>7}  {:>9}  {:>5}  against it we are",
        "", "slow s", "instance-h", "reversals", "wait ms", "react s", "longest s", "peak"
    );
    let ours = rows.first().map(|(_, o)| o);
    for (n, (name, o)) in rows.iter().enumerate() {
        let verdict = match ours {
            Some(ours) if n > 0 => verdict(ours, o),
            _ => "",
        };
        let line = format!(
            "  {name:width$}  {:>8}  {:>10.1}  {:>9}  {:>7.1}  {:>7.1}  {:>9}  {:>5}  {verdict}",
            o.slow_secs,
            hours_of(o),
            o.reversals,
            o.mean_wait_secs() * 1000.0,
            o.react_secs,
            o.longest_spell_secs,
            o.peak,
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// The frontier for people: what each setting costs, the cheapest first.
pub fn frontier(title: &str, setup: &Setup, secs: u64, rows: &[Row]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{title}: {:.1} h, {} requests/s per replica at most, {} meant; start {} s, drain {} s",
        secs as f64 / 3600.0,
        setup.capacity,
        setup.target,
        setup.start,
        setup.drain
    );
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "  {:width$}  {:>10}  {:>8}  {:>7}  {:>9}",
        "", "instance-h", "slow s", "wait ms", "reversals"
    );
    for (name, o) in rows {
        let beaten = if is_beaten(o, rows) { "" } else { "  none is faster and as cheap" };
        let _ = writeln!(
            out,
            "  {name:width$}  {:>10.1}  {:>8}  {:>7.1}  {:>9}{beaten}",
            hours_of(o),
            o.slow_secs,
            o.mean_wait_secs() * 1000.0,
            o.reversals,
        );
    }
    out
}

fn hours_of(o: &Outcome) -> f64 {
    o.instance_secs as f64 / 3600.0
}

/// How the first outcome stands to the other: on slow seconds and instance-hours.
fn verdict(ours: &Outcome, other: &Outcome) -> &'static str {
    let slow = ours.slow_secs.cmp(&other.slow_secs);
    let cost = ours.instance_secs.cmp(&other.instance_secs);
    use std::cmp::Ordering::{Equal, Greater, Less};
    match (slow, cost) {
        (Less, Less) => "faster and cheaper",
        (Less, Equal) => "faster",
        (Less, Greater) => "faster, dearer",
        (Equal, Less) => "cheaper",
        (Equal, Equal) => "equal",
        (Equal, Greater) => "dearer",
        (Greater, Less) => "slower, cheaper",
        (Greater, Equal) => "slower",
        (Greater, Greater) => "slower and dearer",
    }
}

/// The same for machines.
pub fn json(title: &str, setup: &Setup, secs: u64, rows: &[Row]) -> serde_json::Value {
    let row = |(name, o): &Row| {
        json!({
            "law": name,
            "slow_seconds": o.slow_secs,
            "instance_hours": hours_of(o),
            "reversals": o.reversals,
            "acts": o.acts,
            "mean_wait_milliseconds": o.mean_wait_secs() * 1000.0,
            "react_seconds": o.react_secs,
            "longest_spell_seconds": o.longest_spell_secs,
            "peak": o.peak,
        })
    };
    json!({
        "load": title,
        "seconds": secs,
        "capacity": setup.capacity,
        "target": setup.target,
        "start_seconds": setup.start,
        "drain_seconds": setup.drain,
        "laws": rows.iter().map(row).collect::<Vec<_>>(),
    })
}
