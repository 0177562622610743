//! All connections: their sessions, keep-alive, the order of their messages, and who waits for whose login.
//!
//! Invariants
//! - While a `join` waits for the holder of its login, the connection's later messages wait behind it.
//! - Who waits for a holder's word stands in both their entries, or in neither.

use super::context::Context;
use crate::address::Subnet;
use crate::auth::{Grant, Verdict};
use crate::id::{ConnectionId, MemberId, RoomId};
use crate::message::{ClientMessage, ServerMessage};
use crate::room::Terms;
use crate::timer::{Time, Timer};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// A connection that has not said `connection` after this is closed.
pub const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// Messages that may wait behind a `join`; a page sends a handful.
pub const BACKLOG_MAX: usize = 64;

/// How long the holder of a wanted login may take to answer a ping.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Who said something within this time is not given up for one unanswered ping: longer than from one regular
/// ping to the next, and [`PROBE_LIMIT`] for its answer.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(7);

/// How long the media of a holder that says nothing is watched. The relay says after 5 s that nothing comes
/// any more: what still flows then was sent since the newcomer came.
pub const MEDIA_PROBE_LIMIT: Duration = Duration::from_secs(6);

#[derive(Default)]
pub(super) struct Connections {
    all: HashMap<ConnectionId, Connection>,
    /// Those that read too slowly for more than what they must hear.
    slow: HashSet<ConnectionId>,
    /// Whose silence is probed → who waits for it.
    probes: HashMap<ConnectionId, Vec<ConnectionId>>,
}

#[derive(Default)]
struct Connection {
    address: Option<Subnet>,
    /// After `connection`.
    session: Option<Session>,
    /// When it last said something; at first, when it was opened.
    heard: Time,
    /// Pings since the last message.
    missed: u32,
    /// A `join` that waits for the holder of its login.
    waiting: Option<PendingJoin>,
    /// What came after that `join`.
    backlog: VecDeque<(ClientMessage, Verdict)>,
}

/// What `connection` has opened.
pub(super) struct Session {
    pub(super) app_key: String,
    pub(super) login: Option<String>,
    pub(super) grant: Grant,
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
    /// When it was asked, or has begun to wait for the holder that it waits for now.
    pub(super) since: Time,
}

/// A `join` that waits.
struct PendingJoin {
    request: JoinRequest,
    /// `None`: its connection is lost, and its media is watched.
    holder: Option<ConnectionId>,
}

/// When a message is handled.
pub(super) enum Turn {
    Now(ClientMessage, Verdict),
    Later,
    /// Too many wait already.
    Never,
}

/// What is left of a connection that is gone.
pub(super) struct Closed {
    pub(super) session: Option<Session>,
    /// Who waited for its word.
    pub(super) newcomers: Vec<ConnectionId>,
}

impl Connections {
    pub(super) fn open(&mut self, cx: &mut Context, id: ConnectionId, address: Option<Subnet>) {
        self.all.insert(id, Connection { address, heard: cx.now, ..Connection::default() });
        cx.timers.set(Timer::Hello(id), cx.now + HELLO_LIMIT);
        cx.timers.set(Timer::KeepAlive(id), cx.now + cx.config.signaling.keep_alive_interval);
    }

    /// `None`: it was not there.
    pub(super) fn remove(&mut self, cx: &mut Context, id: ConnectionId) -> Option<Closed> {
        self.take_pending_join(cx, id);
        let connection = self.all.remove(&id)?;
        cx.timers.clear(Timer::Hello(id));
        cx.timers.clear(Timer::KeepAlive(id));
        self.slow.remove(&id);
        Some(Closed { session: connection.session, newcomers: self.probes.remove(&id).unwrap_or_default() })
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

    pub(super) fn is_slow(&self, id: ConnectionId) -> bool {
        self.slow.contains(&id)
    }

    pub(super) fn set_slow(&mut self, id: ConnectionId, slow: bool) {
        if slow && self.contains(id) {
            self.slow.insert(id);
        } else {
            self.slow.remove(&id);
        }
    }

    /// It said something, so it is alive, and whoever waited for its word is to be refused: those are given.
    /// `None`: no such connection.
    pub(super) fn heard(&mut self, now: Time, id: ConnectionId) -> Option<Vec<ConnectionId>> {
        let connection = self.all.get_mut(&id)?;
        connection.missed = 0;
        connection.heard = now;
        Some(self.probes.remove(&id).unwrap_or_default())
    }

    pub(super) fn last_heard(&self, id: ConnectionId) -> Time {
        self.all.get(&id).map_or(Time::ZERO, |connection| connection.heard)
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

    /// A message is handled now, or after the `join` that came before it.
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

    /// After a `join` was decided: what came behind it.
    pub(super) fn next_in_backlog(&mut self, id: ConnectionId) -> Option<(ClientMessage, Verdict)> {
        let connection = self.all.get_mut(&id)?;
        if connection.waiting.is_some() { None } else { connection.backlog.pop_front() }
    }

    /// A `join` waits for the holder of its login, who is asked for a sign of life.
    pub(super) fn wait_for_holder(
        &mut self,
        cx: &mut Context,
        id: ConnectionId,
        mut request: JoinRequest,
        holder: ConnectionId,
    ) {
        request.since = cx.now;
        if self.wait(id, request, Some(holder)) {
            self.probes.entry(holder).or_default().push(id);
            cx.timers.set(Timer::Probe(id), cx.now + PROBE_LIMIT);
            cx.send(holder, &ServerMessage::Ping);
        }
    }

    /// A `join` waits for the media of a member that has no connection to stop.
    pub(super) fn wait_for_media(&mut self, cx: &mut Context, id: ConnectionId, request: JoinRequest) {
        let until = request.since + MEDIA_PROBE_LIMIT;
        if self.wait(id, request, None) {
            cx.timers.set(Timer::Probe(id), until);
        }
    }

    fn wait(&mut self, id: ConnectionId, request: JoinRequest, holder: Option<ConnectionId>) -> bool {
        let connection = self.all.get_mut(&id);
        connection.map(|connection| connection.waiting = Some(PendingJoin { request, holder })).is_some()
    }

    /// Whose word it waits for, since when; without a holder for media.
    pub(super) fn waits_for(&self, id: ConnectionId) -> Option<(Option<ConnectionId>, Time)> {
        let PendingJoin { request, holder } = self.all.get(&id)?.waiting.as_ref()?;
        Some((*holder, request.since))
    }

    /// It waits no longer.
    pub(super) fn take_pending_join(&mut self, cx: &mut Context, id: ConnectionId) -> Option<JoinRequest> {
        cx.timers.clear(Timer::Probe(id));
        let PendingJoin { request, holder } = self.all.get_mut(&id)?.waiting.take()?;
        if let Some(holder) = holder
            && let Some(others) = self.probes.get_mut(&holder)
        {
            others.retain(|other| *other != id);
            if others.is_empty() {
                self.probes.remove(&holder);
            }
        }
        Some(request)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Sizes of the tables.
    pub(super) fn ledger(&self) -> [(&'static str, usize); 5] {
        let sum = |count: fn(&Connection) -> usize| -> usize { self.all.values().map(count).sum() };
        [
            ("connections", self.all.len()),
            ("sessions", sum(|c| usize::from(c.session.is_some()))),
            ("rooms of sessions", sum(|c| c.session.as_ref().map_or(0, |s| s.memberships.len()))),
            ("backlog", sum(|c| c.backlog.len() + usize::from(c.waiting.is_some()))),
            ("probes", self.probes.len()),
        ]
    }
}
