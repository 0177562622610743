//! What the clients counted, all together. A window's figures are the difference of two copies.

use crate::histogram::Histogram;

/// Running counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Media packets that publishers sent.
    pub(crate) sent: u64,
    /// Packets that subscribers should get of them.
    pub(crate) offered: u64,
    /// New media packets that reached a subscriber.
    pub(crate) received: u64,
    /// Of them decrypted and compared.
    pub(crate) checked: u64,
    /// Retransmissions that brought something new.
    pub(crate) recovered: u64,
    pub(crate) duplicates: u64,
    /// Given up as lost.
    pub(crate) lost: u64,
    /// Of them audio.
    pub(crate) lost_audio: u64,
    /// Of another stream or room than the SSRC's.
    pub(crate) foreign: u64,
    /// Decrypted, but not as they were sent, or under another payload type than was agreed on.
    pub(crate) corrupt: u64,
    /// The tag is wrong.
    pub(crate) unauthentic: u64,
    /// On an SSRC that nobody announced.
    pub(crate) unknown_ssrc: u64,
    /// NACKed numbers that subscribers asked for.
    pub(crate) nacked: u64,
    /// Keyframe requests that publishers got.
    pub(crate) keyframes_asked: u64,
    /// Retransmissions that publishers sent.
    pub(crate) retransmitted: u64,
}

impl Counts {
    /// Each with its name.
    pub(crate) const fn named(&self) -> [(&'static str, u64); 15] {
        [
            ("sent", self.sent),
            ("offered", self.offered),
            ("received", self.received),
            ("checked", self.checked),
            ("recovered", self.recovered),
            ("duplicates", self.duplicates),
            ("lost", self.lost),
            ("lost_audio", self.lost_audio),
            ("foreign", self.foreign),
            ("corrupt", self.corrupt),
            ("unauthentic", self.unauthentic),
            ("unknown_ssrc", self.unknown_ssrc),
            ("nacked", self.nacked),
            ("keyframes_asked", self.keyframes_asked),
            ("retransmitted", self.retransmitted),
        ]
    }
}

/// Counts, and the distributions of the present window.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// From sealing at the publisher to the kernel's stamp at the subscriber.
    pub(crate) latency: Histogram,
    /// By how much frames left too late: the generator's own fault.
    pub(crate) lateness: Histogram,
}
