//! Servers as `show servers state` lists them (management guide, 9.3).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{TableError, excerpt};

/// One server of one backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its backend's name.
    pub backend: Arc<str>,
    /// Its backend's id, which no frontend shares.
    pub backend_id: u32,
    /// Its id within the backend.
    pub id: u32,
    /// Its name, such as `node3`.
    pub name: Arc<str>,
    /// Its address; `None` when a host name has not been resolved.
    pub addr: Option<IpAddr>,
    /// Its port; `None` for the port of the incoming connection (`+0`).
    pub port: Option<u16>,
    /// Whether HAProxy counts it as running: up, or up and going down.
    pub running: bool,
    /// Its administrative state.
    pub admin: AdminState,
    /// Current weight in the backend's scale; 0 takes no new work.
    pub weight: u32,
    /// The weight that the configuration gives it.
    pub configured_weight: u32,
    /// Whether its address comes from a host name or an SRV record.
    pub has_name: bool,
    /// Time since its operational state changed, in whole seconds. HAProxy does not count it anew when
    /// a slot leaves maintenance as DOWN (`init-state`, since 3.1).
    pub unchanged: Duration,
    /// What health checks say of it.
    pub checks: Checks,
}

/// Whether a server has health checks, and whether one has ever ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checks {
    /// None is configured.
    None,
    /// None has ended yet.
    Pending,
    /// At least one has ended, perhaps for an earlier address or before a restart.
    Seen,
    /// The same, and none has passed since the last one that failed, or since maintenance.
    Failed,
}

/// `srv_admin_state`: a bit mask (`enum srv_admin` in HAProxy's `server-t.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AdminState(pub u8);

impl AdminState {
    /// Maintenance asked for on the stats socket, or by `disabled` at start.
    pub const FORCED_MAINT: u8 = 0x01;
    /// Maintenance of a server that this one tracks.
    pub const INHERITED_MAINT: u8 = 0x02;
    /// `disabled` in the configuration.
    pub const CONFIGURED_MAINT: u8 = 0x04;
    /// Drain asked for on the stats socket.
    pub const FORCED_DRAIN: u8 = 0x08;
    /// Drain of a server that this one tracks.
    pub const INHERITED_DRAIN: u8 = 0x10;
    /// Maintenance because its name does not resolve.
    pub const RESOLUTION_MAINT: u8 = 0x20;

    /// In maintenance, for whatever reason.
    pub fn in_maint(self) -> bool {
        self.0 & (Self::FORCED_MAINT | Self::INHERITED_MAINT | Self::RESOLUTION_MAINT) != 0
    }

    /// Draining, for whatever reason.
    pub fn in_drain(self) -> bool {
        self.0 & (Self::FORCED_DRAIN | Self::INHERITED_DRAIN) != 0
    }

    /// HAProxy itself keeps it out of rotation, whatever else is asked for: by a server that it tracks,
    /// or because its name does not resolve.
    pub fn is_barred(self) -> bool {
        let tracked = Self::INHERITED_MAINT | Self::INHERITED_DRAIN;
        self.0 & (tracked | Self::RESOLUTION_MAINT) != 0
    }

    /// Out of rotation, though nobody asked for that.
    pub fn is_held_back(self) -> bool {
        self.is_barred() && self.0 & (Self::FORCED_MAINT | Self::FORCED_DRAIN) == 0
    }

    /// In maintenance because its name does not resolve.
    pub fn is_unresolved(self) -> bool {
        self.0 & Self::RESOLUTION_MAINT != 0
    }

    /// `disabled` in the configuration, as the slots of a template are.
    pub fn configured_disabled(self) -> bool {
        self.0 & Self::CONFIGURED_MAINT != 0
    }
}

impl Server {
    /// Address and port, when both are known.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.addr?, self.port?))
    }

    /// What it shows for an address and port, 0 for a port that it does not have; `None` without an
    /// address.
    pub fn shows(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.addr?, self.port.unwrap_or(0)))
    }

    /// The slot's number when its name is `prefix` and a number.
    pub fn slot_number(&self, prefix: &str) -> Option<u32> {
        let digits = self.name.strip_prefix(prefix)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let padded = digits.len() > 1 && digits.starts_with('0');
        digits.parse().ok().filter(|_| plain && !padded)
    }
}

const COMMAND: &str = "show servers state";

/// Parses the table, by the names in its header.
pub fn parse(reply: &str) -> Result<Vec<Server>, TableError> {
    let problem = |problem: String| TableError { command: COMMAND, problem };
    let mut lines = reply.lines();
    match lines.next() {
        Some("1") => {}
        _ => return Err(problem(format!("'{}'", excerpt(reply)))),
    }
    let header = lines.next().and_then(|line| line.strip_prefix('#'));
    let columns: Vec<_> = header.unwrap_or_default().split_whitespace().collect();
    let index = |name: &str| {
        columns
            .iter()
            .position(|column| *column == name)
            .ok_or_else(|| problem(format!("no column {name}")))
    };
    let columns = Columns {
        backend: index("be_name")?,
        backend_id: index("be_id")?,
        id: index("srv_id")?,
        name: index("srv_name")?,
        addr: index("srv_addr")?,
        op: index("srv_op_state")?,
        admin: index("srv_admin_state")?,
        weight: index("srv_uweight")?,
        configured_weight: index("srv_iweight")?,
        unchanged: index("srv_time_since_last_change")?,
        check_status: index("srv_check_status")?,
        check_health: index("srv_check_health")?,
        check_state: index("srv_check_state")?,
        fqdn: index("srv_fqdn")?,
        port: index("srv_port")?,
        record: index("srvrecord")?,
    };
    let mut backend: Arc<str> = "".into();
    lines
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            columns
                .server(line, &mut backend)
                .ok_or_else(|| problem(format!("row '{}'", excerpt(line))))
        })
        .collect()
}

struct Columns {
    backend: usize,
    backend_id: usize,
    id: usize,
    name: usize,
    addr: usize,
    op: usize,
    admin: usize,
    weight: usize,
    configured_weight: usize,
    unchanged: usize,
    check_status: usize,
    check_health: usize,
    check_state: usize,
    fqdn: usize,
    port: usize,
    record: usize,
}

/// `CHK_ST_CONFIGURED` of `srv_check_state`: the server has a health check.
const CHECK_CONFIGURED: u32 = 0x02;
/// `HCHK_STATUS_INI` of `srv_check_status`: none has ended. While one runs, the status is that of the
/// one before, and `srv_check_result` says nothing.
const CHECK_INITIAL: u32 = 1;

impl Columns {
    /// Parses one row; `backend` is the name that rows before it share.
    fn server(&self, line: &str, backend: &mut Arc<str>) -> Option<Server> {
        let cells: Vec<_> = line.split_whitespace().collect();
        let cell = |index: usize| cells.get(index).copied();
        let name = cell(self.backend).filter(|name| is_name(name))?;
        if **backend != *name {
            *backend = name.into();
        }
        let addr = match cell(self.addr)? {
            "-" => None,
            text => Some(text.parse::<IpAddr>().ok()?.to_canonical()),
        };
        let port = match cell(self.port)? {
            "0" => None,
            mapped if mapped.starts_with(['+', '-']) => None,
            text => Some(text.parse().ok()?),
        };
        let number = |index: usize| cell(index)?.parse::<u32>().ok();
        let has_checks = number(self.check_state)? & CHECK_CONFIGURED != 0;
        let ended = number(self.check_status)? > CHECK_INITIAL;
        let checks = match (has_checks, ended, number(self.check_health)?) {
            (false, ..) => Checks::None,
            (_, false, _) => Checks::Pending,
            (.., 0) => Checks::Failed,
            _ => Checks::Seen,
        };
        Some(Server {
            backend: Arc::clone(backend),
            backend_id: number(self.backend_id)?,
            id: number(self.id)?,
            name: cell(self.name).filter(|name| is_name(name))?.into(),
            addr,
            port,
            running: cell(self.op)? != "0",
            admin: AdminState(number(self.admin)? as u8),
            weight: number(self.weight)?,
            configured_weight: number(self.configured_weight)?,
            has_name: [self.fqdn, self.record].iter().any(|at| cell(*at).is_some_and(|t| t != "-")),
            // Below zero for a moment, when a state file has just brought it back.
            unchanged: Duration::from_secs(cell(self.unchanged)?.parse::<i64>().ok()?.max(0) as u64),
            checks,
        })
    }
}

/// Whether HAProxy takes this for a name. So nothing in a name can end a command or begin another.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = include_str!("../../../../tests/transcripts/2.6/fresh.txt");

    #[test]
    fn a_name_that_could_end_a_command_is_refused() {
        let table =
            TABLE.split("\n\n").next().unwrap().lines().skip(1).collect::<Vec<_>>().join("\n");
        let count = parse(&table).unwrap().len();
        assert!(count > 8);
        for name in ["a;b", "a\"b", "a\\b", "ä", "a,b", "a/b"] {
            for cell in [" literal ", " node1 "] {
                let table = table.replacen(cell, &format!(" {name} "), 1);
                assert!(parse(&table).is_err(), "{name}");
            }
        }
        let odd = table.replace(" literal ", " A-z_0.9:x ");
        assert_eq!(parse(&odd).unwrap().len(), count);
    }

    #[test]
    fn bits_that_are_not_known_yet_are_no_reason_to_fail() {
        let table =
            TABLE.split("\n\n").next().unwrap().lines().skip(1).collect::<Vec<_>>().join("\n");
        let later = table.replacen("127.0.0.1 0 5 ", "127.0.0.1 0 4101 ", 1);
        assert_ne!(later, table);
        assert_eq!(parse(&later).unwrap()[0].admin, AdminState(5));
    }
}
