//! Sender report (RFC 3550 §6.4.1).

use super::{COUNT_MAX, ReportBlock, ReportBlocks, pt, write_packet};
use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::Reader;

/// What a sender says about its stream.
#[derive(Debug, Clone, Copy)]
pub struct SenderReport<'a> {
    /// The sender.
    pub sender_ssrc: Ssrc,
    /// Wall clock, 64-bit NTP format.
    pub ntp: u64,
    /// The same instant on the RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packet_count: u32,
    /// Payload octets sent.
    pub octet_count: u32,
    blocks: ReportBlocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, mut r: Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            sender_ssrc: Ssrc(r.u32()?),
            ntp: r.u64()?,
            rtp_timestamp: r.u32()?,
            packet_count: r.u32()?,
            octet_count: r.u32()?,
            blocks: ReportBlocks::parse(count, &mut r)?,
        })
    }

    /// What it says about the streams that it receives.
    #[must_use]
    pub const fn blocks(&self) -> ReportBlocks<'a> {
        self.blocks
    }
}

/// Writes a sender report with at most 31 blocks. Returns its length, `None` if it does not fit.
#[must_use]
pub fn write_sr(
    out: &mut [u8],
    sender_ssrc: Ssrc,
    ntp: u64,
    rtp_timestamp: u32,
    packet_count: u32,
    octet_count: u32,
    blocks: &[ReportBlock],
) -> Option<usize> {
    let count = u8::try_from(blocks.len()).ok().filter(|_| blocks.len() <= COUNT_MAX)?;
    write_packet(out, pt::SR, count, |w| {
        w.u32(sender_ssrc.0)?;
        w.u64(ntp)?;
        w.u32(rtp_timestamp)?;
        w.u32(packet_count)?;
        w.u32(octet_count)?;
        blocks.iter().try_for_each(|block| block.write(w))
    })
}
