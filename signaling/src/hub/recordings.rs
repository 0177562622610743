//! What is recorded: by whom it was asked for, when it begins and when it ends.
//!
//! | what | begins | ends |
//! |---|---|---|
//! | a stream | its publisher asks for it, an operator, or all are recorded | it ends, or an operator ends it |
//! | a room | its first member asks for it, an operator, or all are recorded | it ends, or an operator ends it |
//!
//! A recording has its id and its file's name from the beginning. What becomes of the file is told by the
//! recorder; here only counts whether it is still written.
//!
//! Invariants
//! - A recording that runs is in the labels of the publications that go into it ([`super::label`]), so a
//!   signaling that is started again goes on with it. One of a room in which nobody publishes stands nowhere
//!   but in the recorder: it is taken over by the room of that name if there is one within
//!   [`adopt_grace`](crate::config::Rooms::adopt_grace), else ended.
//! - A recording that the recorder has finished or given up runs no more here either.
//! - What the recorder writes and nobody here wants is ended as soon as it is told: nobody is recorded
//!   untold. What is wanted is known once the relays' labels have been read; what is told before counts when
//!   it is told again ([`super::Output::TellRecordings`]).
//! - What begins is in a label before the relay hears of it, and what ends is out of it: killed in between,
//!   nothing is recorded that no label names.
//!
//! Deliberately absent: orders to the relay ([`super::taps`]), and what people are told
//! ([`super::recording_events`]).

use super::context::Context;
use super::http::HttpReply;
use super::label::write_label;
use super::rooms::Rooms;
use super::sources::source;
use super::streams::Streams;
use super::{taps, wanted};
use crate::id::{MemberId, RoomId, StreamKey};
use crate::names::NameOf;
use crate::record::{Running, StreamRecord};
use crate::refusal::Refusal;
use crate::stream::{PublishedTrack, Stream};
use recorder_control::{Kind, Recording, State, Wanted};
use serde_json::json;

/// What is to be recorded of a new publication: its name, its `mediaSessionId` and its tracks. `asked`: its
/// client wants it.
pub(super) fn of_new_stream(
    cx: &mut Context,
    rooms: &mut Rooms,
    (room, owner): (RoomId, MemberId),
    names: (&str, &str),
    tracks: &[PublishedTrack],
    asked: bool,
) -> StreamRecord {
    rooms.note_publication(cx, room);
    let mut record = StreamRecord::default();
    if !asked && !cx.config.recording.record_all_streams {
        return record;
    }
    if !cx.may_record() {
        record.is_refused = asked;
        return record;
    }
    if let Some((room, member)) = rooms.get(room).zip(rooms.member(room, owner)) {
        let wanted = wanted::of_stream(cx, room, member, names, tracks);
        record.file = Some(wanted.file.clone());
        record.running = Some(Running::new(wanted));
    }
    record
}

/// An operator wants a room recorded, or one of its streams. What is recorded already goes on as it is.
pub(super) fn start(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    room: &str,
    stream: Option<(&str, NameOf)>,
) -> Result<HttpReply, Refusal> {
    if !cx.config.recording.is_on() {
        return Err(Refusal::RecordingOff);
    }
    let room = rooms.named(room).ok_or(Refusal::RoomNotFound)?;
    let key = stream.map(|(name, by)| source(rooms, streams, room, name, by)).transpose()?;
    let before = match key {
        Some(key) => streams.publish(key).and_then(|publish| publish.record.running.as_ref()),
        None => rooms.get(room).and_then(|room| room.recording.as_ref()),
    };
    if let Some(Wanted { id, file, .. }) = before.map(|running| &running.wanted) {
        return Ok(HttpReply::Recording { id: id.clone(), file: file.clone(), is_new: false });
    }
    let wanted = match key {
        Some(key) => begin_stream(cx, rooms, streams, key).ok_or(Refusal::StreamNotFound)?,
        None => begin_room(cx, rooms, streams, room).ok_or(Refusal::RoomNotFound)?,
    };
    Ok(HttpReply::Recording { id: wanted.id, file: wanted.file, is_new: true })
}

/// An operator wants no more of it.
pub(super) fn stop(
    cx: &mut Context,
    rooms: &mut Rooms,
    streams: &mut Streams,
    id: &str,
) -> Result<HttpReply, Refusal> {
    if let Some(key) = streams.of_recording(id) {
        end_stream(cx, rooms, streams, key);
        // The end of its tracks may be long in coming: the relay may be out of reach.
        cx.end_recording(id);
    } else if let Some(room) = rooms.of_recording(id) {
        end_room(cx, rooms, streams, room);
        rooms.end_recording(cx, id);
    } else {
        return Err(Refusal::RecordingNotFound);
    }
    Ok(HttpReply::RecordingStopped)
}

fn begin_stream(cx: &mut Context, rooms: &Rooms, streams: &mut Streams, key: StreamKey) -> Option<Wanted> {
    let stream = streams.get(key)?;
    let (room, member, publish) = (rooms.get(stream.room)?, rooms.owner(stream)?, stream.publish()?);
    let names = (stream.name.as_str(), stream.media_session_id.as_str());
    let wanted = wanted::of_stream(cx, room, member, names, &publish.tracks);
    streams.set_recording(key, Some(Running::new(wanted.clone())));
    stream_changed(cx, rooms, streams, key);
    note_started(cx, rooms, streams, key);
    Some(wanted)
}

fn end_stream(cx: &mut Context, rooms: &Rooms, streams: &mut Streams, key: StreamKey) {
    let Some(ended) = streams.set_recording(key, None) else { return };
    stream_changed(cx, rooms, streams, key);
    if let Some(stream) = streams.get(key) {
        note_stopped(cx, rooms, stream, &ended.wanted);
    }
}

fn stream_changed(cx: &mut Context, rooms: &Rooms, streams: &mut Streams, key: StreamKey) {
    write_label(cx, rooms, streams, key);
    taps::order(cx, rooms, streams, key);
    if let Some(stream) = streams.get(key) {
        cx.note_recording_changed(stream.room);
    }
}

fn begin_room(cx: &mut Context, rooms: &mut Rooms, streams: &mut Streams, id: RoomId) -> Option<Wanted> {
    let wanted = wanted::of_room(cx, &rooms.get(id)?.name);
    rooms.set_recording(id, Some(Running::new(wanted.clone())));
    room_changed(cx, rooms, streams, id);
    Some(wanted)
}

/// The recorder is not told.
fn end_room(cx: &mut Context, rooms: &mut Rooms, streams: &mut Streams, id: RoomId) {
    if rooms.set_recording(id, None).is_some() {
        room_changed(cx, rooms, streams, id);
    }
}

/// All publications of the room go into it, or no longer.
fn room_changed(cx: &mut Context, rooms: &Rooms, streams: &mut Streams, id: RoomId) {
    let members = rooms.get(id).into_iter().flat_map(crate::room::Room::members);
    for key in members.flat_map(|member| member.publishes.clone()).collect::<Vec<_>>() {
        write_label(cx, rooms, streams, key);
        taps::order(cx, rooms, streams, key);
    }
    cx.note_recording_changed(id);
}

/// The recorder says how a recording is.
pub(super) fn told(cx: &mut Context, rooms: &mut Rooms, streams: &mut Streams, recording: &Recording) {
    let is_written = matches!(recording.state, State::Recording | State::Paused);
    match recording.kind {
        Kind::Stream => {
            let Some(key) = streams.of_recording(&recording.id) else {
                if is_written {
                    cx.end_recording(&recording.id);
                }
                return;
            };
            if is_written {
                if streams.set_paused(key, recording.state == State::Paused)
                    && let Some(stream) = streams.get(key)
                {
                    cx.note_recording_changed(stream.room);
                }
            } else {
                log_end(recording);
                streams.set_recorded_file(key, (recording.state != State::Failed).then_some(&recording.file));
                end_stream(cx, rooms, streams, key);
            }
        }
        Kind::Room => match rooms.of_recording(&recording.id) {
            Some(room) if is_written => {
                let is_paused = recording.state == State::Paused;
                if rooms.set_paused(room, is_paused) {
                    cx.note_recording_changed(room);
                }
            }
            Some(room) => {
                log_end(recording);
                end_room(cx, rooms, streams, room);
            }
            None if is_written => stray(cx, rooms, streams, recording),
            None => {}
        },
    }
}

/// What ends by itself while it is wanted is an operator's business.
fn log_end(Recording { id, file, state, failure, .. }: &Recording) {
    let why = failure.as_ref().map(|failure| failure.info.as_str());
    tracing::warn!(id, file, ?state, why, "the recorder has ended a recording");
}

/// A recording of a room goes on, and no room here has it: an earlier signaling ordered it, or its end was
/// lost on the way. A room whose publications' labels name none has none.
fn stray(cx: &mut Context, rooms: &mut Rooms, streams: &mut Streams, recording: &Recording) {
    let grace = cx.config.rooms.adopt_grace;
    if !cx.config.recording.is_on() || cx.now >= grace || rooms.has_ended(&recording.id) {
        return cx.end_recording(&recording.id);
    }
    let wanted = Wanted {
        id: recording.id.clone(),
        kind: Kind::Room,
        file: recording.file.clone(),
        started_at_ms: recording.started_at_ms,
        aligned_at_ms: None,
    };
    let room = rooms.named(&recording.room);
    match room.and_then(|id| Some((id, rooms.get(id)?))) {
        Some((id, room)) if room.recording.is_none() && !room.is_labelled => {
            rooms.set_recording(id, Some(Running::new(wanted)));
            room_changed(cx, rooms, streams, id);
        }
        Some(_) => cx.end_recording(&recording.id),
        None => rooms.add_stray(cx, &recording.room, wanted),
    }
}

/// For the operator's hook, in the words of WCS's `StreamEvent`.
pub(super) fn note_started(cx: &mut Context, rooms: &Rooms, streams: &Streams, key: StreamKey) {
    let Some(stream) = streams.get(key) else { return };
    if let Some(running) = stream.publish().and_then(|publish| publish.record.running.as_ref()) {
        note(cx, rooms, stream, &running.wanted, "recordStarted");
    }
}

pub(super) fn note_stopped(cx: &mut Context, rooms: &Rooms, stream: &Stream, wanted: &Wanted) {
    note(cx, rooms, stream, wanted, "recordStopped");
}

fn note(cx: &mut Context, rooms: &Rooms, stream: &Stream, wanted: &Wanted, event: &str) {
    let owner = rooms.owner(stream);
    let app_key = owner.map(|owner| owner.app_key.as_str());
    cx.note(rooms.connection_of(stream), "StreamEvent", || {
        json!({"appKey": app_key, "mediaSessionId": stream.media_session_id, "name": stream.name,
            "type": event, "payload": {"recordName": wanted.file, "recordId": wanted.id}})
    });
}
