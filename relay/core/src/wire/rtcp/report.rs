//! Report blocks, shared by SR and RR (RFC 3550 §6.4.1).

use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::{Reader, Writer};

const BLOCK_BYTES: usize = 24;

/// Reception statistics of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: Ssrc,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost in all, signed 24 bit (duplicates make it negative).
    pub cumulative_lost: i32,
    /// Highest sequence number, extended by the count of cycles.
    pub highest_seq: u32,
    /// Interarrival jitter in units of the RTP timestamp.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last SR; 0 = none came yet.
    pub lsr: u32,
    /// Delay since that SR, in 1/65,536 s.
    pub dlsr: u32,
}

impl ReportBlock {
    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            ssrc: Ssrc(r.u32()?),
            fraction_lost: r.u8()?,
            cumulative_lost: (r.u24()? << 8).cast_signed() >> 8,
            highest_seq: r.u32()?,
            jitter: r.u32()?,
            lsr: r.u32()?,
            dlsr: r.u32()?,
        })
    }

    /// The cumulative loss is clamped to its 24 bits (RFC 3550 A.3).
    pub(super) fn write(&self, w: &mut Writer<'_>) -> Option<()> {
        w.u32(self.ssrc.0)?;
        w.u8(self.fraction_lost)?;
        w.u24(self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff)?;
        w.u32(self.highest_seq)?;
        w.u32(self.jitter)?;
        w.u32(self.lsr)?;
        w.u32(self.dlsr)
    }
}

/// The blocks of a report.
#[derive(Debug, Clone, Copy)]
pub struct ReportBlocks<'a>(Reader<'a>);

impl<'a> ReportBlocks<'a> {
    /// Takes `count` blocks; profile-specific extensions may follow them.
    pub(super) fn parse(count: u8, r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self(Reader::new(r.take(BLOCK_BYTES * usize::from(count))?)))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        ReportBlock::parse(&mut self.0).ok()
    }
}
