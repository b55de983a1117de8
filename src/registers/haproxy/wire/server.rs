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
    /// Time since its operational state changed, in whole seconds.
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

    /// The slot's number when its name is `prefix` and a number from 1 up.
    pub fn slot_number(&self, prefix: &str) -> Option<u32> {
        let digits = self.name.strip_prefix(prefix)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        digits.parse().ok().filter(|_| plain)
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
        unchanged: index("srv_time_since_last_change")?,
        check_result: index("srv_check_result")?,
        check_state: index("srv_check_state")?,
        port: index("srv_port")?,
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
    unchanged: usize,
    check_result: usize,
    check_state: usize,
    port: usize,
}

/// `CHK_ST_CONFIGURED` of `srv_check_state`: the server has a health check.
const CHECK_CONFIGURED: u8 = 0x02;

impl Columns {
    /// Parses one row; `backend` is the name that rows before it share.
    fn server(&self, line: &str, backend: &mut Arc<str>) -> Option<Server> {
        let cells: Vec<_> = line.split_whitespace().collect();
        let cell = |index: usize| cells.get(index).copied();
        let name = cell(self.backend)?;
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
        let check_state: u8 = cell(self.check_state)?.parse().ok()?;
        let checks = match (check_state & CHECK_CONFIGURED != 0, cell(self.check_result)?) {
            (false, _) => Checks::None,
            (true, "0") => Checks::Pending,
            (true, _) => Checks::Seen,
        };
        Some(Server {
            backend: Arc::clone(backend),
            backend_id: cell(self.backend_id)?.parse().ok()?,
            id: cell(self.id)?.parse().ok()?,
            name: cell(self.name)?.into(),
            addr,
            port,
            running: cell(self.op)? != "0",
            admin: AdminState(cell(self.admin)?.parse().ok()?),
            weight: cell(self.weight)?.parse().ok()?,
            // Below zero for a moment, when a state file has just brought it back.
            unchanged: Duration::from_secs(cell(self.unchanged)?.parse::<i64>().ok()?.max(0) as u64),
            checks,
        })
    }
}
