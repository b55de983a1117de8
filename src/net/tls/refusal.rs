//! Who refused whom, and why, in words that an operator can act upon.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use crate::net::pem::TlsNames;

/// Why there is no TLS connection (any more).
#[derive(Debug)]
pub struct Refusal {
    names: &'static TlsNames,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// The server's TLS alert (RFC 8446 section 6).
    Theirs(AlertDescription),
    /// We do not accept its certificate.
    Ours(CertificateError),
    /// What answers does not speak TLS.
    Plain,
    /// No certificate can be for this name.
    HostName(Arc<str>),
    /// Anything else that TLS found wrong.
    Protocol(Error),
    /// The connection broke during the handshake.
    Broken(io::Error),
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlsNames { peer, plain, .. } = self.names;
        match &self.cause {
            Cause::Theirs(cause) => write!(f, "{peer} refused us: {}", alert(*cause, self.names)),
            Cause::Ours(cause) => {
                write!(f, "we refused {peer}'s certificate: {}", certificate(cause, self.names))
            }
            Cause::Plain => write!(f, "it does not speak TLS and got nothing from us: {plain}"),
            Cause::HostName(name) => {
                write!(f, "'{name}' is not a name that a certificate can be for")
            }
            Cause::Protocol(error) => error.fmt(f),
            Cause::Broken(error) => {
                write!(f, "the connection broke during the TLS handshake: {error}")
            }
        }
    }
}

impl Refusal {
    pub(super) fn host_name(names: &'static TlsNames, name: Arc<str>) -> Self {
        Self { names, cause: Cause::HostName(name) }
    }

    pub(super) fn in_handshake(names: &'static TlsNames, error: io::Error) -> Self {
        refusal(names, error).unwrap_or_else(|error| Self { names, cause: Cause::Broken(error) })
    }
}

/// The refusal that an I/O error on a TLS connection stands for; the error itself if it is none.
pub(crate) fn refusal(names: &'static TlsNames, error: io::Error) -> Result<Refusal, io::Error> {
    let cause = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => Cause::Theirs(*alert),
        Some(Error::InvalidCertificate(cause)) => Cause::Ours(cause.clone()),
        Some(Error::InvalidMessage(_)) => Cause::Plain,
        Some(other) => Cause::Protocol(other.clone()),
        None => return Err(error),
    };
    Ok(Refusal { names, cause })
}

fn alert(alert: AlertDescription, names: &TlsNames) -> String {
    let TlsNames { cert, key, server, .. } = names;
    match alert {
        AlertDescription::CertificateRequired => {
            format!("it wants a client certificate (set {cert} and {key})")
        }
        AlertDescription::UnknownCA => {
            format!("our certificate ({cert}) is not from an authority in its ca-file")
        }
        AlertDescription::CertificateExpired => format!("our certificate ({cert}) has expired"),
        AlertDescription::CertificateRevoked => format!("our certificate ({cert}) is revoked"),
        // Go says so to whoever has none, too.
        AlertDescription::BadCertificate => {
            format!("it wants a client certificate, or another than ours ({cert} and {key})")
        }
        AlertDescription::UnsupportedCertificate | AlertDescription::CertificateUnknown => {
            format!("it does not accept our certificate ({cert})")
        }
        AlertDescription::AccessDenied => format!("our certificate ({cert}) is not allowed in"),
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3".to_owned(),
        AlertDescription::HandshakeFailure => "it shares no cipher or key type with us".to_owned(),
        AlertDescription::UnrecognisedName => {
            format!("it has no certificate for the name that {server} gives")
        }
        other => format!("TLS alert {other:?}"),
    }
}

fn certificate(cause: &CertificateError, names: &TlsNames) -> String {
    match cause {
        CertificateError::UnknownIssuer => {
            format!("it is not from an authority in {}", names.ca)
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            match presented.as_slice() {
                [] => format!("it names no host in subjectAltName, expected {expected}"),
                names => {
                    let names: Vec<_> = names.iter().map(|name| bare(name)).collect();
                    format!("it is for {}, expected {expected}", names.join(", "))
                }
            }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            format!("it expired {} ago", ago(*time, *not_after))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let later = ago(*not_before, *time);
            format!("it is not valid before {later} from now; is our clock right?")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extendedKeyUsage lacks serverAuth".to_owned()
        }
        CertificateError::BadSignature => {
            format!("its signature is not that of the authority in {}", names.ca)
        }
        CertificateError::Other(error) => format!("{error}"),
        other => other.to_string(),
    }
}

/// The name in `DnsName("lb.example")` or `IpAddress(10.0.0.5)`, as webpki hands names out.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_matches(['"', ')'])
}

fn ago(later: UnixTime, earlier: UnixTime) -> String {
    match later.as_secs().saturating_sub(earlier.as_secs()) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} minutes", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
