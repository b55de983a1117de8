//! `berth-scaler simulate`.

use anyhow::{Context, bail, ensure};
use berth_scaler::commands::{Failure, show};
use berth_scaler::config::{LoadError, Sources, parse_policies};
use berth_scaler::policy::{Law, MOST_REPLICAS, Policy, UTILISATION};
use berth_scaler::simulate::law::{Law as Play, peers};
use berth_scaler::simulate::load::{BUILT_IN, Load};
use berth_scaler::simulate::ours::{Ours, default_policy};
use berth_scaler::simulate::plot::{self, Series};
use berth_scaler::simulate::sight::Sight;
use berth_scaler::simulate::{Setup, bench, frontier, play, report, watch};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Plays a load through a policy and through models of its peers, and counts what each costs.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// step, ramp, day, burst, noise (all of them when left out), a file, or - for standard input
    ///
    /// A file has one number per line, the requests of each second, or lines of time,count with
    /// evenly spaced times; zcat FILE.gz | berth-scaler simulate - reads a compressed one.
    #[arg(value_name = "LOAD", default_values = BUILT_IN, hide_default_value = true)]
    loads: Vec<String>,
    /// Play a [[policy]] of this file instead of the default law
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Play a [[policy]] of this file too, to compare: what would have been different?
    #[arg(long, value_name = "FILE")]
    changed: Option<PathBuf>,
    /// Which one, when there are several
    #[arg(long, value_name = "POLICY")]
    name: Option<String>,
    /// Seconds between its ticks
    #[arg(long, value_name = "SECS", default_value = "5", value_parser = at_least_one)]
    interval: u32,
    /// Requests per second that one replica can serve (50; with --policy its target divided by 0.7)
    #[arg(long, value_name = "N", value_parser = above_zero)]
    capacity: Option<f64>,
    /// Requests per second that the laws aim at per replica (0.7 of the capacity)
    #[arg(long, value_name = "N", value_parser = above_zero)]
    target: Option<f64>,
    /// Seconds from the order of a replica to its first answer (20; with --policy its start_time)
    #[arg(long, value_name = "SECS")]
    start: Option<u32>,
    /// Seconds a replica needs to go
    #[arg(long, value_name = "SECS", default_value = "10")]
    drain: u32,
    /// Fewest replicas (1; with --policy its own)
    #[arg(long, value_name = "N", value_parser = replicas)]
    min: Option<u32>,
    /// Most replicas (1000; with --policy its own)
    #[arg(long, value_name = "N", value_parser = at_least_one_replica)]
    max: Option<u32>,
    /// Multiply the load
    #[arg(long, value_name = "X", default_value = "1", value_parser = above_zero)]
    times: f64,
    /// Only from this part of the load on, as a fraction of its length
    #[arg(long, value_name = "X", default_value = "0", value_parser = fraction)]
    from: f64,
    /// Only up to this part of the load
    #[arg(long, value_name = "Y", default_value = "1", value_parser = fraction)]
    to: f64,
    /// Play this fraction of it first without counting
    #[arg(long, value_name = "X", default_value = "0", value_parser = fraction)]
    warm_up: f64,
    /// That of the default law (0.17)
    #[arg(long, value_name = "N", value_parser = at_least_zero, conflicts_with = "policy")]
    headroom: Option<f64>,
    /// Show all laws what was served instead of what was asked for
    ///
    /// As the use of a processor is: it stops growing where the replicas are full.
    #[arg(long)]
    served: bool,
    /// Show all laws readings that are this old
    #[arg(long, value_name = "SECS", default_value = "0")]
    delay: u32,
    /// This share of the readings is missing
    #[arg(long, value_name = "X", default_value = "0", value_parser = fraction)]
    missing: f64,
    /// Each reading is off by this share of it (standard deviation)
    #[arg(long, value_name = "X", default_value = "0", value_parser = fraction)]
    noise: f64,
    /// Instead: the default law, or --policy, at several headrooms and the HPA at several targets
    #[arg(long, conflicts_with_all = ["changed", "headroom", "svg"])]
    frontier: bool,
    /// Draw demand, capacity and what waits into this file (of the last load)
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// One JSON document per load
    #[arg(long)]
    json: bool,
    /// Instead: the time of one tick over N policies of 10 containers each
    #[arg(long, value_name = "N", exclusive = true)]
    bench: Option<usize>,
}

pub(super) fn run(options: Options) -> anyhow::Result<()> {
    if let Some(policies) = options.bench {
        return Ok(print_bench(policies)?);
    }
    ensure!(options.from < options.to, "--from must be less than --to");
    let policy = options.policy.as_deref().map(|file| read_policy(file, &options)).transpose()?;
    let changed = options.changed.as_deref().map(|file| read_policy(file, &options)).transpose()?;
    let any = policy.as_ref().or(changed.as_ref());
    ensure!(options.name.is_none() || any.is_some(), "--name needs --policy or --changed");
    let setup = setup(&options, any)?;
    for name in &options.loads {
        let load = load(name)?.times(options.times as f32).part(options.from, options.to);
        ensure!(load.most() <= MOST, "{name}: more than {MOST:e} requests in a second");
        let from = (load.secs() as f64 * options.warm_up) as u64;
        let counted = load.secs() - from;
        ensure!(counted > 0, "{name}: --from, --to and --warm-up leave nothing of it to count");
        let rows = match options.frontier {
            true => {
                let policy = policy.clone().unwrap_or_else(|| default_policy(&setup, None));
                let has_target = policy.metrics.iter().any(|m| matches!(m.law, Law::Target(_)));
                ensure!(has_target, "--frontier needs a policy that has a metric with a target");
                frontier::rows(&setup, &load, &policy, options.interval, from)
            }
            false => rows(&options, &setup, &load, [policy.as_ref(), changed.as_ref()], from)?,
        };
        let name = &load.name;
        let report = match (options.json, options.frontier) {
            (true, _) => report::json(name, &setup, counted, &rows).to_string(),
            (false, true) => report::frontier(name, &setup, counted, &rows),
            (false, false) => report::table(name, &setup, counted, &rows),
        };
        show(|out| writeln!(out, "{report}"))?;
    }
    Ok(())
}

/// More requests in a second than this are no load.
const MOST: f64 = 1e12;

/// Our own policies, then the peers. What ours did is drawn if that is asked for.
fn rows(
    options: &Options,
    setup: &Setup,
    load: &Load,
    [policy, changed]: [Option<&Policy>; 2],
    from: u64,
) -> anyhow::Result<Vec<report::Row>> {
    let default = || default_policy(setup, options.headroom);
    let mut ours = vec![policy.cloned().unwrap_or_else(default)];
    if let Some(changed) = changed {
        let name = format!("{}, changed", changed.name);
        ours.push(Policy { name, ..changed.clone() });
    }
    let (mut rows, mut drawn) = (Vec::new(), Vec::new());
    for policy in ours {
        let mut law = Ours::new(policy, options.interval);
        let mut moments = Vec::new();
        let keep = options.svg.is_some();
        let outcome = watch(setup, load, &mut law, from, |m| moments.extend(keep.then_some(m)));
        rows.push((law.name().to_owned(), outcome));
        drawn.push(Series { name: law.name().to_owned(), moments });
    }
    for mut law in peers() {
        rows.push((law.name().to_owned(), play(setup, load, law.as_mut(), from)));
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, plot::svg(&load.name, &drawn))
            .with_context(|| file.display().to_string())?;
    }
    Ok(rows)
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 => Ok(n),
        _ => Err("expected a number above 0".to_owned()),
    }
}

fn at_least_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok(n),
        _ => Err("expected a number of at least 0".to_owned()),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if (0.0..=1.0).contains(&n) => Ok(n),
        _ => Err("expected a fraction from 0 to 1".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number from 1 on".to_owned()),
    }
}

fn replicas(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(n) if n <= MOST_REPLICAS => Ok(n),
        _ => Err(format!("expected a whole number up to {MOST_REPLICAS}")),
    }
}

fn at_least_one_replica(text: &str) -> Result<u32, String> {
    match replicas(text)? {
        0 => Err("expected a whole number from 1 on".to_owned()),
        n => Ok(n),
    }
}

fn read_policy(file: &Path, options: &Options) -> anyhow::Result<Policy> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let policies = parse_policies(&text, &Sources::any())
        .map_err(|errors| LoadError::Wrong(file.to_owned(), errors))?;
    let names: Vec<&str> = policies.iter().map(|p| p.name.as_str()).collect();
    let names = names.join(", ");
    let mut policy = match (&options.name, &policies[..]) {
        (Some(name), _) => policies.iter().find(|p| p.name == *name),
        (None, [only]) => Some(only),
        (None, _) => bail!("{} has several policies: --name one of {names}", file.display()),
    }
    .cloned()
    .with_context(|| format!("{} has no such policy, only {names}", file.display()))?;
    policy.min = options.min.unwrap_or(policy.min);
    policy.max = options.max.unwrap_or(policy.max);
    Ok(policy)
}

fn setup(options: &Options, policy: Option<&Policy>) -> anyhow::Result<Setup> {
    let of_policy = policy.and_then(|p| {
        p.metrics.iter().find_map(|m| match m.law {
            Law::Target(ref law) => Some((law.per_replica, law.capacity)),
            Law::Backlog { .. } | Law::Steps(_) => None,
        })
    });
    if let (Some(target), Some(capacity)) = (options.target, options.capacity) {
        ensure!(target <= capacity, "--target {target} is above --capacity {capacity}");
    }
    let target = options.target.or(of_policy.map(|(target, _)| target));
    let capacity = options.capacity.or(of_policy.map(|(_, capacity)| capacity));
    let capacity = capacity.or(target.map(|t| t / UTILISATION)).unwrap_or(50.0);
    let target = target.unwrap_or(capacity * UTILISATION);
    let min = options.min.or(policy.map(|p| p.min)).unwrap_or(1);
    let max = options.max.or(policy.map(|p| p.max)).unwrap_or(1000);
    ensure!(min <= max, "the least replicas, {min}, are above the most, {max}");
    let of_policy = policy.map(|p| p.start_time.as_secs_f64().ceil() as u32);
    let start = options.start.or(of_policy).unwrap_or(20);
    let Options { drain, served, delay, missing, noise, .. } = *options;
    let sight = Sight { served, delay, missing, noise };
    Ok(Setup { capacity, target, start, drain, min, max, sight })
}

fn load(name: &str) -> anyhow::Result<Load> {
    if let Some(load) = Load::built_in(name) {
        return Ok(load);
    }
    let mut text = String::new();
    if name == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    } else {
        text = std::fs::read_to_string(name).with_context(|| match Path::new(name).exists() {
            true => name.to_owned(),
            false => format!("{name} is none of {} and no file", BUILT_IN.join(", ")),
        })?;
    }
    let title = Path::new(name).file_name().map_or(name.into(), |n| n.to_string_lossy());
    Load::parse(&title, &text).map_err(|e| anyhow::anyhow!("{name}: {e}"))
}

fn print_bench(most: usize) -> Result<(), Failure> {
    show(|out| writeln!(out, "policies  containers  one tick     per policy"))?;
    for count in [most / 4, most / 2, most] {
        let spent = bench::tick(count).as_secs_f64();
        let each = spent * 1e6 / count.max(1) as f64;
        let containers = count * bench::REPLICAS as usize;
        let tick = spent * 1e3;
        show(|out| writeln!(out, "{count:8}  {containers:10}  {tick:8.2} ms  {each:7.2} µs"))?;
    }
    Ok(())
}
