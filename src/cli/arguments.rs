//! The command line: options for Berth, then the app's command.

use std::ffi::OsString;
use std::time::Duration;

use crate::config::duration;

/// What Berth is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Wrap this command, which has at least one word.
    Wrap(Vec<OsString>),
    /// `--status` or `--status=json`
    Status(Format),
    /// `--check`, `--check --wait 30s`
    Check {
        /// How long it may take until the container is registered.
        wait: Duration,
    },
    /// `--help`
    Help,
    /// `--version`
    Version,
}

/// How a status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table for people.
    Table,
    /// One JSON object.
    Json,
}

/// A command line that asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// No command after the options.
    #[error("no command, expected: berth [--] COMMAND [ARG...]; see berth --help")]
    NoCommand,
    /// A word after an option that takes none.
    #[error("{0:?} after an option that takes no more words; see berth --help")]
    ExtraWord(OsString),
    /// No time after `--wait`.
    #[error("--wait {0:?}, expected a duration such as 30s or 2m; see berth --help")]
    NoDuration(OsString),
    /// Not one of Berth's options.
    #[error("{0:?} is no option; see berth --help")]
    UnknownOption(OsString),
}

/// Parses the arguments after the program's name. The first that is no option starts the command.
///
/// # Errors
/// When there is no command, or an option that does not exist.
pub fn parse(mut arguments: Vec<OsString>) -> Result<Request, ArgumentError> {
    let first = arguments.first().ok_or(ArgumentError::NoCommand)?;
    let alone = |request| match arguments.get(1) {
        Some(word) => Err(ArgumentError::ExtraWord(word.clone())),
        None => Ok(request),
    };
    match first.to_str() {
        Some("--") if arguments.len() > 1 => {
            arguments.remove(0);
            Ok(Request::Wrap(arguments))
        }
        Some("--") => Err(ArgumentError::NoCommand),
        Some("--status" | "--status=text") => alone(Request::Status(Format::Table)),
        Some("--status=json") => alone(Request::Status(Format::Json)),
        Some("--check") => check(&arguments[1..]),
        Some("--help" | "-h") => Ok(Request::Help),
        Some("--version" | "-V") => Ok(Request::Version),
        _ if first.as_encoded_bytes().starts_with(b"-") => {
            Err(ArgumentError::UnknownOption(first.clone()))
        }
        _ => Ok(Request::Wrap(arguments)),
    }
}

/// What follows `--check`: nothing, `--wait TIME` or `--wait=TIME`.
fn check(words: &[OsString]) -> Result<Request, ArgumentError> {
    let (time, more) = match words {
        [] => return Ok(Request::Check { wait: Duration::ZERO }),
        [wait] if wait == "--wait" => return Err(ArgumentError::NoDuration(OsString::new())),
        [wait, time, more @ ..] if wait == "--wait" => (time.to_str(), more),
        [word, more @ ..] => (word.to_str().and_then(|word| word.strip_prefix("--wait=")), more),
    };
    let extra = |word: &OsString| Err(ArgumentError::ExtraWord(word.clone()));
    match (time, more) {
        (None, _) => extra(&words[0]),
        (_, [word, ..]) => extra(word),
        (Some(time), []) => duration(time)
            .map(|wait| Request::Check { wait })
            .ok_or_else(|| ArgumentError::NoDuration(time.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Request, ArgumentError> {
        parse(arguments.iter().map(OsString::from).collect())
    }

    fn wrap(command: &[&str]) -> Result<Request, ArgumentError> {
        Ok(Request::Wrap(command.iter().map(OsString::from).collect()))
    }

    #[test]
    fn the_command_starts_at_the_first_word_or_after_two_dashes() {
        assert_eq!(parsed(&["app", "--help", "--"]), wrap(&["app", "--help", "--"]));
        assert_eq!(parsed(&["--", "app", "-x"]), wrap(&["app", "-x"]));
        assert_eq!(parsed(&["--", "--version"]), wrap(&["--version"]));
        assert_eq!(parsed(&["--", "--", "app"]), wrap(&["--", "app"]));
        assert_eq!(parsed(&[""]), wrap(&[""]));
    }

    #[test]
    fn options_are_berths_own_only_before_the_command() {
        assert_eq!(parsed(&["--help"]), Ok(Request::Help));
        assert_eq!(parsed(&["--status"]), Ok(Request::Status(Format::Table)));
        assert_eq!(parsed(&["--status=json"]), Ok(Request::Status(Format::Json)));
        let check = |wait| Ok(Request::Check { wait: Duration::from_secs(wait) });
        assert_eq!(parsed(&["--check"]), check(0));
        assert_eq!(parsed(&["--check", "--wait", "30s"]), check(30));
        assert_eq!(parsed(&["--check", "--wait=2m"]), check(120));
        for words in
            [&["--check", "--wait"][..], &["--check", "--wait", "soon"], &["--check", "--wait="]]
        {
            assert!(matches!(parsed(words), Err(ArgumentError::NoDuration(_))), "{words:?}");
        }
        assert!(parsed(&["--check", "--wait", "1s", "app"]).is_err());
        assert!(parsed(&["--status=xml"]).is_err());
        assert_eq!(parsed(&["--status", "json"]), Err(ArgumentError::ExtraWord("json".into())));
        assert_eq!(parsed(&["--check", "app"]), Err(ArgumentError::ExtraWord("app".into())));
        assert_eq!(parsed(&["--version", "app"]), Ok(Request::Version));
        assert_eq!(parsed(&["-g", "app"]), Err(ArgumentError::UnknownOption("-g".into())));
        assert_eq!(parsed(&[]), Err(ArgumentError::NoCommand));
        assert_eq!(parsed(&["--"]), Err(ArgumentError::NoCommand));
    }
}
