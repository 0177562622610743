//! What publishers tell the players of their streams (`sendStreamEvent`), and what they are told themselves of
//! streams that run.

use super::connections::Connections;
use super::context::Context;
use super::label::write_label;
use super::rooms::Rooms;
use super::streams::Streams;
use crate::id::{ConnectionId, RelayId, StreamKey};
use crate::message::{ServerMessage, StreamEventType};
use crate::stream::{Muted, Stream};
use relay_control::UpTrackPoliced;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

/// The publisher of this stream says something to its players. Those that read slowly are told of a mute when
/// they read again: only the outcome counts, so nobody can be cut off by how often another one mutes.
pub(super) fn stream_event(
    cx: &mut Context,
    connections: &Connections,
    rooms: &Rooms,
    streams: &mut Streams,
    key: StreamKey,
    (event, payload): (StreamEventType, Option<&RawValue>),
) {
    let changed = streams.set_muted(key, event);
    let players = streams.publish(key).map(|publish| publish.players.values().copied().collect());
    let players: Vec<StreamKey> = players.unwrap_or_default();
    for player in players {
        let Some(stream) = streams.get(player) else { continue };
        let Some(to) = rooms.connection_of(stream) else { continue };
        if !connections.is_slow(to) {
            cx.send(
                to,
                &ServerMessage::StreamEvent { media_session_id: &stream.media_session_id, event, payload },
            );
        } else if event != StreamEventType::Data {
            streams.withhold_notes(player);
        }
    }
    if changed {
        write_label(cx, rooms, streams, key);
    }
}

/// A connection reads again: how the microphones and cameras are whose notes were withheld from it.
pub(super) fn catch_up_on_notes(
    cx: &mut Context,
    connections: &Connections,
    rooms: &Rooms,
    streams: &mut Streams,
    to: ConnectionId,
) {
    let members = connections.memberships(to).iter().filter_map(|(room, id)| rooms.member(*room, *id));
    for player in members.flat_map(|member| &member.plays) {
        let Some(Muted { audio, video }) = streams.take_missed_notes(*player) else { continue };
        let Some(Stream { media_session_id, .. }) = streams.get(*player) else { continue };
        let audio = if audio { StreamEventType::AudioMuted } else { StreamEventType::AudioUnmuted };
        let video = if video { StreamEventType::VideoMuted } else { StreamEventType::VideoUnmuted };
        for event in [audio, video] {
            cx.send(to, &ServerMessage::StreamEvent { media_session_id, event, payload: None });
        }
    }
}

/// The relay discards packets of a publisher that sends more than it was told it may. It says so of a track
/// every 10 s at most, so log, publisher and hook hear no more of it either.
pub(super) fn policed(
    cx: &mut Context,
    rooms: &Rooms,
    streams: &Streams,
    relay: RelayId,
    policed: UpTrackPoliced,
) {
    let UpTrackPoliced { track_id, packets, max_receive_bitrate_bps } = policed;
    let key = streams.of_track(track_id).filter(|key| streams.is_on(*key, relay));
    let Some(stream) = key.and_then(|key| streams.get(key)) else { return };
    tracing::warn!(
        stream = stream.name,
        room = rooms.get(stream.room).map(|room| room.name.as_str()),
        packets,
        max_bitrate_bps = max_receive_bitrate_bps,
        "a publisher sends too much, packets are discarded; lower its encoder's bitrate, or raise \
         relay.max_receive_bitrate_bps or media.max_publish_bitrate_bps"
    );
    let event = StreamEventType::BitrateExceeded;
    let media_session_id = stream.media_session_id.as_str();
    let payload = json!({"maxBitrateBps": max_receive_bitrate_bps, "discardedPackets": packets});
    // A client of WHIP can be told nothing.
    let to = rooms.connection_of(stream);
    if let (Some(to), Ok(raw)) = (to, to_raw_value(&payload)) {
        let payload = Some(&*raw);
        cx.send(to, &ServerMessage::StreamEvent { media_session_id, event, payload });
    }
    let app_key = rooms.owner(stream).map(|owner| owner.app_key.as_str());
    cx.note(to, "StreamEvent", || {
        json!({"appKey": app_key, "mediaSessionId": media_session_id, "name": stream.name,
            "type": event.name(), "payload": payload})
    });
}
