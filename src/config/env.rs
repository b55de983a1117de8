//! The environment, as values that are asked for by name and problems that add up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::value;
use super::variables::VARIABLES;

/// Longest file that holds a secret, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Variables and what was found wrong with them so far.
#[derive(Debug)]
pub struct Env {
    vars: BTreeMap<String, OsString>,
    read: Vec<&'static str>,
    problems: Vec<String>,
}

impl Env {
    /// Takes name and value pairs. A name that is not UTF-8 cannot be one of ours.
    pub fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let vars = vars
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self { vars, read: Vec::new(), problems: Vec::new() }
    }

    /// A variable as text; unset and empty are the same.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.read.push(name);
        let value = self.vars.get(name)?;
        match value.to_str() {
            Some(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            None => {
                self.problem(name, "is not valid UTF-8");
                None
            }
        }
    }

    /// A variable as a path; it need not exist yet.
    pub fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.read.push(name);
        self.vars.get(name).map(PathBuf::from)
    }

    /// A variable parsed by `parse`; what is wrong is noted with what was `expected`.
    pub fn parse_if<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.problem(name, &format!("is '{text}', expected {expected}"));
        }
        parsed
    }

    /// A variable of a type that knows how to parse itself.
    pub fn parse_or<T: FromStr>(&mut self, name: &'static str, expected: &str, default: T) -> T {
        self.parse_if(name, expected, |text| text.parse().ok()).unwrap_or(default)
    }

    /// A value that was parsed elsewhere; an error is a complaint that follows the name.
    pub fn check<T>(&mut self, name: &'static str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|complaint| self.problem(name, &complaint)).ok()
    }

    /// Whether a variable has a value, be it a wrong one.
    pub fn is_set(&self, name: &str) -> bool {
        self.vars.contains_key(name)
    }

    /// A duration: `250ms`, `5s`, `2m`, or a plain number of seconds.
    pub fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        at_least: Option<Duration>,
    ) -> Duration {
        let least = at_least.unwrap_or_default();
        let bound = at_least.map_or_else(String::new, |least| format!(", at least {least:?}"));
        let expected = format!("a duration such as 250ms, 5s, 2m or a number of seconds{bound}");
        self.parse_if(name, &expected, |text| value::duration(text).filter(|d| *d >= least))
            .unwrap_or(default)
    }

    /// A secret: from `NAME`, or from the file that `NAME_FILE` names.
    pub fn secret(&mut self, name: &'static str, file: &'static str) -> Option<String> {
        let direct = self.text(name);
        let Some(path) = self.path(file) else { return direct };
        if direct.is_some() {
            self.problem(file, &format!("is set as well as {name}, expected one of them"));
            return None;
        }
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
        match read {
            Ok(_) => Some(text.trim().to_owned()),
            Err(error) => {
                self.problem(file, &format!("names {}: {error}", path.display()));
                None
            }
        }
    }

    /// Notes that a variable is wrong: `complaint` follows its name.
    pub fn problem(&mut self, name: &str, complaint: &str) {
        self.complain(format!("{name} {complaint}"));
    }

    /// Notes a problem in a sentence that starts with the variable's name.
    pub fn complain(&mut self, sentence: String) {
        self.problems.push(sentence);
    }

    /// Variables that look like ours and are not. An unknown `HAPROXY_…` that resembles nothing of
    /// ours is the app's own business unless the container `registers`.
    pub fn warnings(&self, registers: bool) -> Vec<String> {
        self.vars
            .keys()
            .filter(|name| name.starts_with("HAPROXY_") || name.starts_with("DNS_"))
            .filter(|name| VARIABLES.iter().all(|variable| variable.name != name.as_str()))
            .filter(|name| !of_an_orchestrator(name))
            .filter_map(|name| match nearest(name) {
                Some(near) => Some(format!("{name} means nothing here: did you mean {near}?")),
                None if registers => Some(format!("{name} means nothing here")),
                None => None,
            })
            .collect()
    }

    /// The problems found so far, one line each.
    pub fn into_problems(self) -> Vec<String> {
        self.problems
    }

    /// Names that were asked for, once each.
    pub fn names_read(&self) -> Vec<&'static str> {
        let mut names = self.read.clone();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Kubernetes and Docker links describe a service called `haproxy` or `dns` by such names.
fn of_an_orchestrator(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_ENV")
}

fn nearest(name: &str) -> Option<&'static str> {
    VARIABLES
        .iter()
        .map(|variable| (strsim::osa_distance(name, variable.name), variable.name))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, name)| name)
}
