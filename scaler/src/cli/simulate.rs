//! `berth-scaler simulate`.

use anyhow::{Context, bail};
use berth_scaler::config::{LoadError, Sources, parse_policies};
use berth_scaler::policy::{Law, Policy, UTILISATION};
use berth_scaler::simulate::law::{Law as Play, peers};
use berth_scaler::simulate::load::{BUILT_IN, Load};
use berth_scaler::simulate::ours::{Ours, default_policy};
use berth_scaler::simulate::plot::{self, Series};
use berth_scaler::simulate::{Setup, bench, frontier, play, report, watch};
use lexopt::prelude::*;
use std::io::Read;
use std::path::{Path, PathBuf};

const HELP: &str = "\
Plays a load through a policy and through models of its peers, and counts what each costs.

usage: berth-scaler simulate [OPTIONS] [LOAD…]

LOAD is step, ramp, day, burst, noise (all of them when left out), a file, or - for standard input.
A file has one number per line, the requests of each second, or lines of time,count with evenly
spaced times; zcat FILE.gz | berth-scaler simulate - reads a compressed one.

  --policy FILE     play a [[policy]] of this file instead of the default law
  --changed FILE    play a [[policy]] of this file too, to compare: what would have been different?
  --name NAME       which one, when there are several
  --interval SECS   seconds between its ticks (5)
  --capacity N      requests per second that one replica can serve (50; with --policy its target
                    divided by 0.7)
  --target N        requests per second that the laws aim at per replica (0.7 of the capacity)
  --start SECS      seconds from the order of a replica to its first answer (20)
  --drain SECS      seconds a replica needs to go (10)
  --min N, --max N  fewest and most replicas (1, 1000; with --policy its own)
  --times X         multiply the load
  --from X, --to Y  only this part of the load, as fractions of its length (0, 1)
  --warm-up X       play this fraction of it first without counting (0)
  --headroom N      that of the default law (0.17)
  --served          show all laws what was served instead of what was asked for, as the use of a
                    processor is: it stops growing where the replicas are full
  --frontier        instead: the default law at several headrooms, the HPA at several targets
  --svg FILE        draw demand, capacity and what waits into this file (of the last load)
  --json            one JSON document per load
  --bench N         instead: the time of one tick over N policies of 10 containers each
";

struct Options {
    loads: Vec<String>,
    policy: Option<PathBuf>,
    name: Option<String>,
    interval: u32,
    capacity: Option<f64>,
    target: Option<f64>,
    start: u32,
    drain: u32,
    min: Option<u32>,
    max: Option<u32>,
    times: f32,
    part: (f64, f64),
    warm_up: f64,
    changed: Option<PathBuf>,
    served: bool,
    frontier: bool,
    svg: Option<PathBuf>,
    headroom: Option<f64>,
    json: bool,
}

pub(super) fn run(args: lexopt::Parser) -> anyhow::Result<()> {
    let Some(options) = parse(args)? else {
        return Ok(());
    };
    let policy = options.policy.as_deref().map(|file| read_policy(file, &options)).transpose()?;
    let changed = options.changed.as_deref().map(|file| read_policy(file, &options)).transpose()?;
    let setup = setup(&options, policy.as_ref().or(changed.as_ref()))?;
    for name in &options.loads {
        let load = load(name)?.times(options.times).part(options.part.0, options.part.1);
        let from = (load.secs() as f64 * options.warm_up) as u64;
        let rows = match options.frontier {
            true => frontier::rows(&setup, &load, options.interval, from),
            false => rows(&options, &setup, &load, [policy.as_ref(), changed.as_ref()], from)?,
        };
        if options.json {
            println!("{}", report::json(&load.name, &setup, load.secs(), &rows));
        } else if options.frontier {
            println!("{}", report::frontier(&load.name, &setup, load.secs(), &rows));
        } else {
            println!("{}", report::table(&load.name, &setup, load.secs(), &rows));
        }
    }
    Ok(())
}

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

/// `None` when the arguments asked for something else, which is done.
fn parse(mut args: lexopt::Parser) -> anyhow::Result<Option<Options>> {
    let mut o = Options {
        loads: Vec::new(),
        policy: None,
        name: None,
        interval: 5,
        capacity: None,
        target: None,
        start: 20,
        drain: 10,
        min: None,
        max: None,
        times: 1.0,
        part: (0.0, 1.0),
        warm_up: 0.0,
        changed: None,
        served: false,
        frontier: false,
        svg: None,
        headroom: None,
        json: false,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Long("bench") => {
                print_bench(args.value()?.parse()?);
                return Ok(None);
            }
            Long("policy") => o.policy = Some(args.value()?.into()),
            Long("name") => o.name = Some(args.value()?.parse()?),
            Long("interval") => o.interval = args.value()?.parse_with(at_least_one)?,
            Long("capacity") => o.capacity = Some(args.value()?.parse_with(above_zero)?),
            Long("target") => o.target = Some(args.value()?.parse_with(above_zero)?),
            Long("start") => o.start = args.value()?.parse()?,
            Long("drain") => o.drain = args.value()?.parse()?,
            Long("min") => o.min = Some(args.value()?.parse()?),
            Long("max") => o.max = Some(args.value()?.parse_with(at_least_one)?),
            Long("times") => o.times = args.value()?.parse_with(above_zero)? as f32,
            Long("from") => o.part.0 = args.value()?.parse_with(fraction)?,
            Long("to") => o.part.1 = args.value()?.parse_with(fraction)?,
            Long("warm-up") => o.warm_up = args.value()?.parse_with(fraction)?,
            Long("headroom") => o.headroom = Some(args.value()?.parse_with(at_least_zero)?),
            Long("changed") => o.changed = Some(args.value()?.into()),
            Long("served") => o.served = true,
            Long("frontier") => o.frontier = true,
            Long("svg") => o.svg = Some(args.value()?.into()),
            Long("json") => o.json = true,
            Value(load) => o.loads.push(load.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if o.part.0 >= o.part.1 {
        bail!("--from must be less than --to");
    }
    if o.loads.is_empty() {
        o.loads = BUILT_IN.map(str::to_owned).into();
    }
    Ok(Some(o))
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
    let target = options.target.or(of_policy.map(|(target, _)| target));
    let capacity = options.capacity.or(of_policy.map(|(_, capacity)| capacity));
    let capacity = capacity.or(target.map(|t| t / UTILISATION)).unwrap_or(50.0);
    let target = target.unwrap_or(capacity * UTILISATION);
    let min = options.min.or(policy.map(|p| p.min)).unwrap_or(1);
    let max = options.max.or(policy.map(|p| p.max)).unwrap_or(1000);
    if min > max {
        bail!("--min {min} is above --max {max}");
    }
    let (start, drain, served) = (options.start, options.drain, options.served);
    Ok(Setup { capacity, target, start, drain, min, max, served })
}

fn load(name: &str) -> anyhow::Result<Load> {
    if let Some(load) = Load::built_in(name) {
        return Ok(load);
    }
    let mut text = String::new();
    if name == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    } else {
        text = std::fs::read_to_string(name)
            .with_context(|| format!("{name} is none of {} and no file", BUILT_IN.join(", ")))?;
    }
    let title = Path::new(name).file_name().map_or(name.into(), |n| n.to_string_lossy());
    Load::parse(&title, &text).map_err(|e| anyhow::anyhow!("{name}: {e}"))
}

fn print_bench(most: usize) {
    println!("policies  containers  one tick     per policy");
    for count in [most / 4, most / 2, most] {
        let spent = bench::tick(count);
        let each = spent.as_secs_f64() * 1e6 / count.max(1) as f64;
        let containers = count * bench::REPLICAS as usize;
        println!("{count:8}  {containers:10}  {:8.2} ms  {each:7.2} µs", spent.as_secs_f64() * 1e3);
    }
}
