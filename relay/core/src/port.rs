//! The core's words and those of its ports ([`relay_port`]), each put into the other at the border of a
//! shard.

use crate::outbox::DATAGRAM_BYTES_MAX;
use crate::time::RoomClock;
use crate::track::{Params, UpTrack};
use crate::up::{ClockReference, PacketMeta};
use relay_port::{Clock, PAYLOAD_BYTES_MAX, Packet, PortId, Track};

const _: () = assert!(PAYLOAD_BYTES_MAX == DATAGRAM_BYTES_MAX, "a received payload always fits");

/// An order of the process to the shard of an up-track: send it to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPort {
    /// The up-track.
    pub track_id: u64,
    /// Where to.
    pub to: PortId,
    /// The room behind the port, of which the up-track must be; `None` if there is none, as at a local
    /// process.
    pub room_id: Option<u64>,
}

/// What is said of an up-track.
pub(crate) fn track_of(up: &UpTrack, connected: bool) -> Track {
    Track {
        room_id: up.room_id,
        kind: up.params.kind,
        codec: up.params.codec,
        clock_rate_hz: up.params.clock_rate_hz,
        priority: up.priority,
        connected,
        held: false,
    }
}

/// The up-track's parameters. What is negotiated with a publisher alone (payload types, MID, header
/// extensions, feedback) means nothing at a port.
pub(crate) fn params_of(track: &Track) -> Params {
    Params::bare(track.kind, track.codec, track.clock_rate_hz)
}

/// What is said of a packet of this track.
pub(crate) const fn packet_of(
    (track_id, seq, source): (u64, u64, u32),
    meta: &PacketMeta,
    clock: RoomClock,
) -> Packet {
    let PacketMeta { timestamp, marker, keyframe, arrival, audio_level, video_orientation } = *meta;
    let arrival = clock.media_time(arrival);
    Packet { track_id, seq, source, timestamp, arrival, marker, keyframe, audio_level, video_orientation }
}

/// What the core keeps of a packet that came by a port.
pub(crate) fn meta_of(packet: &Packet, clock: RoomClock) -> PacketMeta {
    let Packet { timestamp, arrival, marker, keyframe, audio_level, video_orientation, .. } = *packet;
    let arrival = clock.time(arrival);
    PacketMeta { timestamp, marker, keyframe, arrival, audio_level, video_orientation }
}

/// Where a track's timestamps stand, on the room clock.
pub(crate) const fn clock_of(reference: ClockReference, clock: RoomClock) -> Clock {
    Clock { time: clock.media_time(reference.time), timestamp: reference.timestamp }
}

/// The same on the process's own clock.
pub(crate) fn reference_of(clock: Clock, room_clock: RoomClock) -> ClockReference {
    ClockReference { time: room_clock.time(clock.time), timestamp: clock.timestamp }
}
