//! One exchange with a stats socket: connect, send one line, read the replies, close.
//!
//! A connection is never kept: HAProxy takes few of them (`stats maxconn`, 10 by default), and one
//! that outlives a reload goes on talking to the old worker.

mod sweep;
mod whole;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::StreamExt;
use tokio_util::codec::FramedRead;

use super::wire::codec::ReplyCodec;
use super::wire::command::Command;
use super::wire::process::Process;
use super::wire::server::{self, Server};
use super::wire::stat::{ServerStat, StatTable};
use super::wire::{TableError, excerpt};
use crate::net::connect::{self, Stream};
use crate::net::pem::TlsNames;
use crate::net::tls::{self, Refusal, Session, Tls};

pub use sweep::Swept;

/// Longest time that one exchange may take: a stats socket with all its connections taken accepts
/// another and answers when one of them ends.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two attempts at a Unix socket where too many others wait.
const CROWDED: Duration = Duration::from_millis(20);
/// How long an exchange goes on that nobody waits for any more and that must not be broken off.
const LINGER: Duration = Duration::from_secs(600);
/// Bytes that one exchange may answer: some 30,000 servers.
const MAX_ANSWER: usize = 4 << 20;

/// The words for TLS to a proxy in front of the stats socket.
pub const TLS: TlsNames = TlsNames {
    ca: "HAPROXY_TLS_CA",
    cert: "HAPROXY_TLS_CERT",
    key: "HAPROXY_TLS_KEY",
    server: "HAPROXY_SERVER",
    peer: "HAProxy",
    plain: "a plain stats socket? (HAProxy ignores 'ssl' on a 'stats socket' line; put a TCP proxy in front of \
            it)",
};

/// Where one stats socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Over TCP.
    Tcp(SocketAddr),
    /// In the file system.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke, or the answer was too long or another server's.
    #[error("{0}")]
    Exchange(#[source] io::Error),
    /// There is no trust between us, or no TLS.
    #[error("{0}")]
    Tls(#[from] Refusal),
    /// Nobody shook hands in time, as a plain stats socket would not.
    #[error(
        "no TLS handshake within {}s; is it a plain stats socket, or are all its connections taken?",
        .0.as_secs()
    )]
    NoHandshake(Duration),
    /// Nobody answered in time.
    #[error("no answer within {}s; are all its connections taken (stats maxconn)?", .0.as_secs())]
    TimedOut(Duration),
    /// The connection was closed before every command was answered.
    #[error("the connection was closed after {got} of {want} answers")]
    Cut {
        /// Answers that arrived.
        got: usize,
        /// Answers that were due.
        want: usize,
    },
    /// The connection was closed without a word.
    #[error("the connection was closed without an answer; {}", closed(*.tls))]
    Closed {
        /// Whether it was over TLS.
        tls: bool,
    },
    /// HAProxy refused a command.
    #[error("'{command}' was refused: {reply}{}", hint(.reply))]
    Refused {
        /// The command without its arguments.
        command: &'static str,
        /// HAProxy's words.
        reply: String,
    },
    /// An answer that makes no sense.
    #[error("{}{}", .0, door(.0))]
    Table(#[from] TableError),
}

fn closed(tls: bool) -> &'static str {
    match tls {
        true => "does the proxy in front reach the stats socket?",
        false => "is this its stats socket, and one without TLS? (else set HAPROXY_TLS_CA)",
    }
}

/// What is behind an answer that is no table.
fn door(error: &TableError) -> &'static str {
    if error.problem.contains("Unknown command") {
        " (is this the master CLI, 'haproxy -S'? the workers' 'stats socket' line is needed)"
    } else if error.problem.to_ascii_lowercase().contains("permission denied") {
        " (the stats socket line needs 'level admin')"
    } else {
        ""
    }
}

fn hint(reply: &str) -> &'static str {
    if reply.to_ascii_lowercase().contains("permission denied") {
        " (the stats socket line needs 'level admin')"
    } else {
        ""
    }
}

/// What one exchange brought.
#[derive(Debug)]
pub struct Exchange {
    /// One reply for each command.
    pub replies: Vec<String>,
    /// Our own address on that connection; `None` over a Unix socket.
    pub local: Option<IpAddr>,
}

/// Who talked to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// The process that answered, where it was asked and says.
    pub process: Option<Process>,
    /// Our own address on that connection; `None` over a Unix socket.
    pub local: Option<IpAddr>,
}

/// What a full read brought.
#[derive(Debug)]
pub struct Overview {
    /// The servers, in HAProxy's order.
    pub servers: Vec<Server>,
    /// Who talked to whom.
    pub peers: Peers,
}

/// A client of one stats socket.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    tls: Option<Session>,
}

impl Client {
    /// A client of the socket at `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, tls: None }
    }

    /// A client that talks TLS to the socket at `endpoint`, whose certificate must be for `host`: a
    /// name or an IP address. In the file system TLS has no place; who may open a Unix socket is
    /// said by its permissions.
    pub fn with_tls(endpoint: Endpoint, tls: Tls, host: &str) -> Self {
        let session = matches!(endpoint, Endpoint::Tcp(_)).then(|| Session::new(tls, host));
        Self { endpoint, tls: session }
    }

    /// Where it connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends `commands` on one line and reads their replies.
    pub async fn exchange(&self, commands: &[Command<'_>]) -> Result<Exchange, ClientError> {
        let deadline = Instant::now() + EXCHANGE_TIMEOUT;
        let late = |_| ClientError::TimedOut(EXCHANGE_TIMEOUT);
        let (mut stream, local) = self.connect(deadline).await?;
        let talk = talk(&mut *stream, line(commands), commands.len());
        let replies = timeout_at(deadline, talk).await.map_err(late)?;
        Ok(Exchange { replies: self.heard(replies)?, local })
    }

    /// Tells a connection that said nothing at all from one that broke.
    fn heard(&self, replies: Result<Vec<String>, ClientError>) -> Result<Vec<String>, ClientError> {
        replies.map_err(|error| match error {
            ClientError::Cut { got: 0, .. } => ClientError::Closed { tls: self.tls.is_some() },
            error => error,
        })
    }

    /// A connection that commands may be sent on, and our own address on it.
    async fn connect(
        &self,
        deadline: Instant,
    ) -> Result<(Box<dyn Stream>, Option<IpAddr>), ClientError> {
        let late = |_| ClientError::TimedOut(EXCHANGE_TIMEOUT);
        let addr = match &self.endpoint {
            Endpoint::Tcp(addr) => addr,
            Endpoint::Unix(path) => {
                let stream = timeout_at(deadline, connect_unix(path)).await.map_err(late)?;
                return Ok((Box::new(stream.map_err(ClientError::Connect)?), None));
            }
        };
        let stream = timeout_at(deadline, connect::connect(*addr)).await.map_err(late)?;
        let stream = stream.map_err(ClientError::Connect)?;
        let local = stream.local_addr().map_err(ClientError::Connect)?.ip().to_canonical();
        let Some(tls) = &self.tls else { return Ok((Box::new(stream), Some(local))) };
        let handshake = timeout_at(deadline, tls.connect(stream)).await;
        let stream = handshake.map_err(|_| ClientError::NoHandshake(EXCHANGE_TIMEOUT))??;
        Ok((Box::new(stream), Some(local)))
    }

    /// Sends commands that change something; the first one refused is an error. HAProxy drops what is
    /// left of a line when its sender is gone, and half a line leaves a slot that looks like an
    /// operator's doing. So the line goes on when this is dropped, or when it takes too long.
    pub async fn change(&self, commands: &[Command<'_>]) -> Result<Peers, ClientError> {
        let line = [commands, &[Command::ShowInfo]].concat();
        let Exchange { replies, local } = self.whole_exchange(&line).await?;
        for (command, reply) in commands.iter().zip(&replies) {
            if !command.accepts(reply) {
                let reply = excerpt(reply);
                return Err(ClientError::Refused { command: command.verb(), reply });
            }
        }
        let process = replies.last().and_then(|reply| Process::parse(reply));
        Ok(Peers { process, local })
    }

    /// Whether it answers at all.
    pub async fn ping(&self) -> Result<Peers, ClientError> {
        let Exchange { replies, local } = self.exchange(&[Command::ShowInfo]).await?;
        let process = replies.first().and_then(|reply| Process::parse(reply));
        Ok(Peers { process, local })
    }

    /// All servers of `backend`, or of every backend. HAProxy 3.2 crashes when somebody leaves in the
    /// middle of a table that does not fit its buffer and the next one reads it (3.2.26, some 190
    /// slots). So the read goes on when this is dropped, or when it takes too long; and where that may
    /// be, [`ping`](Self::ping) comes first.
    pub async fn overview(&self, backend: Option<&str>) -> Result<Overview, ClientError> {
        let commands = [Command::ShowServersState(backend), Command::ShowInfo];
        let exchange = self.whole_exchange(&commands).await?;
        let reply = |index: usize| exchange.replies.get(index).map_or("", String::as_str);
        Ok(Overview {
            servers: server::parse(reply(0))?,
            peers: Peers { process: Process::parse(reply(1)), local: exchange.local },
        })
    }

    /// The statistics of `server`, `None` when it does not exist (any more); and our own address on
    /// that connection.
    pub async fn stat(
        &self,
        server: &Server,
    ) -> Result<(Option<ServerStat>, Option<IpAddr>), ClientError> {
        let command = Command::ShowStat { backend: server.backend_id, server: server.id };
        let Exchange { replies, local } = self.exchange(&[command]).await?;
        Ok((ServerStat::parse(replies.first().map_or("", String::as_str))?, local))
    }

    /// The statistics of every proxy and server.
    pub async fn stats(&self) -> Result<StatTable, ClientError> {
        Ok(self.statistics().await?.0)
    }

    /// As [`stats`](Self::stats), and which process they are of.
    pub async fn statistics(&self) -> Result<(StatTable, Option<Process>), ClientError> {
        let exchange = self.exchange(&[Command::ShowStatAll, Command::ShowInfo]).await?;
        let reply = |n: usize| exchange.replies.get(n).map_or("", String::as_str);
        Ok((StatTable::parse(reply(0))?, Process::parse(reply(1))))
    }
}

/// Connects once there is room: connect(2) on a socket that does not block says EAGAIN when too many
/// others wait to be accepted.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(CROWDED).await,
            done => return done,
        }
    }
}

/// One line of commands.
pub(super) fn line(commands: &[Command<'_>]) -> String {
    let words: Vec<_> = commands.iter().map(Command::to_string).collect();
    words.join("; ") + "\n"
}

async fn talk(
    stream: &mut dyn Stream,
    line: String,
    want: usize,
) -> Result<Vec<String>, ClientError> {
    let written = send(stream, &line).await;
    hear(stream, written, want).await
}

async fn send(stream: &mut dyn Stream, line: &str) -> io::Result<()> {
    tracing::trace!(line = line.trim_end(), "send");
    stream.write_all(line.as_bytes()).await?;
    stream.flush().await
}

/// The replies to a line. In TLS 1.3 the server refuses our certificate only after our side of the
/// handshake is done: what it said is then to be read although nothing could be written any more.
async fn hear(
    stream: &mut dyn Stream,
    written: io::Result<()>,
    want: usize,
) -> Result<Vec<String>, ClientError> {
    let mut frames = FramedRead::with_capacity(stream, ReplyCodec::new(MAX_ANSWER), 4096);
    let mut replies = Vec::with_capacity(want);
    while replies.len() < want {
        match frames.next().await {
            Some(Ok(reply)) => replies.push(reply),
            Some(Err(error)) => return Err(broken(error)),
            None => {
                written.map_err(broken)?;
                return Err(ClientError::Cut { got: replies.len(), want });
            }
        }
    }
    tracing::trace!(?replies, "received");
    Ok(replies)
}

fn broken(error: io::Error) -> ClientError {
    tls::refusal(&TLS, error).map_or_else(ClientError::Exchange, ClientError::Tls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    async fn answer(
        bytes: &'static [u8],
        commands: &[Command<'_>],
    ) -> Result<Vec<String>, ClientError> {
        let (mut near, mut far) = tokio::io::duplex(8);
        let server = tokio::spawn(async move {
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                line.push(far.read_u8().await.unwrap());
            }
            let _ = far.write_all(bytes).await;
            String::from_utf8(line).unwrap()
        });
        let replies = talk(&mut near, line(commands), commands.len()).await;
        drop(near);
        server.await.unwrap();
        replies
    }

    #[tokio::test]
    async fn several_commands_have_as_many_replies() {
        let commands = [
            Command::SetState("b", "s", crate::registers::haproxy::ServerState::Maint),
            Command::ShowServersState(None),
        ];
        let replies = answer(b"\n1\n# be_id\n\n", &commands).await.unwrap();
        assert_eq!(replies, ["", "1\n# be_id"]);
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_an_error() {
        let commands = [Command::ShowServersState(None), Command::ShowServersState(None)];
        let error = answer(b"1\n\n", &commands).await.unwrap_err();
        assert!(matches!(error, ClientError::Cut { got: 1, want: 2 }), "{error}");
        assert!(answer(b"1\n2", &commands[..1]).await.is_err());
    }

    #[tokio::test]
    async fn garbage_is_an_error() {
        let error = answer(b"HTTP/1.1 400 Bad\n\n", &[Command::ShowInfo]).await.unwrap_err();
        assert!(error.to_string().contains("an HTTP server answers here"), "{error}");
    }
}
