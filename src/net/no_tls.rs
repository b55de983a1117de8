//! In place of [`tls`](self) in a build without it: nothing can be made of these types, so that
//! nothing that was meant for TLS is ever sent in plain text.

use std::convert::Infallible;
use std::io;

use tokio::net::TcpStream;

use super::pem::{TlsFiles, TlsNames};

/// Never made.
#[derive(Clone, Debug)]
pub struct Tls(Infallible);

impl Tls {
    /// Refuses.
    ///
    /// # Errors
    /// Always, in words for the operator.
    pub fn load(_: &TlsFiles, names: &'static TlsNames) -> Result<Self, Vec<String>> {
        Err(vec![format!("{} is set, but this berth was built without TLS", names.ca)])
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Session(Infallible);

impl Session {
    pub(crate) fn new(tls: Tls, _: &str) -> Self {
        Self(tls.0)
    }

    pub(crate) async fn connect(&self, _: TcpStream) -> Result<TcpStream, Refusal> {
        match self.0 {}
    }
}

/// Never happens.
#[derive(Debug, thiserror::Error)]
#[error("no TLS")]
pub struct Refusal(Infallible);

pub(crate) fn refusal(_: &'static TlsNames, error: io::Error) -> Result<Refusal, io::Error> {
    Err(error)
}
