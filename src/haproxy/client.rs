//! One exchange with a stats socket: connect, send one line, read the replies, close.
//!
//! A connection is never kept: HAProxy takes few of them (`stats maxconn`, 10 by default), and one
//! that outlives a reload goes on talking to the old worker.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_util::codec::FramedRead;

use super::codec::ReplyCodec;
use super::command::Command;
use super::server::{self, Server};
use super::stat::{ServerStat, StatTable};
use super::{TableError, excerpt};

/// Longest time that one exchange may take: a stats socket with all its connections taken accepts
/// another and answers when one of them ends.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that one exchange may answer: some 30,000 servers.
const MAX_ANSWER: usize = 4 << 20;

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
    /// The connection broke, or the answer was too long or not text.
    #[error("{0}")]
    Exchange(#[source] io::Error),
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
    /// HAProxy refused a command.
    #[error("'{command}' was refused: {reply}{}", hint(.reply))]
    Refused {
        /// The command without its arguments.
        command: &'static str,
        /// HAProxy's words.
        reply: String,
    },
    /// An answer that makes no sense.
    #[error(transparent)]
    Table(#[from] TableError),
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

/// A client of one stats socket.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// A client of the socket at `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Where it connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends `commands` on one line and reads their replies.
    pub async fn exchange(&self, commands: &[Command<'_>]) -> Result<Exchange, ClientError> {
        timeout(EXCHANGE_TIMEOUT, self.connect_and_talk(commands))
            .await
            .map_err(|_| ClientError::TimedOut(EXCHANGE_TIMEOUT))?
    }

    async fn connect_and_talk(&self, commands: &[Command<'_>]) -> Result<Exchange, ClientError> {
        match &self.endpoint {
            Endpoint::Unix(path) => {
                let mut stream = UnixStream::connect(path).await.map_err(ClientError::Connect)?;
                Ok(Exchange { replies: talk(&mut stream, commands).await?, local: None })
            }
            Endpoint::Tcp(addr) => {
                let mut stream = TcpStream::connect(addr).await.map_err(ClientError::Connect)?;
                let local = stream.local_addr().map_err(ClientError::Connect)?;
                let replies = talk(&mut stream, commands).await?;
                Ok(Exchange { replies, local: Some(local.ip().to_canonical()) })
            }
        }
    }

    /// Sends commands that change something; the first one refused is an error.
    pub async fn change(&self, commands: &[Command<'_>]) -> Result<(), ClientError> {
        let exchange = self.exchange(commands).await?;
        for (command, reply) in commands.iter().zip(exchange.replies) {
            if !command.accepts(&reply) {
                let reply = excerpt(&reply);
                return Err(ClientError::Refused { command: command.verb(), reply });
            }
        }
        Ok(())
    }

    /// All servers of `backend`, or of every backend, and our own address on that connection.
    pub async fn servers(
        &self,
        backend: Option<&str>,
    ) -> Result<(Vec<Server>, Option<IpAddr>), ClientError> {
        let exchange = self.exchange(&[Command::ShowServersState(backend)]).await?;
        let reply = exchange.replies.first().map_or("", String::as_str);
        Ok((server::parse(reply)?, exchange.local))
    }

    /// One server's statistics; `None` when it does not exist (any more).
    pub async fn stat(&self, backend: &str, id: u32) -> Result<Option<ServerStat>, ClientError> {
        let exchange = self.exchange(&[Command::ShowStat { backend, server: id }]).await?;
        Ok(ServerStat::parse(exchange.replies.first().map_or("", String::as_str))?)
    }

    /// The statistics of every proxy and server.
    pub async fn stats(&self) -> Result<StatTable, ClientError> {
        let exchange = self.exchange(&[Command::ShowStatAll]).await?;
        Ok(StatTable::parse(exchange.replies.first().map_or("", String::as_str))?)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn talk(
    stream: &mut dyn Stream,
    commands: &[Command<'_>],
) -> Result<Vec<String>, ClientError> {
    let words: Vec<_> = commands.iter().map(Command::to_string).collect();
    let line = words.join("; ") + "\n";
    tracing::trace!(line = line.trim_end(), "send");
    stream.write_all(line.as_bytes()).await.map_err(ClientError::Exchange)?;
    stream.flush().await.map_err(ClientError::Exchange)?;
    let mut frames = FramedRead::with_capacity(stream, ReplyCodec::new(MAX_ANSWER), 4096);
    let mut replies = Vec::with_capacity(commands.len());
    while replies.len() < commands.len() {
        match frames.next().await {
            Some(Ok(reply)) => replies.push(reply),
            Some(Err(error)) => return Err(ClientError::Exchange(error)),
            None => {
                return Err(ClientError::Cut { got: replies.len(), want: commands.len() });
            }
        }
    }
    tracing::trace!(?replies, "received");
    Ok(replies)
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
        let replies = talk(&mut near, commands).await;
        drop(near);
        server.await.unwrap();
        replies
    }

    #[tokio::test]
    async fn several_commands_have_as_many_replies() {
        let commands = [
            Command::SetState("b", "s", crate::haproxy::ServerState::Maint),
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
        let error = answer(b"\xff\xfe\n\n", &[Command::ShowServersState(None)]).await.unwrap_err();
        assert!(error.to_string().contains("not text"), "{error}");
    }
}
