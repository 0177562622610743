//! One sent stream: an SSRC of ours with its RTX, towards one subscriber.
//!
//! A packet's way: [`DownStream::forward`] says whether and under which numbers it goes; when it was sealed,
//! [`DownStream::sent`] counts it. Both are a handful of instructions: a room's fan-out is a loop of them.

use super::layer::{Gate, GateVerdict};
use super::prefix::PayloadPrefix;
use super::reports::{SenderInfo, SenderReports};
use super::resend::{SentPacket, SentPackets};
use super::rewrite::{Rewriter, Rewritten};
use super::rtx::RtxResponder;
use crate::id::SeqNo;
use crate::media::MediaKind;
use crate::stats::DropReason;
use crate::time::{NtpClock, Time};
use crate::up::clock::ClockReference;
use crate::up::history::{History, PacketMeta, Stored};
use crate::wire::rtcp::ReportBlock;
use std::time::Duration;

/// What a stream is made from.
#[derive(Clone, Copy, Debug)]
pub struct DownStreamConfig {
    /// Video waits for keyframes.
    pub kind: MediaKind,
    /// Of the RTP timestamps; as the up-track's.
    pub clock_rate_hz: u32,
    /// How lost packets are sent again.
    pub repair: Repair,
    /// Random: the first sequence number, of which 15 bits are used.
    pub first_seq: u16,
    /// Random: the same for RTX.
    pub first_rtx_seq: u16,
    /// Random: added to the up-track's timestamps.
    pub timestamp_offset: u32,
}

/// How lost packets are sent again, as negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Not at all.
    None,
    /// Under an SSRC of their own (RFC 4588).
    Rtx,
    /// As the same packets once more (RFC 4585).
    Same,
}

/// A packet to send again as it was.
#[derive(Clone, Copy, Debug)]
pub struct SameAgain<'a> {
    /// Its own numbers.
    pub numbers: Rewritten,
    /// What it was like.
    pub sent: SentPacket,
    /// In front of its payload.
    pub prefix: PayloadPrefix,
    /// Payload, marker and extensions.
    pub stored: Stored<'a>,
    /// Number of the up-track.
    pub up: u64,
}

/// A packet to send again by RTX.
#[derive(Clone, Copy, Debug)]
pub struct Resend<'a> {
    /// Index of the retransmission on the RTX SSRC; its low 16 bits go on the wire.
    pub rtx_index: u64,
    /// Number it had on the media SSRC (RFC 4588 §4).
    pub osn: SeqNo,
    /// In front of its payload.
    pub prefix: PayloadPrefix,
    /// Own timestamp, as it was sent first.
    pub timestamp: u32,
    /// Payload, marker and extensions.
    pub stored: Stored<'a>,
}

/// See the module.
#[derive(Debug)]
pub struct DownStream {
    rewriter: Rewriter,
    packets: u64,
    octets: u64,
    gate: Gate,
    prefix: PayloadPrefix,
    /// Apart, so that what fan-out touches of many streams lies close together, and not there before
    /// [`DownStream::prepare`].
    rtx: Option<Box<RtxResponder>>,
    /// What was sent to a subscriber without RTX.
    same: Option<Box<SentPackets>>,
    repair: Repair,
    /// First sequence number of retransmissions by RTX.
    first_rtx_seq: u16,
    retransmissions: u64,
    reports: SenderReports,
}

impl DownStream {
    /// A stream that answers no NACK before [`DownStream::prepare`].
    #[must_use]
    pub fn new(config: &DownStreamConfig) -> Self {
        let gate = match config.kind {
            MediaKind::Audio => Gate::audio(),
            MediaKind::Video => Gate::video(),
        };
        Self {
            rewriter: Rewriter::new(config.first_seq, config.timestamp_offset, config.clock_rate_hz),
            packets: 0,
            octets: 0,
            gate,
            prefix: PayloadPrefix::default(),
            rtx: None,
            same: None,
            repair: config.repair,
            first_rtx_seq: config.first_rtx_seq,
            retransmissions: 0,
            reports: SenderReports::new(config.kind, config.clock_rate_hz),
        }
    }

    /// Allocates everything the stream will ever need, once: when its subscriber has keys.
    pub fn prepare(&mut self) {
        if self.repair != Repair::None && self.rtx.is_none() {
            self.rtx = Some(Box::new(RtxResponder::new(self.first_rtx_seq)));
        }
        if self.repair == Repair::Same && self.same.is_none() {
            self.same = Some(Box::new(SentPackets::new(self.kind())));
        }
    }

    fn kind(&self) -> MediaKind {
        if self.gate == Gate::Always { MediaKind::Audio } else { MediaKind::Video }
    }

    /// Numbers for the up-track's packet `seq`. Offer each packet once: the same one twice gets the same
    /// numbers.
    ///
    /// # Errors
    /// Why this subscriber does not get it.
    #[inline]
    pub fn forward(&mut self, seq: u64, meta: &PacketMeta) -> Result<Rewritten, DropReason> {
        // A keyframe older than what went out cannot be where numbering goes on.
        match self.gate.admit(meta.keyframe && self.rewriter.is_ahead(seq)) {
            GateVerdict::Pass => {}
            GateVerdict::PassFirst => self.rewriter.splice(),
            GateVerdict::Withhold(reason) => return Err(reason),
        }
        self.rewriter.rewrite(seq, meta.timestamp, meta.arrival).ok_or(DropReason::TooOld)
    }

    /// What is in front of this subscriber's payloads.
    #[inline]
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Puts `prefix` in front of all payloads from now on, retransmitted ones as well.
    pub fn set_prefix(&mut self, prefix: PayloadPrefix) {
        self.prefix = prefix;
    }

    /// Forwarded packets went out, with so many payload octets in all.
    #[inline]
    pub fn sent(&mut self, packets: u64, octets: u64) {
        self.packets += packets;
        self.octets += octets;
    }

    /// Whether [`DownStream::note_sent`] wants to see what was sent.
    #[inline]
    #[must_use]
    pub const fn keeps_sent(&self) -> bool {
        self.same.is_some()
    }

    /// A sealed datagram goes out.
    pub fn note_sent(&mut self, datagram: &[u8]) {
        let (Some(same), Some(highest)) = (&mut self.same, self.rewriter.highest_index()) else { return };
        let seq =
            datagram.get(2..).and_then(|rest| rest.first_chunk()).map_or(0, |seq| u16::from_be_bytes(*seq));
        if let Some(sent) = SentPacket::of(SeqNo(seq).extend(highest), datagram) {
            same.note(sent);
        }
    }

    /// Answers one number of a NACK of a subscriber without RTX.
    ///
    /// # Errors
    /// Why nothing is sent.
    pub fn on_nack_same<'h>(
        &mut self,
        now: Time,
        seq: SeqNo,
        history: &'h History,
    ) -> Result<SameAgain<'h>, DropReason> {
        let (Some(rtx), Some(same)) = (&mut self.rtx, &self.same) else { return Err(DropReason::NackMiss) };
        let (index, up) = self.rewriter.source_of(seq).ok_or(DropReason::NackMiss)?;
        let stored = history.get(up).ok_or(DropReason::NackMiss)?;
        let sent = same.get(index).ok_or(DropReason::NackMiss)?;
        // An RTX index is drawn and not used.
        rtx.admit(now, index, stored.payload.len(), self.octets, self.reports.rtt())
            .ok_or(DropReason::NackThrottled)?;
        self.retransmissions += 1;
        let numbers = Rewritten { index, timestamp: self.rewriter.timestamp(stored.meta.timestamp) };
        Ok(SameAgain { numbers, sent, prefix: self.prefix, stored, up })
    }

    /// Answers one number of a NACK by RTX.
    ///
    /// # Errors
    /// Why nothing is sent.
    pub fn on_nack<'h>(
        &mut self,
        now: Time,
        seq: SeqNo,
        history: &'h History,
    ) -> Result<Resend<'h>, DropReason> {
        let rtx = self.rtx.as_mut().ok_or(DropReason::NackMiss)?;
        let (index, up) = self.rewriter.source_of(seq).ok_or(DropReason::NackMiss)?;
        let stored = history.get(up).ok_or(DropReason::NackMiss)?;
        let rtx_index = rtx
            .admit(now, index, stored.payload.len(), self.octets, self.reports.rtt())
            .ok_or(DropReason::NackThrottled)?;
        self.retransmissions += 1;
        let timestamp = self.rewriter.timestamp(stored.meta.timestamp);
        Ok(Resend { rtx_index, osn: SeqNo(index as u16), prefix: self.prefix, timestamp, stored })
    }

    /// A sender report, if one is due. `reference` is [`crate::up::UpStream::clock_reference`].
    pub fn poll_report(
        &mut self,
        now: Time,
        clock: NtpClock,
        reference: ClockReference,
    ) -> Option<SenderInfo> {
        // A receiver cannot place a report on a stream that it has not seen.
        if self.packets == 0 {
            return None;
        }
        self.reports.poll(now)?;
        if let Some(rtx) = &mut self.rtx {
            rtx.advance(now, self.octets);
        }
        let timestamp = self.rewriter.timestamp(reference.timestamp);
        let own = ClockReference { timestamp, ..reference };
        Some(self.reports.sender_info(now, clock, own, self.packets, self.octets))
    }

    /// When the next report is due; `None` before the first, which is due with the first packet.
    #[must_use]
    pub fn poll_report_timeout(&self) -> Option<Time> {
        self.reports.poll_timeout()
    }

    /// Takes the subscriber's report block on this stream; the round trip it shows, if it makes sense.
    pub fn on_report_block(&mut self, now: Time, clock: NtpClock, block: &ReportBlock) -> Option<Duration> {
        self.reports.on_report_block(now, clock, block)
    }

    /// Video is not decodable until the next keyframe: withhold it until then, and number on from there.
    pub fn await_keyframe(&mut self) {
        self.gate.shut();
    }

    /// Another source (an up-track's other layer) takes over: video waits for its keyframe, numbering goes
    /// on.
    pub fn switch_source(&mut self) {
        self.gate.shut();
        self.rewriter.switch_source();
    }

    /// Whether a keyframe is needed before anything goes out.
    #[must_use]
    pub fn awaits_keyframe(&self) -> bool {
        self.gate.awaits_keyframe()
    }

    /// Smoothed round trip to the subscriber.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.reports.rtt()
    }

    /// Packets sent, retransmissions apart.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Their payload octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Retransmissions answered.
    #[must_use]
    pub fn retransmissions(&self) -> u64 {
        self.retransmissions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: NtpClock = NtpClock { ntp_at_zero: 3_900_000_000 << 32 };

    fn ms(at: u64) -> Time {
        Time::from_nanos((1_000 + at) * 1_000_000)
    }

    fn stream(kind: MediaKind, rtx: bool) -> DownStream {
        let (first_seq, first_rtx_seq, timestamp_offset) = (100, 9_000, 5_000);
        let clock_rate_hz = 90_000;
        let mut down = DownStream::new(&DownStreamConfig {
            kind,
            clock_rate_hz,
            repair: if rtx { Repair::Rtx } else { Repair::None },
            first_seq,
            first_rtx_seq,
            timestamp_offset,
        });
        down.prepare();
        down
    }

    fn meta(at: u64, keyframe: bool) -> PacketMeta {
        PacketMeta { timestamp: at as u32 * 90, keyframe, arrival: ms(at), ..PacketMeta::default() }
    }

    /// Own index of a forwarded packet.
    fn forward(down: &mut DownStream, seq: u64, keyframe: bool) -> Result<u64, DropReason> {
        let rewritten = down.forward(seq, &meta(seq % 100, keyframe))?;
        down.sent(1, 1_000);
        Ok(rewritten.index)
    }

    #[test]
    fn video_starts_at_a_keyframe_and_numbers_on_after_a_pause() {
        let mut down = stream(MediaKind::Video, true);
        for (seq, keyframe, expected) in [
            (200, false, Err(DropReason::AwaitingKeyframe)),
            (202, true, Ok(100)),
            (201, false, Err(DropReason::TooOld)),
            (204, false, Ok(102)),
            (203, false, Ok(101)),
        ] {
            assert_eq!(forward(&mut down, seq, keyframe), expected, "packet {seq}");
        }
        down.await_keyframe();
        for (seq, keyframe, expected) in [
            (205, false, Err(DropReason::AwaitingKeyframe)),
            // A keyframe older than what went out is no place to go on from.
            (202, true, Err(DropReason::AwaitingKeyframe)),
            (260, true, Ok(103)),
            (261, false, Ok(104)),
        ] {
            assert_eq!(forward(&mut down, seq, keyframe), expected, "packet {seq}");
        }
        down.switch_source();
        for (seq, keyframe, expected) in [
            (9, false, Err(DropReason::AwaitingKeyframe)),
            (10, true, Ok(105)),
            (9, false, Err(DropReason::TooOld)),
        ] {
            assert_eq!(forward(&mut down, seq, keyframe), expected, "packet {seq} of another source");
        }
        assert_eq!((down.packets(), down.octets()), (6, 6_000));
    }

    #[test]
    fn audio_flows_at_once_and_through_a_switch() {
        let mut down = stream(MediaKind::Audio, false);
        assert_eq!(forward(&mut down, 70_000, false), Ok(100));
        down.await_keyframe();
        assert_eq!(forward(&mut down, 70_001, false), Ok(101));
        down.switch_source();
        assert_eq!(forward(&mut down, 5, false), Ok(102));
        assert!(!down.awaits_keyframe());
    }

    #[test]
    fn nacks_are_answered_from_the_history_or_named() {
        let mut history = History::new(8_192, 8);
        let mut down = stream(MediaKind::Video, true);
        for seq in 200..210 {
            history.reserve(100).fill(seq as u8);
            assert!(history.commit(seq, 100, meta(seq, seq == 200)));
            assert!(down.forward(seq, &meta(seq, seq == 200)).is_ok());
            down.sent(1, 100);
        }
        // (ms, number, RTX index and payload octet)
        for (at, number, expected) in [
            (0, 105, Ok((9_000, 205))),
            (1, 105, Err(DropReason::NackThrottled)),
            (1, 109, Ok((9_001, 209))),
            (1, 110, Err(DropReason::NackMiss)), // never sent
            (1, 99, Err(DropReason::NackMiss)),  // before the first
            (1, 101, Err(DropReason::NackMiss)), // no longer in the history
            (200, 105, Ok((9_002, 205))),
        ] {
            let got = down.on_nack(ms(at), SeqNo(number), &history).map(|r| {
                assert_eq!((r.osn, r.timestamp), (SeqNo(number), (u32::from(number) + 100) * 90 + 5_000));
                (r.rtx_index, r.stored.payload[0])
            });
            assert_eq!(got, expected, "number {number}");
        }
        assert_eq!(down.retransmissions(), 3);
        let mut without = stream(MediaKind::Video, false);
        assert!(without.on_nack(ms(0), SeqNo(100), &history).is_err());
    }

    #[test]
    fn reports_begin_with_the_first_packet() {
        let mut down = stream(MediaKind::Video, true);
        let reference = ClockReference { time: ms(0), timestamp: 1_000 };
        assert_eq!(down.poll_report(ms(10), CLOCK, reference), None);
        assert_eq!(forward(&mut down, 1, true), Ok(100));
        let info = down.poll_report(ms(10), CLOCK, reference).expect("due at once");
        assert_eq!((info.rtp_timestamp, info.packets, info.octets), (1_000 + 5_000 + 900, 1, 1_000));
        assert_eq!(down.poll_report(ms(1_009), CLOCK, reference), None);
        assert_eq!(down.poll_report_timeout(), Some(ms(1_010)));
        let lsr = Time::compact_ntp(info.ntp);
        let block = ReportBlock { lsr, dlsr: 0, ..ReportBlock::default() };
        let rtt = down.on_report_block(ms(60), CLOCK, &block).expect("sane");
        assert!(rtt.abs_diff(Duration::from_millis(50)) < Duration::from_millis(1));
        assert_eq!(down.rtt(), rtt);
    }
}
