//! The command line: what is asked for, the configuration for it, and one call. Decides nothing.

pub mod arguments;
mod help;
pub mod status;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::cli::arguments::{Format, Request};
use crate::cli::status::Status;
use crate::config::Config;
use crate::init::exit;
use crate::init::inherited::Inherited;
use crate::init::plain;
use crate::init::secret;
use crate::init::supervisor::SpawnOptions;
use crate::net::resolve::Resolver;
use crate::registers::{dns, traefik};
use crate::{container, log};

/// Variables that nobody but the registers needs.
const SECRETS: [&[&str]; 2] = [dns::SECRETS, traefik::SECRETS];

/// Does what the command line asks for and returns the exit code to leave with.
pub fn run(arguments: Vec<OsString>, inherited: Inherited) -> u8 {
    let request = match arguments::parse(arguments) {
        Ok(Request::Help) => return print(&help::text()),
        Ok(Request::Version) => return print(concat!("berth ", env!("CARGO_PKG_VERSION"))),
        Ok(request) => request,
        Err(error) => return fail(error, exit::USAGE),
    };
    let config = match Config::from_vars(std::env::vars_os()) {
        Ok(config) => config,
        Err(error) => {
            fail(error, exit::USAGE);
            // Whoever told us to stop meanwhile shall not wonder about the code.
            inherited.let_signals_act();
            return exit::USAGE;
        }
    };
    for secrets in SECRETS {
        secret::scrub(secrets);
    }
    log::init(config.log_level, config.log_format);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match request {
        Request::Wrap(command) => wrap(&command, inherited, &config.container),
        Request::Status(format) => {
            inherited.let_signals_act();
            asking(Box::pin(async { show(&ask(&config).await, format) }))
        }
        Request::Check { wait } => {
            inherited.let_signals_act();
            asking(Box::pin(check(&config, wait)))
        }
        Request::Help | Request::Version => exit::USAGE,
    }
}

fn wrap(command: &[OsString], inherited: Inherited, settings: &container::Settings) -> u8 {
    let options = SpawnOptions {
        environment: SECRETS.iter().copied().flatten().map(|name| (name.into(), None)).collect(),
        signal_group: settings.init.signal_group,
        signal_rewrite: settings.init.signal_rewrite.clone(),
        stop_signals: settings.init.stop_signals,
    };
    let code = match settings.registers() {
        true => container::run::run(command, inherited, options, settings),
        false => plain::run(command, inherited, options, &settings.init),
    };
    code.unwrap_or_else(|error| fail(&error, error.code()))
}

/// Runs what asks the servers.
fn asking(question: Pin<Box<dyn Future<Output = u8> + '_>>) -> u8 {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(question),
        Err(error) => fail(error, exit::SOFTWARE),
    }
}

async fn ask(config: &Config) -> Status {
    status::ask(&config.container, &Resolver::default()).await
}

fn show(status: &Status, format: Format) -> u8 {
    match format {
        Format::Table => print(status.to_string().trim_end()),
        Format::Json => match serde_json::to_string_pretty(status) {
            Ok(json) => print(&json),
            Err(error) => fail(error, exit::SOFTWARE),
        },
    }
}

/// Asks again until the container is registered, or `wait` is over; says in one line what is so.
async fn check(config: &Config, wait: Duration) -> u8 {
    const PAUSE: Duration = Duration::from_millis(500);
    let started = Instant::now();
    loop {
        let (code, line) = ask(config).await.verdict();
        let left = wait.saturating_sub(started.elapsed());
        if code == 0 || left.is_zero() {
            return fail(line, code);
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

fn print(text: &str) -> u8 {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => 0,
        Err(_) => exit::SOFTWARE,
    }
}

/// Unlike `eprintln!`, no panic where nobody listens.
fn fail(error: impl Display, code: u8) -> u8 {
    for line in error.to_string().lines() {
        let _ = writeln!(io::stderr(), "berth: {line}");
    }
    code
}
