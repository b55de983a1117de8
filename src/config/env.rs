//! The environment, as values that are asked for by name and problems that add up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::value;
use super::variables::VARIABLES;

/// Longest file that holds a secret, in bytes.
const LONGEST: u64 = 64 * 1024;
/// Characters of a wrong value that a message shows.
const SHOWN: usize = 60;
/// One of these makes Berth more than a plain init.
const REGISTERING: [&str; 3] = ["DNS_SERVER", "DNS_ZONE", "HAPROXY_SERVER"];
/// Apps have variables of their own by these names, so they alone do not stop a plain init.
const SHARED: [&str; 5] = ["APP_ADDR", "APP_PORT", "LOG_FORMAT", "LOG_LEVEL", "SERVICE_NAME"];

/// Variables and what was found wrong with them so far.
#[derive(Debug)]
pub struct Env {
    vars: BTreeMap<String, OsString>,
    read: Vec<&'static str>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Env {
    /// Takes name and value pairs. A name that is not UTF-8 cannot be one of ours.
    pub fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let vars = vars
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self { vars, read: Vec::new(), problems: Vec::new(), warnings: Vec::new() }
    }

    /// Whether there is anything to register with.
    pub fn registers(&self) -> bool {
        REGISTERING.iter().any(|name| self.is_set(name))
    }

    /// A variable as text; unset and empty are the same.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.read.push(name);
        let value = self.vars.get(name)?;
        let Some(text) = value.to_str().map(str::trim) else {
            self.problem(name, "is not valid UTF-8, expected text");
            return None;
        };
        if of_a_service(name, text) {
            if self.registers() {
                self.warnings.push(format!(
                    "{name} is '{}', as Kubernetes and Docker set it for a service of that name; it \
                     does not count",
                    shown(text)
                ));
            }
            return None;
        }
        Some(text.to_owned()).filter(|text| !text.is_empty())
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
            self.problem(name, &format!("is '{}', expected {expected}", shown(&text)));
        }
        parsed
    }

    /// A list by commas of what `parse` takes, each once.
    pub fn parse_list<T: PartialEq>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let text = self.text(name)?;
        let (mut list, mut wrong) = (Vec::new(), Vec::new());
        for entry in text.split(',').map(str::trim) {
            match parse(entry) {
                Some(value) if !list.contains(&value) => list.push(value),
                Some(_) => {}
                None => wrong.push(format!("'{}'", shown(entry))),
            }
        }
        if wrong.is_empty() {
            return Some(list);
        }
        self.problem(name, &format!("has {}, expected {expected}", wrong.join(", ")));
        None
    }

    /// A variable of a type that knows how to parse itself.
    pub fn parse_or<T: FromStr>(&mut self, name: &'static str, expected: &str, default: T) -> T {
        self.parse_if(name, expected, |text| text.parse().ok()).unwrap_or(default)
    }

    /// The same for a type whose error says what was expected.
    pub fn parse_or_default<T: FromStr<Err: Display> + Default>(
        &mut self,
        name: &'static str,
    ) -> T {
        let parsed = self.text(name).map(|text| text.parse::<T>());
        let parsed = parsed.transpose().map_err(|error| format!("is wrong: {error}"));
        self.check(name, parsed).flatten().unwrap_or_default()
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
                let path = shown(&path.to_string_lossy());
                self.problem(file, &format!("names {path}: {error}, expected a file to read"));
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

    /// Notes that variables say how to do what is not done at all, as long as `missing` is not set.
    pub fn warn_without(&mut self, missing: &str, names: &[&str], consequence: &str) {
        let set: Vec<_> = names.iter().copied().filter(|name| self.is_set(name)).collect();
        if let [first, rest @ ..] = set.as_slice()
            && !self.is_set(missing)
        {
            let more = if rest.is_empty() { "" } else { ", …" };
            self.warnings.push(format!("{first}{more} without {missing}: {consequence}"));
        }
    }

    /// What deserves a warning.
    ///
    /// # Errors
    /// The problems found, one line each.
    pub fn finish(mut self) -> Result<Vec<String>, Vec<String>> {
        let registers = self.registers();
        let shared = |problem: &String| SHARED.iter().any(|name| problem.starts_with(name));
        if !self.problems.is_empty() && (registers || !self.problems.iter().all(shared)) {
            return Err(self.problems);
        }
        self.warnings.extend(self.vars.keys().filter_map(|name| stranger(name, registers)));
        Ok(self.warnings)
    }

    /// Names that were asked for, once each.
    pub fn names_read(&self) -> Vec<&'static str> {
        let mut names = self.read.clone();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// A value as it can stand in a message: short, and without what would end a line or steer a
/// terminal.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().nth(SHOWN).is_some() { shown + "…" } else { shown }
}

/// For a service called `haproxy`, Kubernetes and Docker set `HAPROXY_PORT=tcp://10.0.0.1:80`.
fn of_a_service(name: &str, text: &str) -> bool {
    let scheme = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    scheme && name.ends_with("_PORT")
}

/// and further variables by such names.
fn describes_a_service(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_ENV")
}

/// What to say of a variable that is not ours and may have been meant to be. One that resembles
/// nothing of ours is the app's own business, unless the container registers and it has our prefix.
fn stranger(name: &str, registers: bool) -> Option<String> {
    let prefixed = without_prefix(name).is_some();
    let known = VARIABLES.iter().any(|variable| variable.name == name);
    if known || describes_a_service(name) || !(prefixed || registers) {
        return None;
    }
    match meant(name) {
        Some(meant) => Some(format!("{name} means nothing here: did you mean {meant}?")),
        None if prefixed && registers => Some(format!("{name} means nothing here")),
        None => None,
    }
}

/// The variable that a misspelt one was meant to be: little of what follows the prefix differs, or
/// the prefix is too much.
fn meant(name: &str) -> Option<&'static str> {
    let near = |known: &str| {
        let differs = match without_prefix(known) {
            Some(rest) => (rest.len() / 3).min(2),
            None => usize::from(!SHARED.contains(&known)),
        };
        strsim::osa_distance(name, known) <= differs || without_prefix(name) == Some(known)
    };
    VARIABLES.iter().map(|variable| variable.name).find(|known| near(known))
}

fn without_prefix(name: &str) -> Option<&str> {
    ["HAPROXY_", "DNS_"].iter().find_map(|prefix| name.strip_prefix(prefix))
}
