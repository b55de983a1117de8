//! Log lines on stderr that never hold anybody up.
//!
//! The agent's own, because a subscriber with spans, filters and layers, of which it uses none, holds
//! 32 kB for as long as the container lives and is a tenth of the binary.

mod stderr;

use std::fmt::{self, Debug, Write as _};
use std::str::FromStr;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::time::Utc;

/// A write of this many bytes to a pipe is taken whole or not at all (pipe(7), `PIPE_BUF`).
const MAX_LINE: usize = 4096;
/// What is kept free of it for the end of a line whose values are cut.
const RESERVE: usize = 256;

/// Starts logging. A second call changes nothing. A panic is a line like any other: the standard
/// hook would wait for a full pipe.
pub fn init(level: LevelFilter, format: LogFormat) {
    let _ = tracing::subscriber::set_global_default(Logger { level, format, write: stderr::write });
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a bug in berth")));
}

/// Shape of the lines on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// Gives lines to `write`, one at a time.
pub struct Logger<W> {
    /// The least important level that is written.
    pub level: LevelFilter,
    /// Shape of the lines.
    pub format: LogFormat,
    /// Where they go.
    pub write: W,
}

impl<W: Fn(&str) + 'static> Subscriber for Logger<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        (self.write)(&line(event, self.format, SystemTime::now()));
    }

    // There are no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// `TIME LEVEL message name=value …`, or an object of the same.
fn line(event: &Event<'_>, format: LogFormat, now: SystemTime) -> String {
    let level = event.metadata().level();
    let now = Utc(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let start = match format {
        LogFormat::Text => format!("{now:.6} {level:>5}"),
        LogFormat::Json => format!(r#"{{"timestamp":"{now:.6}","level":"{level}""#),
    };
    let mut line = Line { text: start, format };
    event.record(&mut line);
    if format == LogFormat::Json {
        line.text.push('}');
    }
    line.text.push('\n');
    line.text
}

struct Line {
    text: String,
    format: LogFormat,
}

impl Line {
    /// A field whose value is written as it is: a number, say.
    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.name(field);
        let _ = self.text.write_fmt(value);
    }

    /// A field whose value is text.
    fn words(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let quote = if self.format == LogFormat::Json { "\"" } else { "" };
        self.name(field);
        self.text.push_str(quote);
        let _ = self.write_fmt(value);
        self.text.push_str(quote);
    }

    fn name(&mut self, field: &Field) {
        let name = field.name();
        let _ = match self.format {
            LogFormat::Text if name == "message" => write!(self.text, " "),
            LogFormat::Text => write!(self.text, " {name}="),
            LogFormat::Json => write!(self.text, ",\"{name}\":"),
        };
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.words(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match self.format {
            LogFormat::Text => self.words(field, format_args!("{value:?}")),
            LogFormat::Json => self.words(field, format_args!("{value}")),
        }
    }

    // Nothing that is logged has a fraction, and code that prints one is 15 kB.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.plain(field, format_args!("{}", value as i64));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, format_args!("{value}"));
    }
}

/// Values, cut where a line is full, and without what would break a line or drive a terminal.
impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.text.len() >= MAX_LINE - RESERVE {
                break;
            }
            match (char, self.format) {
                ('"' | '\\', LogFormat::Json) => self.text.extend(['\\', char]),
                (_, LogFormat::Json) if char.is_control() => {
                    write!(self.text, "\\u{:04x}", u32::from(char))?;
                }
                _ if char.is_control() => self.text.extend(char.escape_default()),
                _ => self.text.push(char),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let lines = Arc::<Mutex<String>>::default();
        let kept = Arc::clone(&lines);
        let write = move |line: &str| kept.lock().unwrap().push_str(line);
        let logger = Logger { level: LevelFilter::TRACE, format, write };
        tracing::subscriber::with_default(logger, log);
        lines.lock().unwrap().clone()
    }

    #[test]
    fn text_has_time_level_message_and_fields() {
        let line = logged(LogFormat::Text, || {
            tracing::info!(slot = %"node7", error = "no \"way\"", slots = 3, "in rotation");
        });
        let fields = r#"slot=node7 error="no \"way\"" slots=3"#;
        let (time, rest) = line.split_once("  ").unwrap();
        assert_eq!(time.len(), "2024-02-29T12:34:56.000042Z".len());
        assert_eq!(rest, format!("INFO in rotation {fields}\n"));
    }

    #[test]
    fn json_is_one_object_with_types() {
        let line = logged(LogFormat::Json, || {
            tracing::warn!(slot = %"a\"b\\c\n\u{1b}", slots = 3_usize, up = true, at = ?Some(1), "full");
        });
        let mut value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(value["timestamp"].take().is_string());
        assert_eq!(
            value,
            serde_json::json!({
                "timestamp": null, "level": "WARN", "message": "full",
                "slot": "a\"b\\c\n\u{1b}", "slots": 3, "up": true, "at": "Some(1)",
            })
        );
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
    }

    #[test]
    fn a_value_cannot_begin_a_line_or_drive_a_terminal() {
        let line = logged(LogFormat::Text, || tracing::info!("a\nb \u{1b}[31m{}", "c\r"));
        assert!(line.ends_with("INFO a\\nb \\u{1b}[31mc\\r\n"), "{line}");
    }

    #[test]
    fn a_long_line_is_cut_and_stays_whole() {
        let long = "\u{1}ä\"".repeat(2000);
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = logged(format, || tracing::info!(%long, slots = 3, "m"));
            assert!(line.len() <= MAX_LINE && line.ends_with('\n'), "{} bytes", line.len());
            let whole = serde_json::from_str::<serde_json::Value>(&line).is_ok();
            assert_eq!(whole, format == LogFormat::Json);
        }
    }
}
