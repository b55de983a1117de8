//! One GET, of which only the status counts (RFC 9112).

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Failure;
use super::check::Get;
use crate::net::connect;

/// Longest start of an answer that is read, interim answers included.
const MOST: usize = 16 * 1024;

/// Whether the GET answers 200…399, as HAProxy's own `httpchk` wants it.
pub(super) async fn get(target: SocketAddr, get: &Get) -> Result<(), Failure> {
    let mut stream = connect::connect(target).await.map_err(Failure::Connect)?;
    let (path, host) = (&get.path, get.host.clone().unwrap_or_else(|| target.to_string()));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: berth\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(Failure::Exchange)?;
    let mut head = Vec::new();
    loop {
        let length = stream.read_buf(&mut head).await.map_err(Failure::Exchange)?;
        match answer(&head) {
            Answer::Status(200..=399) => return Ok(()),
            Answer::Status(status) => return Err(Failure::Status(status)),
            Answer::Cut if length > 0 && head.len() < MOST => {}
            Answer::Cut if head.is_empty() => {
                return Err(Failure::Exchange(io::ErrorKind::UnexpectedEof.into()));
            }
            Answer::Cut | Answer::NotHttp => return Err(Failure::NotHttp),
        }
    }
}

/// What the bytes that have come so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing final yet.
    Cut,
    /// The final status, from 200 to 999.
    Status(u16),
    /// Something else than HTTP/1.
    NotHttp,
}

/// Skips interim answers (RFC 9110, 15.2: 1xx, as of `103 Early Hints`).
pub(super) fn answer(mut bytes: &[u8]) -> Answer {
    const START: &[u8] = b"HTTP/1.";
    loop {
        let known = bytes.len().min(START.len());
        if bytes[..known] != START[..known] {
            return Answer::NotHttp;
        }
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Answer::Cut };
        let Some(status) = status(&bytes[START.len()..end]) else { return Answer::NotHttp };
        if status >= 200 {
            return Answer::Status(status);
        }
        let blank = |at: &usize| {
            let rest = &bytes[*at..];
            rest.starts_with(b"\n\r\n") || rest.starts_with(b"\n\n")
        };
        let Some(at) = (end..bytes.len()).find(blank) else { return Answer::Cut };
        let next = at + if bytes[at..].starts_with(b"\n\r\n") { 3 } else { 2 };
        bytes = &bytes[next..];
    }
}

/// `1 204 No Content\r`, of which the reason may be missing.
fn status(line: &[u8]) -> Option<u16> {
    match line.trim_ascii_end() {
        [b'0'..=b'9', b' ', a @ b'1'..=b'9', b, c, rest @ ..]
            if b.is_ascii_digit() && c.is_ascii_digit() && matches!(rest, [] | [b' ', ..]) =>
        {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Some(100 * digit(a) + 10 * digit(b) + digit(c))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_status_is_found() {
        for (text, want) in [
            ("HTTP/1.1 200 OK\r\n", Answer::Status(200)),
            ("HTTP/1.0 302 \r\n", Answer::Status(302)),
            ("HTTP/1.1 204\r\n", Answer::Status(204)),
            ("HTTP/1.0 200\n", Answer::Status(200)),
            ("HTTP/1.1 503 no\r\n", Answer::Status(503)),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n",
                Answer::Status(200),
            ),
            ("HTTP/1.1 100\n\nHTTP/1.1 404 no\n", Answer::Status(404)),
            ("HTTP/1.1 100 Continue\r\n\r\n", Answer::Cut),
            ("HTTP/1.1 100 Continue\r\nA: b\r\n", Answer::Cut),
            ("HTTP/1.1 20", Answer::Cut),
            ("HTT", Answer::Cut),
            ("", Answer::Cut),
            ("HTTP/2.0 200 OK\r\n", Answer::NotHttp),
            ("SSH-2.0-OpenSSH_9.2\r\n", Answer::NotHttp),
            ("HTTP/1.1 2x0 OK\r\n", Answer::NotHttp),
            ("HTTP/1.1 2000\r\n", Answer::NotHttp),
            ("HTTP/1.1 099 OK\r\n", Answer::NotHttp),
        ] {
            assert_eq!(answer(text.as_bytes()), want, "{text}");
        }
    }
}
