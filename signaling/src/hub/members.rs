//! Who is in a room: join, leave, chat, members that come back.

use super::connections::{Connections, JoinRequest, Session};
use super::context::Context;
use super::end::{end_member, member_vanished};
use super::label::write_label;
use super::recording_events;
use super::rooms::{Newcomer, Rooms};
use super::streams::Streams;
use crate::id::{ConnectionId, MemberId, RoomId};
use crate::member::{Member, Presence};
use crate::message::{RoomEvent, Status};
use crate::refusal::{Refusal, StreamEnd};
use crate::timer::Timer;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What becomes of a newcomer.
pub(super) enum Admission {
    Refused(Refusal),
    /// This one has the login, and keeps it if it lives.
    Contest(RoomId, MemberId),
    /// The member is this client's own from before.
    Resume(RoomId, MemberId),
    /// It is this connection's already.
    Inside(RoomId, MemberId),
    Open,
}

/// Whether a session may join the room at all.
pub(super) fn newcomer(
    cx: &Context,
    connections: &Connections,
    id: ConnectionId,
    request: &JoinRequest,
) -> Result<Newcomer, Refusal> {
    let max_rooms = cx.config.signaling.max_rooms_per_connection;
    match connections.session(id) {
        None => Err(Refusal::SessionNotReady),
        Some(Session { login: None, .. }) => Err(Refusal::LoginRequired),
        Some(session) if !session.grant.may_enter(&request.room) => Err(Refusal::TokenRoom),
        Some(session) if request.record && !session.grant.record => Err(Refusal::TokenRecording),
        Some(session) if session.memberships.len() >= max_rooms => Err(Refusal::TooManyRoomsOfConnection),
        Some(Session { login: Some(login), token, app_key, grant, .. }) => Ok(Newcomer {
            rights: grant.rights(),
            login: login.clone(),
            token: token.clone(),
            app_key: app_key.clone(),
            presence: Presence::Attached(id),
        }),
    }
}

/// Who holds the login decides. One who has nothing but the place that is kept for it gives way at once.
pub(super) fn admit(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    room: &str,
    newcomer: &Newcomer,
) -> Admission {
    let Some(id) = rooms.named(room) else { return Admission::Open };
    let holder = rooms.get(id).and_then(|room| room.member_named(&newcomer.login));
    match holder.map(|holder| (holder, holder.presence)) {
        None => {}
        Some((holder, Presence::Attached(_))) if holder.presence == newcomer.presence => {
            return Admission::Inside(id, holder.id);
        }
        Some((holder, Presence::Attached(_) | Presence::Detached | Presence::Adopted))
            if holder.token == newcomer.token =>
        {
            return Admission::Resume(id, holder.id);
        }
        Some((holder, _)) if !newcomer.rights.cover(holder.rights) => {
            return Admission::Refused(Refusal::LoginTaken);
        }
        Some((holder, Presence::Detached | Presence::Adopted)) if holder.streams().next().is_none() => {
            let holder = holder.id;
            member_vanished(cx, rooms, streams, id, holder);
        }
        Some((holder, _)) => return Admission::Contest(id, holder.id),
    }
    if rooms.is_full(cx, id) { Admission::Refused(Refusal::RoomFull) } else { Admission::Open }
}

pub(super) fn enter(
    cx: &mut Context,
    connections: &mut Connections,
    rooms: &mut Rooms,
    streams: &Streams,
    id: ConnectionId,
    operation_id: &str,
    (room, newcomer): (RoomId, Newcomer),
) {
    let login = newcomer.login.clone();
    let member = rooms.add_member(cx, room, newcomer);
    if let Some(session) = connections.session_mut(id) {
        session.memberships.push((room, member));
    }
    rooms.tell_others(cx, room, member, RoomEvent::Joined(&login));
    cx.answer_command(id, operation_id, Ok(()));
    send_state(cx, rooms, streams, id, (room, member), None);
}

/// The client is back: its member goes on by the rights of the new session, its streams never stopped. Gives
/// the connection that it had before.
pub(super) fn resume(
    cx: &mut Context,
    connections: &mut Connections,
    rooms: &mut Rooms,
    streams: &Streams,
    id: ConnectionId,
    (room, member_id): (RoomId, MemberId),
) -> Option<ConnectionId> {
    let member = rooms.member_mut(room, member_id)?;
    let before = member.connection();
    member.presence = Presence::Attached(id);
    cx.timers.clear(Timer::Detached(room, member_id));
    if let Some(session) = connections.session_mut(id) {
        member.app_key.clone_from(&session.app_key);
        session.memberships.push((room, member_id));
        let rights = session.grant.rights();
        if std::mem::replace(&mut member.rights, rights) != rights {
            // Else who has less right could displace it after the next restart of signaling.
            for key in member.streams().copied().collect::<Vec<_>>() {
                write_label(cx, rooms, streams, key);
            }
        }
    }
    if let Some(before) = before {
        connections.forget_membership(before, room);
    }
    before
}

/// Tells a client that came back what it has.
pub(super) fn send_resumed(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &Streams,
    id: ConnectionId,
    (room, member): (RoomId, MemberId),
) {
    let own = rooms.member(room, member).map(|member| own_streams(streams, member)).unwrap_or_default();
    send_state(cx, rooms, streams, id, (room, member), Some(own));
}

fn send_state(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &Streams,
    to: ConnectionId,
    (id, member): (RoomId, MemberId),
    resumed: Option<Vec<Value>>,
) {
    let Some(room) = rooms.get(id) else { return };
    let members = room.state(member, |key| streams.get(key));
    cx.send_state(&[to], &room.name, RoomEvent::State { members, resumed });
    recording_events::tell_newcomer(cx, rooms, streams, to, id);
}

fn own_streams(streams: &Streams, member: &Member) -> Vec<Value> {
    let own = member.streams().filter_map(|key| streams.get(*key));
    own.map(|stream| {
        let status = match (stream.is_on_air(), stream.is_publish()) {
            (false, _) => Status::Pending,
            (true, true) => Status::Publishing,
            (true, false) => Status::Playing,
        };
        json!({"mediaSessionId": stream.media_session_id, "name": stream.name,
            "published": stream.is_publish(), "status": status.name()})
    })
    .collect()
}

pub(super) fn leave(
    cx: &mut Context,
    connections: &mut Connections,
    rooms: &mut Rooms,
    streams: &mut Streams,
    id: ConnectionId,
    name: &str,
) -> Result<(), Refusal> {
    let room = rooms.named(name).ok_or(Refusal::NotInRoom)?;
    let member = connections.membership(id, room).ok_or(Refusal::NotInRoom)?;
    connections.forget_membership(id, room);
    end_member(cx, rooms, streams, (room, member), StreamEnd::StoppedByUser);
    rooms.remove_if_empty(cx, room);
    Ok(())
}

pub(super) fn chat(
    cx: &mut Context,
    connections: &Connections,
    rooms: &Rooms,
    id: ConnectionId,
    (room, to, text): (&str, &str, &RawValue),
) -> Result<(), Refusal> {
    let room_id = rooms.named(room).ok_or(Refusal::NotInRoom)?;
    let member = connections.membership(id, room_id).ok_or(Refusal::NotInRoom)?;
    let room = rooms.get(room_id).ok_or(Refusal::NotInRoom)?;
    let from = room.member(member).map(|member| member.login.as_str()).unwrap_or_default();
    let addressee =
        room.member_named(to).filter(|addressee| addressee.id != member).ok_or(Refusal::NoSuchParticipant)?;
    let connection = addressee.connection().ok_or(Refusal::ParticipantAway)?;
    if connections.is_slow(connection) {
        return Err(Refusal::ParticipantSlow);
    }
    cx.send_event(&[connection], &room.name, RoomEvent::Message { from, text });
    Ok(())
}
