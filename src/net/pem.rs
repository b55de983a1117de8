//! The files that TLS is made from, and what an operator calls them.

use std::path::PathBuf;

/// PEM files for TLS to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that the server's certificate must come from.
    pub ca: PathBuf,
    /// Our own certificate chain and its key, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The words for a kind of server: those of its variables, and its own.
#[derive(Debug)]
pub struct TlsNames {
    /// Variable of the authorities' file.
    pub ca: &'static str,
    /// Variable of our certificate's file.
    pub cert: &'static str,
    /// Variable of that certificate's key.
    pub key: &'static str,
    /// Variable of the server's name or address.
    pub server: &'static str,
    /// What the server is.
    pub peer: &'static str,
    /// What it may be when it does not speak TLS, and what to do.
    pub plain: &'static str,
}
