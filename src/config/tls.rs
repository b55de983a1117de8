//! The variables of TLS to a kind of server: three files.

use std::path::PathBuf;

use super::env::Env;
use super::variables::Variable;
use crate::net::pem::{TlsFiles, TlsNames};
use crate::net::tls::Tls;

/// The variables, and their words.
pub(super) struct Files {
    pub(super) ca: Variable,
    pub(super) cert: Variable,
    pub(super) key: Variable,
    pub(super) names: &'static TlsNames,
}

/// The files that are named; `None` when there is no authority, which without a certificate of our own
/// means no TLS.
pub(super) fn files(env: &mut Env, of: &Files) -> Option<TlsFiles> {
    let path = |variable| env.path(variable);
    let (ca, cert, key) = (path(&of.ca), path(&of.cert), path(&of.key));
    if ca.is_none() && (cert.is_some() || key.is_some()) {
        let peer = of.names.peer;
        let expected = "is not set, expected the authorities that";
        env.problem(&of.ca, &format!("{expected} {peer}'s certificate comes from"));
    }
    let identity = identity(env, of, cert, key);
    ca.map(|ca| TlsFiles { ca, identity })
}

/// Reads them; what cannot be used is noted.
pub(super) fn load(env: &mut Env, files: &TlsFiles, of: &Files) -> Option<Tls> {
    let complain = |line| env.complain(&of.ca, line);
    Tls::load(files, of.names).map_err(|complaints| complaints.into_iter().for_each(complain)).ok()
}

fn identity(
    env: &mut Env,
    of: &Files,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Option<(PathBuf, PathBuf)> {
    match (&cert, &key) {
        (Some(_), None) => {
            let complaint = format!("is not set, expected the key of {}", of.cert.name);
            env.problem(&of.key, &complaint);
        }
        (None, Some(_)) => {
            let complaint = format!("is not set, expected the certificate of {}", of.key.name);
            env.problem(&of.cert, &complaint);
        }
        _ => {}
    }
    cert.zip(key)
}
