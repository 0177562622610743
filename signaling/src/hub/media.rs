//! Who is told that media of a stream stops though its client lives, and that it comes again.
//!
//! | who | how |
//! |---|---|
//! | the publisher, and who plays it | `notifyStreamEvent` of types `audioStopped`, `audioResumed`, … |
//! | the others in the room | the room event `MEDIA`; who comes later, `stopped` in `STATE` and `PLAYING` |
//! | the operator's hook | `StreamEvent` |
//! | WHIP and WHEP clients that listen | server-sent events (`events.rs`), with whether it is recorded |
//!
//! Whoever reads slowly is told how it is when he reads again: only the outcome counts, so nobody can be cut off
//! by how often another one's media stops.

use super::connections::Connections;
use super::context::Context;
use super::rooms::Rooms;
use super::streams::Streams;
use super::taps;
use crate::id::{ConnectionId, StreamKey};
use crate::message::{RoomEvent, ServerMessage, StreamEventType};
use crate::record::Recorded;
use crate::stream::{MediaState, Publish, Stopped, Stream};
use relay_control::MediaKind;
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

/// How long after a stream is on the air the first packets of each kind may take. Cameras take up to two
/// seconds.
pub(super) const FIRST_MEDIA_LIMIT: Duration = Duration::from_millis(2_500);

/// What had stopped of a stream before, and has now.
pub(super) fn tell(
    cx: &mut Context,
    connections: &mut Connections,
    rooms: &Rooms,
    streams: &Streams,
    key: StreamKey,
    (before, after): (Stopped, Stopped),
) {
    let Some(stream) = streams.get(key).filter(|stream| stream.is_on_air()) else { return };
    tell_watchers(cx, rooms, streams, key);
    let Some(publish) = stream.publish().filter(|_| before != after) else { return };
    let audio = (before.audio != after.audio).then(|| event(MediaKind::Audio, after));
    let video = (before.video != after.video).then(|| event(MediaKind::Video, after));
    let events: Vec<StreamEventType> = audio.into_iter().chain(video).collect();
    for key in [key].iter().chain(publish.players.values()) {
        let of = streams.get(*key).and_then(|stream| Some((stream, rooms.connection_of(stream)?)));
        let Some((stream, to)) = of.filter(|(_, to)| connections.hears_of_media(*to, *key)) else { continue };
        events.iter().for_each(|event| tell_of(cx, to, stream, *event));
    }
    let owner = rooms.owner(stream);
    let app_key = owner.map(|owner| owner.app_key.as_str());
    for event in events {
        cx.note(rooms.connection_of(stream), "StreamEvent", || {
            json!({"appKey": app_key, "mediaSessionId": stream.media_session_id, "name": stream.name,
                "type": event.name()})
        });
    }
    let Some((room, owner)) = rooms.get(stream.room).zip(owner) else { return };
    let mut others = room.connections_except(owner.id);
    others.retain(|to| connections.hears_of_media(*to, key));
    cx.send_event(&others, &room.name, RoomEvent::Media(&owner.login, &stream.name, after.kinds()));
}

/// A connection reads again, which was not told of these streams.
pub(super) fn catch_up(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &Streams,
    to: ConnectionId,
    missed: HashSet<StreamKey>,
) {
    for stream in missed.into_iter().filter_map(|key| streams.get(key)) {
        let Some(now) = streams.source_of(stream).map(Publish::stopped) else { continue };
        if rooms.connection_of(stream) == Some(to) {
            let kinds = [(stream.has_audio, MediaKind::Audio), (stream.has_video, MediaKind::Video)];
            kinds
                .iter()
                .filter(|(has, _)| *has)
                .for_each(|(_, kind)| tell_of(cx, to, stream, event(*kind, now)));
        } else if let (Some(room), Some(owner)) = (rooms.get(stream.room), rooms.owner(stream)) {
            cx.send_event(&[to], &room.name, RoomEvent::Media(&owner.login, &stream.name, now.kinds()));
        }
    }
}

fn event(kind: MediaKind, now: Stopped) -> StreamEventType {
    match kind {
        MediaKind::Audio if now.audio => StreamEventType::AudioStopped,
        MediaKind::Audio => StreamEventType::AudioResumed,
        MediaKind::Video if now.video => StreamEventType::VideoStopped,
        MediaKind::Video => StreamEventType::VideoResumed,
    }
}

fn tell_of(cx: &mut Context, to: ConnectionId, stream: &Stream, event: StreamEventType) {
    let media_session_id = stream.media_session_id.as_str();
    cx.send(to, &ServerMessage::StreamEvent { media_session_id, event, payload: None });
}

/// Those of the stream and its players that came over HTTP.
pub(super) fn tell_watchers(cx: &mut Context, rooms: &Rooms, streams: &Streams, key: StreamKey) {
    let Some(stream) = streams.get(key) else { return };
    let players = stream.publish().into_iter().flat_map(|publish| publish.players.values());
    for key in [key].iter().chain(players) {
        if let Some(stream) = streams.get(*key).filter(|stream| stream.over_http) {
            cx.media_changed(*key, Some(state(cx, rooms, streams, stream)));
        }
    }
}

/// Of a publisher, or of what a player gets.
pub(super) fn state(cx: &Context, rooms: &Rooms, streams: &Streams, stream: &Stream) -> MediaState {
    let publish = streams.source_of(stream);
    let of = |has: bool, kind| {
        has.then(|| stream.is_on_air() && publish.is_some_and(|publish| publish.flows(kind)))
    };
    MediaState {
        audio: of(stream.has_audio, MediaKind::Audio),
        video: of(stream.has_video, MediaKind::Video),
        recorded: rooms
            .get(stream.room)
            .zip(publish)
            .map_or(Recorded::No, |(room, publish)| taps::recorded(cx, room, publish)),
    }
}
