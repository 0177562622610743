//! Frames from RTP payloads: VP8 (RFC 7741), H.264 (RFC 6184), Opus (RFC 7587) and G.711.
//!
//! Sans-IO: [`Depacketizer::handle_packet`] takes packets in any order, [`Depacketizer::poll_frame`] gives
//! frames in the order of the publisher's numbers.
//!
//! Invariants
//! - A frame that comes out is whole, and all frames that it needs came out before it: a video frame of
//!   which a packet is missing is dropped, and those behind it up to the next keyframe. A frame to which no
//!   other one refers (the N bit, nal_ref_idc) goes alone.
//! - No octets make it panic; what it holds is bounded by [`HELD_PACKETS_MAX`] and [`FRAME_BYTES_MAX`].
//! - Every packet is in one of [`Counts`], or still held ([`Depacketizer::pending`]).
//!
//! Deliberately absent: interleaved modes of H.264, and concealment: what is missing is a gap.

mod assemble;
mod audio;
mod bits;
mod counts;
mod frame;
mod h264;
mod parameter_sets;
mod reorder;
mod vp8;

pub(crate) use audio::ticks;
pub use counts::Counts;
pub use frame::{FRAME_BYTES_MAX, Frame, VideoParams};
pub use parameter_sets::{free_set_id, in_band, with_sets};
pub use reorder::{HELD_PACKETS_MAX, HOLE_WAIT_NANOS};

use assemble::Assembler;
use relay_port::{Codec, MediaTime, Packet};
use reorder::Reorder;

/// See the module.
#[derive(Debug)]
pub struct Depacketizer {
    reorder: Reorder,
    /// Of the last packet.
    source: Option<u32>,
    assembler: Assembler,
    counts: Counts,
}

impl Depacketizer {
    /// For a track of this codec.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            reorder: Reorder::default(),
            source: None,
            assembler: Assembler::new(codec),
            counts: Counts::default(),
        }
    }

    /// Takes a packet. One of another source ends what is held of the source before.
    pub fn handle_packet(&mut self, packet: &Packet, payload: &[u8]) {
        if let Some(source) = self.source.filter(|source| *source != packet.source) {
            if packet.source.wrapping_sub(source).cast_signed() < 0 {
                self.counts.packets_left_source += 1;
                return;
            }
            self.handle_end();
        }
        self.source = Some(packet.source);
        let Self { reorder, assembler, counts, .. } = self;
        reorder.handle_packet(packet, payload, counts, |packet, payload, lost, counts| {
            assembler.handle_packet(packet, payload, lost, counts);
        });
    }

    /// Gives up what was waited for long enough.
    pub fn handle_timeout(&mut self, now: MediaTime) {
        let Self { reorder, assembler, counts, .. } = self;
        reorder.handle_timeout(now.as_nanos(), counts, |packet, payload, lost, counts| {
            assembler.handle_packet(packet, payload, lost, counts);
        });
    }

    /// When [`Depacketizer::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MediaTime> {
        self.reorder.poll_timeout().map(MediaTime::from_nanos)
    }

    /// The track ends, or begins anew with a decoder that knows nothing: what is held comes out, whole or
    /// not.
    pub fn handle_end(&mut self) {
        let Self { reorder, assembler, counts, .. } = self;
        reorder.end(counts, |packet, payload, lost, counts| {
            assembler.handle_packet(packet, payload, lost, counts)
        });
        assembler.end_source(counts);
        self.source = None;
    }

    /// The next frame.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        self.assembler.poll_frame()
    }

    /// Whether video frames are dropped until a keyframe comes: ask for one.
    #[must_use]
    pub const fn awaits_keyframe(&self) -> bool {
        self.assembler.awaits_keyframe()
    }

    /// What became of packets and frames.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Packets of which it is not decided yet what becomes of them.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.reorder.held() as u64 + self.assembler.pending()
    }
}

#[cfg(test)]
mod tests;
