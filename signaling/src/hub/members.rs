//! Who is in a room: join, leave, chat, stale logins, members that come back.

use super::session::{Session, WaitingJoin, Wish};
use super::{CloseCode, Hub};
use crate::id::{ConnectionId, MemberId, RoomId};
use crate::member::{Member, Playable, Presence};
use crate::message::{RoomCommand, RoomEvent, ServerMessage, Status};
use crate::refusal::{Refusal, StreamEnd};
use crate::stream::Publish;
use crate::timer::{Time, Timer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the holder of a wanted login may take to answer a ping.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Who said something within this time is not given up for one unanswered ping: longer than from one regular ping to the next,
/// and [`PROBE_LIMIT`] for its answer.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(7);

/// How long the media of a holder that says nothing is watched. The relay says after 5 s that nothing comes any more: what
/// still flows then was sent since the newcomer came.
pub const MEDIA_PROBE_LIMIT: Duration = Duration::from_secs(6);

/// What becomes of a `join`.
enum Admission {
    Refused(Refusal),
    /// The login's holder must prove that it is alive; one without a connection (`None`) by its media.
    Probe(Option<ConnectionId>),
    /// The member is this client's own from before.
    Resume(RoomId, MemberId),
    Open,
}

/// Who wants in.
pub(super) struct Visitor {
    pub(super) login: String,
    pub(super) token: String,
}

impl Hub {
    pub(super) fn room_command(
        &mut self,
        now: Time,
        id: ConnectionId,
        operation_id: String,
        command: Result<RoomCommand, Refusal>,
    ) {
        let Some(connection) = self.connections.get(&id) else { return };
        let outcome = match (&connection.session, command) {
            (None, _) => Err(Refusal::SessionNotReady),
            (Some(_), Err(refusal)) => Err(refusal),
            (Some(_), Ok(RoomCommand::Join { room, record, terms })) => {
                self.join(now, (id, now), operation_id, Wish { room, record, terms });
                return;
            }
            (Some(_), Ok(RoomCommand::Leave { room })) => self.leave(now, id, &room),
            (Some(_), Ok(RoomCommand::Message { room, to, text })) => self.chat(id, &room, &to, &text),
        };
        self.answer_command(id, &operation_id, outcome);
    }

    /// `asked`: when this connection asked for it.
    fn join(&mut self, now: Time, (id, asked): (ConnectionId, Time), operation_id: String, wish: Wish) {
        let session = self.connections.get(&id).and_then(|connection| connection.session.as_ref());
        let max_rooms = self.config.signaling.max_rooms_per_connection;
        let admission = match session {
            None => Admission::Refused(Refusal::SessionNotReady),
            Some(Session { login: None, .. }) => Admission::Refused(Refusal::LoginRequired),
            Some(session) if !session.grant.may_enter(&wish.room) => Admission::Refused(Refusal::TokenRoom),
            Some(session) if wish.record && !session.grant.record => {
                Admission::Refused(Refusal::TokenRecording)
            }
            Some(session) if session.rooms.len() >= max_rooms => {
                Admission::Refused(Refusal::TooManyRoomsOfConnection)
            }
            Some(Session { login: Some(login), token, .. }) => {
                let visitor = Visitor { login: login.clone(), token: token.clone() };
                self.admission(now, id, &wish.room, &visitor)
            }
        };
        let room = match admission {
            Admission::Refused(refusal) => Err(refusal),
            Admission::Probe(None) if now >= asked + MEDIA_PROBE_LIMIT => Err(Refusal::LoginTaken),
            Admission::Probe(holder) => {
                let since = if holder.is_some() { now } else { asked };
                self.start_probe(now, id, WaitingJoin { operation_id, wish, holder, since });
                return;
            }
            Admission::Resume(room, member) => {
                self.resume(now, id, &operation_id, room, member);
                return;
            }
            Admission::Open => self.room_or_new(&wish.room, &wish.terms),
        };
        match room {
            Err(refusal) => self.answer_command(id, &operation_id, Err(refusal)),
            Ok(room) => self.enter(id, &operation_id, room),
        }
    }

    /// Who holds the login decides.
    fn admission(&mut self, now: Time, id: ConnectionId, name: &str, visitor: &Visitor) -> Admission {
        let Some(room_id) = self.rooms.named(name) else { return Admission::Open };
        let Some(room) = self.rooms.get(room_id) else { return Admission::Open };
        match room.member(&visitor.login).map(|holder| (holder.id, holder.presence, &holder.token)) {
            Some((_, Presence::Attached(holder), _)) if holder == id => {
                return Admission::Refused(Refusal::LoginTaken);
            }
            Some((_, Presence::Http, _)) => return Admission::Refused(Refusal::LoginTaken),
            Some((member, _, token)) if *token == visitor.token => return Admission::Resume(room_id, member),
            Some((_, Presence::Attached(holder), _)) => return Admission::Probe(Some(holder)),
            Some((member, Presence::Detached, _)) if self.is_heard(room_id, member) => {
                return Admission::Probe(None);
            }
            Some((member, Presence::Detached | Presence::Adopted, _)) => {
                self.member_vanished(now, room_id, member);
            }
            None => {}
        }
        if self.is_full(room_id) { Admission::Refused(Refusal::RoomFull) } else { Admission::Open }
    }

    pub(super) fn is_full(&self, room: RoomId) -> bool {
        let most = self.config.rooms.max_participants;
        self.rooms.get(room).is_some_and(|room| room.is_full(most))
    }

    fn enter(&mut self, id: ConnectionId, operation_id: &str, room_id: RoomId) {
        let member_id = MemberId(self.number());
        let Some(session) = self.connections.get_mut(&id).and_then(|c| c.session.as_mut()) else { return };
        session.rooms.push(room_id);
        let visitor =
            Visitor { login: session.login.clone().unwrap_or_default(), token: session.token.clone() };
        let login = visitor.login.clone();
        self.add_member(room_id, member_id, visitor, Presence::Attached(id));
        self.tell_others(room_id, member_id, RoomEvent::Joined(&login));
        self.answer_command(id, operation_id, Ok(()));
        self.send_state(id, room_id, member_id, None);
    }

    pub(super) fn add_member(&mut self, room: RoomId, id: MemberId, visitor: Visitor, presence: Presence) {
        self.timers.clear(Timer::RoomIdle(room));
        if let Some(room) = self.rooms.get_mut(room) {
            let Visitor { login, token } = visitor;
            room.members.push(Member {
                id,
                login,
                token,
                presence,
                playable: Playable::default(),
                publishes: Vec::new(),
                plays: Vec::new(),
            });
        }
    }

    fn send_state(&mut self, to: ConnectionId, room: RoomId, member: MemberId, resumed: Option<Vec<Value>>) {
        let Some(room) = self.rooms.get(room) else { return };
        let members = room.state(member, |key| self.streams.get(key));
        let name = room.name.clone();
        self.tell(&[to], &name, RoomEvent::State { members, resumed });
    }

    /// The client is back: its member goes on, its streams never stopped.
    fn resume(
        &mut self,
        now: Time,
        id: ConnectionId,
        operation_id: &str,
        room_id: RoomId,
        member_id: MemberId,
    ) {
        let Some(member) = self.rooms.member_mut(room_id, member_id) else {
            return;
        };
        let before = std::mem::replace(&mut member.presence, Presence::Attached(id));
        self.timers.clear(Timer::Detached(room_id, member_id));
        if let Some(session) = self.connections.get_mut(&id).and_then(|c| c.session.as_mut()) {
            session.rooms.push(room_id);
        }
        if let Presence::Attached(old) = before {
            if let Some(session) = self.connections.get_mut(&old).and_then(|c| c.session.as_mut()) {
                session.rooms.retain(|room| *room != room_id);
            }
            // Its other rooms, if any, are taken over one by one as the client joins them.
            self.drop_connection(now, old, CloseCode::Replaced, false);
        }
        self.answer_command(id, operation_id, Ok(()));
        let resumed = self.own_streams(room_id, member_id);
        self.send_state(id, room_id, member_id, Some(resumed));
    }

    fn own_streams(&self, room: RoomId, member: MemberId) -> Vec<Value> {
        let member = self.rooms.member(room, member);
        let keys = member.into_iter().flat_map(Member::streams);
        let streams = keys.filter_map(|key| self.streams.get(*key));
        let entry = |stream: &crate::stream::Stream| {
            let status = match (stream.is_on_air(), stream.is_publish()) {
                (false, _) => Status::Pending,
                (true, true) => Status::Publishing,
                (true, false) => Status::Playing,
            };
            json!({"mediaSessionId": stream.session, "name": stream.name,
                "published": stream.is_publish(), "status": status.name()})
        };
        streams.map(entry).collect()
    }

    fn start_probe(&mut self, now: Time, id: ConnectionId, waiting: WaitingJoin) {
        let (holder, since) = (waiting.holder, waiting.since);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.waiting = Some(waiting);
        let Some(holder) = holder else {
            return self.timers.set(Timer::Probe(id), since + MEDIA_PROBE_LIMIT);
        };
        self.probes.entry(holder).or_default().push(id);
        self.timers.set(Timer::Probe(id), now + PROBE_LIMIT);
        self.send(holder, &ServerMessage::Ping);
    }

    /// A connection said something: it is alive, and whoever wants its login is refused.
    pub(super) fn probe_answered(&mut self, now: Time, holder: ConnectionId) {
        for newcomer in self.probes.remove(&holder).unwrap_or_default() {
            self.refuse_waiting(now, newcomer);
        }
    }

    fn refuse_waiting(&mut self, now: Time, newcomer: ConnectionId) {
        self.timers.clear(Timer::Probe(newcomer));
        let waiting = self.connections.get_mut(&newcomer).and_then(|c| c.waiting.take());
        let Some(WaitingJoin { operation_id, .. }) = waiting else { return };
        self.answer_command(newcomer, &operation_id, Err(Refusal::LoginTaken));
        self.run_backlog(now, newcomer);
    }

    /// The holder of the wanted login has said nothing so far. A phone whose page hangs for a while is still in its call;
    /// one that is gone sends no media either. Given up, its login is free for all who waited.
    pub(super) fn probe_due(&mut self, now: Time, newcomer: ConnectionId) {
        let waiting = self.connections.get(&newcomer).and_then(|c| c.waiting.as_ref());
        let Some((holder, since)) = waiting.map(|waiting| (waiting.holder, waiting.since)) else { return };
        let Some(holder) = holder else { return self.retry_join(now, newcomer) };
        let heard = self.connections.get(&holder).map_or(Time::ZERO, |connection| connection.heard);
        let is_sending = self.is_sending(holder);
        let patience = if is_sending { since + MEDIA_PROBE_LIMIT } else { Time::ZERO };
        let until = patience.max(heard + SILENCE_LIMIT).max(since + PROBE_LIMIT);
        if now < until {
            self.timers.set(Timer::Probe(newcomer), until);
        } else if is_sending {
            self.forget_waiting(holder, newcomer);
            self.refuse_waiting(now, newcomer);
        } else {
            self.drop_connection(now, holder, CloseCode::Replaced, true);
        }
    }

    /// Whether media of this connection's members comes.
    fn is_sending(&self, id: ConnectionId) -> bool {
        let session = self.connections.get(&id).and_then(|connection| connection.session.as_ref());
        let rooms = session.into_iter().flat_map(|session| &session.rooms);
        let mut members = rooms.filter_map(|room| self.rooms.member_of(*room, id));
        members.any(|member| self.flows(member))
    }

    /// The same of one member, be it connected or not.
    pub(super) fn is_heard(&self, room: RoomId, id: MemberId) -> bool {
        self.rooms.member(room, id).is_some_and(|member| self.flows(member))
    }

    fn flows(&self, member: &Member) -> bool {
        let mut streams = member.publishes.iter().filter_map(|key| self.streams.get(*key));
        streams.any(|stream| stream.publish().is_some_and(Publish::flows))
    }

    pub(super) fn retry_join(&mut self, now: Time, newcomer: ConnectionId) {
        self.timers.clear(Timer::Probe(newcomer));
        let waiting = self.connections.get_mut(&newcomer).and_then(|c| c.waiting.take());
        if let Some(WaitingJoin { operation_id, wish, since, .. }) = waiting {
            self.join(now, (newcomer, since), operation_id, wish);
            self.run_backlog(now, newcomer);
        }
    }

    /// A connection that waited for a probe is gone.
    pub(super) fn forget_probe(&mut self, newcomer: ConnectionId) {
        self.timers.clear(Timer::Probe(newcomer));
        let waiting = self.connections.get_mut(&newcomer).and_then(|c| c.waiting.take());
        if let Some(holder) = waiting.and_then(|waiting| waiting.holder) {
            self.forget_waiting(holder, newcomer);
        }
    }

    fn forget_waiting(&mut self, holder: ConnectionId, newcomer: ConnectionId) {
        if let Some(others) = self.probes.get_mut(&holder) {
            others.retain(|other| *other != newcomer);
            if others.is_empty() {
                self.probes.remove(&holder);
            }
        }
    }

    fn leave(&mut self, now: Time, id: ConnectionId, name: &str) -> Result<(), Refusal> {
        let (room, member) = self.rooms.membership(id, name).ok_or(Refusal::NotInRoom)?;
        if let Some(session) = self.connections.get_mut(&id).and_then(|c| c.session.as_mut()) {
            session.rooms.retain(|other| *other != room);
        }
        self.remove_member(now, room, member, StreamEnd::StoppedByUser);
        self.end_room_if_empty(room);
        Ok(())
    }

    fn chat(&mut self, id: ConnectionId, name: &str, to: &str, text: &RawValue) -> Result<(), Refusal> {
        let (room, member) = self.rooms.membership(id, name).ok_or(Refusal::NotInRoom)?;
        let room = self.rooms.get(room).ok_or(Refusal::NotInRoom)?;
        let from = room.member_by_id(member).map(|member| member.login.clone()).unwrap_or_default();
        let addressee =
            room.member(to).filter(|addressee| addressee.id != member).ok_or(Refusal::NoSuchParticipant)?;
        let connection = addressee.connection().ok_or(Refusal::ParticipantAway)?;
        if self.slow.contains(&connection) {
            return Err(Refusal::ParticipantSlow);
        }
        let name = room.name.clone();
        self.tell(&[connection], &name, RoomEvent::Message { from: &from, text });
        Ok(())
    }

    /// A member is gone without `leave`: the room stays for a while even if it is empty.
    pub(super) fn member_vanished(&mut self, now: Time, room: RoomId, member: MemberId) {
        self.remove_member(now, room, member, StreamEnd::SessionEnded);
        if self.rooms.is_empty(room) {
            self.timers.set(Timer::RoomIdle(room), now + self.config.rooms.room_idle_timeout);
        }
    }

    /// Ends all streams of a member, then the member: others hear of the streams first, then `LEFT`.
    pub(super) fn remove_member(&mut self, now: Time, room_id: RoomId, id: MemberId, end: StreamEnd) {
        let Some(member) = self.rooms.member_mut(room_id, id) else { return };
        let streams: Vec<_> = member.streams().copied().collect();
        for key in streams {
            self.end_stream(now, key, end);
        }
        self.timers.clear(Timer::Detached(room_id, id));
        let Some(room) = self.rooms.get_mut(room_id) else { return };
        let Some(at) = room.members.iter().position(|member| member.id == id) else { return };
        let member = room.members.remove(at);
        self.tell_others(room_id, id, RoomEvent::Left(&member.login));
    }
}
