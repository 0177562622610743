//! What the relay sends to the recorder: orders about the tracks of publications that are recorded, and
//! whether the recorder is there.
//!
//! The label of a tap says which recordings its track goes into ([`recorder_control::TapLabel`]), so the orders
//! are all that begins, changes or ends the recording of a stream. A recorder that is started again is told
//! the same again.
//!
//! Invariants
//! - Of a publication one order is under way at a time; what changes meanwhile is ordered behind it.
//! - Nothing is ordered of a publication before its client has keys. The relay and the recorder have few
//!   places for tracks, and each takes the recorder files: an offer alone, which costs nobody anything, gets
//!   neither.
//! - What the relay has no room for, and what the recorder has ended, is ordered again every [`RETRY`] for as
//!   long as it is wanted.

use super::context::Context;
use super::relays::Purpose;
use super::rooms::Rooms;
use super::streams::Streams;
use crate::file_name::short_name;
use crate::id::{RelayId, StreamKey};
use crate::record::{Recorded, Running, StreamRecord};
use crate::room::Room;
use crate::stream::{Publish, Stream};
use crate::stream_state::StreamState;
use crate::timer::Timer;
use recorder_control::{PORT_NAME, TapLabel};
use relay_control::{AddTap, Command, ErrorCode, PortChanged, PortTrackEnded, RemoveTap, ReplyBody};
use std::time::Duration;

/// Before an order that came to nothing is given again.
const RETRY: Duration = Duration::from_secs(1);

/// Tells the relay which recordings the tracks of this publication go into, if that can have changed.
pub(super) fn order(cx: &mut Context, rooms: &Rooms, streams: &mut Streams, key: StreamKey) {
    let Some(stream) = streams.get(key) else { return };
    // Its tracks are not there yet; it is ordered when they are.
    if matches!(stream.state, StreamState::Negotiating(_)) || !cx.recorder_at.contains(&stream.relay) {
        return;
    }
    let is_proved = streams.is_proved(key);
    let Some((relay, label)) = label(rooms, key, stream).map(|label| (stream.relay, label)) else { return };
    let tracks: Vec<u64> = stream.publish().into_iter().flat_map(|p| &p.tracks).map(|t| t.id).collect();
    let Some(record) = streams.record_mut(key) else { return };
    // It has none then, or those that an earlier signaling ordered, of which it is told when it has keys.
    if record.taps.awaited > 0 || !is_proved {
        record.taps.changed = true;
        return;
    }
    (record.taps.awaited, record.taps.changed) = (tracks.len(), false);
    cx.timers.clear(Timer::Taps(key));
    for track_id in tracks {
        let port = PORT_NAME.to_owned();
        let command = if label.recordings.is_empty() {
            Command::RemoveTap(RemoveTap { track_id, port })
        } else {
            Command::AddTap(AddTap { track_id, port, label: label.to_bytes() })
        };
        cx.ask_relay(relay, Purpose::Tap(key, track_id), command);
    }
}

/// Its client has keys: what waited for that is ordered.
pub(super) fn order_proved(cx: &mut Context, rooms: &Rooms, streams: &mut Streams, key: StreamKey) {
    let waits = |stream: &Stream| stream.publish().is_some_and(|publish| publish.record.taps.changed);
    if streams.get(key).is_some_and(|stream| waits(stream) || is_recorded(rooms, stream)) {
        order(cx, rooms, streams, key);
    }
}

/// `None`: nobody's, which is no publication.
fn label(rooms: &Rooms, key: StreamKey, stream: &Stream) -> Option<TapLabel> {
    let (room, member, publish) = (rooms.get(stream.room)?, rooms.owner(stream)?, stream.publish()?);
    let running = publish.record.running.iter().chain(&room.recording);
    let short = short_name(&room.name, &member.login, &stream.name, stream.has_video);
    Some(TapLabel {
        stream: short.to_owned(),
        name: (short != stream.name).then(|| stream.name.clone()),
        room: room.name.clone(),
        login: member.login.clone(),
        publication: key.0,
        screen: publish.screen,
        recordings: running.map(|running| running.wanted.clone()).collect(),
    })
}

/// Whether a publication is recorded, on the air or not.
pub(super) fn recorded(cx: &Context, room: &Room, publish: &Publish) -> Recorded {
    let record = &publish.record;
    let runs: Vec<&Running> = record.running.iter().chain(&room.recording).collect();
    let arrives = cx.recorder_at.contains(&room.relay) && record.taps.missing.len() < publish.tracks.len();
    if runs.is_empty() {
        Recorded::No
    } else if arrives && runs.iter().any(|running| !running.paused) {
        Recorded::Yes
    } else {
        Recorded::Paused
    }
}

/// Whether anything of this publication is to be recorded.
pub(super) fn is_recorded(rooms: &Rooms, stream: &Stream) -> bool {
    let own = stream.publish().is_some_and(|publish| publish.record.running.is_some());
    own || (stream.is_publish() && rooms.get(stream.room).is_some_and(|room| room.recording.is_some()))
}

/// The same of all that is recorded of what a relay carries, or that was until it could not be told.
pub(super) fn order_all(cx: &mut Context, rooms: &Rooms, streams: &mut Streams, relay: RelayId) {
    let concerns = |stream: &Stream| {
        is_recorded(rooms, stream) || stream.publish().is_some_and(|publish| publish.record.taps.changed)
    };
    let recorded = streams.on_relay(relay).filter(|(_, stream)| concerns(stream));
    for key in recorded.map(|(key, _)| key).collect::<Vec<_>>() {
        order(cx, rooms, streams, key);
    }
}

/// Whether this reply says only what an event says as well: the recorder or the track has just gone.
pub(super) fn is_late(reply: &Result<ReplyBody, ()>) -> bool {
    let late = [ErrorCode::UnknownPort, ErrorCode::UnknownTrack];
    matches!(reply, Ok(ReplyBody::Error(error)) if late.contains(&error.code()))
}

/// The relay has done it, or not. `Err`: the connection to it broke before it has said so.
pub(super) fn answered(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &mut Streams,
    (key, track_id): (StreamKey, u64),
    reply: &Result<ReplyBody, ()>,
) {
    let Some(room) = streams.get(key).map(|stream| stream.room) else { return };
    let Some(record) = streams.record_mut(key) else { return };
    record.taps.awaited = record.taps.awaited.saturating_sub(1);
    match reply {
        Ok(ReplyBody::Error(_)) if is_late(reply) => {}
        Ok(ReplyBody::Error(_)) => missing(cx, streams, key, track_id),
        Ok(_) => {
            if record.taps.missing.remove(&track_id) {
                cx.note_recording_changed(room);
            }
        }
        Err(()) => {
            record.taps.changed = true;
            cx.timers.set(Timer::Taps(key), cx.now + RETRY);
        }
    }
    // Else the timer does it: what is refused at once must not be asked for at once.
    let again = |record: &StreamRecord| record.taps.awaited == 0 && record.taps.changed;
    if streams.record_mut(key).is_some_and(|record| again(record)) && !cx.timers.runs(Timer::Taps(key)) {
        order(cx, rooms, streams, key);
    }
}

fn missing(cx: &mut Context, streams: &mut Streams, key: StreamKey, track_id: u64) {
    let Some(room) = streams.get(key).map(|stream| stream.room) else { return };
    cx.timers.set(Timer::Taps(key), cx.now + RETRY);
    if let Some(record) = streams.record_mut(key)
        && record.taps.missing.insert(track_id)
    {
        cx.note_recording_changed(room);
    }
}

/// A process has come to a relay's port, or is gone from it with all its taps.
pub(super) fn port_changed(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &mut Streams,
    relay: RelayId,
    change: &PortChanged,
) {
    if change.port == PORT_NAME {
        set_recorder(cx, rooms, streams, relay, change.connected);
    }
}

/// The recorder is at the relay's port, or is not. It is told of everything even if it was there before: it may
/// be another process by now.
pub(super) fn set_recorder(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &mut Streams,
    relay: RelayId,
    is_there: bool,
) {
    let changed = if is_there { cx.recorder_at.insert(relay) } else { cx.recorder_at.remove(&relay) };
    if changed {
        let recorded = streams.on_relay(relay).filter(|(_, stream)| is_recorded(rooms, stream));
        let of_streams = recorded.map(|(_, stream)| stream.room);
        rooms.recorded().chain(of_streams).for_each(|room| cx.note_recording_changed(room));
    }
    order_all(cx, rooms, streams, relay);
}

/// The recorder listens no more to a track, though nobody said that it should not.
pub(super) fn track_ended(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &mut Streams,
    relay: RelayId,
    ended: &PortTrackEnded,
) {
    let of_recorder = ended.port == PORT_NAME && !ended.source;
    let key = streams.of_track(ended.track_id).filter(|key| of_recorder && streams.is_on(*key, relay));
    let recorded = |key: &StreamKey| streams.get(*key).is_some_and(|stream| is_recorded(rooms, stream));
    if let Some(key) = key.filter(recorded) {
        missing(cx, streams, key, ended.track_id);
    }
}
