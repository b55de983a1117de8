//! Listeners: plain or TLS, with bounds on how many connect and how long they may take.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use hyper::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

mod places;

pub use places::Claim;
use places::Places;

/// For a TLS handshake, and for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// For a whole connection.
const WHOLE: Duration = Duration::from_secs(60);

/// Binds now, so that a port that is taken is an error at once; then serves until it is dropped.
/// `what` it is for is told in the log.
pub async fn bind(
    what: &'static str,
    listen: SocketAddr,
    tls: Option<ServerConfig>,
    router: Router,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let at = listener.local_addr()?;
    info!(address = %at, tls = tls.is_some(), "listening for {what}");
    Ok((at, serve(listener, tls.map(|tls| TlsAcceptor::from(Arc::new(tls))), router)))
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router) {
    let places = Places::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: others must end first.
                debug!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = places.take(neighbourhood(peer.ip())) else {
            debug!(%peer, "no place is free");
            continue;
        };
        let (tls, router, claim) = (tls.clone(), router.clone(), place.claim());
        let talk = async move {
            match tls {
                None => talk(stream, router, claim).await,
                Some(tls) => match timeout(HEAD, tls.accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, router, claim).await,
                    Ok(Err(error)) => debug!(%peer, %error, "TLS handshake"),
                    Err(_) => debug!(%peer, "TLS handshake took too long"),
                },
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = timeout(WHOLE, talk) => {}
                () = place.is_wanted() => debug!(%peer, "closed: others want its place"),
            }
        });
    }
}

/// Whose places count together: an address, or in IPv6 a network, of which one host has as many
/// addresses as it likes.
fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    claim: Claim,
) {
    let router = router.layer(axum::middleware::map_request(move |mut request: Request<_>| {
        request.extensions_mut().insert(claim.clone());
        std::future::ready(request)
    }));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        debug!(%error, "connection");
    }
}
