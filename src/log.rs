//! Log lines on stderr that never hold anybody up.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::AsFd;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;
use crate::sys;

/// A write of this many bytes to a pipe is taken whole or not at all (pipe(7), `PIPE_BUF`).
const MAX_LINE: usize = 4096;

/// Starts logging. A second call changes nothing.
pub fn init(level: LevelFilter, format: LogFormat) {
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(Stderr);
    let _ = match format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).with_target(false).try_init(),
    };
}

/// Standard error, shared with the app, hence left in its blocking mode: a line is dropped when
/// nobody empties the pipe, rather than stopping the signals and the sync with it.
#[derive(Clone, Copy, Debug)]
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr();
        if sys::is_writable(stderr.as_fd()) {
            stderr.write_all(&fitting(line))?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line, cut where it is too long.
fn fitting(line: &[u8]) -> Cow<'_, [u8]> {
    match line.get(..MAX_LINE) {
        Some([start @ .., _]) if line.len() > MAX_LINE => [start, b"\n"].concat().into(),
        _ => line.into(),
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_still_ends() {
        let line = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        for length in [1, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 2 * MAX_LINE] {
            assert_eq!(*fitting(&line(length)), line(length.min(MAX_LINE)));
        }
    }
}
