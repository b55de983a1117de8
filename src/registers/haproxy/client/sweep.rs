//! Reading and changing on one connection, for an address with several HAProxys behind it: what is
//! read on one connection and written on another may be meant for different processes.

use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::whole::discard;
use super::{Client, ClientError, EXCHANGE_TIMEOUT, LINGER, Peers, Stream, line, send, talk};
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
    /// Nothing is said of whether they were accepted: the next sweep shows it. What is begun goes on
    /// when this is dropped.
    pub async fn sweep(
        &self,
        choose: impl FnOnce(&[Server]) -> Option<String> + Send + 'static,
    ) -> Result<Swept, ClientError> {
        let deadline = Instant::now() + EXCHANGE_TIMEOUT;
        let (stream, local) = self.connect(deadline).await?;
        let (say, said) = oneshot::channel();
        task::spawn(async move {
            let _ = timeout(LINGER, to_its_end(stream, choose, say)).await;
        });
        match timeout_at(deadline, said).await {
            Ok(Ok(done)) => {
                let (process, changed) = done?;
                Ok(Swept { peers: Peers { process, local }, changed })
            }
            _ => Err(ClientError::TimedOut(EXCHANGE_TIMEOUT)),
        }
    }
}

type Outcome = Result<(Option<Process>, bool), ClientError>;

/// The prompt keeps a connection open for another line (management guide, 9.3). It stands before some
/// of the answers.
async fn to_its_end(
    mut stream: Box<dyn Stream>,
    choose: impl FnOnce(&[Server]) -> Option<String>,
    mut say: oneshot::Sender<Outcome>,
) {
    let stream = &mut *stream;
    let read = line(&[Command::ShowServersState(None), Command::ShowInfo]);
    let replies = tokio::select! {
        replies = talk(stream, format!("prompt\n{read}"), 3) => replies,
        // Nothing is changed yet, and nothing is kept of what comes now.
        () = say.closed() => {
            let _ = stream.write_all(b"quit\n").await;
            let _ = discard(stream).await;
            return;
        }
    };
    let outcome = match replies {
        Ok(replies) => change(stream, &replies, choose).await,
        Err(error) => Err(error),
    };
    let _ = say.send(outcome);
}

async fn change(
    stream: &mut dyn Stream,
    replies: &[String],
    choose: impl FnOnce(&[Server]) -> Option<String>,
) -> Outcome {
    let reply = |index: usize| {
        let reply = replies.get(index).map_or("", String::as_str);
        reply.strip_prefix("> ").unwrap_or(reply)
    };
    let process = Process::parse(reply(2));
    let change = choose(&server::parse(reply(1))?);
    let changed = change.is_some();
    let last = format!("{}quit\n", change.unwrap_or_default());
    send(stream, &last).await.map_err(ClientError::Exchange)?;
    // It has carried out everything when it closes.
    discard(stream).await.map_err(ClientError::Exchange)?;
    Ok((process, changed))
}
