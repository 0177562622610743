//! One received stream: an SSRC with its RTX, from the decrypted packet to the history.
//!
//! A packet's way: [`UpStream::reserve`] lends room for the plaintext, the caller decrypts into it and looks
//! at it, then [`UpStream::on_rtp`] or [`UpStream::on_rtx`] decides, and commits it to the history if it is
//! new.

use super::clock::{ClockReference, SenderClock};
use super::history::{History, PacketMeta, Stored};
use super::jitter::{ReceiverStats, SeqVerdict};
use super::keyframe::KeyframeRequests;
use super::keyframe_share::Received;
use super::loss::{LossVerdict, NackGenerator};
use crate::id::{SeqNo, Ssrc};
use crate::media::MediaKind;
use crate::stats::DropReason;
use crate::time::Time;

/// Octets of history per video stream: over 3 s at 2.5 Mb/s, and 0.4 s at the 20 Mb/s that a publisher may
/// send, so that what was lost twice on a round trip of 150 ms is still there. More of them would be beyond
/// [`VIDEO_HISTORY_PACKETS`] of full size.
pub const VIDEO_HISTORY_BYTES: usize = 1024 * 1024;
/// Packets of history per video stream: the SRTP replay window, beyond which nothing is accepted anyway.
pub const VIDEO_HISTORY_PACKETS: usize = 1024;
/// Octets of history per audio stream: over a second of Opus at its highest common rates, 128 kb/s.
pub const AUDIO_HISTORY_BYTES: usize = 32 * 1024;
/// Packets of history per audio stream: over a second at 10 ms.
pub const AUDIO_HISTORY_PACKETS: usize = 128;
/// So many refused packets in a row, numbered one after the other, are no repetition but a numbering that
/// stepped back a little. Audio is silent for a third of a second until then.
const REFUSED_RUN_MAX: u8 = 16;
/// A publisher's report that disagrees with its packets by more than this many seconds is not believed.
const REPORT_ERROR_SECONDS_MAX: u32 = 2;

/// A retransmission is of a packet at most this many seconds from the last one: a second in which it is asked
/// for, and another one for streams of few packets.
const RTX_SECONDS_MAX: u32 = 2;

/// What a stream is made from.
#[derive(Clone, Copy, Debug)]
pub struct UpStreamConfig {
    /// SSRC of the media.
    pub ssrc: Ssrc,
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
    /// It has a payload. One of padding alone probes the path, and media may have stopped all the same.
    pub media: bool,
}

/// See the module.
#[derive(Debug)]
pub struct UpStream {
    kind: MediaKind,
    clock_rate_hz: u32,
    /// Sequence numbers, loss and jitter.
    pub stats: ReceiverStats,
    /// Missing packets.
    pub nack: NackGenerator,
    /// Keyframes wanted of this publisher.
    pub keyframes: KeyframeRequests,
    /// Payloads in clear.
    pub history: History,
    /// Number that would continue a run of refused packets, and its length.
    refused: (SeqNo, u8),
    last: Option<ClockReference>,
    /// Of a stream that comes by a port: what the other side says of its clock.
    port_clock: Option<ClockReference>,
    packets: u64,
    octets: u64,
    keyframes_seen: u64,
    /// Timestamp of the last keyframe that began, and octets of all of them.
    keyframe_timestamp: Option<u32>,
    keyframe_octets: u64,
    /// Those before the last one.
    keyframe_octets_before: u64,
}

impl UpStream {
    /// A stream that takes no packet before [`UpStream::prepare`].
    #[must_use]
    pub fn new(config: &UpStreamConfig) -> Self {
        Self {
            kind: config.kind,
            clock_rate_hz: config.clock_rate_hz,
            stats: ReceiverStats::new(config.ssrc, config.clock_rate_hz),
            nack: NackGenerator::new(config.nack),
            keyframes: KeyframeRequests::new(),
            history: History::empty(),
            refused: (SeqNo(0), 0),
            last: None,
            port_clock: None,
            packets: 0,
            octets: 0,
            keyframes_seen: 0,
            keyframe_timestamp: None,
            keyframe_octets: 0,
            keyframe_octets_before: 0,
        }
    }

    /// Allocates everything the stream will ever need, once: when its publisher has keys. A stranger who asks
    /// for a track and never comes takes no history.
    pub fn prepare(&mut self) {
        if self.history.packets_max() > 0 {
            return;
        }
        let (bytes, packets) = match self.kind {
            MediaKind::Audio => (AUDIO_HISTORY_BYTES, AUDIO_HISTORY_PACKETS),
            MediaKind::Video => (VIDEO_HISTORY_BYTES, VIDEO_HISTORY_PACKETS),
        };
        self.history = History::new(bytes, packets);
        self.nack.prepare();
        self.keyframes.prepare();
    }

    /// The publisher continues this track under another SSRC. Subscribers' numbering goes on (a resync).
    pub fn change_ssrc(&mut self, ssrc: Ssrc) {
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
    pub fn on_rtp(
        &mut self,
        now: Time,
        seq: SeqNo,
        len: usize,
        meta: PacketMeta,
    ) -> Result<Accepted, DropReason> {
        let number = seq;
        let (mut seq, mut arrival, mut restart) = match self.stats.received(seq, meta.timestamp, now) {
            SeqVerdict::Ahead(seq) => (seq, Arrival::Ahead, false),
            SeqVerdict::Late(seq) => (seq, Arrival::Late, false),
            SeqVerdict::Restart(seq) => (seq, Arrival::Ahead, true),
            SeqVerdict::Suspect => return Err(DropReason::RtpJump),
        };
        if !self.history.accepts(seq) {
            if !self.refused_run_ends(number) {
                let old = self.history.is_too_old(seq);
                return Err(if old { DropReason::RtpTooOld } else { DropReason::RtpDuplicate });
            }
            (seq, arrival, restart) = (self.stats.restart_at(number), Arrival::Ahead, true);
        }
        self.refused.1 = 0;
        if !self.history.commit(seq, len, meta) {
            return Err(DropReason::RtpNotStored);
        }
        if restart {
            self.nack.resync(seq);
        }
        let lost = self.nack.received(seq, now) == LossVerdict::Resync;
        if arrival == Arrival::Ahead {
            self.last = Some(ClockReference { time: now, timestamp: meta.timestamp });
        }
        self.count(now, len, &meta, arrival);
        Ok(Accepted { seq, arrival, resync: restart || lost, media: len > 0 })
    }

    /// A retransmission, whose payload (with the OSN in front, RFC 4588 §4) is the first `len` reserved
    /// octets.
    ///
    /// # Errors
    /// [`DropReason::RtxUseless`] if it is padding, or its original is here, given up too long ago, of another
    /// time, or unknown.
    pub fn on_rtx(&mut self, now: Time, len: usize, meta: PacketMeta) -> Result<Accepted, DropReason> {
        const OSN_BYTES: usize = 2;
        let osn = self.history.reserved().get(..len).and_then(|bytes| bytes.first_chunk::<OSN_BYTES>());
        let seq = osn.and_then(|osn| self.stats.extend_original(SeqNo(u16::from_be_bytes(*osn))));
        // A retransmission of what never was: ahead of all that came first-hand.
        let seq = seq.filter(|seq| self.stats.highest().is_some_and(|highest| *seq <= highest));
        // RFC 4588 §4: it has its original's timestamp. One of another source, which is probed with, has not.
        let seq = seq.filter(|_| self.is_near(meta.timestamp));
        let seq = seq.ok_or(DropReason::RtxUseless)?;
        if !self.history.commit_from(seq, OSN_BYTES, len - OSN_BYTES, meta) {
            return Err(DropReason::RtxUseless);
        }
        let _ = self.nack.received(seq, now);
        self.count(now, len - OSN_BYTES, &meta, Arrival::Rtx);
        Ok(Accepted { seq, arrival: Arrival::Rtx, resync: false, media: len > OSN_BYTES })
    }

    /// A packet that came by a port, under its number there. `None` if it is here already, or is too old.
    pub fn on_port_packet(
        &mut self,
        now: Time,
        seq: u64,
        payload: &[u8],
        meta: PacketMeta,
    ) -> Option<Accepted> {
        let arrival = if self.history.highest() < Some(seq) { Arrival::Ahead } else { Arrival::Late };
        let room = self.history.reserve(payload.len());
        if room.len() != payload.len() {
            return None;
        }
        room.copy_from_slice(payload);
        if !self.history.commit(seq, payload.len(), meta) {
            return None;
        }
        if arrival == Arrival::Ahead {
            self.last = Some(ClockReference { time: meta.arrival, timestamp: meta.timestamp });
        }
        self.count(now, payload.len(), &meta, arrival);
        Some(Accepted { seq, arrival, resync: false, media: !payload.is_empty() })
    }

    /// What the other side of a port says of the clock of a stream that comes from there.
    pub fn set_port_clock(&mut self, reference: ClockReference) {
        self.port_clock = Some(reference);
    }

    /// Another source continues a stream that comes by a port; the clock of the one before means nothing.
    pub fn forget_port_clock(&mut self) {
        self.port_clock = None;
    }

    /// What was said last of the clock of a stream that comes by a port.
    #[must_use]
    pub fn port_clock(&self) -> Option<ClockReference> {
        self.port_clock
    }

    /// As [`UpStream::clock_reference`], of a stream that comes by a port.
    #[must_use]
    pub fn port_clock_reference(&self) -> Option<ClockReference> {
        let last = self.last?;
        self.port_clock.filter(|reported| self.agrees(*reported, last)).or(Some(last))
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
        self.reported_reference(clock).or(self.last)
    }

    /// The same, from a sender report alone. `None` if there was none, or if its packets say otherwise.
    #[must_use]
    pub fn reported_reference(&self, clock: &SenderClock) -> Option<ClockReference> {
        let last = self.last?;
        let reported = self.stats.last_sr().and_then(|sr| clock.reference(&sr));
        reported.filter(|reported| self.agrees(*reported, last))
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

    /// Whether the publisher is to be asked for a keyframe now.
    pub fn poll_keyframe(&mut self, now: Time) -> Option<()> {
        let last = self.keyframe_octets - self.keyframe_octets_before;
        let received = Received { octets: self.octets, keyframes: self.keyframe_octets, last };
        self.keyframes.poll(now, received)
    }

    /// Notes a refused packet; true if it completes a run.
    fn refused_run_ends(&mut self, seq: SeqNo) -> bool {
        let (next, run) = self.refused;
        let run = if seq == next { run.saturating_add(1) } else { 1 };
        self.refused = (SeqNo(seq.0.wrapping_add(1)), run);
        run >= REFUSED_RUN_MAX
    }

    /// Whether a timestamp is of about the time of the last packet.
    fn is_near(&self, timestamp: u32) -> bool {
        let away = |last: ClockReference| last.timestamp.wrapping_sub(timestamp).cast_signed().unsigned_abs();
        self.last.is_some_and(|last| away(last) <= self.clock_rate_hz.saturating_mul(RTX_SECONDS_MAX))
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
            if self.keyframe_timestamp.replace(meta.timestamp) != Some(meta.timestamp) {
                self.keyframe_octets_before = self.keyframe_octets;
            }
        }
        if self.keyframe_timestamp == Some(meta.timestamp) {
            self.keyframe_octets += len as u64;
        }
        // A keyframe that comes late began before the request and does not answer it.
        if meta.keyframe && arrival == Arrival::Ahead {
            self.keyframes.answered(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ms(at: u64) -> Time {
        Time::from_nanos((1_000 + at) * 1_000_000)
    }

    fn video() -> UpStream {
        let mut up = UpStream::new(&UpStreamConfig {
            ssrc: Ssrc(1),
            kind: MediaKind::Video,
            clock_rate_hz: 90_000,
            nack: true,
        });
        up.prepare();
        up
    }

    fn meta(at: u64, keyframe: bool) -> PacketMeta {
        PacketMeta { timestamp: at as u32 * 90, keyframe, arrival: ms(at), ..PacketMeta::default() }
    }

    fn rtp(up: &mut UpStream, at: u64, seq: u16, keyframe: bool) -> Result<Accepted, DropReason> {
        up.reserve(100).fill(seq as u8);
        up.on_rtp(ms(at), SeqNo(seq), 100, meta(at, keyframe))
    }

    fn rtx(up: &mut UpStream, at: u64, payload: &[u8]) -> Result<Accepted, DropReason> {
        up.reserve(payload.len()).copy_from_slice(payload);
        up.on_rtx(ms(at), payload.len(), meta(at, false))
    }

    #[test]
    fn a_lost_packet_is_asked_for_and_restored_by_rtx() {
        let mut up = video();
        let first = rtp(&mut up, 0, 65_535, true).expect("first");
        assert_eq!((first.arrival, first.resync), (Arrival::Ahead, false));
        assert!(rtp(&mut up, 1, 1, false).is_ok());
        assert_eq!(up.poll_timeout(), Some(ms(11)));
        assert_eq!(up.nack.poll(ms(11), Duration::ZERO).as_slice(), [SeqNo(0)]);
        let restored = rtx(&mut up, 30, &[0, 0, 42, 43]).expect("was missing");
        assert_eq!((restored.seq, restored.arrival), (first.seq + 1, Arrival::Rtx));
        assert_eq!(up.packet(restored.seq).map(|p| p.payload.to_vec()), Some(vec![42, 43]));
        assert_eq!((up.poll_timeout(), up.nack.take_given_up()), (None, 0));
        // A retransmission leaves the report to the publisher as it was: one in three was lost.
        assert_eq!(up.stats.report_block(ms(40)).map(|b| b.cumulative_lost), Some(1));
        assert_eq!((up.packets(), up.octets(), up.keyframes_seen()), (3, 202, 1));
    }

    #[test]
    fn refusals_name_their_reason() {
        let mut up = video();
        assert_eq!(rtx(&mut up, 0, &[0, 1, 5]), Err(DropReason::RtxUseless), "before any media");
        for seq in 1..=1_100 {
            assert!(rtp(&mut up, 0, seq, false).is_ok());
        }
        assert_eq!(rtp(&mut up, 0, 1_100, false), Err(DropReason::RtpDuplicate));
        assert_eq!(rtp(&mut up, 0, 77, false), Err(DropReason::RtpDuplicate));
        assert_eq!(rtp(&mut up, 0, 76, false), Err(DropReason::RtpTooOld));
        assert_eq!(rtp(&mut up, 0, 30_000, false), Err(DropReason::RtpJump));
        for payload in [&[][..], &[0], &[4, 76, 1], &[4, 77, 1], &[0, 5, 1], &[0xff, 0xff, 1]] {
            assert_eq!(rtx(&mut up, 0, payload), Err(DropReason::RtxUseless), "{payload:?}");
        }
        assert_eq!(up.on_rtx(ms(0), usize::MAX, meta(0, false)), Err(DropReason::RtxUseless));
    }

    #[test]
    fn jumps_resync_once_and_state_stays_small() {
        // (jump, packets until it is believed, resync)
        for (jump, believed_at, resync) in [
            (1u16, 0, false),
            (2, 0, false),
            (127, 0, false),
            (129, 0, false),
            (130, 0, true),
            (3_000, 0, true),
            (3_001, 1, true),
            (32_767, 1, true),
            (32_768, 1, true),
            (32_769, 1, true),
            (0u16.wrapping_sub(1_100), 1, true),
            (0u16.wrapping_sub(32_767), 1, true),
        ] {
            let mut up = video();
            let before = rtp(&mut up, 0, 65_000, true).expect("first").seq;
            let results: Vec<_> = (0..4)
                .map(|i| rtp(&mut up, 1, 65_000u16.wrapping_add(jump).wrapping_add(i), false))
                .collect();
            for (i, result) in results.iter().enumerate() {
                match result {
                    Err(reason) => {
                        assert!(i < believed_at && *reason == DropReason::RtpJump, "jump {jump}: {reason:?}")
                    }
                    Ok(a) => {
                        assert_eq!(a.resync, resync && i == believed_at, "jump {jump}, packet {i}");
                        assert!(a.seq > before, "jump {jump}");
                    }
                }
            }
            assert_eq!(results.iter().filter(|r| r.is_err()).count(), believed_at, "jump {jump}");
            assert!(up.nack.awaited() <= super::super::loss::NACK_LIST_MAX);
        }
    }

    #[test]
    fn a_small_step_back_is_believed_after_a_run_of_refusals() {
        let mut up = video();
        for seq in 1..=200 {
            assert!(rtp(&mut up, 0, seq, false).is_ok());
        }
        // The same packet again and again is no run, nor are strays.
        for seq in [150, 150, 150, 150, 150, 150, 150, 150, 150, 9, 5, 7, 3, 150, 20, 150, 50, 150] {
            assert_eq!(rtp(&mut up, 0, seq, false), Err(DropReason::RtpDuplicate));
        }
        let results: Vec<_> = (100..140).map(|seq| rtp(&mut up, 1, seq, false)).collect();
        let refused = results.iter().take_while(|r| r.is_err()).count();
        assert_eq!(refused, usize::from(REFUSED_RUN_MAX) - 1);
        assert!(results[refused].is_ok_and(|a| a.resync && a.arrival == Arrival::Ahead));
        assert!(results[refused + 1..].iter().all(|r| r.is_ok_and(|a| !a.resync)));
        assert_eq!(up.nack.take_given_up(), 0);
    }

    #[test]
    fn a_numbering_that_begins_anew_at_the_highest_goes_on_above_it() {
        let mut up = video();
        let mut accepted = Vec::new();
        for seq in (985..=1_000).chain([21_000, 41_000]).chain(985..=1_010) {
            accepted.extend(rtp(&mut up, 1, seq, false));
        }
        assert!(accepted.windows(2).all(|pair| pair[1].seq > pair[0].seq), "{accepted:?}");
        assert!(accepted[16].resync && accepted[17..].iter().all(|a| !a.resync), "{accepted:?}");
        assert_eq!(accepted.len(), 16 + 11, "the last of the run, and ten more");
    }

    #[test]
    fn another_ssrc_is_a_resync_that_loses_nothing() {
        let mut up = video();
        let before = rtp(&mut up, 0, 500, true).expect("first").seq;
        for (ssrc, seq) in [(8, 40_000), (1, 501), (8, 40_001)] {
            up.change_ssrc(Ssrc(ssrc));
            let accepted = rtp(&mut up, 10, seq, true).expect("a new source is believed at once");
            assert!(accepted.resync && accepted.seq > before);
            assert_eq!(rtp(&mut up, 11, seq + 1, false).map(|a| a.resync), Ok(false));
        }
        assert_eq!(up.nack.take_given_up(), 0);
    }

    #[test]
    fn a_keyframe_answers_unless_it_comes_late() {
        let mut up = video();
        assert!(rtp(&mut up, 0, 10, false).is_ok());
        let _ = up.keyframes.request(ms(1), crate::up::Asker::Newcomer);
        assert!(rtp(&mut up, 2, 9, true).is_ok());
        assert!(up.keyframes.is_waiting());
        assert!(rtp(&mut up, 3, 11, true).is_ok());
        assert!(!up.keyframes.is_waiting());
    }

    #[test]
    fn sender_reports_are_believed_if_the_packets_agree() {
        let clock_at = |ntp_ms: u64| (4_000_000_000 << 32) + ((ntp_ms << 32) / 1_000);
        // (RTP timestamp in the report, in ms of media; its moment on relay time, in ms; where the reference
        // stands)
        for (report_ms, expected) in [(1_000, ms(980)), (1_500, ms(980)), (60_000, ms(1_000))] {
            let mut up = video();
            let mut clock = SenderClock::new();
            assert_eq!(up.clock_reference(&clock), None);
            assert!(rtp(&mut up, 1_000, 1, true).is_ok());
            assert_eq!(up.clock_reference(&clock).map(|r| r.time), Some(ms(1_000)));
            clock.on_sender_report(ms(1_000), clock_at(1_020));
            up.on_sender_report(ms(990), clock_at(1_000), report_ms * 90, &mut clock);
            let time = up.clock_reference(&clock).map(|r| r.time).expect("packets came");
            assert!(
                time.since(expected).max(expected.since(time)) < Duration::from_millis(1),
                "report at {report_ms}"
            );
        }
    }
}
