//! The command line: what is given, and which command does it.

mod simulate;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use berth_scaler::commands::{self, Failure, told_once};
use berth_scaler::policy::Pause;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

const ENVIRONMENT: &str = "\
LOG_LEVEL (error, warn, info, debug, trace) and LOG_FORMAT (text, json) set the log on stderr.

Exit codes: 64 for a wrong command line or configuration, 1 for what failed otherwise.";

/// Scales the containers of a service by any metric, and audits every act.
#[derive(Debug, Parser)]
#[command(name = "berth-scaler", version, after_help = ENVIRONMENT)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Observe, decide, act and record until a signal ends it
    Run(Acting),
    /// One round, to the end of its acts; fails when one of them did
    Once(Acting),
    /// Check a configuration: every error with line and field, certificates, names of hosts
    Check {
        /// The same as --config FILE
        #[arg(value_name = "FILE")]
        this: Option<PathBuf>,
        #[command(flatten)]
        file: File,
        /// Look up no names
        #[arg(long)]
        offline: bool,
    },
    /// What was done and why
    History {
        /// Of one policy
        policy: Option<String>,
        #[command(flatten)]
        file: File,
        /// The latest rows
        #[arg(short = 'n', long, value_name = "N", default_value = "50")]
        limit: u32,
        /// One JSON object for each row
        #[arg(long)]
        json: bool,
    },
    /// The policies of the file, the table and labels, and what labels were refused
    Policies {
        #[command(flatten)]
        file: File,
        /// One JSON object for each policy
        #[arg(long)]
        json: bool,
    },
    /// Stop acting; it goes on deciding
    Pause {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        file: File,
        /// Start nothing
        #[arg(long)]
        up: bool,
        /// Stop nothing
        #[arg(long)]
        down: bool,
    },
    /// Act again
    Resume {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        file: File,
    },
    /// Decide again by what a row of the audit says was seen
    Replay {
        /// Its id, as history --json shows it
        row: i64,
        #[command(flatten)]
        file: File,
        /// The whole decision
        #[arg(long)]
        json: bool,
    },
    /// Try a policy on a load before trusting it
    Simulate(Box<simulate::Options>),
    /// What a shell needs to complete these commands
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The configuration
    #[arg(
        short,
        long,
        value_name = "FILE",
        help = "The configuration (BERTH_SCALER_CONFIG, or berth-scaler.toml)"
    )]
    config: Option<PathBuf>,
}

impl File {
    fn path(self) -> PathBuf {
        let variable = || std::env::var_os("BERTH_SCALER_CONFIG").map(PathBuf::from);
        self.config.or_else(variable).unwrap_or_else(|| "berth-scaler.toml".into())
    }
}

#[derive(Debug, Args)]
struct Acting {
    #[command(flatten)]
    file: File,
    /// Decide and record, touch nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Whom {
    /// The policy
    policy: Option<String>,
    /// Every policy
    #[arg(long)]
    all: bool,
}

/// The exit code for a wrong command line or configuration (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;

/// Runs what the arguments ask for.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let given = match CommandLine::try_parse_from(args) {
        Ok(given) => given,
        Err(said) => {
            // Nobody may read it any more.
            let _ = said.print();
            return if said.exit_code() == 0 { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    match command(given.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "berth-scaler: {}", told_once(&e));
            if e.is::<Failure>() { ExitCode::FAILURE } else { ExitCode::from(USAGE) }
        }
    }
}

fn command(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(Acting { file, dry_run }) => commands::run(file.path(), dry_run),
        Command::Once(Acting { file, dry_run }) => commands::once(&file.path(), dry_run),
        Command::Check { this, file, offline } => {
            let file = this.unwrap_or_else(|| file.path());
            let valid = commands::check(&file, offline)?;
            Ok(commands::show(|out| writeln!(out, "{valid}"))?)
        }
        Command::History { policy, file, limit, json } => {
            commands::history(&file.path(), policy.as_deref(), limit, json)
        }
        Command::Policies { file, json } => commands::policies(&file.path(), json),
        Command::Pause { whom, file, up, down } => {
            let direction = match (up, down) {
                (true, false) => Pause::Up,
                (false, true) => Pause::Down,
                _ => Pause::Both,
            };
            let name = commands::whom("pause", whom.policy.as_deref(), whom.all)?;
            commands::pause(&file.path(), name, direction)
        }
        Command::Resume { whom, file } => {
            let name = commands::whom("resume", whom.policy.as_deref(), whom.all)?;
            commands::pause(&file.path(), name, Pause::None)
        }
        Command::Replay { row, file, json } => commands::replay(&file.path(), row, json),
        Command::Simulate(options) => simulate::run(*options),
        Command::Completions { shell } => {
            let (mut line, mut script) = (CommandLine::command(), Vec::new());
            clap_complete::generate(shell, &mut line, "berth-scaler", &mut script);
            Ok(commands::show(|out| out.write_all(&script))?)
        }
    }
}
