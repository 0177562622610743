//! All connections: their sessions, keep-alive, and the order of their messages.
//!
//! Invariant: while a message waits (a `join` for the holder of its login, or until its client has read what it
//! was told), the connection's later messages wait behind it.

use super::context::Context;
use crate::address::Subnet;
use crate::auth::{Grant, Verdict};
use crate::id::{ConnectionId, Held, MemberId, RoomId, StreamKey};
use crate::message::{ClientMessage, RoomCommand, ServerMessage};
use crate::room::Terms;
use crate::timer::Timer;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// A connection that has not said `connection` after this is closed.
pub const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// Messages that may wait behind one that waits; a page sends a handful.
pub const BACKLOG_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Connections {
    all: HashMap<ConnectionId, Connection>,
    /// Those that read too slowly for more than what they must hear.
    slow: HashMap<ConnectionId, Missed>,
}

/// What a client that reads slowly was not told.
#[derive(Default)]
pub(super) struct Missed {
    /// Streams, published or played, whose media stopped or came again.
    pub(super) media: HashSet<StreamKey>,
    /// Rooms in which what is recorded has changed.
    pub(super) recordings: HashSet<RoomId>,
}

#[derive(Default)]
struct Connection {
    address: Option<Subnet>,
    /// After `connection`.
    session: Option<Session>,
    /// Pings since the last message.
    missed: u32,
    /// A message that waits.
    waiting: Option<Waiting>,
    /// What came after it.
    backlog: VecDeque<(ClientMessage, Verdict)>,
    /// Nothing that it says is read for now.
    unheard: bool,
}

/// What `connection` has opened.
pub(super) struct Session {
    pub(super) app_key: String,
    pub(super) login: Option<String>,
    pub(super) grant: Grant,
    /// What the client comes back with. Told again if it says `connection` again.
    pub(super) secret: String,
    /// Digest of the secret that the client resumes with.
    pub(super) token: String,
    pub(super) resumable: bool,
    /// Who it is in which room.
    pub(super) memberships: Vec<(RoomId, MemberId)>,
}

/// What `join` asks for.
pub(super) struct JoinRequest {
    pub(super) operation_id: String,
    pub(super) room: String,
    pub(super) record: bool,
    /// Of the room, if it is made for this member.
    pub(super) terms: Terms,
}

impl JoinRequest {
    /// As it was said.
    pub(super) fn into_message(self) -> ClientMessage {
        let Self { operation_id, room, record, terms } = self;
        ClientMessage::Data { operation_id, command: Ok(RoomCommand::Join { room, record, terms }) }
    }
}

/// A message that is not handled yet.
struct Waiting {
    message: ClientMessage,
    verdict: Verdict,
    waits_for: WaitsFor,
}

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// Whoever holds what it wants must show that it lives.
    Holder(Held),
    /// Its client has much to read yet.
    Reading,
}

/// When a message is handled.
pub(super) enum Turn {
    Now(ClientMessage, Verdict),
    Later,
    /// Too many wait already.
    Never,
}

impl Connections {
    pub(super) fn open(&mut self, cx: &mut Context, id: ConnectionId, address: Option<Subnet>) {
        self.all.insert(id, Connection { address, ..Connection::default() });
        cx.timers.set(Timer::Hello(id), cx.now + HELLO_LIMIT);
        cx.timers.set(Timer::KeepAlive(id), cx.now + cx.config.signaling.keep_alive_interval);
    }

    /// Its session, if it had one; `None`: it was not there.
    pub(super) fn remove(&mut self, cx: &mut Context, id: ConnectionId) -> Option<Option<Session>> {
        let connection = self.all.remove(&id)?;
        cx.timers.clear(Timer::Hello(id));
        cx.timers.clear(Timer::KeepAlive(id));
        self.slow.remove(&id);
        Some(connection.session)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = ConnectionId> {
        self.all.drain().map(|(id, _)| id)
    }

    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.all.contains_key(&id)
    }

    /// By which its streams are counted.
    pub(super) fn address(&self, id: ConnectionId) -> Option<Subnet> {
        self.all.get(&id)?.address
    }

    pub(super) fn session(&self, id: ConnectionId) -> Option<&Session> {
        self.all.get(&id)?.session.as_ref()
    }

    pub(super) fn session_mut(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.all.get_mut(&id)?.session.as_mut()
    }

    pub(super) fn open_session(&mut self, cx: &mut Context, id: ConnectionId, session: Session) {
        cx.timers.clear(Timer::Hello(id));
        if let Some(connection) = self.all.get_mut(&id) {
            connection.session = Some(session);
        }
    }

    pub(super) fn memberships(&self, id: ConnectionId) -> &[(RoomId, MemberId)] {
        self.session(id).map_or(&[], |session| &session.memberships)
    }

    /// Who it is in this room.
    pub(super) fn membership(&self, id: ConnectionId, room: RoomId) -> Option<MemberId> {
        self.memberships(id).iter().find(|(other, _)| *other == room).map(|(_, member)| *member)
    }

    pub(super) fn forget_membership(&mut self, id: ConnectionId, room: RoomId) {
        if let Some(session) = self.session_mut(id) {
            session.memberships.retain(|(other, _)| *other != room);
        }
    }

    /// Whether what it says is read.
    pub(super) fn listens(&self, id: ConnectionId) -> bool {
        self.all.get(&id).is_none_or(|connection| !connection.unheard)
    }

    pub(super) fn set_listens(&mut self, id: ConnectionId, listens: bool) {
        if let Some(connection) = self.all.get_mut(&id) {
            connection.unheard = !listens;
        }
    }

    pub(super) fn is_slow(&self, id: ConnectionId) -> bool {
        self.slow.contains_key(&id)
    }

    pub(super) fn set_slow(&mut self, id: ConnectionId) {
        if self.contains(id) {
            self.slow.entry(id).or_default();
        }
    }

    /// It reads again; what it was not told meanwhile.
    pub(super) fn reads_again(&mut self, id: ConnectionId) -> Missed {
        self.slow.remove(&id).unwrap_or_default()
    }

    /// Whether it can be told now of a stream's media. If not it is told how it is when it reads again.
    pub(super) fn hears_of_media(&mut self, id: ConnectionId, stream: StreamKey) -> bool {
        self.slow.get_mut(&id).map(|missed| missed.media.insert(stream)).is_none()
    }

    /// The same of what is recorded in a room.
    pub(super) fn hears_of_recording(&mut self, id: ConnectionId, room: RoomId) -> bool {
        self.slow.get_mut(&id).map(|missed| missed.recordings.insert(room)).is_none()
    }

    /// It said something. False: no such connection.
    pub(super) fn heard(&mut self, id: ConnectionId) -> bool {
        let connection = self.all.get_mut(&id);
        connection.map(|connection| connection.missed = 0).is_some()
    }

    /// Pings it. False: it has answered none of those before.
    pub(super) fn keep_alive(&mut self, cx: &mut Context, id: ConnectionId) -> bool {
        let Some(connection) = self.all.get_mut(&id) else { return true };
        if connection.missed >= cx.config.signaling.keep_alive_probes {
            return false;
        }
        connection.missed += 1;
        cx.send(id, &ServerMessage::Ping);
        cx.timers.set(Timer::KeepAlive(id), cx.now + cx.config.signaling.keep_alive_interval);
        true
    }

    /// A message is handled now, or after the one that waits.
    pub(super) fn turn(&mut self, id: ConnectionId, message: ClientMessage, verdict: Verdict) -> Turn {
        match self.all.get_mut(&id) {
            Some(connection) if connection.waiting.is_some() => {
                if connection.backlog.len() >= BACKLOG_MAX {
                    return Turn::Never;
                }
                connection.backlog.push_back((message, verdict));
                Turn::Later
            }
            _ => Turn::Now(message, verdict),
        }
    }

    /// What came behind a message that waited.
    pub(super) fn next_in_backlog(&mut self, id: ConnectionId) -> Option<(ClientMessage, Verdict)> {
        let connection = self.all.get_mut(&id)?;
        if connection.waiting.is_some() { None } else { connection.backlog.pop_front() }
    }

    /// A message waits; what comes behind it waits, too.
    pub(super) fn wait(
        &mut self,
        id: ConnectionId,
        message: ClientMessage,
        verdict: Verdict,
        waits_for: WaitsFor,
    ) {
        if let Some(connection) = self.all.get_mut(&id) {
            connection.waiting = Some(Waiting { message, verdict, waits_for });
        }
    }

    pub(super) fn waits_for(&self, id: ConnectionId) -> Option<WaitsFor> {
        self.all.get(&id)?.waiting.as_ref().map(|waiting| waiting.waits_for)
    }

    /// The message that waits for this, if one does; it waits no longer.
    pub(super) fn take_waiting(
        &mut self,
        id: ConnectionId,
        waits_for: WaitsFor,
    ) -> Option<(ClientMessage, Verdict)> {
        let connection = self.all.get_mut(&id)?;
        let waiting = connection.waiting.take_if(|waiting| waiting.waits_for == waits_for)?;
        Some((waiting.message, waiting.verdict))
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Sizes of the tables.
    pub(super) fn ledger(&self) -> [(&'static str, usize); 4] {
        let sum = |count: fn(&Connection) -> usize| -> usize { self.all.values().map(count).sum() };
        [
            ("connections", self.all.len()),
            ("sessions", sum(|c| usize::from(c.session.is_some()))),
            ("rooms of sessions", sum(|c| c.session.as_ref().map_or(0, |s| s.memberships.len()))),
            ("backlog", sum(|c| c.backlog.len() + usize::from(c.waiting.is_some()))),
        ]
    }
}
