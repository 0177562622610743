//! The end of streams and of members, of what depends on them, and what others are told.

use super::context::Context;
use super::http::HttpReply;
use super::recordings;
use super::rooms::Rooms;
use super::status::tell_owner;
use super::streams::Streams;
use super::taps;
use crate::id::{MemberId, RoomId, StreamKey};
use crate::message::{RoomEvent, Status};
use crate::refusal::{Refusal, StreamEnd};
use crate::stream::{Owner, Role};
use crate::stream_state::{Action, StreamState, Trigger};
use relay_control::{CloseTransport, Command};

pub(super) fn end_stream(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    key: StreamKey,
    end: StreamEnd,
) {
    if let Some(Action::Remove) = streams.advance(cx, key, Trigger::End(end)) {
        remove_ended(cx, rooms, streams, key);
    }
}

/// Removes a stream and what depends on it: the owner is told first, then its players, then the room.
pub(super) fn remove_ended(cx: &mut Context, rooms: &mut Rooms, streams: &mut Streams, key: StreamKey) {
    let Some(stream) = streams.remove(cx, key) else { return };
    rooms.remove_stream(key, &stream);
    let StreamState::Ended { end, was_on_air, http_request } = stream.state else { return };
    cx.tell_relay(stream.relay, Command::CloseTransport(CloseTransport { transport_id: key.0 }));
    let status = Status::ended(end, stream.is_publish());
    tell_owner(cx, rooms, streams, &stream, (status, Some(end.reason())));
    if stream.over_http {
        cx.media_changed(key, None);
    }
    if let Some(http_request) = http_request {
        cx.reply(http_request, HttpReply::Refused(Refusal::Ended(end)));
    }
    let Role::Publish(publish) = &stream.role else { return };
    for player in publish.players.values() {
        end_stream(cx, rooms, streams, *player, StreamEnd::PublisherStopped);
    }
    let Owner::Member(owner) = stream.owner else { return };
    if was_on_air && let Some(running) = &publish.record.running {
        // The recorder sees its tracks end.
        recordings::note_stopped(cx, rooms, &stream, &running.wanted);
    }
    if was_on_air && taps::is_recorded(rooms, &stream) {
        cx.note_recording_changed(stream.room);
    }
    if was_on_air && let Some(member) = rooms.member(stream.room, owner) {
        let event = if end.is_failure() {
            RoomEvent::Failed(&member.login, &stream.name)
        } else {
            RoomEvent::Unpublished(&member.login, &stream.name)
        };
        rooms.tell_others(cx, stream.room, owner, event);
    }
    // A WHIP publisher is a member for as long as its stream.
    if stream.over_http {
        end_member(cx, rooms, streams, (stream.room, owner), end);
        rooms.remove_if_empty(cx, stream.room);
    }
}

/// Ends all streams of a member, then the member: others hear of the streams first, then `LEFT`.
pub(super) fn end_member(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    (room, id): (RoomId, MemberId),
    end: StreamEnd,
) {
    let Some(member) = rooms.member(room, id) else { return };
    for key in member.streams().copied().collect::<Vec<_>>() {
        end_stream(cx, rooms, streams, key, end);
    }
    if let Some(member) = rooms.remove_member(cx, room, id) {
        rooms.tell_others(cx, room, id, RoomEvent::Left(&member.login));
    }
}

/// A member is gone without `leave`.
pub(super) fn member_vanished(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    room: RoomId,
    id: MemberId,
) {
    end_member(cx, rooms, streams, (room, id), StreamEnd::SessionEnded);
    rooms.remove_later_if_empty(cx, room);
}
