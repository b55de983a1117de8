//! Keys that several kinds of table have.

use std::path::PathBuf;

use super::reader::{Fields, Value};
use super::{ClientTls, Secret};

/// Complains of a key that another needs, unless it is there and unreadable: then it has its error
/// already.
pub(crate) fn missing<T>(f: &Fields<'_>, key: &'static str, other: &str) -> Option<T> {
    if !f.has(key) {
        f.error(key, format!("is missing: {other} needs it"));
    }
    None
}

/// `tls_ca`, `tls_cert` and `tls_key`, towards a peer.
pub(crate) fn client_tls(f: &Fields<'_>) -> Option<ClientTls> {
    let ca = f.opt("tls_ca", path);
    let identity = match (f.opt("tls_cert", path), f.opt("tls_key", path)) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => missing(f, "tls_key", "tls_cert"),
        (None, Some(_)) => missing(f, "tls_cert", "tls_key"),
    };
    if identity.is_some() && ca.is_none() {
        missing::<()>(f, "tls_ca", "tls_cert");
    }
    Some(ClientTls { ca: ca?, identity })
}

/// A URL of HTTP.
pub(crate) fn http_url(v: Value<'_>) -> Result<String, String> {
    let text = v.text()?;
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(host) if !host.is_empty() => Ok(text),
        // A webhook's URL is a secret: the message must not repeat it.
        _ => Err("expected a URL that starts with http:// or https://".to_owned()),
    }
}

/// What is never printed.
pub(crate) fn secret(v: Value<'_>) -> Result<Secret, String> {
    v.text().map(Secret)
}

/// A file's path.
pub(crate) fn path(v: Value<'_>) -> Result<PathBuf, String> {
    v.text().map(PathBuf::from)
}
