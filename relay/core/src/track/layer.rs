//! One encoding of an up-track: what a subscriber gets the packets of.

use super::Params;
use crate::id::Ssrc;
use crate::keys::DownKey;
use crate::time::Time;
use crate::up::{UpStream, UpStreamConfig};
use arrayvec::ArrayVec;
use std::time::Duration;

/// A source that was not heard for so long may have been left for one before it. Packets are not reordered by more.
const SOURCE_GONE: Duration = Duration::from_millis(200);

/// Accepted packets of one up-track that are forwarded together. More arrive in a batch only under a flood or after a stall,
/// and a longer run gains nothing.
pub const BURST_MAX: usize = 16;

/// Extended sequence numbers of accepted packets that wait for the end of the batch.
pub type Pending = ArrayVec<u64, BURST_MAX>;

/// SSRCs remembered that have fed a track. Late packets are of the last one or two.
pub const LEFT_MAX: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Layer {
    /// SSRC that feeds it now.
    pub ssrc: Option<Ssrc>,
    /// SSRCs that have fed it before, latest last.
    pub left: ArrayVec<Ssrc, LEFT_MAX>,
    /// Counts its SSRCs one after the other, in the publisher's shard.
    pub sources: u32,
    /// Down-tracks it feeds.
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
            rtx_ssrc: None,
            kind: params.kind,
            clock_rate_hz: params.clock_rate_hz,
            nack: params.nack && params.rtx_pt.is_some(),
        });
        Self {
            ssrc: None,
            left: ArrayVec::new(),
            sources: 0,
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

    /// Another SSRC feeds the track from now on. False: it is the first.
    pub fn follow_ssrc(&mut self, ssrc: Ssrc) -> bool {
        self.stream.change_ssrc(ssrc, None);
        let Some(left) = self.ssrc.replace(ssrc) else { return false };
        self.left.retain(|known| *known != ssrc);
        if self.left.is_full() {
            self.left.remove(0);
        }
        self.left.push(left);
        self.sources = self.sources.wrapping_add(1);
        true
    }
}
