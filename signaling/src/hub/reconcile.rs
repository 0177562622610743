//! Streams and the transports of a relay, when the connection to it has been made, or is lost for good.

use super::adopt::adopt;
use super::connections::Connections;
use super::context::Context;
use super::end::end_stream;
use super::progress::{transport_state, up_track_activity};
use super::relays::{Found, Relays};
use super::rooms::Rooms;
use super::streams::Streams;
use crate::id::{RelayId, StreamKey};
use crate::refusal::StreamEnd;
use crate::stream_state::StreamState;
use relay_control::{
    CloseTransport, Command, FailReason, Inventory, TransportInfo, TransportStateChanged, UpTrackActivity,
};
use std::collections::HashSet;

/// The relay is there: `inventory` is all that it has.
pub(super) fn relay_found(
    cx: &mut Context,
    connections: &mut Connections,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    (relay, found): (RelayId, Found),
    inventory: Inventory,
) {
    if found == Found::Another {
        fail_all(cx, rooms, streams, relay);
    }
    for info in &inventory.transports {
        catch_up(cx, connections, rooms, streams, relays, relay, info);
    }
    let ours = streams.on_relay(relay);
    let settled = ours.filter(|(_, stream)| !matches!(stream.state, StreamState::Negotiating(_)));
    let there = inventory.transports.iter().map(|info| StreamKey(info.transport_id));
    for key in absent(settled.map(|(key, _)| key), there) {
        end_stream(cx, rooms, streams, key, StreamEnd::RelayLost);
    }
    if found != Found::Same {
        adopt(cx, rooms, streams, relay, inventory);
        return;
    }
    tracing::debug!(transports = inventory.transports.len(), "control connection is back");
    // Known relay, unknown transports: their end is on its way there again, or was lost.
    for TransportInfo { transport_id, .. } in inventory.transports {
        if !streams.contains(StreamKey(transport_id)) {
            cx.tell_relay(relay, Command::CloseTransport(CloseTransport { transport_id }));
        }
    }
}

/// All streams are lost with the relay that carried them.
pub(super) fn fail_all(cx: &mut Context, rooms: &mut Rooms, streams: &mut Streams, relay: RelayId) {
    let ours = streams.on_relay(relay).map(|(key, stream)| (stream.is_publish(), key));
    let mut ours: Vec<(bool, StreamKey)> = ours.collect();
    // Plays first: their owners hear that they failed, not that the publisher stopped.
    ours.sort_unstable();
    for (_, key) in ours {
        end_stream(cx, rooms, streams, key, StreamEnd::RelayLost);
    }
}

/// Events that were missed while the connection was down.
fn catch_up(
    cx: &mut Context,
    connections: &mut Connections,
    rooms: &mut Rooms,
    streams: &mut Streams,
    relays: &Relays,
    relay: RelayId,
    info: &TransportInfo,
) {
    let transport_id = info.transport_id;
    if !streams.contains(StreamKey(transport_id)) {
        return;
    }
    for track in &info.up_tracks {
        let activity = UpTrackActivity { track_id: track.track_id, active: track.active };
        up_track_activity(cx, connections, rooms, streams, relays, relay, activity);
    }
    let reason = FailReason::ConsentExpired as i32;
    let change = TransportStateChanged { transport_id, state: info.state, reason };
    transport_state(cx, rooms, streams, relays, relay, &change);
}

/// Those of `ours` that are not `there`. Each is looked at once, as both may be tens of thousands.
fn absent(ours: impl Iterator<Item = StreamKey>, there: impl Iterator<Item = StreamKey>) -> Vec<StreamKey> {
    let there: HashSet<StreamKey> = there.collect();
    ours.filter(|key| !there.contains(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_is_absent_is_found_by_looking_at_each_once() {
        const MANY: u64 = 20_000;
        let steps = Cell::new(0);
        let step = |key| {
            steps.set(steps.get() + 1);
            StreamKey(key)
        };
        let lost = absent((0..MANY).map(step), (1..MANY + 5).map(step));
        assert_eq!((lost, steps.get()), (vec![StreamKey(0)], 2 * MANY + 4));
    }
}
