//! HTTP/1.1 as a client: one request, and the whole answer to it (RFC 9112).

use std::io;

use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::Stream;

/// Headers that an answer may have.
const MOST_HEADERS: usize = 32;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 200 to 999.
    pub(crate) status: u16,
    /// What it says, as it was sent.
    pub(crate) body: Vec<u8>,
    /// Whether another request may be sent on the same connection.
    pub(crate) keeps: bool,
}

/// Sends a request and reads its answer, of at most `most` bytes.
///
/// # Errors
/// Those of the connection, among them its early end; an answer that is longer, or that is not HTTP/1.
pub(crate) async fn exchange(
    stream: &mut dyn Stream,
    request: &[u8],
    most: usize,
) -> io::Result<Answer> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut bytes = Vec::new();
    loop {
        let length = stream.read_buf(&mut bytes).await?;
        if let Some(answer) = parse(&bytes, length == 0)? {
            return Ok(answer);
        }
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes.len() > most {
            return Err(wrong("the answer is too long"));
        }
    }
}

/// The answer that `bytes` hold; `None` while it is not all there. `ended` when no more will come.
fn parse(mut bytes: &[u8], ended: bool) -> io::Result<Option<Answer>> {
    loop {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut head = Response::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(wrong("this is not HTTP")),
        };
        let status = head.code.unwrap_or_default();
        bytes = &bytes[length..];
        // Interim answers (RFC 9110, 15.2).
        if (100..200).contains(&status) {
            continue;
        }
        let header = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| header.value.trim_ascii())
        };
        let says =
            |name, word: &[u8]| header(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let (body, bounded) = if says("transfer-encoding", b"chunked") {
            (chunks(bytes)?, true)
        } else if let Some(length) = header("content-length") {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            let length: usize = length.ok_or_else(|| wrong("a Content-Length that is none"))?;
            (bytes.get(..length).map(<[u8]>::to_vec), true)
        } else {
            (ended.then(|| bytes.to_vec()), false)
        };
        let keeps = bounded && head.version == Some(1) && !says("connection", b"close");
        return Ok(body.map(|body| Answer { status, body, keeps }));
    }
}

/// The data of all chunks; `None` while the last one, or what trails it, is not there.
fn chunks(mut bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let (start, length) = match httparse::parse_chunk_size(bytes) {
            Ok(Status::Complete((start, length))) => (start, length),
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(wrong("a chunk without a length")),
        };
        bytes = &bytes[start..];
        if length == 0 {
            let mut trailers = [EMPTY_HEADER; MOST_HEADERS];
            return match httparse::parse_headers(bytes, &mut trailers) {
                Ok(Status::Complete(_)) => Ok(Some(body)),
                Ok(Status::Partial) => Ok(None),
                Err(_) => Err(wrong("trailers that are none")),
            };
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(data) = bytes.get(..length) else { return Ok(None) };
        body.extend_from_slice(data);
        match bytes[length..].split_at_checked(2) {
            Some((b"\r\n", rest)) => bytes = rest,
            Some(_) => return Err(wrong("a chunk without an end")),
            None => return Ok(None),
        }
    }
}

fn wrong(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Parses any bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    for ended in [false, true] {
        if let Ok(Some(answer)) = parse(data, ended) {
            assert!(answer.body.len() <= data.len() && !(100..200).contains(&answer.status));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, ended: bool) -> Option<(u16, String, bool)> {
        let answer = parse(text.as_bytes(), ended).unwrap()?;
        Some((answer.status, String::from_utf8(answer.body).unwrap(), answer.keeps))
    }

    fn found(status: u16, body: &str, keeps: bool) -> Option<(u16, String, bool)> {
        Some((status, body.to_owned(), keeps))
    }

    #[test]
    fn a_body_ends_by_its_length_its_last_chunk_or_the_connections_end() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(whole(length, false), found(200, "ok", true));
        let chunked = "HTTP/1.1 404 no\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n";
        assert_eq!(whole(chunked, false), found(404, "abcde", true));
        let open = "HTTP/1.0 200 OK\r\n\r\nall";
        assert_eq!(whole(open, false), None);
        assert_eq!(whole(open, true), found(200, "all", false));
        let closing = "HTTP/1.1 204 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(whole(closing, false), found(204, "", false));
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(whole(interim, false), found(200, "", true));
        for text in [length, chunked] {
            for cut in 0..text.len() {
                assert_eq!(whole(&text[..cut], true), None, "{}", &text[..cut]);
            }
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for text in [
            "-ERR unknown command\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
        ] {
            assert!(parse(text.as_bytes(), true).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let server = tokio::spawn(async move {
            let _ = far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while far.write_all(b"more").await.is_ok() {}
        });
        let error = exchange(&mut near, b"GET / HTTP/1.1\r\n\r\n", 1000).await.unwrap_err();
        assert_eq!(error.to_string(), "the answer is too long");
        drop(near);
        server.await.unwrap();
    }
}
