//! Statistics as `show stat` gives them: CSV with a header (management guide, 9.1).

use std::net::{IpAddr, SocketAddr};

use super::{TableError, excerpt};

const COMMAND: &str = "show stat";

/// A table of statistics, any column by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatTable {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl StatTable {
    /// Parses the whole answer.
    pub fn parse(reply: &str) -> Result<Self, TableError> {
        let mut lines = reply.lines();
        let header = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or_else(|| {
            TableError { command: COMMAND, problem: format!("'{}'", excerpt(reply)) }
        })?;
        let rows = lines.filter(|line| !line.is_empty()).map(split).collect();
        Ok(Self { columns: split(header), rows })
    }

    /// The rows, in HAProxy's order.
    pub fn rows(&self) -> impl Iterator<Item = StatRow<'_>> {
        self.rows.iter().map(|cells| StatRow { columns: &self.columns, cells })
    }

    /// Whether HAProxy has a column of this name.
    pub fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column == name)
    }
}

/// One line of statistics: a frontend, a backend or a server.
#[derive(Clone, Copy, Debug)]
pub struct StatRow<'a> {
    columns: &'a [String],
    cells: &'a [String],
}

impl<'a> StatRow<'a> {
    /// A cell as text; `None` when the column is missing or the cell is empty.
    pub fn text(&self, column: &str) -> Option<&'a str> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.cells.get(index).map(String::as_str).filter(|cell| !cell.is_empty())
    }

    /// A cell as a number; `None` when it is empty or no number.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.text(column)?.parse().ok()
    }

    /// A cell as a count. Not by way of `number`: parsing floats costs the agent 16 kB.
    fn count(&self, column: &str) -> Option<u64> {
        self.text(column)?.parse().ok()
    }
}

/// What one server's line says to whoever holds its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStat {
    /// `UP`, `DOWN 1/2`, `MAINT`, `DRAIN`, `NOLB`, `no check`, …
    pub status: String,
    /// Sessions that are being worked on.
    pub sessions: u64,
    /// Requests that wait for this server.
    pub queued: u64,
    /// Current weight in the backend's scale; 0 takes no new work.
    pub weight: u64,
    /// Where the slot points; `None` when HAProxy shows no address.
    pub endpoint: Option<SocketAddr>,
    /// What the last health check ended with: `L4CON`, `L7STS`, …
    pub check: Option<Box<str>>,
}

impl ServerStat {
    /// Parses the answer to `show stat #BACKEND 4 ID`; `None` when there is no such server.
    pub fn parse(reply: &str) -> Result<Option<Self>, TableError> {
        if reply.starts_with("No such") {
            return Ok(None);
        }
        let table = StatTable::parse(reply)?;
        Ok(table.rows().next().map(|row| Self {
            status: row.text("status").unwrap_or_default().to_owned(),
            sessions: row.count("scur").unwrap_or(0),
            queued: row.count("qcur").unwrap_or(0),
            weight: row.count("uweight").or(row.count("weight")).unwrap_or(0),
            endpoint: row.text("addr").and_then(endpoint),
            // A check that runs has a star before the outcome of the one before it.
            check: row.text("check_status").map(|check| check.trim_start_matches("* ").into()),
        }))
    }

    /// Whether health checks have found it DOWN.
    pub fn is_down(&self) -> bool {
        self.status.starts_with("DOWN")
    }

    /// Work that a drain waits for.
    pub fn work(&self) -> u64 {
        self.sessions.saturating_add(self.queued)
    }
}

/// `1.2.3.4:80` or `[2001:db8::5]:80`.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (addr, port) = text.rsplit_once(':')?;
    let addr = addr.strip_prefix('[').and_then(|addr| addr.strip_suffix(']')).unwrap_or(addr);
    Some(SocketAddr::new(addr.parse::<IpAddr>().ok()?.to_canonical(), port.parse().ok()?))
}

/// Splits a line of CSV; a cell in double quotes may hold commas and doubled quotes (RFC 4180).
fn split(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}
