//! What is said across a port.

/// The controller's id of an up-track.
pub type TrackId = u64;

/// What is behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortKind {
    /// Another shard of this relay.
    Shard,
    /// A process of this machine, connected by a Unix socket.
    Local,
    /// Another node.
    Node,
}

/// One port of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// The kind of the other side.
    pub kind: PortKind,
    /// A shard's own number; of other kinds, unique as long as the relay runs.
    pub number: u32,
}

impl PortId {
    /// The port to another shard.
    #[must_use]
    pub const fn shard(number: u32) -> Self {
        Self { kind: PortKind::Shard, number }
    }

    /// The port to a local process.
    #[must_use]
    pub const fn local(number: u32) -> Self {
        Self { kind: PortKind::Local, number }
    }
}

/// A moment on the room clock: nanoseconds since the Unix epoch (1970-01-01T00:00:00Z, without leap seconds),
/// until 2262.
///
/// The relay reads the wall clock once, when it starts, and goes on with the monotonic clock, so differences
/// are true and steps of the wall clock change nothing. It is the clock of the relay's sender reports too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaTime(i64);

impl MediaTime {
    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MediaKind {
    /// `m=audio`
    Audio = 0,
    /// `m=video`
    Video = 1,
}

/// How a track is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// RFC 7587
    Opus = 0,
    /// G.711 µ-law
    Pcmu = 1,
    /// G.711 A-law
    Pcma = 2,
    /// RFC 7741
    Vp8 = 3,
    /// RFC 6184
    H264 = 4,
}

impl Codec {
    /// All values.
    pub const ALL: [Self; 5] = [Self::Opus, Self::Pcmu, Self::Pcma, Self::Vp8, Self::H264];
}

/// How important a track is (RFC 8835 §4.1): each shard withholds video for itself if it does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Priority {
    /// `medium`
    Medium = 0,
    /// `very-low`
    VeryLow = 1,
    /// `low`
    Low = 2,
    /// `high`
    High = 3,
}

impl Priority {
    /// All values.
    pub const ALL: [Self; 4] = [Self::Medium, Self::VeryLow, Self::Low, Self::High];
}

/// What the other side must know of an up-track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    /// Subscriptions stay within it.
    pub room_id: u64,
    /// Audio or video.
    pub kind: MediaKind,
    /// The one codec. A packet's payload is its RTP payload format.
    pub codec: Codec,
    /// Clock rate of RTP timestamps.
    pub clock_rate_hz: u32,
    /// As the controller gave it.
    pub priority: Priority,
    /// Its publisher has keys, so packets may come and want a history. If it gets them later, the track
    /// begins once more.
    pub connected: bool,
    /// The track stays although nobody listens: the side that begins it is its only source, by order.
    pub held: bool,
}

/// A packet without its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The up-track.
    pub track_id: TrackId,
    /// The publisher's extended sequence number: grows by one a packet, and is missing where a packet is lost
    /// for good.
    pub seq: u64,
    /// Which of the track's sources (SSRCs) one after the other; another value is another source, whose
    /// numbers and timestamps begin anywhere.
    pub source: u32,
    /// RTP timestamp as the publisher wrote it.
    pub timestamp: u32,
    /// When the relay received it.
    pub arrival: MediaTime,
    /// RTP marker bit.
    pub marker: bool,
    /// Whether a keyframe starts in it.
    pub keyframe: bool,
    /// Octet of the audio-level extension (RFC 6464).
    pub audio_level: Option<u8>,
    /// Octet of the video-orientation extension (3GPP TS 26.114 §7.4.5).
    pub video_orientation: Option<u8>,
}

/// Where the timestamps of a track stand: at `time` the track's RTP timestamp is `timestamp`. Audio and video
/// of one publisher are put side by side by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// A moment on the room clock.
    pub time: MediaTime,
    /// The RTP timestamp of that moment.
    pub timestamp: u32,
}

/// A message from one side of a port to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Message {
    /// The entry holds no message.
    #[default]
    Empty,
    /// To the listening side: packets of this track follow. Said again before the track has ended, be it with
    /// another opening, the packets' numbers go on; it keeps an unused track open.
    Begin {
        /// The up-track.
        track_id: TrackId,
        /// Number of this opening; unique on the side that says it.
        opening: u64,
        /// The up-track's description.
        track: Track,
    },
    /// To the listening side: a packet that is new; its payload stands beside the message.
    Packet(Packet),
    /// To the listening side: where the track's timestamps stand, after a sender report of its publisher.
    Clock {
        /// The up-track.
        track_id: TrackId,
        /// The relation of the track's timestamps to the room clock.
        clock: Clock,
    },
    /// To the listening side: the up-track is gone.
    End {
        /// The up-track.
        track_id: TrackId,
    },
    /// To the publisher's side: a keyframe is wanted; merged already, and repeated until one comes.
    Keyframe {
        /// The up-track.
        track_id: TrackId,
    },
    /// To the publisher's side: a packet of this track made the listening side fail; whoever sent it is to
    /// end.
    Fault {
        /// The up-track.
        track_id: TrackId,
    },
    /// To everybody: the side that says it has begun anew. What it sent is gone, and nobody there listens any
    /// more.
    Reset {
        /// The last [`Message::Begin`] that it saw; what was opened later it will see.
        opening: u64,
    },
    /// To the publisher's side: nobody listens any more. Means nothing once the track was opened again.
    Close {
        /// The up-track.
        track_id: TrackId,
        /// As in the last [`Message::Begin`] seen.
        opening: u64,
    },
}

impl Message {
    /// The up-track that it is about.
    #[must_use]
    pub const fn track_id(&self) -> Option<TrackId> {
        match self {
            Self::Empty | Self::Reset { .. } => None,
            Self::Packet(Packet { track_id, .. })
            | Self::Begin { track_id, .. }
            | Self::Clock { track_id, .. }
            | Self::End { track_id }
            | Self::Keyframe { track_id }
            | Self::Fault { track_id }
            | Self::Close { track_id, .. } => Some(*track_id),
        }
    }
}
