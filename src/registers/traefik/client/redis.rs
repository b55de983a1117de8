//! What is asked of Redis.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio_stream::StreamExt;
use tokio_util::codec::FramedRead;

use super::line::Line;
use super::{Client, Found};
use crate::registers::traefik::fault::Fault;
use crate::registers::traefik::settings::Store;
use crate::registers::traefik::wire::keys::Pair;
use crate::registers::traefik::wire::resp::{self, Replies, Reply};

/// Keys that one step of a SCAN looks at, and steps until it has been enough: a store may be shared with
/// somebody who has millions.
const SCAN_COUNT: &str = "1000";
const SCAN_STEPS: usize = 100;

impl Client {
    pub(super) async fn redis_read(&mut self, keys: &[&str]) -> Result<Vec<Option<Found>>, Fault> {
        // One by one: MGET would be a further right.
        let commands: Vec<_> = keys.iter().map(|key| vec!["GET", key]).collect();
        let found = self.redis(&commands).await?.into_iter().map(|reply| match reply {
            Reply::Text(Some(value)) => Some(Found { value, leased: true }),
            _ => None,
        });
        Ok(found.collect())
    }

    pub(super) async fn redis_list(&mut self, prefix: &str) -> Result<Vec<Pair>, Fault> {
        let (pattern, mut cursor, mut keys) = (pattern(prefix), "0".to_owned(), Vec::new());
        for _ in 0..SCAN_STEPS {
            let scan = vec!["SCAN", &cursor, "MATCH", &pattern, "COUNT", SCAN_COUNT];
            let mut replies = match self.redis(&[scan]).await {
                // A right that is not needed to register.
                Err(Fault::Refused { .. }) => return Ok(Vec::new()),
                replies => replies?.into_iter(),
            };
            let Some(Reply::List(parts)) = replies.next() else { break };
            let [Reply::Text(Some(next)), Reply::List(found)] = &parts[..] else { break };
            keys.extend(found.iter().filter_map(|key| match key {
                Reply::Text(Some(key)) => Some(key.clone()),
                _ => None,
            }));
            cursor.clone_from(next);
            if cursor == "0" {
                break;
            }
        }
        let names: Vec<_> = keys.iter().map(String::as_str).collect();
        let values = self.redis_read(&names).await?.into_iter();
        let values: Vec<_> = values.map(|found| found.map(|found| found.value)).collect();
        Ok(keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect())
    }

    pub(super) async fn redis_put(
        &mut self,
        (key, value): &Pair,
        lease: Duration,
    ) -> Result<(), Fault> {
        let lease = lease.as_millis().to_string();
        self.redis(&[vec!["SET", key, value, "PX", &lease]]).await.map(drop)
    }

    pub(super) async fn redis_add(&mut self, (key, value): &Pair) -> Result<(), Fault> {
        self.redis(&[vec!["SET", key, value, "NX"]]).await.map(drop)
    }

    pub(super) async fn redis_set_all(
        &mut self,
        keys: &[(String, Option<String>)],
    ) -> Result<(), Fault> {
        let (mut set, mut delete) = (vec!["MSET"], vec!["DEL"]);
        for (key, value) in keys {
            match value {
                Some(value) => set.extend([key.as_str(), value]),
                None => delete.push(key),
            }
        }
        let commands = [set, delete].into_iter().filter(|words| words.len() > 1);
        self.redis(&commands.collect::<Vec<_>>()).await.map(drop)
    }

    pub(super) async fn redis_remove(&mut self, keys: &[String]) -> Result<(), Fault> {
        let words = ["DEL"].into_iter().chain(keys.iter().map(String::as_str));
        self.redis(&[words.collect()]).await.map(drop)
    }

    /// Sends commands and reads a reply to each; the first that is refused is an error.
    async fn redis(&mut self, commands: &[Vec<&str>]) -> Result<Vec<Reply>, Fault> {
        loop {
            let kept = self.line.is_some();
            let mut line = self.take_line().await?;
            match line.redis(commands).await.and_then(|replies| line.accepted(replies)) {
                Ok(replies) => {
                    self.line = Some(line);
                    return Ok(replies);
                }
                Err(fault) if self.give_up(&fault, kept) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
}

impl Line {
    /// Says who we are and which database is meant. Returns the letters of `notify-keyspace-events`;
    /// `None` when we have no right to know.
    pub(super) async fn redis_hello(&mut self, store: &Store) -> Result<Option<String>, Fault> {
        let mut commands = Vec::new();
        if let Some(login) = &store.login {
            let name = (!login.user.is_empty()).then_some(login.user.as_str());
            let words = ["AUTH"].into_iter().chain(name).chain([login.password.as_str()]);
            commands.push(words.collect());
        }
        let db = store.db.to_string();
        if store.db > 0 {
            commands.push(vec!["SELECT", &db]);
        }
        let needed = commands.len();
        commands.push(vec!["CONFIG", "GET", "notify-keyspace-events"]);
        let mut replies = self.redis(&commands).await?;
        let letters = replies.split_off(needed);
        self.accepted(replies)?;
        match letters.first() {
            // Without a password nothing else would be answered either.
            Some(Reply::Error(words)) if words.starts_with("NOAUTH") => self.refused(words),
            Some(Reply::List(parts)) => match &parts[..] {
                [_, Reply::Text(letters)] => Ok(letters.clone()),
                _ => Ok(Some(String::new())),
            },
            _ => Ok(None),
        }
    }

    async fn redis(&mut self, commands: &[Vec<&str>]) -> Result<Vec<Reply>, Fault> {
        let mut request = Vec::new();
        commands.iter().for_each(|words| resp::command(words, &mut request));
        let stream = &mut *self.stream;
        let talk = async {
            stream.write_all(&request).await?;
            stream.flush().await?;
            let mut frames = FramedRead::with_capacity(stream, Replies, 1024);
            let mut replies = Vec::with_capacity(commands.len());
            while replies.len() < commands.len() {
                let reply = frames.next().await;
                replies.push(reply.ok_or(io::ErrorKind::UnexpectedEof)??);
            }
            Ok(replies)
        };
        Self::in_time(self.server, talk).await
    }

    fn accepted(&self, replies: Vec<Reply>) -> Result<Vec<Reply>, Fault> {
        let words = replies.iter().find_map(|reply| match reply {
            Reply::Error(words) => Some(words),
            _ => None,
        });
        match words {
            Some(words) => self.refused(words),
            None => Ok(replies),
        }
    }
}

/// What SCAN takes for all that begins with `prefix`.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::new();
    for c in prefix.chars() {
        if "*?[]^-\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "*"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_by_its_letters() {
        assert_eq!(pattern("a-b/c[1]*/"), "a\\-b/c\\[1\\]\\*/*");
    }
}
