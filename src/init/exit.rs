//! How the app ended, and the exit code that Berth makes of it.

use std::fmt;
use std::str::FromStr;

use crate::few::Few;
use crate::init::signal::Signal;

/// EX_USAGE of sysexits.h: wrong arguments or configuration.
pub const USAGE: u8 = 64;
/// EX_SOFTWARE of sysexits.h: Berth itself failed.
pub const SOFTWARE: u8 = 70;
/// The command cannot be executed, as shells say it.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command is not found, as shells say it.
pub const NOT_FOUND: u8 = 127;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(u8),
    /// By this signal.
    Killed(Signal),
}

impl Ended {
    /// The exit code that tells a shell the same: the process's own, or 128 + signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal.number() as u8,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "{signal}"),
        }
    }
}

/// Exit codes that leave as others: `143:0,130:0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitRemap(Few<u8, u8>);

impl ExitRemap {
    /// The code to leave with for the app's `code`.
    pub fn apply(&self, code: u8) -> u8 {
        self.0.get(&code).copied().unwrap_or(code)
    }
}

/// A text that is no [`ExitRemap`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}, expected FROM:TO with exit codes from 0 to 255, and each FROM once, such as 143:0")]
pub struct InvalidExitRemap(String);

impl FromStr for ExitRemap {
    type Err = InvalidExitRemap;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut codes = Few::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let invalid = || InvalidExitRemap(pair.to_owned());
            let (from, to) = pair.split_once(':').ok_or_else(invalid)?;
            let code = |text: &str| text.trim().parse().map_err(|_| invalid());
            if codes.insert(code(from)?, code(to)?).is_some() {
                return Err(invalid());
            }
        }
        Ok(Self(codes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaps_the_named_codes_only() {
        let remap: ExitRemap = "143:0, 130:7".parse().unwrap();
        assert_eq!([143, 130, 0, 1].map(|code| remap.apply(code)), [0, 7, 0, 1]);
        assert_eq!("".parse(), Ok(ExitRemap::default()));
    }

    #[test]
    fn an_invalid_remap_is_named() {
        for text in ["143", "143:", ":0", "256:0", "143:-1", "TERM:0", "1:2:3", "1:0,1:2"] {
            let error = format!("143:1,{text}").parse::<ExitRemap>().unwrap_err().to_string();
            assert!(error.contains("expected FROM:TO"), "{text}: {error}");
        }
    }

    #[test]
    fn a_signal_is_told_as_shells_tell_it() {
        assert_eq!(Ended::Exited(255).code(), 255);
        for (signal, code) in [("TERM", 143), ("KILL", 137), ("RTMIN+3", 165), ("64", 192)] {
            assert_eq!(Ended::Killed(signal.parse().unwrap()).code(), code);
        }
    }
}
