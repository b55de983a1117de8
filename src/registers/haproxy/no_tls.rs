//! In place of [`tls`](self) in a build without it: nothing can be made of these types, so that
//! nothing that was meant for TLS is ever sent in plain text.

use std::convert::Infallible;
use std::io;

use tokio::net::TcpStream;

use super::pem::TlsFiles;

/// Never made.
#[derive(Clone, Debug)]
pub struct Tls(Infallible);

impl Tls {
    /// Refuses.
    ///
    /// # Errors
    /// Always, in words for the operator.
    pub fn load(_: &TlsFiles) -> Result<Self, Vec<String>> {
        Err(vec!["HAPROXY_TLS_CA is set, but this berth was built without TLS".to_owned()])
    }
}

#[derive(Clone, Debug)]
pub(super) struct Session(Infallible);

impl Session {
    pub(super) fn new(tls: Tls, _: &str) -> Self {
        Self(tls.0)
    }

    pub(super) async fn connect(&self, _: TcpStream) -> Result<TcpStream, Refusal> {
        match self.0 {}
    }
}

/// Never happens.
#[derive(Debug, thiserror::Error)]
#[error("no TLS")]
pub struct Refusal(Infallible);

pub(super) fn refusal(error: io::Error) -> Result<Refusal, io::Error> {
    Err(error)
}
