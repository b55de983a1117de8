//! The files that TLS is made from.

use std::path::PathBuf;

/// PEM files for TLS to the stats socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that the server's certificate must come from.
    pub ca: PathBuf,
    /// Our own certificate chain and its key, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
}
