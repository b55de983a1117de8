//! Reading and changing on one connection, for an address with several HAProxys behind it: what is
//! read on one connection and written on another may be meant for different processes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Client, ClientError, EXCHANGE_TIMEOUT, LINGER, MAX_ANSWER, Peers, Stream, line, talk};
use crate::registers::haproxy::wire::server;
use crate::registers::haproxy::{Command, Process, Server};
use crate::task;

/// What one sweep did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Which process was swept.
    pub peers: Peers,
    /// Whether anything was changed.
    pub changed: bool,
}

impl Client {
    /// Reads every server and sends the commands that `choose` makes of them, all to one process.
    /// Nothing is said of whether they were accepted: the next sweep shows it. Goes on when this is
    /// dropped.
    pub async fn sweep(
        &self,
        choose: impl FnOnce(&[Server]) -> Option<String> + Send + 'static,
    ) -> Result<Swept, ClientError> {
        let deadline = Instant::now() + EXCHANGE_TIMEOUT;
        let (mut stream, local) = self.connect(deadline).await?;
        let talk = async move { timeout(LINGER, both(&mut *stream, choose)).await };
        match timeout_at(deadline, task::outcome(talk)).await {
            Ok(Ok(Ok(done))) => {
                let (process, changed) = done?;
                Ok(Swept { peers: Peers { process, local }, changed })
            }
            _ => Err(ClientError::TimedOut(EXCHANGE_TIMEOUT)),
        }
    }
}

/// The prompt keeps a connection open for another line (management guide, 9.3). It stands before some
/// of the answers.
async fn both(
    stream: &mut dyn Stream,
    choose: impl FnOnce(&[Server]) -> Option<String>,
) -> Result<(Option<Process>, bool), ClientError> {
    let read = line(&[Command::ShowServersState(None), Command::ShowInfo]);
    let replies = talk(stream, format!("prompt\n{read}"), 3).await?;
    let reply = |index: usize| {
        let reply = replies.get(index).map_or("", String::as_str);
        reply.strip_prefix("> ").unwrap_or(reply)
    };
    let process = Process::parse(reply(2));
    let change = choose(&server::parse(reply(1))?);
    let changed = change.is_some();
    let last = format!("{}quit\n", change.unwrap_or_default());
    stream.write_all(last.as_bytes()).await.map_err(ClientError::Exchange)?;
    stream.flush().await.map_err(ClientError::Exchange)?;
    // It has carried out everything when it closes.
    let (mut rest, mut heard) = (stream.take(MAX_ANSWER as u64), [0; 512]);
    while rest.read(&mut heard).await.map_err(ClientError::Exchange)? > 0 {}
    Ok((process, changed))
}
