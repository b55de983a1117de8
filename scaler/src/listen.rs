//! Listeners: plain or TLS, with bounds on how many connect and how long they may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

/// Connections at once.
const MOST: usize = 128;
/// For a TLS handshake, and for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// For a whole connection.
const WHOLE: Duration = Duration::from_secs(60);

/// Binds now, so that a port that is taken is an error at once; then serves until it is dropped.
pub async fn bind(
    listen: SocketAddr,
    tls: Option<ServerConfig>,
    router: Router,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let at = listener.local_addr()?;
    info!(address = %at, tls = tls.is_some(), "listening");
    Ok((at, serve(listener, tls.map(|tls| TlsAcceptor::from(Arc::new(tls))), router)))
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: others must end first.
                debug!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let talk = async {
                match tls {
                    None => talk(stream, router).await,
                    Some(tls) => match timeout(HEAD, tls.accept(stream)).await {
                        Ok(Ok(stream)) => talk(stream, router).await,
                        Ok(Err(error)) => debug!(%peer, %error, "TLS handshake"),
                        Err(_) => debug!(%peer, "TLS handshake took too long"),
                    },
                }
            };
            let _ = timeout(WHOLE, talk).await;
            drop(place);
        });
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        debug!(%error, "connection");
    }
}
