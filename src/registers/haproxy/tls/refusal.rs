//! Who refused whom, and why, in words that an operator can act upon.

use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// Why there is no TLS connection (any more).
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The server's TLS alert (RFC 8446 section 6).
    #[error("HAProxy refused us: {}", alert(*.0))]
    Theirs(AlertDescription),
    /// We do not accept its certificate.
    #[error("we refused HAProxy's certificate: {}", certificate(.0))]
    Ours(CertificateError),
    /// What answers does not speak TLS.
    #[error(
        "it does not speak TLS and got nothing from us: a plain stats socket? (HAProxy ignores 'ssl' on a 'stats socket' line; put a TCP proxy in front of it)"
    )]
    Plain,
    /// No certificate can be for this name.
    #[error("'{0}' is not a name that a certificate can be for")]
    HostName(Arc<str>),
    /// Anything else that TLS found wrong.
    #[error("{0}")]
    Protocol(Error),
    /// The connection broke during the handshake.
    #[error("the connection broke during the TLS handshake: {0}")]
    Broken(#[source] io::Error),
}

impl Refusal {
    pub(super) fn in_handshake(error: io::Error) -> Self {
        refusal(error).unwrap_or_else(Self::Broken)
    }
}

/// The refusal that an I/O error on a TLS connection stands for; the error itself if it is none.
pub(in crate::registers::haproxy) fn refusal(error: io::Error) -> Result<Refusal, io::Error> {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => Ok(Refusal::Theirs(*alert)),
        Some(Error::InvalidCertificate(cause)) => Ok(Refusal::Ours(cause.clone())),
        Some(Error::InvalidMessage(_)) => Ok(Refusal::Plain),
        Some(other) => Ok(Refusal::Protocol(other.clone())),
        None => Err(error),
    }
}

fn alert(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::CertificateRequired => {
            "it wants a client certificate (set HAPROXY_TLS_CERT and HAPROXY_TLS_KEY)"
        }
        AlertDescription::UnknownCA => {
            "our certificate (HAPROXY_TLS_CERT) is not from an authority in its ca-file"
        }
        AlertDescription::CertificateExpired => "our certificate (HAPROXY_TLS_CERT) has expired",
        AlertDescription::CertificateRevoked => "our certificate (HAPROXY_TLS_CERT) is revoked",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "it does not accept our certificate (HAPROXY_TLS_CERT)"
        }
        AlertDescription::AccessDenied => "our certificate (HAPROXY_TLS_CERT) is not allowed in",
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3",
        AlertDescription::HandshakeFailure => "it shares no cipher or key type with us",
        AlertDescription::UnrecognisedName => {
            "it has no certificate for the name that HAPROXY_SERVER gives"
        }
        other => return format!("TLS alert {other:?}"),
    };
    words.to_owned()
}

fn certificate(cause: &CertificateError) -> String {
    match cause {
        CertificateError::UnknownIssuer => {
            "it is not from an authority in HAPROXY_TLS_CA".to_owned()
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
            "its signature is not that of the authority in HAPROXY_TLS_CA".to_owned()
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
