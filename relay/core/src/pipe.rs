//! Pipes: an up-track carried from its publisher's shard to another one, over a bounded queue between the two.
//!
//! One queue per direction and pair of shards carries all pipes of that pair. Towards the subscribers: that a track
//! begins, its packets in clear, its clock, its end. Towards the publisher: that a keyframe is wanted, that nobody
//! listens any more. One queue, one order: whoever reads an entry has read all that was said before it.
//!
//! Invariants
//! - A packet crosses once per other shard, however many subscribers wait there.
//! - The entries of a queue are allocated when a track begins to be piped, as many as its kind needs, and given back when
//!   it ends ([`Load`]); no packet allocates.
//! - Packets may be lost to a full queue, and are counted. A pipe that finds no room to begin is refused. That it ends or
//!   is closed, by whichever side's fault, is never lost: it waits in the shard until there is room, and nothing for that shard overtakes it.
//! - A packet says of which source (SSRC) of its track it is, so a lost one cannot hide that the source changed.
//!
//! Deliberately absent: threads, wake-ups, and the queue itself; see [`PipeSink`].

use crate::outbox::DATAGRAM_BYTES_MAX;
use crate::track::Params;
use crate::up::{ClockReference, PacketMeta};
use relay_control::{MediaKind, Priority, RtpParameters};

/// What one shard tells another. Tracks are named by the controller's id.
#[derive(Debug, Default)]
pub enum Message {
    /// Never written, or taken out.
    #[default]
    Empty,
    /// To the subscribers' shard: packets of this track follow. Said again, it keeps an unused pipe open.
    Begin {
        /// The up-track.
        track_id: u64,
        /// Number of this opening; unique in the publisher's shard.
        opening: u64,
        /// What the up-track is.
        track: Box<PipedTrack>,
    },
    /// A packet that is new; its payload is the entry's.
    Packet(PipedPacket),
    /// Where the track's timestamps stand on relay time, after a sender report of its publisher.
    Clock {
        /// The up-track.
        track_id: u64,
        /// Relay time is the same on all shards.
        reference: ClockReference,
    },
    /// The up-track is gone.
    End {
        /// The up-track.
        track_id: u64,
    },
    /// To the publisher's shard: subscribers want a keyframe; merged already, and repeated until one comes.
    Keyframe {
        /// The up-track.
        track_id: u64,
    },
    /// To the publisher's shard: a packet of this track made us panic; whoever sent it is to end.
    Fault {
        /// The up-track.
        track_id: u64,
    },
    /// To everybody: the shard that says it has begun anew. What it piped is gone, and nobody there listens any more.
    Reset {
        /// The last [`Message::Begin`] that it saw; what was opened later it will see.
        opening: u64,
    },
    /// To the publisher's shard: nobody listens any more. Means nothing once the pipe was opened again.
    Close {
        /// The up-track.
        track_id: u64,
        /// As in the last [`Message::Begin`] seen.
        opening: u64,
    },
}

impl Message {
    /// The up-track that it is about.
    #[must_use]
    pub const fn track_id(&self) -> Option<u64> {
        match self {
            Self::Empty | Self::Reset { .. } => None,
            Self::Packet(PipedPacket { track_id, .. })
            | Self::Begin { track_id, .. }
            | Self::Clock { track_id, .. }
            | Self::End { track_id }
            | Self::Keyframe { track_id }
            | Self::Fault { track_id }
            | Self::Close { track_id, .. } => Some(*track_id),
        }
    }
}

/// What a subscribers' shard must know of an up-track.
#[derive(Clone, Debug)]
pub struct PipedTrack {
    /// Subscriptions stay within it.
    pub room_id: u64,
    /// As negotiated with the publisher, checked.
    pub params: Params,
    /// As negotiated with the publisher.
    pub rtp: RtpParameters,
    /// As the controller gave it: each shard sheds for itself.
    pub priority: Priority,
    /// Its publisher has keys, so packets may come and want a history. If it gets them later, the track begins once more.
    pub connected: bool,
}

/// What is said of a packet besides its payload.
#[derive(Clone, Copy, Debug)]
pub struct PipedPacket {
    /// The up-track.
    pub track_id: u64,
    /// The publisher's extended sequence number.
    pub seq: u64,
    /// Which of the track's SSRCs one after the other; another value is another source.
    pub source: u32,
    /// As in the publisher's shard.
    pub meta: PacketMeta,
}

/// One place of a queue.
#[derive(Debug)]
pub struct Entry {
    message: Message,
    len: usize,
    payload: [u8; DATAGRAM_BYTES_MAX],
}

impl Default for Entry {
    fn default() -> Self {
        Self { message: Message::Empty, len: 0, payload: [0; DATAGRAM_BYTES_MAX] }
    }
}

impl Entry {
    /// Writes a message without payload.
    pub fn write(&mut self, message: Message) {
        (self.message, self.len) = (message, 0);
    }

    /// Writes a packet. A payload of a datagram always fits.
    pub fn write_packet(&mut self, packet: PipedPacket, payload: &[u8]) {
        self.message = Message::Packet(packet);
        self.len = payload.len();
        self.payload[..payload.len()].copy_from_slice(payload);
    }

    /// Takes the message out and lends the payload, which is empty for all but packets.
    pub fn take(&mut self) -> (Message, &[u8]) {
        (std::mem::take(&mut self.message), &self.payload[..self.len])
    }
}

/// Entries of a queue that no track uses: so much can be said at once of those that begin.
const ENTRIES_IDLE: usize = 16;
/// Entries for a piped video: a keyframe of a hundred packets, and as long again that the other worker may be late.
const ENTRIES_VIDEO: usize = 256;
/// Entries for a piped audio: 50 packets a second, and a worker that is late by more than half a second.
const ENTRIES_AUDIO: usize = 32;
/// Entries for a track that comes from the other shard: a keyframe is asked for, and the pipe is closed.
const ENTRIES_BACK: usize = 2;

/// What a queue carries one way, and so how many entries it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Videos piped this way.
    pub videos: usize,
    /// Audios piped this way.
    pub audios: usize,
    /// Tracks piped the other way, of which this one speaks back.
    pub back: usize,
}

impl Load {
    /// Entries for all of it; the queue itself is bounded.
    #[must_use]
    pub const fn entries(self) -> usize {
        ENTRIES_IDLE + ENTRIES_VIDEO * self.videos + ENTRIES_AUDIO * self.audios + ENTRIES_BACK * self.back
    }

    /// How many tracks of a kind.
    pub const fn of(&mut self, kind: MediaKind) -> &mut usize {
        match kind {
            MediaKind::Audio => &mut self.audios,
            MediaKind::Video => &mut self.videos,
        }
    }
}

/// The writing end of a queue towards one other shard.
pub trait PipeSink {
    /// Lends the next free entry; `None` if the queue is full. Lent and not committed, it is lent again.
    fn slot(&mut self) -> Option<&mut Entry>;

    /// Sends the entry lent last. Called exactly once per lent entry that is to be sent.
    fn commit(&mut self);

    /// Makes room for so many entries in all, or for as many as the queue may have; what is beyond is given back, as soon as
    /// it is free. Called when a track begins or ends, never for a packet.
    fn make_room(&mut self, entries: usize);

    /// Called after a batch: wakes the other side if anything was committed since the last call.
    fn ring(&mut self);
}

/// An order of the process to a publisher's shard: pipe an up-track to another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPipe {
    /// The up-track.
    pub track_id: u64,
    /// The subscriber's shard.
    pub to: u32,
    /// The subscriber's room: the up-track must be of it.
    pub room_id: u64,
}
