//! A stream as a subscriber receives it.

use crate::door::Down;
use crate::scenario::Kind;
use crate::seen::{Arrival, Seen};
use relay_core::id::{SeqNo, Ssrc};
use relay_core::time::Time;
use relay_core::wire::rtcp::{ReportBlock, SenderReport};

/// Missing packets asked for in one NACK.
const NACK_MAX: usize = 60;

/// See the module.
pub(crate) struct Receiving {
    /// Index of the stream in the scenario: what every mark on this SSRC must say.
    pub(crate) stream: u32,
    pub(crate) kind: Kind,
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    pub(crate) ssrc: Ssrc,
    /// 0: none negotiated.
    pub(crate) rtx_ssrc: Ssrc,
    pub(crate) seen: Seen,
    /// Middle bits of the last sender report's NTP time, and when it came.
    last_report: Option<(u32, Time)>,
    /// Already reported as lost.
    reported_lost: u64,
    reported_highest: u64,
}

impl Receiving {
    pub(crate) fn new(down: &Down) -> Self {
        Self {
            stream: down.stream,
            kind: down.kind,
            payload_type: down.payload_type,
            rtx_payload_type: down.rtx_payload_type,
            ssrc: Ssrc(down.ssrc),
            rtx_ssrc: Ssrc(down.rtx_ssrc),
            seen: Seen::default(),
            last_report: None,
            reported_lost: 0,
            reported_highest: 0,
        }
    }

    /// Whether packets on its SSRC, or on that of its retransmissions, have this payload type.
    pub(crate) fn has_payload_type(&self, is_rtx: bool, payload_type: u8) -> bool {
        (if is_rtx { self.rtx_payload_type } else { Some(self.payload_type) }) == Some(payload_type)
    }

    pub(crate) fn arrived(&mut self, seq: SeqNo) -> Arrival {
        let number =
            self.seen.highest().map_or_else(|| u64::from(seq.0) + (1 << 16), |highest| seq.extend(highest));
        self.seen.on(number)
    }

    pub(crate) fn on_report(&mut self, now: Time, report: &SenderReport<'_>) {
        self.last_report = Some((Time::compact_ntp(report.ntp), now));
    }

    /// What a receiver report says of it; `None` before the first packet.
    pub(crate) fn report(&mut self, now: Time) -> Option<ReportBlock> {
        let highest = self.seen.highest()?;
        let (lost, expected) =
            (self.seen.lost() - self.reported_lost, highest - self.reported_highest.min(highest));
        self.reported_lost = self.seen.lost();
        self.reported_highest = highest;
        let (lsr, dlsr) = self
            .last_report
            .map_or((0, 0), |(lsr, at)| (lsr, (now.since(at).as_nanos() * 65_536 / 1_000_000_000) as u32));
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256 / expected.max(1)).min(255) as u8,
            cumulative_lost: i32::try_from(self.seen.lost()).unwrap_or(i32::MAX),
            // The first number was placed one cycle up.
            highest_seq: (highest - (1 << 16)) as u32,
            jitter: 0,
            lsr,
            dlsr,
        })
    }

    /// What is worth asking for again.
    pub(crate) fn missing(&self) -> Vec<SeqNo> {
        self.seen.missing(NACK_MAX).into_iter().map(|number| SeqNo(number as u16)).collect()
    }
}
