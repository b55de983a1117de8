//! TLS 1.3 to servers of ours.
//!
//! With TLS on, not a byte is sent to a server that has not proved who it is. The PEM files are
//! watched by their stamps, so that rotated certificates are taken up by the next connection.

mod provider;
mod refusal;
mod ticket;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tracing::{info, warn};

use super::pem::{TlsFiles, TlsNames};
use crate::file;
use provider::provider;
pub(crate) use refusal::{Refusal, refusal};
use ticket::Ticket;

/// Longest PEM file that is read: all the public authorities in the world take a quarter of it.
const MAX_PEM: usize = 1 << 20;

/// What the variables say, as it was last read without an error.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: TlsFiles,
    names: &'static TlsNames,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamps: Vec<Option<Stamp>>,
    config: Arc<ClientConfig>,
}

/// A file's identity, size and time of change, by which a new version shows.
type Stamp = (u64, u64, u64, i64, i64);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One complaint for each file that cannot be used: it starts with the variable and names the file
    /// and what was expected.
    pub fn load(files: &TlsFiles, names: &'static TlsNames) -> Result<Self, Vec<String>> {
        let stamps = stamps(files);
        let config = Arc::new(read(files, names)?);
        let loaded = Mutex::new(Loaded { stamps, config });
        Ok(Self(Arc::new(Shared { files: files.clone(), names, loaded })))
    }

    /// The latest good configuration. Reads the files again if they have changed; what cannot be used
    /// is complained about once and leaves the last one in force.
    fn config(&self) -> Arc<ClientConfig> {
        let Shared { files, names, loaded } = &*self.0;
        let mut loaded = lock(loaded);
        let stamps = stamps(files);
        if stamps != loaded.stamps {
            loaded.stamps = stamps;
            match read(files, names) {
                Ok(config) => {
                    loaded.config = Arc::new(config);
                    info!("read the changed TLS files again");
                }
                Err(complaints) => {
                    let error = complaints.join("; ");
                    warn!(error, "the changed TLS files cannot be used; keeping the old");
                }
            }
        }
        Arc::clone(&loaded.config)
    }
}

/// TLS to one server: what to verify it against, and the ticket that makes the next handshake cheap.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    tls: Tls,
    host: Arc<str>,
    derived: Arc<Mutex<Option<Derived>>>,
}

/// A configuration and the same with this session's ticket in it.
type Derived = (Arc<ClientConfig>, Arc<ClientConfig>);

impl Session {
    /// TLS to a server whose certificate must be for `host`, a name or an IP address.
    pub(crate) fn new(tls: Tls, host: &str) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host).into();
        Self { tls, host, derived: Arc::default() }
    }

    /// Shakes hands on `stream`.
    pub(crate) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Refusal> {
        let names = self.tls.0.names;
        let name = ServerName::try_from(&*self.host)
            .map_err(|_| Refusal::host_name(names, Arc::clone(&self.host)))?;
        let connector = TlsConnector::from(self.config());
        let connected = connector.connect(name.to_owned(), stream).await;
        connected.map_err(|error| Refusal::in_handshake(names, error))
    }

    fn config(&self) -> Arc<ClientConfig> {
        let latest = self.tls.config();
        let mut derived = lock(&self.derived);
        if let Some((from, config)) = &*derived
            && Arc::ptr_eq(from, &latest)
        {
            return Arc::clone(config);
        }
        let mut config = (*latest).clone();
        config.resumption = Resumption::store(Arc::new(Ticket::default()));
        let config = Arc::new(config);
        *derived = Some((latest, Arc::clone(&config)));
        config
    }
}

/// What is under the lock is replaced as a whole, hence whole even after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    let stamp =
        |file: Metadata| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec());
    files.paths().map(|path| path.metadata().ok().map(stamp)).collect()
}

impl TlsFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        std::iter::once(&self.ca).chain(identity).map(PathBuf::as_path)
    }
}

fn read(files: &TlsFiles, names: &TlsNames) -> Result<ClientConfig, Vec<String>> {
    let roots = authorities(names.ca, &files.ca);
    let identity = files
        .identity
        .as_ref()
        .map(|(cert, key)| (certificates(names.cert, cert), private_key(names.key, key)));
    let (roots, identity) = match (roots, identity) {
        (Ok(roots), None) => (roots, None),
        (Ok(roots), Some((Ok(chain), Ok(key)))) => (roots, Some((chain, key))),
        (roots, identity) => {
            let (chain, key) = identity.unzip();
            let complaints = [roots.err(), chain.and_then(Result::err), key.and_then(Result::err)];
            return Err(complaints.into_iter().flatten().collect());
        }
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| vec![format!("{} cannot be used: {error}", names.ca)])?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            files.identity.iter().map(|(c, k)| unfit(names, &error, c, k)).collect::<Vec<_>>()
        })?,
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn authorities(variable: &str, path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(variable, path)? {
        let problem = "holds a certificate that does not parse";
        roots.add(authority).map_err(|_| complaint(variable, path, problem))?;
    }
    Ok(roots)
}

fn certificates(variable: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = contents(variable, path)?;
    let garbled = |_| complaint(variable, path, "holds a garbled PEM block");
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(garbled)?;
    if found.is_empty() {
        let expected = "holds no certificate, expected PEM (-----BEGIN CERTIFICATE-----)";
        return Err(complaint(variable, path, expected));
    }
    Ok(found)
}

fn private_key(variable: &str, path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = contents(variable, path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let encrypted = pem.windows(9).any(|window| window == b"ENCRYPTED");
        let problem = match encrypted {
            true => "holds an encrypted key, expected one without a passphrase",
            false => "holds no private key, expected PEM (-----BEGIN PRIVATE KEY-----)",
        };
        complaint(variable, path, problem)
    })
}

fn unfit(names: &TlsNames, error: &rustls::Error, cert: &Path, key: &Path) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            let problem = format!("is not the key of {} ({})", cert.display(), names.cert);
            complaint(names.key, key, &problem)
        }
        rustls::Error::InvalidCertificate(_) => {
            complaint(names.cert, cert, "holds a certificate that does not parse")
        }
        _ => {
            let expected = "cannot be used, expected RSA of 2048 bits or more, ECDSA or Ed25519";
            complaint(names.key, key, expected)
        }
    }
}

fn contents(variable: &str, path: &Path) -> Result<Vec<u8>, String> {
    file::read_in_time(path, MAX_PEM).map_err(|error| complaint(variable, path, &error.to_string()))
}

fn complaint(variable: &str, path: &Path, problem: &str) -> String {
    format!("{variable} names {}: {problem}", path.display())
}
