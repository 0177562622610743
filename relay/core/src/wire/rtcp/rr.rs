//! Receiver report (RFC 3550 §6.4.2).

use super::{COUNT_MAX, ReportBlock, ReportBlocks, pt, write_packet};
use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::Reader;

/// What a receiver says about the streams that it gets.
#[derive(Debug, Clone, Copy)]
pub struct ReceiverReport<'a> {
    /// The reporter.
    pub sender_ssrc: Ssrc,
    blocks: ReportBlocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, mut r: Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { sender_ssrc: Ssrc(r.u32()?), blocks: ReportBlocks::parse(count, &mut r)? })
    }

    /// One block a source.
    #[must_use]
    pub const fn blocks(&self) -> ReportBlocks<'a> {
        self.blocks
    }
}

/// Writes a receiver report with at most 31 blocks. Returns its length, `None` if it does not fit.
#[must_use]
pub fn write_rr(out: &mut [u8], sender_ssrc: Ssrc, blocks: &[ReportBlock]) -> Option<usize> {
    let count = u8::try_from(blocks.len()).ok().filter(|_| blocks.len() <= COUNT_MAX)?;
    write_packet(out, pt::RR, count, |w| {
        w.u32(sender_ssrc.0)?;
        blocks.iter().try_for_each(|block| block.write(w))
    })
}
