//! Who is told that a room or its streams are recorded: everybody in the room, by the room event `RECORDING`,
//! which says all of it each time, and WHIP and WHEP clients that listen, of what flows in their sessions.
//! Whoever comes in later hears it behind `STATE`.
//!
//! What has changed is told once all that came of an input has been told. Whoever reads slowly is told how it
//! is when he reads again, so nobody can be cut off by how often recordings begin and end.
//!
//! Invariants
//! - Nothing is called paused while anything of it may be written: whoever is recorded is told.

use super::connections::Connections;
use super::context::Context;
use super::media;
use super::rooms::Rooms;
use super::streams::Streams;
use super::taps;
use crate::id::{ConnectionId, RoomId};
use crate::member::Member;
use crate::message::{RecordedStream, RoomEvent};
use crate::record::{Recorded, Running};
use crate::room::Room;

/// Tells all whom it concerns, if it is news.
pub(super) fn tell(cx: &mut Context, connections: &mut Connections, rooms: &mut Rooms, streams: &Streams) {
    for id in cx.take_recording_changed() {
        let Some(room) = rooms.get(id) else { continue };
        for key in room.members().flat_map(|member| &member.publishes) {
            media::tell_watchers(cx, rooms, streams, *key);
        }
        let all = all_of(cx, streams, room);
        let told = all.as_ref().map(All::in_words);
        if told != room.told_recorded {
            let mut to: Vec<ConnectionId> = room.members().filter_map(Member::connection).collect();
            to.retain(|to| connections.hears_of_recording(*to, id));
            cx.send_state(&to, &room.name, event(all));
            rooms.set_told_recorded(id, told);
        }
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
    let Some(room) = rooms.get(id) else { return };
    let Some(all) = all_of(cx, streams, room) else { return };
    let told = all.in_words();
    cx.send_state(&[to], &room.name, event(Some(all)));
    // Else the others have still to hear of a change.
    if !cx.recording_has_changed(id) {
        rooms.set_told_recorded(id, Some(told));
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
            let all = all_of(cx, streams, room);
            cx.send_state(&[to], &room.name, event(all));
        }
    }
}

/// What is recorded of a room.
struct All<'a> {
    room: bool,
    /// Those on the air that are recorded by themselves.
    streams: Vec<RecordedStream<'a>>,
    paused: bool,
}

impl All<'_> {
    /// What tells it from another one.
    fn in_words(&self) -> String {
        // Strings and booleans: there is nothing that could go wrong.
        serde_json::to_string(&(self.room, &self.streams, self.paused)).unwrap_or_default()
    }
}

fn event(all: Option<All<'_>>) -> RoomEvent<'_> {
    let All { room, streams, paused } =
        all.unwrap_or(All { room: false, streams: Vec::new(), paused: false });
    RoomEvent::Recording { room, streams, paused }
}

/// `None`: nothing is.
fn all_of<'a>(cx: &Context, streams: &'a Streams, room: &'a Room) -> Option<All<'a>> {
    let (mut alone, mut told) = (Vec::new(), Vec::new());
    for member in room.members() {
        let published = member.publishes.iter().filter_map(|key| streams.get(*key));
        for stream in published.filter(|stream| stream.is_on_air()) {
            let Some(publish) = stream.publish() else { continue };
            if publish.record.running.is_some() {
                alone.push(RecordedStream { login: &member.login, name: &stream.name });
            }
            told.push(taps::recorded(cx, room, publish));
        }
    }
    told.retain(|recorded| *recorded != Recorded::No);
    let is_recorded = room.recording.is_some() || !alone.is_empty();
    // Of a room in which nobody publishes nothing is written, and whoever comes will be.
    let waits = |running: &Running| !running.paused && cx.recorder_at.contains(&room.relay);
    let may_be_written = if told.is_empty() {
        room.recording.as_ref().is_some_and(waits)
    } else {
        told.contains(&Recorded::Yes)
    };
    is_recorded.then_some(All { room: room.recording.is_some(), streams: alone, paused: !may_be_written })
}
