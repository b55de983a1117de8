//! Reads TOML tables field by field and gathers every error with its line, where deserialising
//! into structs would stop at the first.

use super::ConfigError;
use crate::http::percent_encoded;
use crate::policy::{LONGEST_NAME, MOST_REPLICAS, check_container_name};
use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The value of a variable.
type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// A document under reading: its text, the environment and the errors so far.
pub struct Document<'d> {
    text: &'d str,
    /// `None` where nothing stands for a value of the environment.
    env: Option<&'d Environment<'d>>,
    errors: RefCell<Vec<ConfigError>>,
    /// Every key that was asked for.
    #[cfg(test)]
    pub(super) asked: RefCell<std::collections::BTreeSet<&'static str>>,
}

impl<'d> Document<'d> {
    pub fn new(text: &'d str, env: &'d Environment<'d>) -> Self {
        Self {
            text,
            env: Some(env),
            errors: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// A document whose strings mean what they say.
    pub fn literal(text: &'d str) -> Self {
        Self {
            text,
            env: None,
            errors: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// The root table; syntax errors are recorded, what could be read is returned.
    pub fn root(&self) -> Spanned<DeTable<'d>> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        for e in errors {
            self.error(e.span().unwrap_or(0..0), "syntax", e.message());
        }
        root
    }

    pub fn error(&self, span: Range<usize>, field: &str, message: impl Into<String>) {
        let start = span.start.min(self.text.len());
        let line = 1 + self.text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count();
        self.errors.borrow_mut().push(ConfigError {
            line,
            field: field.to_owned(),
            message: message.into(),
        });
    }

    /// What was wrong, by line.
    pub fn finish(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|e| e.line);
        errors
    }

    /// `text` with every `${NAME}` replaced from the environment.
    fn expand(&self, text: &str) -> Result<String, String> {
        self.expand_with(text, |value| value)
    }

    /// As [`Document::expand`], with what the environment gives written down by `quote`.
    fn expand_with(&self, text: &str, quote: impl Fn(String) -> String) -> Result<String, String> {
        let Some(env) = self.env else { return Ok(text.to_owned()) };
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or("expected a } after ${")?;
            let value =
                env(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
            out.push_str(before);
            out.push_str(&quote(value));
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// One value and how to read it.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    doc: &'a Document<'a>,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    fn unlike<T>(&self, expected: &str) -> Result<T, String> {
        let what = match self.value {
            DeValue::String(s) => format!("{s:?}"),
            DeValue::Integer(i) => i.as_str().to_owned(),
            DeValue::Float(f) => f.as_str().to_owned(),
            other => format!("{} {}", article(other.type_str()), other.type_str()),
        };
        Err(format!("expected {expected}, not {what}"))
    }

    /// A string, with the environment's values put in; not empty.
    pub fn text(self) -> Result<String, String> {
        match self.value {
            DeValue::String(s) => match self.doc.expand(s)? {
                text if !text.trim().is_empty() => Ok(text),
                _ if s.trim().is_empty() => Err("must not be empty".to_owned()),
                _ => Err(format!("must not be empty: there is nothing in {}", s.trim())),
            },
            _ => self.unlike("a string"),
        }
    }

    /// A string, with the environment's values put in.
    pub fn text_or_empty(self) -> Result<String, String> {
        match self.value {
            DeValue::String(s) => self.doc.expand(s),
            _ => self.unlike("a string"),
        }
    }

    /// A URL. A `${NAME}` before its `@` is a name or a password and may hold any character; the URL
    /// that is written down has it percent-encoded.
    pub fn url(self) -> Result<String, String> {
        let text = self.text()?;
        match self.value.as_str().and_then(|raw| raw.rsplit_once('@')) {
            Some((user, host)) if user.contains("://") => {
                Ok(self.doc.expand_with(user, |value| percent_encoded(&value))?
                    + "@"
                    + &self.doc.expand(host)?)
            }
            _ => Ok(text),
        }
    }

    /// The name of something, which the store must be able to hold and a terminal to show.
    pub fn name(self) -> Result<String, String> {
        let text = self.text()?;
        match text.chars().any(char::is_control) {
            true => Err("must not hold control characters".to_owned()),
            false if text.len() > LONGEST_NAME => {
                Err(format!("expected at most {LONGEST_NAME} bytes, not {}", text.len()))
            }
            false => Ok(text),
        }
    }

    /// The name of containers, or how it begins.
    pub fn container_name(self) -> Result<String, String> {
        let name = self.name()?;
        check_container_name(&name).map(|()| name)
    }

    /// A whole number of at least zero.
    pub fn count(self) -> Result<u32, String> {
        let parsed = match self.value {
            DeValue::Integer(i) => u32::from_str_radix(i.as_str(), i.radix()).ok(),
            _ => None,
        };
        parsed.map_or_else(|| self.unlike("a whole number from 0 on"), Ok)
    }

    /// A number of replicas, up to [`MOST_REPLICAS`].
    pub fn replicas(self) -> Result<u32, String> {
        match self.count()? {
            n if n > MOST_REPLICAS => Err(format!("expected at most {MOST_REPLICAS}, not {n}")),
            n => Ok(n),
        }
    }

    /// A finite number of at least zero.
    pub fn number(self) -> Result<f64, String> {
        let parsed: Option<f64> = match self.value {
            DeValue::Integer(i) if i.radix() == 10 => i.as_str().parse().ok(),
            DeValue::Float(f) => f.as_str().parse().ok(),
            _ => None,
        };
        match parsed {
            Some(n) if n.is_finite() && n >= 0.0 => Ok(n),
            _ => self.unlike("a number of at least 0"),
        }
    }

    /// A number above zero.
    pub fn positive(self) -> Result<f64, String> {
        let n = self.number()?;
        if n > 0.0 { Ok(n) } else { self.unlike("a number above 0") }
    }

    pub fn boolean(self) -> Result<bool, String> {
        self.value.as_bool().map_or_else(|| self.unlike("true or false"), Ok)
    }

    /// `250ms`, `5s`, `2m`, `1h`, `7d`, or a plain number of seconds.
    pub fn duration(self) -> Result<Duration, String> {
        let text = match self.value {
            DeValue::String(s) => self.doc.expand(s)?,
            DeValue::Integer(i) if i.radix() == 10 => i.as_str().to_owned(),
            _ => return self.unlike("a duration such as \"30s\" or \"5m\""),
        };
        parse_duration(&text)
    }

    /// A duration above zero.
    pub fn period(self) -> Result<Duration, String> {
        let d = self.duration()?;
        if d.is_zero() { Err("must be longer than 0s".to_owned()) } else { Ok(d) }
    }

    /// One of `names`.
    pub fn one_of<T: Copy>(self, names: &[(&str, T)]) -> Result<T, String> {
        let text = self.text()?;
        names.iter().find(|(n, _)| *n == text).map(|(_, t)| *t).ok_or_else(|| {
            let all: Vec<&str> = names.iter().map(|(n, _)| *n).collect();
            format!("expected one of {}, not {text:?}", all.join(", "))
        })
    }

    /// A list, or one value in its place.
    pub fn list<T>(self, each: impl Fn(Value<'a>) -> Result<T, String>) -> Result<Vec<T>, String> {
        match self.value.as_array() {
            Some(items) => {
                items.iter().map(|i| each(Value { doc: self.doc, value: i.get_ref() })).collect()
            }
            None => each(self).map(|one| vec![one]),
        }
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// `250ms`, `5s`, `2m`, `1h`, `7d`, or a plain number of seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)) {
        Some(ms) if millis > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(format!(
            "expected a duration such as \"250ms\", \"30s\", \"5m\", \"2h\" or a number of seconds, not {text:?}"
        )),
    }
}

/// A table under reading. Every key must be asked for; [`Fields::finish`] complains of the rest.
pub struct Fields<'a> {
    pub doc: &'a Document<'a>,
    /// Where in the document, as in `policy[webapp].metric[sessions]`.
    pub path: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    pub fn root(doc: &'a Document<'a>, root: &'a Spanned<DeTable<'a>>) -> Self {
        Self::new(doc, String::new(), root.span(), root.get_ref())
    }

    fn new(
        doc: &'a Document<'a>,
        path: String,
        span: Range<usize>,
        table: &'a DeTable<'a>,
    ) -> Self {
        Self { doc, path, span, table, known: RefCell::default() }
    }

    fn find(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        #[cfg(test)]
        self.doc.asked.borrow_mut().insert(key);
        self.table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v)
    }

    /// The full path of a field of this table.
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Records an error about a field, or about the table when the field is not there.
    pub fn error(&self, key: &'static str, message: impl Into<String>) {
        let span = self.find(key).map_or(self.span.clone(), |v| v.span());
        self.doc.error(span, &self.path_of(key), message);
    }

    /// A field, if it is there and can be read.
    pub fn opt<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(Value<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let found = self.find(key)?;
        let value = Value { doc: self.doc, value: found.get_ref() };
        read(value).map_err(|e| self.doc.error(found.span(), &self.path_of(key), e)).ok()
    }

    /// A field under its name or an older one.
    pub fn alias<T>(
        &self,
        keys: [&'static str; 2],
        read: impl Fn(Value<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let [one, other] = keys.map(|key| self.opt(key, &read));
        if one.is_some() && other.is_some() {
            self.error(keys[1], format!("is the same as {}: give one of them", keys[0]));
        }
        one.or(other)
    }

    /// Complains when a field is under none of its names.
    pub fn expect(&self, keys: &[&'static str], expected: &str) {
        if !keys.iter().any(|key| self.has(key)) {
            self.error(keys[0], format!("is missing: expected {expected}"));
        }
    }

    /// A field that must be there. The error for a missing one names what was expected.
    pub fn req<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(Value<'a>) -> Result<T, String>,
    ) -> Option<T> {
        self.expect(&[key], expected);
        self.opt(key, read)
    }

    pub fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// A table in this one.
    pub fn table(&self, key: &'static str) -> Option<Fields<'a>> {
        let found = self.find(key)?;
        let path = self.path_of(key);
        match found.get_ref() {
            DeValue::Table(t) => Some(Self::new(self.doc, path, found.span(), t)),
            _ => {
                self.doc.error(found.span(), &path, format!("expected a table [{path}]"));
                None
            }
        }
    }

    /// The tables of an array, each with `name_key`'s value in its path.
    pub fn tables(&self, key: &'static str, name_key: &str) -> Vec<Fields<'a>> {
        let Some(found) = self.find(key) else {
            return Vec::new();
        };
        let path = self.path_of(key);
        let Some(items) = found.get_ref().as_array() else {
            self.doc.error(found.span(), &path, format!("expected tables [[{path}]]"));
            return Vec::new();
        };
        let table = |(n, item): (usize, &'a Spanned<DeValue<'a>>)| match item.get_ref() {
            DeValue::Table(t) => {
                let name = t.iter().find(|(k, _)| k.get_ref() == name_key);
                let name = name.and_then(|(_, v)| v.get_ref().as_str().map(str::to_owned));
                let name = name.unwrap_or_else(|| (n + 1).to_string());
                Some(Self::new(self.doc, format!("{path}[{name}]"), item.span(), t))
            }
            _ => {
                self.doc.error(item.span(), &path, "expected a table");
                None
            }
        };
        items.iter().enumerate().filter_map(table).collect()
    }

    /// Complains of every key that nobody asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let near = known.iter().map(|k| (distance(k, name), *k)).min();
            let hint = match near {
                Some((d, k)) if d <= 2 => format!("; did you mean {k}?"),
                _ => String::new(),
            };
            self.doc.error(key.span(), &self.path_of(name), format!("is not known{hint}"));
        }
    }
}

/// How many letters must change to get from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
