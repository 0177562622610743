//! TCP listeners: accept, TLS, HTTP/1.1, each with a deadline and a bounded number of places, so that neither
//! silence nor who does not read holds a socket for long, and one address never holds all of them.
//!
//! Every connection is accepted at once. One that finds no place is told so (503) or closed: in the backlog
//! it would wait for others to go, and neither it nor anybody behind it would learn why.

use crate::address::{Network, Subnet};
use crate::config::Signaling;
use crate::deadline::{Deadlined, WriteLimits};
use crate::descriptors::{Budget, HANDSHAKES_MAX};
use crate::idle::{Answering, Pause, Paused};
use crate::log_limit::LogLimit;
use crate::places::{NoPlace, Place, Places};
use crate::tls::InUse;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

/// Request line and headers must be here so long after the first octet of them, and of a new connection after
/// its beginning.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// The TLS handshake must be done by then.
const TLS_LIMIT: Duration = Duration::from_secs(10);
/// Longest request head.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// A WebSocket has a deadline of its own for each message, with a close frame behind it; ours is this much
/// later.
const STALL_MARGIN: Duration = Duration::from_secs(2);
/// For who reads an octet now and then: all that waits must be out by then. Our largest file passes at 5
/// kB/s.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// What the kernel keeps of what a connection has not read (it takes twice that for its own bookkeeping); it
/// would be megabytes otherwise. 128 KiB a round trip are more than signaling ever needs.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// After an error of `accept` that is not about one connection (such as no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long who finds no place may take to read that.
const REFUSAL_LIMIT: Duration = Duration::from_secs(1);

/// From this share of them on the oldest gives way to a newcomer. An honest one takes some round trips, so
/// whoever wants to keep the others out must open nine hundred connections within that time, again and again,
/// rather than in ten seconds.
const HANDSHAKES_CROWDED_PERCENT: usize = 90;
/// Of these by one address: a whole office that comes back at once is through in a second.
const HANDSHAKES_PER_ADDRESS: usize = HANDSHAKES_MAX / 10;

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 21\r\n\r\nToo many connections\n";

/// Whose request it is: the other end of its TCP connection. Every request has it among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub IpAddr);

/// What both listeners share: the router and the places.
pub(crate) struct Listeners {
    router: Router,
    connections: Arc<Places>,
    handshakes: Arc<Places>,
    /// Those under way, oldest first, and some that have ended.
    shaking: Mutex<VecDeque<AbortHandle>>,
    crowded: usize,
    refusals: Arc<Places>,
    proxies: Vec<Network>,
    write_limits: WriteLimits,
    /// How long a connection may be kept alive without a request.
    idle: Duration,
    started: Instant,
    refused: Mutex<LogLimit>,
    failed_accepts: Mutex<LogLimit>,
}

impl Listeners {
    /// All places free.
    pub(crate) fn new(router: Router, settings: &Signaling, budget: Budget) -> Self {
        let stalled = settings.send_timeout + STALL_MARGIN;
        let of_handshakes = HANDSHAKES_PER_ADDRESS.min(budget.handshakes.div_ceil(2));
        Self {
            router,
            connections: Places::new(budget.connections + budget.spare, settings.connections_per_address()),
            handshakes: Places::new(budget.handshakes, of_handshakes),
            shaking: Mutex::default(),
            crowded: (budget.handshakes * HANDSHAKES_CROWDED_PERCENT / 100).max(1),
            refusals: Places::new(budget.refusals, budget.refusals),
            proxies: settings.proxies.clone(),
            idle: settings.http_idle,
            write_limits: WriteLimits { stalled, whole: WRITE_LIMIT.max(stalled) },
            started: Instant::now(),
            refused: Mutex::default(),
            failed_accepts: Mutex::default(),
        }
    }

    /// `None`: behind this address are many, and it is a proxy's business to tell them apart.
    fn counted(&self, ip: IpAddr) -> Option<Subnet> {
        (!Network::any_contains(&self.proxies, ip)).then(|| ip.into())
    }

    /// How long a connection that has been answered may wait with its next request: where places get scarce,
    /// no longer than one that comes anew.
    fn idle_limit(&self) -> Duration {
        if self.connections.is_crowded() { HEADER_LIMIT.min(self.idle) } else { self.idle }
    }

    /// A handshake has begun; where there are many, the oldest ends for it.
    fn note_handshake(&self, task: AbortHandle) {
        let mut shaking = self.shaking.lock().unwrap_or_else(PoisonError::into_inner);
        if shaking.len() >= self.crowded {
            shaking.retain(|task| !task.is_finished());
        }
        shaking.push_back(task);
        while shaking.len() > self.crowded {
            shaking.pop_front().iter().for_each(AbortHandle::abort);
        }
    }

    fn note_refusal(&self, why: NoPlace, ip: IpAddr) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = refused.note(self.started.elapsed()) {
            tracing::warn!(count, last = %ip, "connections refused: {why}");
        }
    }

    fn note_failed_accept(&self, why: &io::Error) {
        let mut failed = self.failed_accepts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = failed.note(self.started.elapsed()) {
            tracing::warn!(count, "accept: {why}");
        }
    }
}

/// Opens a listening socket, whose connections inherit its options. `::` falls back to `0.0.0.0` on a machine
/// without IPv6.
///
/// # Errors
/// The system's, with the address.
pub(crate) async fn bind(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let first = TcpListener::bind(SocketAddr::new(ip, port)).await;
    match first {
        Err(why) if ip == Ipv6Addr::UNSPECIFIED && why.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).await
        }
        other => other,
    }
    .and_then(|listener| {
        sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER_BYTES)?;
        Ok(listener)
    })
    .map_err(|why| {
        let address = SocketAddr::new(ip, port);
        let choose = "choose other ports with signaling.http_port and signaling.https_port";
        io::Error::new(why.kind(), format!("cannot listen on {address}: {why}; {choose}"))
    })
}

/// Serves until the task is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    listeners: Arc<Listeners>,
    tls: Option<watch::Receiver<InUse>>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let in_use = tls.as_ref().map(|tls| Arc::clone(&tls.borrow().config));
                admit(&listeners, stream, peer.ip().to_canonical(), in_use.map(TlsAcceptor::from));
            }
            Err(why) if is_about_one_connection(&why) => {}
            Err(why) => {
                listeners.note_failed_accept(&why);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// It was gone before it was accepted (accept(2)); the next one may be waiting.
fn is_about_one_connection(why: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(why.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Never waits: a connection gets a task and a place, or goes.
fn admit(listeners: &Arc<Listeners>, stream: TcpStream, ip: IpAddr, acceptor: Option<TlsAcceptor>) {
    // Small messages should not wait for each other.
    let _ = stream.set_nodelay(true);
    let stream = Deadlined::new(stream, listeners.write_limits);
    let from = listeners.counted(ip);
    let listeners = Arc::clone(listeners);
    let Some(acceptor) = acceptor else {
        return enter(listeners, stream, ip, |stream| stream);
    };
    match listeners.handshakes.take(from) {
        Err(why) => listeners.note_refusal(why, ip),
        Ok(place) => {
            let task = tokio::spawn(tls_handshake(Arc::clone(&listeners), stream, ip, acceptor, place));
            listeners.note_handshake(task.abort_handle());
        }
    }
}

async fn tls_handshake(
    listeners: Arc<Listeners>,
    stream: Deadlined,
    ip: IpAddr,
    acceptor: TlsAcceptor,
    place: Place,
) {
    let shaken = timeout(TLS_LIMIT, acceptor.accept(stream)).await;
    drop(place);
    match shaken {
        Ok(Ok(stream)) => enter(listeners, stream, ip, |stream| stream.get_mut().0),
        Ok(Err(why)) => tracing::debug!("TLS handshake: {why}"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

/// Ready for requests, if there is a place; `holder` is the part of the stream that keeps it.
fn enter<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    listeners: Arc<Listeners>,
    mut stream: S,
    ip: IpAddr,
    holder: impl FnOnce(&mut S) -> &mut Deadlined,
) {
    match listeners.connections.take(listeners.counted(ip)) {
        Ok(place) => {
            holder(&mut stream).hold(place);
            tokio::spawn(serve_http(stream, listeners, ip));
        }
        Err(why) => {
            listeners.note_refusal(why, ip);
            if let Ok(place) = listeners.refusals.take(None) {
                holder(&mut stream).hold(place);
                tokio::spawn(refuse(stream));
            }
        }
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    listeners: Arc<Listeners>,
    ip: IpAddr,
) {
    let router = TowerToHyperService::new(listeners.router.clone());
    let pause = Pause::new(HEADER_LIMIT);
    let stream = Paused::new(TokioIo::new(stream), pause.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        pause.request_began();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(ip));
        request.extensions_mut().insert(pause.clone());
        let (answer, pause, listeners) = (router.call(request), pause.clone(), Arc::clone(&listeners));
        async move {
            let answer = answer.await?;
            Ok::<_, std::convert::Infallible>(match answer.status() {
                StatusCode::SWITCHING_PROTOCOLS => answer,
                _ => answer.map(|body| {
                    Body::new(Answering::new(body, move || pause.answered(listeners.idle_limit())))
                }),
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // The stream itself has both limits, so that a pause is not taken for a slow head.
        .header_read_timeout(None)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(stream, service)
        .with_upgrades()
        .await;
    if let Err(why) = served {
        tracing::debug!("HTTP: {why}");
    }
}

/// Says so, and reads on for a moment: closing a socket with unread octets would reset the connection, and
/// the peer's system may then throw our words away (RFC 9112 §9.6).
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let farewell = async {
        stream.write_all(REFUSAL).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        let mut unheard = [0; 1_024];
        while stream.read(&mut unheard).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(REFUSAL_LIMIT, farewell).await;
}
