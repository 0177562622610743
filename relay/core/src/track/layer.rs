//! One encoding of an up-track: what a subscriber gets the packets of.

use super::Params;
use crate::id::Ssrc;
use crate::keys::DownKey;
use crate::time::Time;
use crate::up::loss::GIVE_UP_AFTER;
use crate::up::{UpStream, UpStreamConfig};
use arrayvec::ArrayVec;
use std::time::Duration;

/// A source that was not heard for so long may have been left for one before it. Packets are not reordered by
/// more.
const SOURCE_GONE: Duration = Duration::from_millis(200);

/// Accepted packets of one up-track that are forwarded together. More arrive in a batch only under a flood or
/// after a stall, and a longer run gains nothing.
pub const BURST_MAX: usize = 16;

/// Extended sequence numbers of accepted packets that wait for the end of the batch.
pub type Pending = ArrayVec<u64, BURST_MAX>;

/// SSRCs remembered that have fed a track or its retransmissions. Late packets are of the last source or two.
pub const LEFT_MAX: usize = 6;

/// See the module.
#[derive(Debug)]
pub struct Layer {
    /// SSRC that feeds it now.
    pub ssrc: Option<Ssrc>,
    /// SSRCs that have fed it before, and those of their retransmissions, latest last.
    pub left: ArrayVec<Ssrc, LEFT_MAX>,
    /// Counts its SSRCs one after the other, in the publisher's shard.
    pub sources: u32,
    /// When the last change was.
    pub source_since: Time,
    /// Down-tracks it feeds, in no order: each knows its index ([`DownTrack::place`](super::DownTrack)).
    pub subscribers: Vec<DownKey>,
    /// Accepted packets that wait for the end of the batch.
    pub pending: Pending,
    /// Numbers, losses, keyframes and the one plaintext copy.
    pub stream: UpStream,
    /// When the last packet came.
    pub last_packet: Time,
}

impl Layer {
    /// Nothing received yet.
    #[must_use]
    pub fn new(params: &Params, now: Time) -> Self {
        let stream = UpStream::new(&UpStreamConfig {
            ssrc: Ssrc::default(),
            kind: params.kind,
            clock_rate_hz: params.clock_rate_hz,
            nack: params.nack && params.rtx_pt.is_some(),
        });
        Self {
            ssrc: None,
            left: ArrayVec::new(),
            sources: 0,
            source_since: Time::ZERO,
            subscribers: Vec::new(),
            pending: Pending::new(),
            stream,
            last_packet: now,
        }
    }

    /// Whether a packet of this SSRC is a late one, of a source that the publisher has left.
    #[must_use]
    pub fn is_late_source(&self, now: Time, ssrc: Ssrc) -> bool {
        self.left.contains(&ssrc) && now.since(self.last_packet) < SOURCE_GONE
    }

    /// Whether a retransmission under this SSRC was asked for before the source changed: an encoder may have
    /// continued the numbers, and then it would be taken for one of the new source's. Later it is one, of a
    /// publisher that keeps the SSRC of its retransmissions.
    #[must_use]
    pub fn is_late_rtx(&self, now: Time, ssrc: Ssrc) -> bool {
        self.left.contains(&ssrc) && now.since(self.source_since) < GIVE_UP_AFTER
    }

    /// Another SSRC feeds the track from now on; `rtx` are those of its retransmissions until now. False: it
    /// is the first.
    pub fn follow_ssrc(&mut self, now: Time, ssrc: Ssrc, rtx: impl Iterator<Item = Ssrc>) -> bool {
        self.stream.change_ssrc(ssrc);
        let Some(before) = self.ssrc.replace(ssrc) else { return false };
        for left in rtx.chain([before]) {
            self.left.retain(|known| *known != left);
            if self.left.is_full() {
                self.left.remove(0);
            }
            self.left.push(left);
        }
        self.left.retain(|known| *known != ssrc);
        self.sources = self.sources.wrapping_add(1);
        self.source_since = now;
        true
    }
}
