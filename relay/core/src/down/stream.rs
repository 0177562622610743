//! One sent stream: an SSRC of ours with its RTX, towards one subscriber.
//!
//! A packet's way: [`DownStream::forward`] says whether and under which numbers it goes; when it was sealed and
//! committed, [`DownStream::sent`] counts it. Both are a handful of instructions: a room's fan-out is a loop of them.

use super::layer::{Gate, Passage};
use super::reports::{SenderInfo, SenderReports};
use super::rewrite::{Rewriter, Rewritten};
use super::rtx::RtxResponder;
use crate::id::SeqNo;
use crate::stats::Drop;
use crate::time::{NtpClock, Time};
use crate::up::clock::ClockReference;
use crate::up::history::{History, PacketMeta, Stored};
use crate::wire::rtcp::ReportBlock;
use relay_control::MediaKind;
use std::time::Duration;

/// What a stream is made from.
#[derive(Clone, Copy, Debug)]
pub struct DownStreamConfig {
    /// Video waits for keyframes.
    pub kind: MediaKind,
    /// Of the RTP timestamps; as the up-track's.
    pub clock_rate_hz: u32,
    /// Whether RTX was negotiated.
    pub rtx: bool,
    /// Random: the first sequence number, of which 15 bits are used.
    pub first_seq: u16,
    /// Random: the same for RTX.
    pub first_rtx_seq: u16,
    /// Random: added to the up-track's timestamps.
    pub timestamp_offset: u32,
}

/// A packet to send again.
#[derive(Clone, Copy, Debug)]
pub struct Resend<'a> {
    /// Index of the retransmission on the RTX SSRC; its low 16 bits go on the wire.
    pub rtx_index: u64,
    /// Number it had on the media SSRC (RFC 4588 §4).
    pub osn: SeqNo,
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
    rtx: Option<RtxResponder>,
    retransmissions: u64,
    reports: SenderReports,
}

impl DownStream {
    /// Allocates everything the stream will ever need.
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
            rtx: config.rtx.then(|| RtxResponder::new(config.first_rtx_seq)),
            retransmissions: 0,
            reports: SenderReports::new(config.kind, config.clock_rate_hz),
        }
    }

    /// Numbers for the up-track's packet `seq`. Offer each packet once: the same one twice gets the same numbers.
    ///
    /// # Errors
    /// Why this subscriber does not get it.
    #[inline]
    pub fn forward(&mut self, seq: u64, meta: &PacketMeta) -> Result<Rewritten, Drop> {
        // A keyframe older than what went out cannot be where numbering goes on.
        match self.gate.admit(meta.keyframe && self.rewriter.is_ahead(seq)) {
            Passage::Pass => {}
            Passage::PassFirst => self.rewriter.splice(),
            Passage::Withhold(reason) => return Err(reason),
        }
        self.rewriter.rewrite(seq, meta.timestamp, meta.arrival).ok_or(Drop::TooOld)
    }

    /// A forwarded packet of `len` payload octets went out.
    #[inline]
    pub fn sent(&mut self, len: usize) {
        self.packets += 1;
        self.octets += len as u64;
    }

    /// Answers one number of a NACK.
    ///
    /// # Errors
    /// Why nothing is sent.
    pub fn on_nack<'h>(&mut self, now: Time, seq: SeqNo, history: &'h History) -> Result<Resend<'h>, Drop> {
        let rtx = self.rtx.as_mut().ok_or(Drop::NackMiss)?;
        let (index, up) = self.rewriter.source_of(seq).ok_or(Drop::NackMiss)?;
        let stored = history.get(up).ok_or(Drop::NackMiss)?;
        let rtx_index = rtx
            .admit(now, index, stored.payload.len(), self.octets, self.reports.rtt())
            .ok_or(Drop::NackThrottled)?;
        self.retransmissions += 1;
        let timestamp = self.rewriter.timestamp(stored.meta.timestamp);
        Ok(Resend { rtx_index, osn: SeqNo(index as u16), timestamp, stored })
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

    /// Another source (an up-track's other layer) takes over: video waits for its keyframe, numbering goes on.
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
