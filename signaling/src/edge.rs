//! What the edges have in common: the way to the hub, and whose request it is.

use crate::address::Subnet;
use crate::auth::{AccessControl, Verdict};
use crate::config::Config;
use crate::forwarded::{self, ClientAddress};
use crate::hub::{Awaited, HttpReply, HttpRequest, Waiter};
use crate::id::ConnectionId;
use crate::idle::Pause;
use crate::listen::Peer;
use crate::log_limit::LogLimit;
use crate::message::{ClientMessage, Malformed};
use crate::operators::Operators;
use crate::places::Places;
use crate::recorder::RecorderHandle;
use crate::refusal::Refusal;
use crate::secret_file::SecretFile;
use crate::send_queue::SendQueue;
use crate::stream::MediaState;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Recordings that are fetched at a time.
pub(crate) const FETCHES_MAX: usize = 256;
/// Of these by one address: a player keeps two or three open.
const FETCHES_PER_ADDRESS_MAX: usize = 32;
/// Recordings that are fetched by the API at a time, by the operator and by whoever has his links.
pub(crate) const OPERATORS_FETCHES_MAX: usize = 64;

/// What an edge brings.
#[derive(Debug)]
pub enum Input {
    /// A WebSocket was opened, by whose address its streams are counted.
    Connected(ConnectionId, SendQueue, Option<Subnet>),
    /// A text message came, and what the operator's rules say to it.
    Message(ConnectionId, Result<(ClientMessage, Verdict), Malformed>),
    /// A frame that is no message: a sign of life.
    Heard(ConnectionId),
    /// A ping that the hub wanted has left.
    Pinged(ConnectionId),
    /// A WebSocket is read again, or not for a while.
    Listens(ConnectionId, bool),
    /// A WebSocket is gone; true if the client closed it with a close frame.
    Closed(ConnectionId, bool),
    /// An HTTP request for the hub, by whose address its stream is counted, and whether it is still awaited.
    Http((Option<Subnet>, Awaited), HttpRequest, oneshot::Sender<HttpReply>),
    /// Somebody wants to hear of the media of a session over HTTP: its secret, and whether it publishes.
    Watch(String, bool, oneshot::Sender<Option<watch::Receiver<MediaState>>>),
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
    /// Places of WebSockets, by their clients' addresses: behind a proxy those of its TCP connections are all
    /// the same.
    pub(crate) web_sockets: Arc<Places>,
    pub(crate) refused_web_sockets: Mutex<LogLimit>,
    pub(crate) recorder: RecorderHandle,
    /// Who may use the API.
    pub(crate) operators: Operators,
    /// Places of recordings that are being fetched.
    pub(crate) fetches: Arc<Places>,
    /// The same for who comes by the API: whoever takes all of the others does not stop the operator.
    pub(crate) operators_fetches: Arc<Places>,
    pub(crate) started: Instant,
}

impl App {
    pub(crate) fn new(
        config: Arc<Config>,
        access: Arc<AccessControl>,
        inputs: mpsc::Sender<Input>,
        recorder: RecorderHandle,
        api_key: Option<SecretFile>,
    ) -> Self {
        let settings = &config.signaling;
        let web_sockets = Places::new(settings.max_connections, settings.connections_per_address());
        Self {
            config,
            access,
            inputs,
            next_connection: AtomicU64::new(1),
            web_sockets,
            refused_web_sockets: Mutex::default(),
            recorder,
            operators: Operators::new(api_key),
            fetches: Places::new(FETCHES_MAX, FETCHES_PER_ADDRESS_MAX),
            operators_fetches: Places::new(OPERATORS_FETCHES_MAX, FETCHES_PER_ADDRESS_MAX),
            started: Instant::now(),
        }
    }

    /// Whether a page of this origin may talk to us. Programs send no origin; they are no pages.
    pub fn origin_allowed(&self, headers: &HeaderMap) -> bool {
        self.config.signaling.allowed_origins.as_ref().is_none_or(|allowed| is_allowed(allowed, headers))
    }

    /// How the media of a session over HTTP is, and what becomes of it; `None`: there is no such session.
    pub(crate) async fn watch(&self, session: HttpSession) -> Option<watch::Receiver<MediaState>> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Watch(session.secret, session.published, reply)).await.ok()?;
        answer.await.ok()?
    }

    pub(crate) async fn ask(&self, from: Option<Subnet>, request: HttpRequest) -> HttpReply {
        let (reply, answer) = oneshot::channel();
        let away = || HttpReply::Refused(Refusal::ShuttingDown);
        // This goes with whoever called, should the client hang up.
        let waiter = Waiter::default();
        if self.inputs.send(Input::Http((from, waiter.awaited()), request, reply)).await.is_err() {
            return away();
        }
        answer.await.unwrap_or_else(|_| away())
    }
}

/// Who sent a request.
pub(crate) struct HttpClient {
    /// Behind proxies too.
    pub address: ClientAddress,
    /// Whether a proxy seems to have passed it on, and so may have changed its path.
    pub proxied: bool,
    /// To cut it; `None` where it is none of a listener's.
    pub(crate) connection: Option<Pause>,
}

impl FromRequestParts<Arc<App>> for HttpClient {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        // Both listeners put it there.
        let peer = parts.extensions.get().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |Peer(ip)| *ip);
        let (headers, settings) = (&parts.headers, &app.config.signaling);
        Ok(Self {
            address: forwarded::client(peer, headers, settings),
            proxied: forwarded::came_through_a_proxy(peer, parts.version, headers, settings),
            connection: parts.extensions.get().cloned(),
        })
    }
}

/// The session that the path of a request names: `/whip/{room}/{secret}` or `/whep/{room}/{stream}/{secret}`,
/// and what is below.
pub(crate) struct HttpSession {
    pub secret: String,
    pub published: bool,
}

impl FromRequestParts<Arc<App>> for HttpSession {
    type Rejection = PathRejection;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, PathRejection> {
        let Path(mut named) = Path::<HashMap<String, String>>::from_request_parts(parts, app).await?;
        // Only a player's session is one of somebody else's stream.
        let published = !named.contains_key("stream");
        Ok(Self { secret: named.remove("secret").unwrap_or_default(), published })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_awaited_until_its_client_hangs_up() {
        let config = Arc::new(Config::default());
        let access = Arc::new(AccessControl::new(&config.auth, "test".to_owned()).expect("open to all"));
        let (inputs, mut hub) = mpsc::channel(1);
        let app = App::new(config, access, inputs, RecorderHandle::of_nobody(), None);
        let delete = HttpRequest::Delete { secret: "s".to_owned(), published: true };
        let client = tokio::spawn(async move { app.ask(None, delete).await });
        let Some(Input::Http((_, awaited), _, reply)) = hub.recv().await else { panic!("a request") };
        assert!(awaited.holds());
        client.abort();
        assert!(client.await.is_err_and(|ended| ended.is_cancelled()));
        assert!(!awaited.holds() && reply.is_closed());
    }
}
