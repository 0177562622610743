//! Who is told that media of a stream stops though its client lives, and that it comes again.
//!
//! | who | how |
//! |---|---|
//! | the publisher, and who plays it | `notifyStreamEvent` of types `audioStopped`, `audioResumed`, … |
//! | the others in the room | the room event `MEDIA`; who comes later, `stopped` in `STATE` and `PLAYING` |
//! | the operator's hook | `StreamEvent` |
//! | WHIP and WHEP clients that listen | server-sent events (`events.rs`) |

use super::context::Context;
use super::rooms::Rooms;
use super::streams::Streams;
use crate::id::StreamKey;
use crate::message::{RoomEvent, ServerMessage, StreamEventType};
use crate::stream::{MediaState, Role, Stopped, Stream};
use relay_control::MediaKind;
use serde_json::json;
use std::time::Duration;

/// How long after a stream is on the air the first packets of each kind may take. Cameras take up to two
/// seconds.
pub(super) const FIRST_MEDIA_LIMIT: Duration = Duration::from_millis(2_500);

/// What had stopped of a stream before, and has now.
pub(super) fn tell(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &Streams,
    key: StreamKey,
    (before, after): (Stopped, Stopped),
) {
    let Some(stream) = streams.get(key).filter(|stream| stream.is_on_air()) else { return };
    tell_watchers(cx, streams, key);
    let Some(publish) = stream.publish().filter(|_| before != after) else { return };
    let audio = if after.audio { StreamEventType::AudioStopped } else { StreamEventType::AudioResumed };
    let video = if after.video { StreamEventType::VideoStopped } else { StreamEventType::VideoResumed };
    let changed = [(before.audio != after.audio, audio), (before.video != after.video, video)];
    for (_, event) in changed.into_iter().filter(|(changed, _)| *changed) {
        for stream in [key].iter().chain(publish.players.values()).filter_map(|key| streams.get(*key)) {
            let media_session_id = stream.media_session_id.as_str();
            if let Some(to) = rooms.connection_of(stream) {
                cx.send(to, &ServerMessage::StreamEvent { media_session_id, event, payload: None });
            }
        }
        let owner = rooms.owner(stream);
        let app_key = owner.map(|owner| owner.app_key.as_str());
        cx.note(rooms.connection_of(stream), "StreamEvent", || {
            json!({"appKey": app_key, "mediaSessionId": stream.media_session_id, "name": stream.name,
                "type": event.name()})
        });
    }
    if let Some(member) = rooms.owner(stream) {
        let event = RoomEvent::Media(&member.login, &stream.name, after.kinds());
        rooms.tell_others(cx, stream.room, member.id, event);
    }
}

/// Those of the stream and its players that came over HTTP.
pub(super) fn tell_watchers(cx: &mut Context, streams: &Streams, key: StreamKey) {
    let Some(stream) = streams.get(key) else { return };
    let players = stream.publish().into_iter().flat_map(|publish| publish.players.values());
    for key in [key].iter().chain(players) {
        if let Some(stream) = streams.get(*key).filter(|stream| stream.over_http) {
            cx.media_changed(*key, Some(state(streams, stream)));
        }
    }
}

/// Of a publisher, or of what a player gets.
pub(super) fn state(streams: &Streams, stream: &Stream) -> MediaState {
    let publish = match &stream.role {
        Role::Publish(publish) => Some(publish),
        Role::Play(play) => streams.publish(play.source),
    };
    let of = |has: bool, kind| {
        has.then(|| stream.is_on_air() && publish.is_some_and(|publish| publish.flows(kind)))
    };
    MediaState {
        audio: of(stream.has_audio, MediaKind::Audio),
        video: of(stream.has_video, MediaKind::Video),
    }
}
