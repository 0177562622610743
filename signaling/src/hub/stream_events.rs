//! What publishers tell the players of their streams: `sendStreamEvent`.

use super::connections::Connections;
use super::context::Context;
use super::label::write_label;
use super::rooms::Rooms;
use super::streams::Streams;
use crate::id::{ConnectionId, StreamKey};
use crate::message::{ServerMessage, StreamEventType};
use crate::stream::{Muted, Stream};
use serde_json::value::RawValue;

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
