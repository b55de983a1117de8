//! Columns for people.

use std::io::{self, Write};

/// A headline and its lines.
pub(super) fn table(
    out: &mut dyn Write,
    head: &[&str],
    mut lines: Vec<Vec<String>>,
) -> io::Result<()> {
    lines.insert(0, head.iter().map(|&cell| cell.to_owned()).collect());
    columns(out, "", &lines)
}

/// Columns as wide as their widest cell; the last one runs free.
pub(super) fn columns(out: &mut dyn Write, indent: &str, lines: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let cells: Vec<String> = cells.collect();
        writeln!(out, "{indent}{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
