//! Certificates from files, for peers that we call and for those that call us.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{ClientTls, ServerTls};

/// What a connection to a peer is checked against: the given authority, or the public ones.
pub fn client(tls: Option<&ClientTls>) -> Result<ClientConfig> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let Some(tls) = tls else {
        return Ok(builder.with_webpki_roots().with_no_client_auth());
    };
    let builder = builder.with_root_certificates(roots(&tls.ca)?);
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .with_context(|| format!("{} with {}", cert.display(), key.display())),
    }
}

/// What a listener shows, and what it asks of those who connect.
pub fn server(tls: &ServerTls) -> Result<ServerConfig> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
                .build()
                .with_context(|| ca.display().to_string())?,
        ),
    };
    builder
        .with_single_cert(certificates(&tls.cert)?, private_key(&tls.key)?)
        .with_context(|| format!("{} with {}", tls.cert.display(), tls.key.display()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).with_context(|| path.display().to_string())?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.with_context(|| format!("read certificates from {}", path.display()))?;
    match read.is_empty() {
        true => Err(anyhow!("{}: no certificate in it", path.display())),
        false => Ok(read),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .with_context(|| format!("read a private key from {}", path.display()))
}
