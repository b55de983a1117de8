//! Exchanges that are not broken off, whether or not anybody waits for them any more.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Client, ClientError, EXCHANGE_TIMEOUT, Exchange, LINGER, MAX_ANSWER, Stream, hear, line, send,
};
use crate::registers::haproxy::Command;
use crate::task;

type Replies = Result<Vec<String>, ClientError>;

impl Client {
    /// As [`exchange`](Self::exchange), and it goes on when this is dropped or takes too long.
    pub(super) async fn whole_exchange(
        &self,
        commands: &[Command<'_>],
    ) -> Result<Exchange, ClientError> {
        let deadline = Instant::now() + EXCHANGE_TIMEOUT;
        let (stream, local) = self.connect(deadline).await?;
        let (line, want) = (line(commands), commands.len());
        let (say, said) = oneshot::channel();
        task::spawn(async move {
            let _ = timeout(LINGER, to_its_end(stream, line, want, say)).await;
        });
        match timeout_at(deadline, said).await {
            Ok(Ok(replies)) => Ok(Exchange { replies: self.heard(replies)?, local }),
            Ok(Err(_)) => Err(ClientError::Cut { got: 0, want }),
            Err(_) => Err(ClientError::TimedOut(EXCHANGE_TIMEOUT)),
        }
    }
}

/// Says the replies as long as somebody waits for them. Then what is answered is read and not kept:
/// a peer that answers slowly for ever has one such exchange after the other going on.
async fn to_its_end(
    mut stream: Box<dyn Stream>,
    line: String,
    want: usize,
    mut say: oneshot::Sender<Replies>,
) {
    let written = send(&mut *stream, &line).await;
    let replies = tokio::select! {
        replies = hear(&mut *stream, written, want) => replies,
        () = say.closed() => {
            let _ = discard(&mut *stream).await;
            return;
        }
    };
    let _ = say.send(replies);
}

/// Reads up to the end, which HAProxy makes after the last answer.
pub(super) async fn discard(stream: &mut dyn Stream) -> io::Result<()> {
    let (mut nothing, mut read) = ([0; 512], 0);
    while read < MAX_ANSWER {
        match stream.read(&mut nothing).await? {
            0 => break,
            more => read += more,
        }
    }
    Ok(())
}
