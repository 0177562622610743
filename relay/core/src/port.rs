//! The core's words and those of its ports ([`relay_port`]), each put into the other at the border of a
//! shard.

use crate::outbox::DATAGRAM_BYTES_MAX;
use crate::time::RoomClock;
use crate::track::{Params, UpTrack};
use crate::up::{ClockReference, PacketMeta};
use relay_control::{Codec, ExtensionIds, MediaKind, Priority, RtpParameters};
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
    let (kind, codec, priority) = (kind_to(up.params.kind), up.params.codec, up.priority);
    Track {
        room_id: up.room_id,
        kind,
        codec: match codec {
            Codec::Opus => relay_port::Codec::Opus,
            Codec::Pcmu => relay_port::Codec::Pcmu,
            Codec::Pcma => relay_port::Codec::Pcma,
            Codec::Vp8 => relay_port::Codec::Vp8,
            Codec::H264 => relay_port::Codec::H264,
        },
        clock_rate_hz: up.params.clock_rate_hz,
        priority: match priority {
            Priority::Medium => relay_port::Priority::Medium,
            Priority::VeryLow => relay_port::Priority::VeryLow,
            Priority::Low => relay_port::Priority::Low,
            Priority::High => relay_port::Priority::High,
        },
        connected,
        held: false,
    }
}

/// The same kind in the words of a port.
pub(crate) const fn kind_to(kind: MediaKind) -> relay_port::MediaKind {
    match kind {
        MediaKind::Audio => relay_port::MediaKind::Audio,
        MediaKind::Video => relay_port::MediaKind::Video,
    }
}

/// The up-track's parameters. What is negotiated with a publisher alone (payload types, MID, header
/// extensions, feedback) means nothing at a port.
pub(crate) fn params_of(track: &Track) -> (Params, RtpParameters, Priority) {
    let kind = match track.kind {
        relay_port::MediaKind::Audio => MediaKind::Audio,
        relay_port::MediaKind::Video => MediaKind::Video,
    };
    let codec = match track.codec {
        relay_port::Codec::Opus => Codec::Opus,
        relay_port::Codec::Pcmu => Codec::Pcmu,
        relay_port::Codec::Pcma => Codec::Pcma,
        relay_port::Codec::Vp8 => Codec::Vp8,
        relay_port::Codec::H264 => Codec::H264,
    };
    let priority = match track.priority {
        relay_port::Priority::Medium => Priority::Medium,
        relay_port::Priority::VeryLow => Priority::VeryLow,
        relay_port::Priority::Low => Priority::Low,
        relay_port::Priority::High => Priority::High,
    };
    let clock_rate_hz = track.clock_rate_hz;
    let params = Params {
        kind,
        codec,
        clock_rate_hz,
        pt: crate::id::Pt::default(),
        rtx_pt: None,
        mid: crate::id::Mid::default(),
        extensions: ExtensionIds::default(),
        nack: false,
        pli: false,
        fir: false,
        remb: false,
    };
    let rtp =
        RtpParameters { kind: kind.into(), codec: codec.into(), clock_rate_hz, ..RtpParameters::default() };
    (params, rtp, priority)
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
