//! One question to one DNS server: by UDP, and by TCP when the answer or the question is too long
//! (RFC 1035 section 4.2, RFC 7766).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use domain::base::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use tokio_stream::StreamExt;
use tokio_util::codec::{Encoder, FramedRead, LengthDelimitedCodec};

use crate::net::connect;

/// Longest message that goes by UDP without EDNS (RFC 1035 section 2.3.4).
const LONGEST_DATAGRAM: usize = 512;
/// Room for a server that sends more than it may.
const ROOM: usize = 2048;
/// After an answer that is not `good`, the right one may still be on its way (RFC 8945 section
/// 5.3.1), but not for long.
const GRACE: Duration = Duration::from_millis(300);

/// Sends `request` and returns the bytes of the answer to it, within `patience`: once by UDP (the
/// caller repeats), again by TCP when the answer was truncated. An answer that is not `good` is
/// returned only when no better one follows.
pub(crate) async fn exchange(
    server: SocketAddr,
    request: &[u8],
    patience: Duration,
    good: &(dyn Fn(&[u8]) -> bool + Sync),
) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    if request.len() <= LONGEST_DATAGRAM {
        let answer = by_udp(server, request, deadline, good).await?;
        if !truncated(&answer) {
            return Ok(answer);
        }
    }
    by_tcp(server, request, deadline).await
}

/// Sends `request` by TCP alone and returns the bytes of the answer to it, within `patience`.
pub(crate) async fn exchange_by_tcp(
    server: SocketAddr,
    request: &[u8],
    patience: Duration,
) -> io::Result<Vec<u8>> {
    by_tcp(server, request, Instant::now() + patience).await
}

async fn by_tcp(server: SocketAddr, request: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    timeout_at(deadline, over_stream(server, request))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn by_udp(
    server: SocketAddr,
    request: &[u8],
    deadline: Instant,
    good: &(dyn Fn(&[u8]) -> bool + Sync),
) -> io::Result<Vec<u8>> {
    let socket = connected(server).await?;
    socket.send(request).await?;
    let mut deadline = deadline;
    let mut doubtful = None;
    loop {
        let mut answer = vec![0; ROOM];
        match timeout_at(deadline, socket.recv(&mut answer)).await {
            Ok(Ok(length)) => {
                answer.truncate(length);
                if !answers(&answer, request) {
                    continue;
                }
                if truncated(&answer) || good(&answer) {
                    return Ok(answer);
                }
                deadline = deadline.min(Instant::now() + GRACE);
                doubtful.get_or_insert(answer);
            }
            Ok(Err(error)) => return doubtful.ok_or(error),
            Err(_) => return doubtful.ok_or_else(|| io::ErrorKind::TimedOut.into()),
        }
    }
}

/// A socket on a random port that takes datagrams from `server` alone.
pub(crate) async fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn over_stream(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect::connect(server).await?;
    let (mut codec, mut framed) = (framing(), BytesMut::new());
    codec.encode(Bytes::copy_from_slice(request), &mut framed)?;
    stream.write_all(&framed).await?;
    let answer = FramedRead::new(stream, codec).next().await;
    let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)??;
    if answers(&answer, request) {
        return Ok(answer.into());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "its answer belongs to another question"))
}

/// Two octets of length before each message (RFC 1035 section 4.2.2).
fn framing() -> LengthDelimitedCodec {
    let longest = usize::from(u16::MAX);
    LengthDelimitedCodec::builder().length_field_type::<u16>().max_frame_length(longest).new_codec()
}

/// Whether `answer` is one to `request`: same identifier, operation and question. Some servers leave
/// the question out when they refuse.
pub(super) fn answers(answer: &[u8], request: &[u8]) -> bool {
    let (Ok(answer), Ok(request)) = (Message::from_slice(answer), Message::from_slice(request))
    else {
        return false;
    };
    let (a, r) = (answer.header(), request.header());
    let asked = request.first_question();
    a.qr()
        && a.id() == r.id()
        && a.opcode() == r.opcode()
        && match answer.header_counts().qdcount() {
            0 => answer.is_error() || a.opcode() != domain::base::iana::Opcode::QUERY,
            1 => answer.first_question() == asked,
            _ => false,
        }
}

pub(crate) fn truncated(answer: &[u8]) -> bool {
    Message::from_slice(answer).is_ok_and(|answer| answer.header().tc())
}
