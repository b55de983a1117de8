//! Outgoing TCP connections.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection, whatever it is made of.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// Connects to `addr`, but never to itself.
///
/// The kernel chooses our port from the range of outgoing connections. Where nobody listens on a port
/// of this host in that range, it may choose that very port, and the connection meets itself (RFC
/// 9293, 3.5, simultaneous open). That is nobody's answer, so it is refused; and it is reset, since
/// the port would stay taken for as long as TIME-WAIT lasts when the app or HAProxy wants to listen.
///
/// # Errors
/// Those of connect(2).
pub(crate) async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    if stream.local_addr()? == addr {
        stream.set_zero_linger()?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
