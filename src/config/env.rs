//! The environment, as values that are asked for by variable and problems that add up.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::near;
use super::value;
use super::variables::{self as vars, Group, Raw, Unset, VARIABLES, Variable};
use crate::file;

/// Longest file that holds a secret, in bytes.
const LONGEST: usize = 64 * 1024;
/// Characters of a wrong value that a message shows.
const SHOWN: usize = 60;
/// Apps have variables of their own by these names: a plain init says nothing of them.
const SHARED: [&str; 5] = ["APP_ADDR", "APP_PORT", "LOG_FORMAT", "LOG_LEVEL", "SERVICE_NAME"];

/// Variables and what was found wrong with them so far.
#[derive(Debug)]
pub(super) struct Env {
    raw: Raw,
    /// Names that are not ours.
    strangers: Vec<String>,
    problems: Vec<(Variable, String)>,
    warnings: Vec<String>,
}

impl Env {
    /// Takes name and value pairs. A name that is not UTF-8 cannot be one of ours; a value of blanks is
    /// none.
    pub(super) fn new(given: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut env = Self {
            raw: Raw::default(),
            strangers: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        let mut ours = Vec::new();
        for (name, value) in given {
            let Ok(name) = name.into_string() else { continue };
            let variable = VARIABLES.iter().find(|variable| variable.name == name);
            match (variable, value.to_str().map(str::trim)) {
                (_, Some("")) => {}
                (Some(_), Some(text)) => ours.push((name, text.to_owned())),
                (Some(variable), None) => {
                    env.problem(variable, "is not valid UTF-8, expected text");
                }
                (None, text) if of_a_service(&name, text.unwrap_or_default()) => {}
                (None, _) => env.strangers.push(name),
            }
        }
        for variable in VARIABLES {
            let is_its = |name: &str, text: &str| name == variable.name && of_a_service(name, text);
            if let Some((_, text)) = ours.iter().rfind(|(name, text)| is_its(name, text)) {
                env.warnings.push(format!(
                    "{} is '{}', as Kubernetes and Docker set it for a service of that name; it does \
                     not count",
                    variable.name,
                    shown(text)
                ));
            }
        }
        ours.retain(|(name, text)| !of_a_service(name, text));
        match envy::from_iter(ours) {
            Ok(raw) => env.raw = raw,
            Err(error) => env.warnings.push(format!("the environment cannot be read: {error}")),
        }
        env
    }

    /// Whether a variable has a value, be it a wrong one.
    pub(super) fn is_set(&self, variable: &Variable) -> bool {
        self.raw.value(variable).is_some()
    }

    /// Whether what variables of this group say is done at all.
    pub(super) fn counts(&self, group: Group) -> bool {
        let haproxy = self.is_set(&vars::HAPROXY_SERVER);
        let dns = self.is_set(&vars::DNS_SERVER) || self.is_set(&vars::DNS_ZONE);
        let traefik = self.is_set(&vars::TRAEFIK_KV);
        match group {
            Group::Haproxy | Group::Tls => haproxy,
            Group::Dns => dns,
            Group::Traefik => traefik,
            Group::App | Group::Log => haproxy || dns || traefik,
            Group::Init => true,
        }
    }

    /// A variable as text, without the blanks around it.
    pub(super) fn text(&self, variable: &Variable) -> Option<String> {
        self.raw.value(variable).map(str::to_owned)
    }

    /// A variable as a path; it need not exist yet.
    pub(super) fn path(&self, variable: &Variable) -> Option<PathBuf> {
        self.raw.value(variable).map(PathBuf::from)
    }

    /// A variable, or else its default, parsed by `parse`; what is wrong is noted with what was
    /// `expected`.
    pub(super) fn parsed<T>(
        &mut self,
        variable: &Variable,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let mut parsed = None;
        self.try_each(variable, &mut |text| {
            parsed = parse(text);
            if parsed.is_some() { Ok(()) } else { Err(wrong(text, expected)) }
        });
        parsed
    }

    /// Gives a variable's value to `take`, and else its default; what is wrong with the value is noted. One
    /// function for all types, for the binary's sake.
    fn try_each(&mut self, variable: &Variable, take: &mut dyn FnMut(&str) -> Result<(), String>) {
        if let Some(text) = self.text(variable) {
            match take(&text) {
                Ok(()) => return,
                Err(complaint) => self.problem(variable, &complaint),
            }
        }
        if let Unset::Value(text) = variable.default {
            let _ = take(text);
        }
    }

    /// The same for one whose default is a value. `fallback` stands in for a default that does not
    /// parse, which a test rules out.
    pub(super) fn value<T>(
        &mut self,
        variable: &Variable,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
        fallback: T,
    ) -> T {
        self.parsed(variable, expected, parse).unwrap_or(fallback)
    }

    /// A duration of at least so much: `250ms`, `5s`, `2m`, or a plain number of seconds.
    pub(super) fn duration(&mut self, variable: &Variable, least: Duration) -> Duration {
        let bound = match least.is_zero() {
            true => String::new(),
            false => format!(", at least {least:?}"),
        };
        let expected = format!("a duration such as 250ms, 5s, 2m or a number of seconds{bound}");
        let parse = |text: &str| value::duration(text).filter(|duration| *duration >= least);
        self.value(variable, &expected, parse, least)
    }

    /// A list by commas of what `parse` takes, each once.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        variable: &Variable,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let text = self.text(variable).unwrap_or_default();
        let (mut list, mut wrong) = (Vec::new(), Vec::new());
        for entry in text.split(',').map(str::trim) {
            match parse(entry) {
                Some(value) if !list.contains(&value) => list.push(value),
                Some(_) => {}
                None => wrong.push(format!("'{}'", shown(entry))),
            }
        }
        if wrong.is_empty() || text.is_empty() {
            return list;
        }
        self.problem(variable, &format!("has {}, expected {expected}", wrong.join(", ")));
        Vec::new()
    }

    /// A variable of a type whose error says what was expected.
    pub(super) fn explained<T: FromStr<Err: Display> + Default>(
        &mut self,
        variable: &Variable,
    ) -> T {
        let mut parsed = T::default();
        self.try_each(variable, &mut |text| {
            parsed = text.parse().map_err(|error| format!("is wrong: {error}"))?;
            Ok(())
        });
        parsed
    }

    /// A value that was parsed elsewhere; an error is a complaint that follows the name.
    pub(super) fn check<T>(&mut self, variable: &Variable, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|complaint| self.problem(variable, &complaint)).ok()
    }

    /// The text of the file that a variable names.
    pub(super) fn contents(&mut self, variable: &Variable) -> Option<String> {
        let path = self.path(variable)?;
        let text = file::read_in_time(&path, LONGEST).map_err(|error| error.to_string());
        let text = text.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| "is not valid UTF-8".to_owned())
        });
        let path = shown(&path.to_string_lossy());
        self.check(
            variable,
            text.map_err(|why| format!("names {path}, which cannot be read: {why}")),
        )
    }

    /// Notes that a variable is wrong: `complaint` follows its name.
    pub(super) fn problem(&mut self, variable: &Variable, complaint: &str) {
        self.complain(variable, format!("{} {complaint}", variable.name));
    }

    /// Notes a problem of a variable in a sentence that starts with its name, or that of a sibling.
    pub(super) fn complain(&mut self, variable: &Variable, sentence: String) {
        self.problems.push((*variable, sentence));
    }

    /// Notes what deserves a warning.
    pub(super) fn warn(&mut self, warning: &str) {
        self.warnings.push(warning.to_owned());
    }

    /// Notes that variables say how to do what is not done at all.
    pub(super) fn warn_without(&mut self, missing: &str, set: &[Variable], consequence: &str) {
        let set: Vec<_> = set.iter().filter(|variable| self.is_set(variable)).collect();
        if let [first, rest @ ..] = set.as_slice() {
            let more = if rest.is_empty() { "" } else { ", …" };
            let first = first.name;
            self.warnings.push(format!("{first}{more} without {missing}: {consequence}"));
        }
    }

    /// What deserves a warning. What is wrong with variables of something that is not done does not
    /// stop the app: they may not have been meant for Berth.
    ///
    /// # Errors
    /// The problems found, one line each.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Vec<String>> {
        let problems = std::mem::take(&mut self.problems).into_iter();
        let (wrong, idle): (Vec<_>, Vec<_>) =
            problems.partition(|(variable, _)| self.counts(variable.group));
        if !wrong.is_empty() {
            // All of them, since whoever mends the one will want the other.
            let shared = |variable: &Variable| SHARED.contains(&variable.name);
            let idle = idle.into_iter().filter(|(variable, _)| shared(variable));
            return Err(wrong.into_iter().chain(idle).map(|(_, line)| line).collect());
        }
        let plain = !self.counts(Group::App);
        let quiet = |variable: &Variable| plain && SHARED.contains(&variable.name);
        let idle = idle.into_iter().filter(|(variable, _)| !quiet(variable));
        self.warnings.extend(idle.map(|(_, line)| format!("{line}; it does not count here")));
        if plain {
            self.warnings.retain(|line| !line.contains("as Kubernetes and Docker set it"));
        }
        self.warnings
            .extend(self.strangers.iter().filter_map(|name| near::note(name, &SHARED, !plain)));
        Ok(self.warnings)
    }
}

#[inline(never)]
fn wrong(text: &str, expected: &str) -> String {
    format!("is '{}', expected {expected}", shown(text))
}

/// A value as it can stand in a message: short, and without what would end a line or steer a
/// terminal.
pub(super) fn shown(text: &str) -> String {
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
