//! What the edges have in common: the way to the hub, and whose request it is.

use crate::address::Subnet;
use crate::auth::{AccessControl, Verdict};
use crate::config::Config;
use crate::hub::{HttpReply, HttpRequest};
use crate::id::ConnectionId;
use crate::listen::Peer;
use crate::message::{ClientMessage, Malformed};
use crate::refusal::Refusal;
use crate::send_queue::SendQueue;
use axum::http::{HeaderMap, header};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use tokio::sync::{mpsc, oneshot};

/// What an edge brings.
#[derive(Debug)]
pub enum Input {
    /// A WebSocket was opened, by whose address its streams are counted.
    Connected(ConnectionId, SendQueue, Option<Subnet>),
    /// A text message came, and what the operator's rules say to it.
    Message(ConnectionId, Result<(ClientMessage, Verdict), Malformed>),
    /// A frame that is no message: a sign of life.
    Heard(ConnectionId),
    /// A WebSocket is gone; true if the client closed it with a close frame.
    Closed(ConnectionId, bool),
    /// An HTTP request for the hub, by whose address its stream is counted.
    Http(Option<Subnet>, HttpRequest, oneshot::Sender<HttpReply>),
    /// Somebody asks how things are.
    Health(oneshot::Sender<Health>),
    /// Close all connections, then end the relay if so configured.
    Shutdown {
        /// Whoever asks manages the relay as well, and has not asked that one.
        alone: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    pub relay: bool,
    /// Connections, rooms, members, streams.
    pub census: [usize; 4],
}

/// What all handlers share.
pub struct App {
    pub config: Arc<Config>,
    /// Decides who may do what.
    pub access: Arc<AccessControl>,
    pub inputs: mpsc::Sender<Input>,
    /// Number of the next connection.
    pub next_connection: AtomicU64,
    pub open_connections: AtomicUsize,
}

impl App {
    pub fn new(config: Arc<Config>, access: Arc<AccessControl>, inputs: mpsc::Sender<Input>) -> Self {
        Self {
            config,
            access,
            inputs,
            next_connection: AtomicU64::new(1),
            open_connections: AtomicUsize::new(0),
        }
    }

    /// Whether a page of this origin may talk to us. Programs send no origin; they are no pages.
    pub fn origin_allowed(&self, headers: &HeaderMap) -> bool {
        self.config.signaling.allowed_origins.as_ref().is_none_or(|allowed| is_allowed(allowed, headers))
    }

    /// By whose address the streams of a request are counted. `None`: there are many behind a proxy.
    pub(crate) fn origin(&self, Peer(ip): Peer, headers: &HeaderMap) -> Option<Subnet> {
        let settings = &self.config.signaling;
        if !settings.proxies.contains(&ip) {
            return Some(ip.into());
        }
        forwarded_for(headers).filter(|_| settings.forwarded_for).map(Subnet::from)
    }

    pub(crate) async fn ask(&self, from: Option<Subnet>, request: HttpRequest) -> HttpReply {
        let (reply, answer) = oneshot::channel();
        let away = || HttpReply::Refused(Refusal::ShuttingDown);
        if self.inputs.send(Input::Http(from, request, reply)).await.is_err() {
            return away();
        }
        answer.await.unwrap_or_else(|_| away())
    }
}

/// The last address is the proxy's own word; those before it are whatever the client wrote.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

/// Compared octet by octet, as browsers write origins in one way only (RFC 6454 §6.2): nothing is a prefix, a
/// suffix or a wildcard. Several are none.
fn is_allowed(allowed: &[String], headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}
