//! A stream as a subscriber receives it.

use crate::seen::{Arrival, Seen};
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::time::Time;
use relay_core::wire::rtcp::{self, ReportBlock, SenderReport};

/// Missing packets asked for in one NACK.
const NACK_MAX: usize = 60;

/// The negotiated parameters of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub ssrc: Ssrc,
    /// The payload type of its packets.
    pub pt: Pt,
    /// SSRC and payload type of its retransmissions, if there are any.
    pub rtx: Option<(Ssrc, Pt)>,
}

#[derive(Clone, Debug)]
pub struct Incoming {
    parameters: Parameters,
    seen: Seen,
    /// Middle bits of the last sender report's NTP time, and when it came.
    last_report: Option<(u32, Time)>,
    /// Already reported as lost.
    reported_lost: u64,
    reported_highest: u64,
}

impl Incoming {
    /// A stream that nothing has been received of.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        let seen = Seen::default();
        Self { parameters, seen, last_report: None, reported_lost: 0, reported_highest: 0 }
    }

    #[must_use]
    pub const fn ssrc(&self) -> Ssrc {
        self.parameters.ssrc
    }

    /// Whether retransmissions were negotiated.
    #[must_use]
    pub const fn has_rtx(&self) -> bool {
        self.parameters.rtx.is_some()
    }

    /// The payload type that packets of this SSRC must have, if it is one of this stream's, and whether they
    /// are retransmissions.
    #[must_use]
    pub fn expects(&self, ssrc: Ssrc) -> Option<(Pt, bool)> {
        match self.parameters.rtx {
            _ if ssrc == self.parameters.ssrc => Some((self.parameters.pt, false)),
            Some((rtx_ssrc, pt)) if ssrc == rtx_ssrc => Some((pt, true)),
            _ => None,
        }
    }

    /// Which packets came.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes note of a packet, or of the one that a retransmission brings.
    pub fn arrived(&mut self, seq: SeqNo) -> Arrival {
        let number =
            self.seen.highest().map_or_else(|| u64::from(seq.0) + (1 << 16), |highest| seq.extend(highest));
        self.seen.on(number)
    }

    /// Takes a sender report into account.
    pub fn on_report(&mut self, now: Time, report: &SenderReport<'_>) {
        self.last_report = Some((Time::compact_ntp(report.ntp), now));
    }

    /// What a receiver report says of it; `None` before the first packet.
    #[must_use]
    pub fn report(&mut self, now: Time) -> Option<ReportBlock> {
        let highest = self.seen.highest()?;
        let (lost, expected) =
            (self.seen.lost() - self.reported_lost, highest - self.reported_highest.min(highest));
        self.reported_lost = self.seen.lost();
        self.reported_highest = highest;
        let (lsr, dlsr) = self
            .last_report
            .map_or((0, 0), |(lsr, at)| (lsr, (now.since(at).as_nanos() * 65_536 / 1_000_000_000) as u32));
        Some(ReportBlock {
            ssrc: self.parameters.ssrc,
            fraction_lost: (lost * 256 / expected.max(1)).min(255) as u8,
            cumulative_lost: i32::try_from(self.seen.lost()).unwrap_or(i32::MAX),
            // The first number was placed one cycle up.
            highest_seq: (highest - (1 << 16)) as u32,
            jitter: 0,
            lsr,
            dlsr,
        })
    }

    /// Sequence numbers to ask for in a NACK.
    #[must_use]
    pub fn missing(&self) -> Vec<SeqNo> {
        self.seen.missing(NACK_MAX).into_iter().map(|number| SeqNo(number as u16)).collect()
    }
}

/// The packet that a retransmission brings: its number stands in front (RFC 4588 §4).
#[must_use]
pub fn original(payload: &[u8]) -> Option<(SeqNo, &[u8])> {
    let (number, payload) = payload.split_first_chunk::<2>()?;
    Some((SeqNo(u16::from_be_bytes(*number)), payload))
}

/// A receiver report with what is wanted again (RFC 4585 §3.1: a report stands in front).
pub fn write_nack(
    out: &mut [u8],
    sender: Ssrc,
    blocks: &[ReportBlock],
    (media, missing): (Ssrc, &[SeqNo]),
) -> Option<usize> {
    let len = rtcp::write_rr(out, sender, blocks)?;
    Some(len + rtcp::write_nack(out.get_mut(len..)?, sender, media, missing)?)
}
