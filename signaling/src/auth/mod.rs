//! Who may do what: the edge that decides before the hub is told.
//!
//! The hub knows [`Grant`]s and refusals; how they come about is decided here: by nobody, by a token or by
//! the operator's hook. The reader of a WebSocket passes every message through [`AccessControl::authorize`]
//! and waits for the verdict, so what came behind waits in the client's own socket and the order stays what
//! it was.
//!
//! Invariants
//! - A message that needs a verdict reaches the hub with one, or is refused.
//! - Nothing is asked of the hook for a connection whose `connection` it did not allow.

mod grant;
mod hook;
mod notes;
mod token;
mod token_key;

pub use grant::{Grant, Rights};
use hook::Hook;
use token::TokenReader;
use token_key::TokenKey;

use crate::config::{Auth, AuthMode};
use crate::id::ConnectionId;
use crate::message::{ClientMessage, RoomCommand, Written};
use crate::names::NameOf;
use crate::post::NoTls;
use crate::refusal::Refusal;
use crate::renewal::Secret;
use axum::http::{HeaderMap, header};
use notes::Notes;
use recorder_control::Recording;
use relay_control::Priority;
use serde_json::{Map, Value, json};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// Why access control cannot be set up.
#[derive(Debug)]
pub enum AuthError {
    /// The key file cannot be read.
    File(PathBuf, std::io::Error),
    /// It holds no key of the kind that is needed.
    Key(PathBuf, String),
    /// The hook cannot be asked.
    Hook(NoTls),
    /// A setting is missing; [`crate::config`] says which.
    Incomplete,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, why) => write!(f, "auth.token_key: cannot read {}: {why}", path.display()),
            Self::Key(path, why) => write!(f, "auth.token_key: {} cannot be used: {why}", path.display()),
            Self::Hook(why) => write!(f, "auth.hook_url: {why}"),
            Self::Incomplete => f.write_str("[auth] is not complete"),
        }
    }
}

impl std::error::Error for AuthError {}

/// Decides what clients may do, by the configured policy.
pub struct AccessControl {
    policy: Policy,
    /// Names this server in what the hook is told.
    node: String,
}

enum Policy {
    Open,
    Token(TokenKey),
    Hook(Arc<Hook>, Notes),
}

/// What is known of a connection: whether the hook allowed it.
#[derive(Debug)]
pub(crate) struct ClientAccess {
    connection: ConnectionId,
    /// As far as it is known: behind a proxy that does not say it, the proxy's.
    address: IpAddr,
    app_key: String,
    allowed: bool,
}

impl ClientAccess {
    pub(crate) fn new(connection: ConnectionId, address: IpAddr) -> Self {
        Self { connection, address, app_key: String::new(), allowed: false }
    }
}

/// A WHIP or WHEP request to publish or play.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpAttempt<'a> {
    /// As far as it is known: behind a proxy that does not say it, the proxy's.
    pub(crate) address: IpAddr,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) publish: bool,
    pub(crate) room: &'a str,
    /// The name it gives itself.
    pub(crate) login: Option<&'a str>,
    /// It wants its stream recorded.
    pub(crate) record: bool,
    /// Which stream it plays: a name, and what that is the name of.
    pub(crate) stream: Option<(&'a str, NameOf)>,
    pub(crate) sdp: &'a str,
}

/// A request for the file of a recording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileAttempt<'a> {
    /// As far as it is known: behind a proxy that does not say it, the proxy's.
    pub(crate) address: IpAddr,
    pub(crate) headers: &'a HeaderMap,
    /// Of the URL: a player of a page cannot send headers.
    pub(crate) query: &'a str,
    /// The file's name.
    pub(crate) name: &'a str,
    /// What it is of; `None`: there is no such file.
    pub(crate) recording: Option<&'a Recording>,
}

/// What an allowed WHIP or WHEP client is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Its name; made up if there is none.
    pub(crate) login: Option<String>,
    /// Of the video that it publishes; `None` = as usual for what it shows.
    pub(crate) priority: Option<Priority>,
    /// By which it may take the place of another one with its login.
    pub(crate) rights: Rights,
    /// Its stream is to be recorded, and may be.
    pub(crate) record: bool,
}

/// What the operator's rules say to a message: what its client may do now, where somebody was asked, or why
/// not.
pub type Verdict = Result<Option<Grant>, Refusal>;

impl AccessControl {
    /// As the settings say. Must be called within the runtime.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub fn new(settings: &Auth, node: String) -> Result<Self, AuthError> {
        let policy = match settings.mode {
            AuthMode::Open => Policy::Open,
            AuthMode::Token => Policy::Token(TokenKey::new(settings)?),
            AuthMode::Hook => {
                let hook = Arc::new(Hook::new(settings)?);
                Policy::Hook(Arc::clone(&hook), Notes::new(hook))
            }
        };
        Ok(Self { policy, node })
    }

    /// The key of tokens, where there are any: it may be renewed.
    pub(crate) fn token_key(&self) -> Option<Box<dyn Secret>> {
        match &self.policy {
            Policy::Token(key) => Some(Box::new(key.clone())),
            Policy::Open | Policy::Hook(..) => None,
        }
    }

    /// What the operator's rules say to a message.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) async fn authorize(
        &self,
        client: &mut ClientAccess,
        text: &str,
        message: &ClientMessage,
    ) -> Verdict {
        match (&self.policy, message) {
            (Policy::Token(key), ClientMessage::Connection(hello)) => {
                key.reader().read(hello.token.as_deref().unwrap_or_default(), now_s()).map(Some)
            }
            (Policy::Open | Policy::Token(_), _) => Ok(None),
            (Policy::Hook(hook, notes), _) => self.ask_hook(hook, notes, client, text, message).await,
        }
    }

    async fn ask_hook(
        &self,
        hook: &Hook,
        notes: &Notes,
        client: &mut ClientAccess,
        text: &str,
        message: &ClientMessage,
    ) -> Verdict {
        let heard = hook_request(text, message, client.allowed);
        let heard = heard.map_err(|_| Refusal::BadMessage("The message cannot be understood".into()))?;
        let Some(HookRequest { method, asked, mut object }) = heard else { return Ok(None) };
        if let ClientMessage::Connection(hello) = message {
            client.app_key.clone_from(&hello.app_key);
        }
        self.sign(&mut object, Some(client.connection));
        object.insert("appKey".to_owned(), client.app_key.clone().into());
        object.insert("remoteAddress".to_owned(), client.address.to_string().into());
        let object = Value::Object(object);
        if !asked {
            notes.push(client.connection.0, method, object);
            return Ok(None);
        }
        let priority = hook.ask(method, &object).await?;
        client.allowed |= matches!(message, ClientMessage::Connection(_));
        Ok(Some(Grant { priority, ..Grant::everything() }))
    }

    fn sign(&self, object: &mut Map<String, Value>, connection: Option<ConnectionId>) {
        object.insert("nodeId".to_owned(), self.node.clone().into());
        if let Some(connection) = connection {
            object.insert("sessionId".to_owned(), format!("{}-{}", self.node, connection.0).into());
        }
    }

    /// Tells the hook what happened. Nobody waits for the answer.
    pub(crate) fn note(
        &self,
        about: Option<ConnectionId>,
        method: &'static str,
        mut object: Map<String, Value>,
    ) {
        if let Policy::Hook(_, notes) = &self.policy {
            self.sign(&mut object, about);
            notes.push(about.map_or(0, |connection| connection.0), method, Value::Object(object));
        }
    }

    /// Whether a WHIP or WHEP client may do what it wants, and as whom.
    ///
    /// # Errors
    /// It may not.
    pub(crate) async fn authorize_http(&self, client: HttpAttempt<'_>) -> Result<Admitted, Refusal> {
        let login = client.login.map(str::to_owned);
        match &self.policy {
            Policy::Open => Ok(Admitted {
                login,
                priority: None,
                rights: Grant::everything().rights(),
                record: client.record,
            }),
            Policy::Token(key) => http_token(&key.reader(), &client, now_s()),
            Policy::Hook(hook, _) => {
                let method = if client.publish { "publishStream" } else { "playStream" };
                let mut object = Map::new();
                self.sign(&mut object, None);
                object.insert("appKey".to_owned(), if client.publish { "whip" } else { "whep" }.into());
                object.insert("remoteAddress".to_owned(), client.address.to_string().into());
                object.insert("name".to_owned(), client.stream.map(|(name, _)| name).into());
                object.insert("published".to_owned(), client.publish.into());
                if client.publish {
                    object.insert("record".to_owned(), client.record.into());
                }
                object.insert("mediaProvider".to_owned(), "WebRTC".into());
                let token = bearer(client.headers);
                let by = client.stream.and_then(|(_, by)| by.word());
                let custom = json!({"name": client.room, "login": client.login, "token": token, "by": by});
                object.insert("custom".to_owned(), custom);
                object.insert("sdp".to_owned(), client.sdp.into());
                let priority = hook.ask(method, &Value::Object(object)).await?;
                Ok(Admitted { login, priority, rights: Grant::everything().rights(), record: client.record })
            }
        }
    }
}

impl AccessControl {
    /// Whether a client may have the file of a recording: one that may have the room recorded may. `false`:
    /// there is none of which this client may know.
    ///
    /// # Errors
    /// It may not.
    pub(crate) async fn authorize_file(&self, client: FileAttempt<'_>) -> Result<bool, Refusal> {
        let token = bearer(client.headers).or_else(|| query_token(client.query));
        match (&self.policy, client.recording) {
            (Policy::Open, recording) => Ok(recording.is_some()),
            (Policy::Token(key), recording) => {
                let grant = key.reader().read(token.unwrap_or_default(), now_s())?;
                if !grant.record {
                    return Err(Refusal::TokenScope);
                }
                Ok(recording.is_some_and(|recording| grant.may_enter(&recording.room)))
            }
            (Policy::Hook(..), None) => Ok(false),
            (Policy::Hook(hook, _), Some(recording)) => {
                let mut object = Map::new();
                self.sign(&mut object, None);
                object.insert("appKey".to_owned(), "records".into());
                object.insert("remoteAddress".to_owned(), client.address.to_string().into());
                object.insert("name".to_owned(), client.name.into());
                let Recording { id, room, login, stream, .. } = recording;
                let custom =
                    json!({"id": id, "name": room, "login": login, "stream": stream, "token": token});
                object.insert("custom".to_owned(), custom);
                hook.ask("getRecord", &Value::Object(object)).await.map(|_| true)
            }
        }
    }
}

/// The `token` of a query (RFC 6750 §2.3), whose characters need no escapes. Two of them are none.
fn query_token(query: &str) -> Option<&str> {
    let mut given = query.split('&').filter_map(|pair| pair.strip_prefix("token="));
    given.next().filter(|_| given.next().is_none())
}

fn http_token(reader: &TokenReader, client: &HttpAttempt<'_>, now_s: f64) -> Result<Admitted, Refusal> {
    let grant = reader.read(bearer(client.headers).unwrap_or_default(), now_s)?;
    let right = if client.publish { grant.publish } else { grant.subscribe };
    if !right || !grant.may_enter(client.room) {
        return Err(Refusal::TokenScope);
    }
    if client.record && !grant.record {
        return Err(Refusal::TokenRecording);
    }
    let login = grant.login(client.login.map(str::to_owned))?;
    Ok(Admitted { login, priority: grant.priority, rights: grant.rights(), record: client.record })
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1). Two such headers are none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// What the hook hears of a message.
#[derive(Debug)]
pub struct HookRequest {
    /// Last part of the hook's address.
    pub method: &'static str,
    /// The message waits for its answer.
    pub asked: bool,
    /// What the client wrote, by the same reader as the message itself.
    pub object: Map<String, Value>,
}

/// Nobody can say what the hook should hear of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What the hook hears of a message, given its text. `None`: nothing. `let_in`: it allowed this client's
/// `connection`.
///
/// # Errors
/// [`Unreadable`]: the hub must not see it. No message that was understood is.
pub fn hook_request(
    text: &str,
    message: &ClientMessage,
    let_in: bool,
) -> Result<Option<HookRequest>, Unreadable> {
    let (method, asked, published) = match message {
        ClientMessage::Connection(_) if !let_in => ("connect", true, None),
        _ if !let_in => return Ok(None),
        ClientMessage::Publish(_) => ("publishStream", true, Some(true)),
        ClientMessage::Play(_) => ("playStream", true, Some(false)),
        ClientMessage::Unpublish(_) => ("unPublishStream", false, Some(true)),
        ClientMessage::Stop(_) => ("stopStream", false, Some(false)),
        ClientMessage::StreamEvent { .. } => ("StreamEvent", false, None),
        // Leaving is nobody's to refuse.
        ClientMessage::Data { command: Ok(command), .. } => {
            ("sendData", !matches!(command, RoomCommand::Leave { .. }), None)
        }
        _ => return Ok(None),
    };
    let content = Written::read(text).ok().and_then(|written| written.content).ok_or(Unreadable)?;
    let mut object = content.to_object().ok_or(Unreadable)?;
    // The answer may say it; a hook that answers with what it was asked shall not say it for the client.
    object.remove("priority");
    // Which of both it is stands in the message's name; the client's word for it counts nowhere.
    if let Some(published) = published {
        object.insert("published".to_owned(), published.into());
    }
    Ok(Some(HookRequest { method, asked, object }))
}

/// Seconds since 1970.
fn now_s() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0.0, |since| since.as_secs_f64())
}

/// Where to cut a text so that at most `max` bytes stay and no character is broken.
pub(crate) fn line_end(text: &str, max: usize) -> usize {
    (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
