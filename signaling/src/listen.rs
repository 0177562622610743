//! TCP listeners: accept, TLS, HTTP/1.1, each with a deadline, so that silence holds no socket for long.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Request line and headers must be here by then.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// The TLS handshake must be done by then.
const TLS_LIMIT: Duration = Duration::from_secs(10);
/// Longest request head.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// TCP connections that are not WebSockets beyond those that may be.
const SPARE_CONNECTIONS: usize = 1_000;
/// After an error of `accept` that is not about one connection (such as no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens a listening socket. `::` falls back to `0.0.0.0` on a machine without IPv6.
///
/// # Errors
/// The system's, with the address.
pub async fn bind(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let first = TcpListener::bind(SocketAddr::new(ip, port)).await;
    match first {
        Err(why) if ip == Ipv6Addr::UNSPECIFIED && why.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).await
        }
        other => other,
    }
    .map_err(|why| io::Error::new(why.kind(), format!("cannot listen on port {port} of {ip}: {why}")))
}

/// Serves until the task is dropped.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    max_connections: usize,
) {
    let places = Arc::new(Semaphore::new(max_connections + SPARE_CONNECTIONS));
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(why) => {
                tracing::warn!("accept: {why}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, acceptor) = (router.clone(), acceptor.clone());
        tokio::spawn(async move {
            serve_stream(stream, router, acceptor).await;
            drop(place);
        });
    }
}

async fn serve_stream(stream: TcpStream, router: Router, acceptor: Option<TlsAcceptor>) {
    // Small messages should not wait for each other.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => serve_http(stream, router).await,
        Some(acceptor) => match timeout(TLS_LIMIT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => serve_http(stream, router).await,
            Ok(Err(why)) => tracing::debug!("TLS handshake: {why}"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        },
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades()
        .await;
    if let Err(why) = served {
        tracing::debug!("HTTP: {why}");
    }
}
