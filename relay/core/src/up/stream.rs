//! One received stream: an SSRC with its RTX, from the decrypted packet to the history.
//!
//! A packet's way: [`UpStream::reserve`] lends room for the plaintext, the caller decrypts into it and looks at it,
//! then [`UpStream::on_rtp`] or [`UpStream::on_rtx`] decides, and commits it to the history if it is new.

use super::clock::{ClockReference, SenderClock};
use super::history::{History, PacketMeta, Stored};
use super::jitter::{ReceiverStats, SeqVerdict};
use super::keyframe::KeyframeRequests;
use super::loss::{LossVerdict, NackGenerator};
use crate::id::{SeqNo, Ssrc};
use crate::stats::Drop;
use crate::time::Time;
use relay_control::MediaKind;

/// Octets of history per video stream: about 1.6 s at 2.5 Mb/s.
pub const VIDEO_HISTORY_BYTES: usize = 512 * 1024;
/// Packets of history per video stream: the SRTP replay window, beyond which nothing is accepted anyway.
pub const VIDEO_HISTORY_PACKETS: usize = 1024;
/// Octets of history per audio stream: over a second of Opus at its highest common rates, 128 kb/s.
pub const AUDIO_HISTORY_BYTES: usize = 32 * 1024;
/// Packets of history per audio stream: over a second at 10 ms.
pub const AUDIO_HISTORY_PACKETS: usize = 128;
/// A publisher's report that disagrees with its packets by more than this many seconds is not believed.
const REPORT_ERROR_SECONDS_MAX: u32 = 2;

/// What a stream is made from.
#[derive(Clone, Copy, Debug)]
pub struct UpStreamConfig {
    /// SSRC of the media.
    pub ssrc: Ssrc,
    /// SSRC of its retransmissions (RFC 4588), if known.
    pub rtx_ssrc: Option<Ssrc>,
    /// Sizes the history.
    pub kind: MediaKind,
    /// Of the RTP timestamps.
    pub clock_rate_hz: u32,
    /// Whether lost packets may be asked for.
    pub nack: bool,
}

/// How an accepted packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Ahead of all before it.
    Ahead,
    /// First-hand, but behind later ones.
    Late,
    /// By a retransmission stream.
    Rtx,
}

/// A packet that is new and now in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its extended sequence number.
    pub seq: u64,
    /// How it came.
    pub arrival: Arrival,
    /// The numbering jumped and was anchored anew: count it, and ask for a keyframe if this is video.
    pub resync: bool,
}

/// See the module.
#[derive(Debug)]
pub struct UpStream {
    ssrc: Ssrc,
    rtx_ssrc: Option<Ssrc>,
    clock_rate_hz: u32,
    /// Sequence numbers, loss and jitter.
    pub stats: ReceiverStats,
    /// Missing packets.
    pub nack: NackGenerator,
    /// Keyframes wanted of this publisher.
    pub keyframes: KeyframeRequests,
    /// Payloads in clear.
    pub history: History,
    last: Option<ClockReference>,
    packets: u64,
    octets: u64,
    keyframes_seen: u64,
}

impl UpStream {
    /// Allocates everything the stream will ever need.
    #[must_use]
    pub fn new(config: &UpStreamConfig) -> Self {
        let (bytes, packets) = match config.kind {
            MediaKind::Audio => (AUDIO_HISTORY_BYTES, AUDIO_HISTORY_PACKETS),
            MediaKind::Video => (VIDEO_HISTORY_BYTES, VIDEO_HISTORY_PACKETS),
        };
        Self {
            ssrc: config.ssrc,
            rtx_ssrc: config.rtx_ssrc,
            clock_rate_hz: config.clock_rate_hz,
            stats: ReceiverStats::new(config.ssrc, config.clock_rate_hz),
            nack: NackGenerator::new(config.nack),
            keyframes: KeyframeRequests::new(),
            history: History::new(bytes, packets),
            last: None,
            packets: 0,
            octets: 0,
            keyframes_seen: 0,
        }
    }

    /// SSRC of the media.
    #[must_use]
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// SSRC of the retransmissions.
    #[must_use]
    pub fn rtx_ssrc(&self) -> Option<Ssrc> {
        self.rtx_ssrc
    }

    /// The retransmissions' SSRC became known.
    pub fn set_rtx_ssrc(&mut self, ssrc: Option<Ssrc>) {
        self.rtx_ssrc = ssrc;
    }

    /// The publisher continues this track under other SSRCs. Subscribers' numbering goes on (a resync).
    pub fn change_ssrc(&mut self, ssrc: Ssrc, rtx_ssrc: Option<Ssrc>) {
        self.ssrc = ssrc;
        self.rtx_ssrc = rtx_ssrc;
        self.stats.change_ssrc(ssrc);
    }

    /// Room for the plaintext of one packet of at most `len` octets.
    pub fn reserve(&mut self, len: usize) -> &mut [u8] {
        self.history.reserve(len)
    }

    /// A media packet, whose payload is the first `len` reserved octets.
    ///
    /// # Errors
    /// Why it must not be forwarded.
    pub fn on_rtp(&mut self, now: Time, seq: SeqNo, len: usize, meta: PacketMeta) -> Result<Accepted, Drop> {
        let (seq, arrival, restart) = match self.stats.received(seq, meta.timestamp, now) {
            SeqVerdict::Ahead(seq) => (seq, Arrival::Ahead, false),
            SeqVerdict::Late(seq) => (seq, Arrival::Late, false),
            SeqVerdict::Restart(seq) => (seq, Arrival::Ahead, true),
            SeqVerdict::Suspect => return Err(Drop::RtpJump),
        };
        if !self.history.commit(seq, len, meta) {
            let old = self.history.is_too_old(seq);
            return Err(if old { Drop::RtpTooOld } else { Drop::RtpDuplicate });
        }
        if restart {
            self.nack.resync(seq);
        }
        let lost = self.nack.received(seq, now) == LossVerdict::Resync;
        if arrival == Arrival::Ahead {
            self.last = Some(ClockReference { time: now, timestamp: meta.timestamp });
        }
        self.count(now, len, &meta, arrival);
        Ok(Accepted { seq, arrival, resync: restart || lost })
    }

    /// A retransmission, whose payload (with the OSN in front, RFC 4588 §4) is the first `len` reserved octets.
    ///
    /// # Errors
    /// [`Drop::RtxUseless`] if it is padding, or its original is here, given up too long ago, or unknown.
    pub fn on_rtx(&mut self, now: Time, len: usize, meta: PacketMeta) -> Result<Accepted, Drop> {
        const OSN_BYTES: usize = 2;
        let osn = self.history.reserved().get(..len).and_then(|bytes| bytes.first_chunk::<OSN_BYTES>());
        let seq = osn.and_then(|osn| self.stats.extend_original(SeqNo(u16::from_be_bytes(*osn))));
        // A retransmission of what never was: ahead of all that came first-hand.
        let seq = seq.filter(|seq| self.stats.highest().is_some_and(|highest| *seq <= highest));
        let seq = seq.ok_or(Drop::RtxUseless)?;
        if !self.history.commit_from(seq, OSN_BYTES, len - OSN_BYTES, meta) {
            return Err(Drop::RtxUseless);
        }
        let _ = self.nack.received(seq, now);
        self.count(now, len - OSN_BYTES, &meta, Arrival::Rtx);
        Ok(Accepted { seq, arrival: Arrival::Rtx, resync: false })
    }

    /// A packet in the history.
    #[must_use]
    pub fn packet(&self, seq: u64) -> Option<Stored<'_>> {
        self.history.get(seq)
    }

    /// When [`UpStream::nack`] or [`UpStream::keyframes`] has something to say.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.nack.poll_timeout(), self.keyframes.poll_timeout()].into_iter().flatten().min()
    }

    /// A sender report of this stream. `clock` is its publisher's.
    pub fn on_sender_report(&mut self, now: Time, ntp: u64, rtp_timestamp: u32, clock: &mut SenderClock) {
        clock.on_sender_report(now, ntp);
        self.stats.on_sender_report(now, ntp, rtp_timestamp);
    }

    /// Where the stream's timestamps stand on relay time, for sender reports. `None` before the first packet.
    #[must_use]
    pub fn clock_reference(&self, clock: &SenderClock) -> Option<ClockReference> {
        let last = self.last?;
        let reported = self.stats.last_sr().and_then(|sr| clock.reference(&sr));
        reported.filter(|reported| self.agrees(*reported, last)).or(Some(last))
    }

    /// Accepted packets, retransmissions included.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Their payload octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Keyframes that began.
    #[must_use]
    pub fn keyframes_seen(&self) -> u64 {
        self.keyframes_seen
    }

    fn agrees(&self, reported: ClockReference, last: ClockReference) -> bool {
        let error = reported.extrapolate(last.time, self.clock_rate_hz).wrapping_sub(last.timestamp);
        error.cast_signed().unsigned_abs() <= self.clock_rate_hz.saturating_mul(REPORT_ERROR_SECONDS_MAX)
    }

    fn count(&mut self, now: Time, len: usize, meta: &PacketMeta, arrival: Arrival) {
        self.packets += 1;
        self.octets += len as u64;
        if meta.keyframe {
            self.keyframes_seen += 1;
        }
        // A keyframe that comes late began before the request and does not answer it.
        if meta.keyframe && arrival == Arrival::Ahead {
            self.keyframes.answered(now);
        }
    }
}
