//! What a HAProxy says on its stats socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use berth::registers::haproxy::wire::server;
use berth::registers::haproxy::wire::stat::StatRow;
use berth::registers::haproxy::{Server, StatTable};

use super::DEADLINE;

/// Where a stats socket is.
pub enum Control {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Control {
    /// What it answers to a command.
    pub fn command(&self, command: &str) -> String {
        self.try_command(command).unwrap()
    }

    /// The same where it may not answer.
    pub fn try_command(&self, command: &str) -> std::io::Result<String> {
        match self {
            Self::Tcp(addr) => {
                let stream = TcpStream::connect_timeout(addr, DEADLINE)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                ask(stream, command)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                ask(stream, command)
            }
        }
    }

    /// Every server, as it lists them.
    pub fn servers(&self) -> Vec<Server> {
        self.try_servers().unwrap()
    }

    /// The same where it may not answer.
    pub fn try_servers(&self) -> std::io::Result<Vec<Server>> {
        let table = self.try_command("show servers state")?;
        server::parse(table.trim_end()).map_err(std::io::Error::other)
    }

    /// The servers that are in rotation, or would be if they were up.
    pub fn ready(&self) -> Vec<Server> {
        self.servers().into_iter().filter(is_ready).collect()
    }

    /// The names of the servers that are in rotation at this address.
    pub fn ready_at(&self, endpoint: &str) -> Vec<String> {
        let endpoint: SocketAddr = endpoint.parse().unwrap();
        let at = self.ready().into_iter().filter(|server| server.endpoint() == Some(endpoint));
        at.map(|server| server.name.to_string()).collect()
    }

    /// A number of its statistics: of which proxy and which of its lines, and the column.
    pub fn count(&self, proxy: &str, line: &str, column: &str) -> u64 {
        let table = StatTable::parse(&self.command("show stat")).unwrap();
        let is = |row: &StatRow<'_>, column, text| row.text(column) == Some(text);
        let mut rows = table.rows();
        let row = rows.find(|row| is(row, "pxname", proxy) && is(row, "svname", line));
        row.unwrap().number(column).unwrap() as u64
    }
}

/// Whether a server is in rotation, or would be if it were up.
pub fn is_ready(server: &Server) -> bool {
    !server.admin.in_maint() && !server.admin.in_drain()
}

fn ask(mut stream: impl Read + Write, command: &str) -> std::io::Result<String> {
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
