//! Redis's protocol, version 2 (RESP2): commands out, replies in.
//!
//! The crates that speak it are whole clients, or bring a parser library of their own; this is the part
//! that seven commands need.

use std::io;

use bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;

/// Longest reply, in bytes.
const LONGEST: usize = 1 << 20;
/// Arrays within arrays: a reply to SCAN is one within another.
const DEEPEST: u32 = 4;

/// What a server answers to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registers::traefik) enum Reply {
    /// `+OK`, or a string; `None` where there is no such key.
    Text(Option<String>),
    /// `-NOPERM …`, in Redis's own words.
    Error(String),
    /// `:1`
    Number(i64),
    /// `*2`, and so many replies.
    List(Vec<Reply>),
}

/// Appends a command to what is to be sent: an array of strings.
pub(in crate::registers::traefik) fn command(words: &[&str], to: &mut Vec<u8>) {
    to.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        to.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// Splits a stream into replies.
#[derive(Debug)]
pub(in crate::registers::traefik) struct Replies;

impl Decoder for Replies {
    type Item = Reply;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Reply>> {
        let mut rest = &buffer[..];
        let found = reply(&mut rest, DEEPEST)?;
        if found.is_none() && buffer.len() > LONGEST {
            return Err(wrong("the reply is too long"));
        }
        let used = buffer.len() - rest.len();
        if found.is_some() {
            buffer.advance(used);
        }
        Ok(found)
    }
}

/// Takes one reply off the front of `rest`; `None` while it is not all there.
fn reply(rest: &mut &[u8], deepest: u32) -> io::Result<Option<Reply>> {
    let Some(line) = line(rest)? else { return Ok(None) };
    let Some((kind, words)) = line.split_first() else { return Err(stranger(line)) };
    let words = || String::from_utf8_lossy(words).into_owned();
    let number = || words().parse::<i64>().map_err(|_| stranger(line));
    Ok(match kind {
        b'+' => Some(Reply::Text(Some(words()))),
        b'-' => Some(Reply::Error(words())),
        b':' => Some(Reply::Number(number()?)),
        b'$' => match usize::try_from(number()?) {
            Err(_) => Some(Reply::Text(None)),
            Ok(length) if length > LONGEST => return Err(wrong("the reply is too long")),
            Ok(length) => text(rest, length)?.map(|text| Reply::Text(Some(text))),
        },
        b'*' if deepest > 0 => {
            let mut list = Vec::new();
            for _ in 0..number()? {
                match reply(rest, deepest - 1)? {
                    Some(part) => list.push(part),
                    None => return Ok(None),
                }
            }
            Some(Reply::List(list))
        }
        _ => return Err(stranger(line)),
    })
}

/// A line without the line break that ends it.
fn line<'a>(rest: &mut &'a [u8]) -> io::Result<Option<&'a [u8]>> {
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
        // What speaks another protocol may never end a line.
        let known = rest.first().is_none_or(|first| b"+-:$*".contains(first));
        return if known { Ok(None) } else { Err(stranger(rest)) };
    };
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    Ok(Some(line))
}

/// A string of so many bytes and the line break after it.
fn text(rest: &mut &[u8], length: usize) -> io::Result<Option<String>> {
    let Some(whole) = rest.get(..length + 2) else { return Ok(None) };
    let (text, end) = whole.split_at(length);
    if end != b"\r\n" {
        return Err(stranger(text));
    }
    let text = String::from_utf8_lossy(text).into_owned();
    *rest = &rest[length + 2..];
    Ok(Some(text))
}

fn stranger(said: &[u8]) -> io::Error {
    let said = String::from_utf8_lossy(&said[..said.len().min(40)]);
    wrong(&format!("this is not Redis: it says '{}'", said.escape_debug()))
}

fn wrong(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(bytes: &[u8]) -> io::Result<Vec<Reply>> {
        let mut buffer = BytesMut::from(bytes);
        let mut found = Vec::new();
        while let Some(reply) = Replies.decode(&mut buffer)? {
            found.push(reply);
        }
        Ok(found)
    }

    fn text(text: &str) -> Reply {
        Reply::Text(Some(text.to_owned()))
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut bytes = Vec::new();
        command(&["SET", "ä", ""], &mut bytes);
        assert_eq!(bytes, "*3\r\n$3\r\nSET\r\n$2\r\nä\r\n$0\r\n\r\n".as_bytes());
    }

    #[test]
    fn replies_of_every_kind() {
        let bytes = b"+OK\r\n$5\r\nhe\r\no\r\n$-1\r\n:12\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n-NOPERM no\r\n";
        let scan = Reply::List(vec![text("0"), Reply::List(vec![text("a")])]);
        let want = [
            text("OK"),
            text("he\r\no"),
            Reply::Text(None),
            Reply::Number(12),
            scan,
            Reply::Error("NOPERM no".to_owned()),
        ];
        assert_eq!(replies(bytes).unwrap(), want);
    }

    #[test]
    fn a_reply_that_comes_in_pieces_is_waited_for() {
        let whole = b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n";
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..cut]);
            assert_eq!(Replies.decode(&mut buffer).unwrap(), None, "{cut}");
            buffer.extend_from_slice(&whole[cut..]);
            assert!(Replies.decode(&mut buffer).unwrap().is_some(), "{cut}");
            assert!(buffer.is_empty(), "{cut}");
        }
    }

    #[test]
    fn what_is_not_redis_is_told_from_it_and_nothing_grows_without_end() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"SSH-2.0",
            b"$abc\r\n",
            b"$99999999999\r\n",
            b"$1\r\nabc",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            b"\r\n",
        ] {
            assert!(replies(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        let endless = [b"+".to_vec(), vec![b'x'; LONGEST]].concat();
        assert!(replies(&endless).is_err());
    }
}
