//! Subcommands: each reads its own arguments and returns what to print.

mod simulate;

use anyhow::{Context, bail};
use berth_scaler::commands::{Failure, told_once};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
Scales the containers of a service by any metric, and audits every act.

usage: berth-scaler COMMAND

  check FILE      check a configuration; every error with line and field
  simulate …      try a policy on a load before trusting it; see simulate --help

  -h, --help      this text
  -V, --version   the version
";

/// The exit code for a wrong command line or configuration (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;

/// Runs what the arguments ask for.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match command(lexopt::Parser::from_iter(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("berth-scaler: {}", told_once(&e));
            if e.is::<Failure>() { ExitCode::FAILURE } else { ExitCode::from(USAGE) }
        }
    }
}

fn command(mut args: lexopt::Parser) -> anyhow::Result<()> {
    match args.next()? {
        Some(Short('h') | Long("help")) | None => {
            print!("{HELP}{}", berth_scaler::commands::HELP);
        }
        Some(Short('V') | Long("version")) => {
            println!("berth-scaler {}", env!("CARGO_PKG_VERSION"))
        }
        Some(Value(name)) => match name.to_str() {
            Some("check") => check(args)?,
            Some("simulate") => simulate::run(args)?,
            Some(known) if berth_scaler::commands::NAMES.contains(&known) => {
                berth_scaler::commands::run(known, args)?;
            }
            _ => bail!("no command is called {name:?}; see berth-scaler --help"),
        },
        Some(other) => return Err(other.unexpected().into()),
    }
    Ok(())
}

fn check(mut args: lexopt::Parser) -> anyhow::Result<()> {
    let file = args.value().context("check needs a file")?;
    if let Some(more) = args.next()? {
        return Err(more.unexpected().into());
    }
    let config = berth_scaler::config::load(Path::new(&file))?;
    let (policies, hosts) = (config.policies.len(), config.docker.len());
    println!("{}: right; {policies} policies, {hosts} Docker hosts", Path::new(&file).display());
    Ok(())
}
