//! One GET, of which only the status counts (RFC 9112).

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::connect;

/// Whether `GET path` answers 200…399, as HAProxy's own `httpchk` wants it.
pub(super) async fn get(target: SocketAddr, path: &str) -> io::Result<bool> {
    let mut stream = connect::connect(target).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: berth\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; 13];
    stream.read_exact(&mut status).await?;
    Ok(is_success(&status))
}

/// `HTTP/1.1 204 ` and the like.
pub(super) fn is_success(line: &[u8]) -> bool {
    matches!(line, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', b'2' | b'3', a, b, b' ' | b'\r']
        if a.is_ascii_digit() && b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_success_or_a_redirect_counts() {
        for line in ["HTTP/1.1 200 ", "HTTP/1.0 302 ", "HTTP/1.1 204\r"] {
            assert!(is_success(line.as_bytes()), "{line}");
        }
        for line in
            ["HTTP/1.1 503 ", "HTTP/1.1 100 ", "HTTP/2.0 200 ", "SSH-2.0-Open ", "HTTP/1.1 2x0 "]
        {
            assert!(!is_success(line.as_bytes()), "{line}");
        }
    }
}
