//! A connection: opening, keep-alive, the order of its messages, and its end.

use super::{Hub, Output};
use crate::address::Subnet;
use crate::auth::{Grant, Verdict, line_end};
use crate::config::AuthMode;
use crate::id::{ConnectionId, RoomId, StreamKey};
use crate::member::Presence;
use crate::message::{ClientMessage, Hello, Login, Malformed, ServerMessage};
use crate::refusal::{Reason, Refusal};
use crate::room::Terms;
use crate::timer::{Time, Timer};
use serde_json::json;
use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// A connection that has not said `connection` after this is closed.
pub const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// Messages that may wait behind a `join`; a page sends a handful.
pub const BACKLOG_MAX: usize = 64;

/// RFC 6455 §5.5: a control frame has 125 octets, two of them are the code.
const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The server stops, or the connection is dead.
    GoingAway,
    /// No `connection` in time.
    NoHello,
    /// Too many messages wait.
    Backlog,
    /// The session was refused; `fail` said why.
    Refused,
    /// Another session took the login over.
    Replaced,
}

impl CloseCode {
    /// RFC 6455 §7.4 code and reason.
    pub fn frame(self) -> (u16, &'static str) {
        match self {
            Self::GoingAway => (1001, "Going away"),
            Self::Backlog => (1008, "Too many messages wait"),
            Self::Refused => (4401, "Session refused"),
            Self::NoHello => (4408, "No connection message"),
            Self::Replaced => (4409, "Replaced by another session with the same login"),
        }
    }
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Whose address its streams are counted for.
    pub(super) from: Option<Subnet>,
    /// After `connection`.
    pub(super) session: Option<Session>,
    /// When it last said something; at first, when it was opened.
    pub(super) heard: Time,
    /// Pings since the last message.
    missed: u32,
    /// A `join` that waits for the holder of its login to say something.
    pub(super) waiting: Option<WaitingJoin>,
    /// What came after that `join`.
    pub(super) backlog: VecDeque<(ClientMessage, Verdict)>,
    /// Streams that it plays and whose mute notes were withheld while it read slowly; at most as many as it plays.
    pub(super) unheard: BTreeSet<StreamKey>,
}

/// What `connection` told.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) app_key: String,
    pub(super) login: Option<String>,
    pub(super) grant: Grant,
    /// Digest of the secret that the client resumes with.
    pub(super) token: String,
    pub(super) resumable: bool,
    pub(super) rooms: Vec<RoomId>,
}

/// What `join` asks for.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) room: String,
    pub(super) record: bool,
    /// Of the room, if it is made for this member.
    pub(super) terms: Terms,
}

#[derive(Debug)]
pub(super) struct WaitingJoin {
    pub(super) operation_id: String,
    pub(super) wish: Wish,
    /// `None`: its connection is lost, and its media is watched.
    pub(super) holder: Option<ConnectionId>,
    /// When the holder was asked for it.
    pub(super) since: Time,
}

impl Hub {
    /// A WebSocket was opened. Ids are the caller's, never used twice; `from` is whose address its streams are
    /// counted for.
    pub fn handle_connected(&mut self, now: Time, id: ConnectionId, from: Option<Subnet>) {
        self.connections.insert(id, Connection { from, heard: now, ..Connection::default() });
        self.timers.set(Timer::Hello(id), now + HELLO_LIMIT);
        self.timers.set(Timer::KeepAlive(id), now + self.config.signaling.keep_alive_interval);
    }

    /// A text message came, and what the operator's rules say to it.
    pub fn handle_message(
        &mut self,
        now: Time,
        id: ConnectionId,
        message: Result<(ClientMessage, Verdict), Malformed>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.missed = 0;
        connection.heard = now;
        self.probe_answered(now, id);
        match message {
            Err(malformed) => self.refuse_malformed(id, &malformed),
            Ok((ClientMessage::Ping, _)) => self.send(id, &ServerMessage::Pong),
            Ok((ClientMessage::Pong, _)) => {}
            Ok((message, verdict)) => self.in_turn(now, id, message, verdict),
        }
    }

    /// Much waits for this connection, or no longer does. What other members say to a slow one is refused or left
    /// out, so that nobody can get it cut off by talking to it.
    pub fn handle_pressure(&mut self, id: ConnectionId, slow: bool) {
        if slow && self.connections.contains_key(&id) {
            self.slow.insert(id);
        } else {
            self.slow.remove(&id);
            self.catch_up_on_notes(id);
        }
    }

    /// The WebSocket is gone. `clean`: the client closed it with a close frame, so it means it.
    pub fn handle_closed(&mut self, now: Time, id: ConnectionId, clean: bool) {
        self.timers.clear(Timer::Hello(id));
        self.timers.clear(Timer::KeepAlive(id));
        self.forget_probe(id);
        self.slow.remove(&id);
        let Some(connection) = self.connections.remove(&id) else { return };
        if let Some(session) = connection.session {
            self.note_session(id, &session.app_key, session.login.as_deref(), "DISCONNECTED", None);
            let keep = session.resumable && !clean && !self.config.rooms.resume_grace.is_zero();
            for room in session.rooms {
                let member = self.rooms.member_of(room, id).map(|member| member.id);
                let Some(member) = member else { continue };
                if keep {
                    self.detach(now, room, member);
                } else {
                    self.member_vanished(now, room, member);
                }
            }
        }
        for newcomer in self.probes.remove(&id).unwrap_or_default() {
            self.retry_join(now, newcomer);
        }
    }

    /// Ends a connection from our side.
    pub(super) fn drop_connection(&mut self, now: Time, id: ConnectionId, code: CloseCode, clean: bool) {
        let (_, reason) = code.frame();
        self.drop_because(now, id, code, reason.into(), clean);
    }

    fn drop_because(
        &mut self,
        now: Time,
        id: ConnectionId,
        code: CloseCode,
        reason: Cow<'static, str>,
        clean: bool,
    ) {
        if self.connections.contains_key(&id) {
            self.outputs.push_back(Output::Close { to: id, code, reason });
            self.handle_closed(now, id, clean);
        }
    }

    pub(super) fn keep_alive(&mut self, now: Time, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.missed >= self.config.signaling.keep_alive_probes {
            self.drop_connection(now, id, CloseCode::GoingAway, false);
            return;
        }
        connection.missed += 1;
        self.send(id, &ServerMessage::Ping);
        self.timers.set(Timer::KeepAlive(id), now + self.config.signaling.keep_alive_interval);
    }

    fn refuse_malformed(&mut self, id: ConnectionId, malformed: &Malformed) {
        let refusal = Refusal::BadMessage(format!("Malformed message: {}", malformed.why).into());
        match &malformed.operation_id {
            Some(operation_id) => self.answer_command(id, operation_id, Err(refusal)),
            None => {
                self.send(id, &ServerMessage::Fail { api_method: "Message", reason: &refusal.reason() });
            }
        }
    }

    pub(super) fn answer_command(
        &mut self,
        id: ConnectionId,
        operation_id: &str,
        outcome: Result<(), Refusal>,
    ) {
        self.send(id, &ServerMessage::DataStatus { operation_id, refusal: outcome.err() });
    }

    /// Handles a message now, or after the `join` that came before it.
    fn in_turn(&mut self, now: Time, id: ConnectionId, message: ClientMessage, verdict: Verdict) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.waiting.is_none() {
            self.dispatch(now, id, message, verdict);
        } else if connection.backlog.len() < BACKLOG_MAX {
            connection.backlog.push_back((message, verdict));
        } else {
            self.drop_connection(now, id, CloseCode::Backlog, true);
        }
    }

    /// After a `join` was decided: what came behind it.
    pub(super) fn run_backlog(&mut self, now: Time, id: ConnectionId) {
        while let Some(connection) = self.connections.get_mut(&id) {
            if connection.waiting.is_some() {
                break;
            }
            let Some((message, verdict)) = connection.backlog.pop_front() else { break };
            self.dispatch(now, id, message, verdict);
        }
    }

    fn dispatch(&mut self, now: Time, id: ConnectionId, message: ClientMessage, verdict: Verdict) {
        let granted = match verdict {
            Ok(granted) => granted,
            Err(refusal) => return self.refuse(now, id, message, &refusal),
        };
        match message {
            ClientMessage::Connection(hello) => self.open_session(now, id, hello, granted),
            ClientMessage::Data { operation_id, command } => {
                self.room_command(now, id, operation_id, command)
            }
            ClientMessage::Publish(request) => {
                self.publish_requested(now, id, request, granted.and_then(|grant| grant.priority));
            }
            ClientMessage::Play(request) => self.play_requested(now, id, request),
            ClientMessage::Unpublish(stream) => self.stop_requested(now, id, &stream, true),
            ClientMessage::Stop(stream) => self.stop_requested(now, id, &stream, false),
            ClientMessage::StreamEvent { session, event, payload } => {
                self.stream_event(id, &session, event, payload.as_deref());
            }
            ClientMessage::Available(stream) => self.stream_available(id, &stream),
            ClientMessage::Ping | ClientMessage::Pong | ClientMessage::Ignored => {}
        }
    }

    /// The operator's rules forbid it: the answer is the one that the message has for a refusal.
    fn refuse(&mut self, now: Time, id: ConnectionId, message: ClientMessage, refusal: &Refusal) {
        match message {
            ClientMessage::Connection(hello) => self.refuse_session(now, id, &hello, refusal),
            ClientMessage::Publish(request) => self.refuse_stream(id, &request, true, refusal),
            ClientMessage::Play(request) => self.refuse_stream(id, &request, false, refusal),
            ClientMessage::Data { operation_id, .. } => {
                self.answer_command(id, &operation_id, Err(refusal.clone()));
            }
            _ => {}
        }
    }

    /// Pages see only the close, so it says the same words.
    fn refuse_session(&mut self, now: Time, id: ConnectionId, hello: &Hello, refusal: &Refusal) {
        let reason = refusal.reason();
        self.send(id, &ServerMessage::Fail { api_method: "ConnectionStatusEvent", reason: &reason });
        if self.connections.get(&id).is_some_and(|connection| connection.session.is_none()) {
            let login = match &hello.login {
                Login::Name(login) => Some(login.as_str()),
                Login::Absent | Login::Bad(_) => None,
            };
            self.note_session(id, &hello.app_key, login, "FAILED", Some(&reason));
            let words = reason.words;
            let words = words.get(..line_end(&words, CLOSE_REASON_BYTES_MAX)).unwrap_or_default().to_owned();
            self.drop_because(now, id, CloseCode::Refused, words.into(), true);
        }
    }

    fn note_session(
        &mut self,
        id: ConnectionId,
        app_key: &str,
        login: Option<&str>,
        status: &'static str,
        reason: Option<&Reason>,
    ) {
        let (code, info) = (reason.map(|reason| reason.code), reason.map(|reason| reason.words.as_ref()));
        self.note(Some(id), "ConnectionStatusEvent", || {
            json!({"appKey": app_key, "status": status, "info": info, "code": code,
                "custom": {"login": login}})
        });
    }

    fn open_session(&mut self, now: Time, id: ConnectionId, hello: Hello, granted: Option<Grant>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let admitted = match connection.session {
            Some(_) => Err(Refusal::SessionOpen),
            None => self.admit(&hello, granted),
        };
        let (grant, login) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse_session(now, id, &hello, &refusal),
        };
        let secret = self.secret();
        // The earlier session's secret goes on: its digest stands in the labels of this client's transports.
        let secret = hello.resume.filter(|secret| is_secret(secret)).unwrap_or(secret);
        let token = digest(&secret);
        self.send(id, &ServerMessage::UserData { app_key: &hello.app_key, auth_token: &secret });
        self.timers.clear(Timer::Hello(id));
        self.note_session(id, &hello.app_key, login.as_deref(), "ESTABLISHED", None);
        if let Some(connection) = self.connections.get_mut(&id) {
            let Hello { app_key, resumable, .. } = hello;
            connection.session = Some(Session { app_key, login, grant, token, resumable, rooms: Vec::new() });
        }
    }

    /// What the session may do and what it is called. Where somebody decides, a session that nobody has judged is none.
    fn admit(&self, hello: &Hello, granted: Option<Grant>) -> Result<(Grant, Option<String>), Refusal> {
        let grant = match (granted, self.config.auth.mode) {
            (Some(grant), _) => grant,
            (None, AuthMode::Open) => Grant::everything(),
            (None, AuthMode::Token | AuthMode::Hook) => return Err(Refusal::Forbidden),
        };
        let given = match &hello.login {
            Login::Name(login) => Some(login.clone()),
            Login::Absent => None,
            Login::Bad(refusal) => return Err(Refusal::BadName(*refusal)),
        };
        let login = grant.login(given)?;
        Ok((grant, login))
    }

    /// The connection is lost but its member stays for a while, and so do its streams.
    fn detach(&mut self, now: Time, room: RoomId, id: crate::id::MemberId) {
        if let Some(member) = self.rooms.member_mut(room, id) {
            member.presence = Presence::Detached;
            self.timers.set(Timer::Detached(room, id), now + self.config.rooms.resume_grace);
        }
    }
}

/// What stands for a secret wherever others may read it: labels are shown by `ringvox-relay ctl inventory`.
pub(super) fn digest(secret: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    hash.as_ref().iter().take(24).map(|octet| format!("{octet:02x}")).collect()
}

/// Whether it looks like one of ours; a client cannot talk us into a guessable one by accident.
fn is_secret(token: &str) -> bool {
    token.len() == 48 && token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
