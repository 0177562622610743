//! One encoding of an up-track: what a subscriber gets the packets of.

use super::{Params, Sources};
use crate::id::Ssrc;
use crate::keys::DownKey;
use crate::stats::DropReason;
use crate::time::Time;
use crate::up::loss::GIVE_UP_AFTER;
use crate::up::{UpStream, UpStreamConfig};
use arrayvec::ArrayVec;

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
    /// What else is heard in its place.
    pub sources: Sources,
    /// SSRCs that have fed it before, and those of their retransmissions, latest last.
    pub left: ArrayVec<Ssrc, LEFT_MAX>,
    /// Counts its SSRCs one after the other, in the publisher's shard.
    pub changes: u32,
    /// When the last change was.
    pub source_since: Time,
    /// Down-tracks it feeds, in no order: each knows its index ([`DownTrack::place`](super::DownTrack)).
    pub subscribers: Vec<DownKey>,
    /// Accepted packets that wait for the end of the batch.
    pub pending: Pending,
    /// Numbers, losses, keyframes and the one plaintext copy.
    pub stream: UpStream,
    /// When the last packet with a payload came.
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
            nack: params.nack,
        });
        Self {
            ssrc: None,
            sources: Sources::default(),
            left: ArrayVec::new(),
            changes: 0,
            source_since: Time::ZERO,
            subscribers: Vec::new(),
            pending: Pending::new(),
            stream,
            last_packet: now,
        }
    }

    /// Allocates what media needs: when its publisher has keys.
    pub fn prepare(&mut self) {
        if self.stream.history.packets_max() == 0 {
            self.stream.prepare();
            self.sources.prepare();
        }
    }

    /// What a packet of another SSRC than that which feeds it is called when it is not followed. `payload`:
    /// whether it has one; padding says nothing about who speaks for the track.
    ///
    /// # Errors
    /// It does not feed the layer.
    pub fn check_source(&mut self, now: Time, ssrc: Ssrc, payload: bool) -> Result<(), DropReason> {
        if payload && self.sources.takes_over(now, ssrc, self.ssrc, self.last_packet) {
            return Ok(());
        }
        let is_left = self.left.contains(&ssrc);
        Err(if is_left { DropReason::RtpOldSource } else { DropReason::RtpOtherSource })
    }

    /// Whether a retransmission under this SSRC is of what feeds the layer. Not if it was asked for before
    /// the source changed: an encoder may have continued the numbers, and then it would be taken for one of
    /// the new source's. Later it is one, of a publisher that keeps the SSRC of its retransmissions.
    ///
    /// # Errors
    /// It is not.
    pub fn check_rtx(&self, now: Time, ssrc: Ssrc) -> Result<(), DropReason> {
        if self.left.contains(&ssrc) && now.since(self.source_since) < GIVE_UP_AFTER {
            return Err(DropReason::RtpOldSource);
        }
        if self.is_rtx_source(ssrc) { Ok(()) } else { Err(DropReason::RtpOtherSource) }
    }

    /// Whether retransmissions under this SSRC may be of what feeds the layer.
    #[must_use]
    pub fn is_rtx_source(&self, ssrc: Ssrc) -> bool {
        self.sources.pairs(self.ssrc, ssrc)
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
        self.changes = self.changes.wrapping_add(1);
        self.source_since = now;
        true
    }
}
