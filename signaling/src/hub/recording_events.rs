//! Who is told that a room or its streams are recorded: everybody in the room, by the room event `RECORDING`,
//! which says all of it each time. Whoever comes in later hears it behind `STATE`.
//!
//! What has changed is told once all that came of an input has been told. Whoever reads slowly is told how it
//! is when he reads again, so nobody can be cut off by how often recordings begin and end.

use super::connections::Connections;
use super::context::Context;
use super::rooms::Rooms;
use super::streams::Streams;
use crate::id::{ConnectionId, RoomId};
use crate::member::Member;
use crate::message::{RecordedStream, RoomEvent};
use crate::room::Room;
use crate::stream::Publish;

/// Tells all whom it concerns.
pub(super) fn tell(cx: &mut Context, connections: &mut Connections, rooms: &mut Rooms, streams: &Streams) {
    for id in cx.take_recording_changed() {
        let Some(room) = rooms.get(id) else { continue };
        let is_recorded = is_recorded(streams, room);
        let mut to: Vec<ConnectionId> = room.members().filter_map(Member::connection).collect();
        if is_recorded || room.is_told_recorded {
            to.retain(|to| connections.hears_of_recording(*to, id));
            send(cx, streams, &to, room);
        }
        rooms.set_told_recorded(id, is_recorded);
    }
}

/// To who has come in, if there is anything to tell.
pub(super) fn tell_newcomer(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &Streams,
    to: ConnectionId,
    id: RoomId,
) {
    if let Some(room) = rooms.get(id).filter(|room| is_recorded(streams, room)) {
        send(cx, streams, &[to], room);
        rooms.set_told_recorded(id, true);
    }
}

/// A connection reads again, which was not told of these rooms.
pub(super) fn catch_up(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &Streams,
    to: ConnectionId,
    missed: impl Iterator<Item = RoomId>,
) {
    for room in missed.filter_map(|room| rooms.get(room)) {
        if room.members().any(|member| member.connection() == Some(to)) {
            send(cx, streams, &[to], room);
        }
    }
}

fn send(cx: &mut Context, streams: &Streams, to: &[ConnectionId], room: &Room) {
    let (streams, held_up) = recorded(streams, room);
    let held_up = held_up || room.recording.as_ref().is_some_and(|running| running.paused);
    let is_recorded = room.recording.is_some() || !streams.is_empty();
    let away = is_recorded && !cx.recorder_at.contains(&room.relay);
    let event = RoomEvent::Recording { room: room.recording.is_some(), streams, paused: held_up || away };
    cx.send_state(to, &room.name, event);
}

fn is_recorded(streams: &Streams, room: &Room) -> bool {
    room.recording.is_some() || !recorded(streams, room).0.is_empty()
}

/// Those on the air that are recorded by themselves, and whether anything of a stream is not written for now.
fn recorded<'a>(streams: &'a Streams, room: &'a Room) -> (Vec<RecordedStream<'a>>, bool) {
    let (mut recorded, mut held_up) = (Vec::new(), false);
    for member in room.members() {
        let published = member.publishes.iter().filter_map(|key| streams.get(*key));
        for stream in published.filter(|stream| stream.is_on_air()) {
            let Some(Publish { record, .. }) = stream.publish() else { continue };
            if let Some(running) = &record.running {
                recorded.push(RecordedStream { login: &member.login, name: &stream.name });
                held_up |= running.paused;
            }
            held_up |= record.taps.missing && (record.running.is_some() || room.recording.is_some());
        }
    }
    (recorded, held_up)
}
