//! Configuration: the environment, parsed once into types that cannot be wrong.
//!
//! Every wrong variable is collected before anything fails, so that one message names them all. What
//! comes out are the settings of each room, which know nothing of variables; the table of these is
//! [`VARIABLES`]. Never connects to anybody, and never starts or stops anything.

use std::ffi::OsString;

use tracing::level_filters::LevelFilter;

mod app;
mod dns;
mod env;
mod haproxy;
mod near;
#[cfg(test)]
mod tests;
mod traefik;
mod value;
mod variables;

pub use value::duration;
pub use variables::{Group, Unset, VARIABLES, Variable};

use crate::container;
use crate::log::LogFormat;
use env::Env;
use variables as vars;

/// Everything that Berth is told, by type.
#[derive(Clone, Debug)]
pub struct Config {
    /// The app, and where it is registered.
    pub container: container::Settings,
    /// Lines on stderr: a level that `tracing` knows.
    pub log_level: LevelFilter,
    /// Shape of the lines on stderr.
    pub log_format: LogFormat,
    /// What deserves a warning but is not wrong, such as a misspelt variable.
    pub warnings: Vec<String>,
}

/// Every wrong variable, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Parses an environment, given as name and value pairs. Reads the files that it names.
    pub fn from_vars(
        given: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut env = Env::new(given);
        let container = app::container(&mut env);
        let log_level = env.value(
            &vars::LOG_LEVEL,
            "error, warn, info, debug or trace",
            value::log_level,
            LevelFilter::INFO,
        );
        let parse = |text: &str| text.parse().ok();
        let log_format = env.value(&vars::LOG_FORMAT, "text or json", parse, LogFormat::Text);
        let warnings = env.finish().map_err(ConfigError)?;
        Ok(Self { container, log_level, log_format, warnings })
    }
}
