//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104), one file a message.
//!
//! A compound is checked to its end before the first packet of it is handed out: one bad block drops all of
//! it. Reduced-size compounds (RFC 5506) are accepted, unknown packet types are named and skipped.

mod bye;
mod fir;
mod nack;
mod pli;
mod remb;
mod report;
mod rr;
mod sdes;
mod sr;
mod transport_cc;

pub use bye::{Bye, write_bye};
pub use fir::{Fir, FirEntry, write_fir};
pub use nack::{Nack, write_nack};
pub use pli::{Pli, write_pli};
pub use remb::{Remb, write_remb};
pub use report::{ReportBlock, ReportBlocks};
pub use rr::{ReceiverReport, write_rr};
pub use sdes::{SDES_CNAME, Sdes, SdesItem, write_sdes_cname};
pub use sr::{SenderReport, write_sr};
pub use transport_cc::{Received, Statuses, TRANSPORT_CC_BYTES_MAX, TransportCc, write_transport_cc};

use super::cursor::{Reader, Writer};
use super::{RTCP_TYPES, WireError};
use crate::id::Ssrc;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
mod pt {
    pub(super) const SR: u8 = 200;
    pub(super) const RR: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const RTPFB: u8 = 205;
    pub(super) const PSFB: u8 = 206;
}

/// Feedback message types (RFC 4585 §6.2, §6.3, RFC 5104 §4.3.1,
/// draft-holmer-rmcat-transport-wide-cc-extensions-01).
mod fmt {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_CC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const AFB: u8 = 15;
}

/// Most that fits into the five bits of a count.
const COUNT_MAX: usize = 31;

/// One packet of a compound.
#[derive(Debug, Clone, Copy)]
pub enum RtcpPacket<'a> {
    /// Sender report (RFC 3550 §6.4.1).
    Sr(SenderReport<'a>),
    /// Receiver report (RFC 3550 §6.4.2).
    Rr(ReceiverReport<'a>),
    /// Source description (RFC 3550 §6.5).
    Sdes(Sdes<'a>),
    /// Goodbye (RFC 3550 §6.6).
    Bye(Bye<'a>),
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack(Nack<'a>),
    /// Transport-wide congestion control feedback.
    TransportCc(TransportCc<'a>),
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli(Pli),
    /// Full intra request (RFC 5104 §4.3.1).
    Fir(Fir<'a>),
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
    Remb(Remb<'a>),
    /// Anything else, unread.
    Other {
        /// Packet type.
        pt: u8,
        /// Count or feedback message type.
        count: u8,
    },
}

/// Checks the whole compound, then iterates over its packets.
///
/// # Errors
/// The first fault of any packet in it. An empty compound is [`WireError::Truncated`].
pub fn parse_compound(bytes: &[u8]) -> Result<RtcpIter<'_>, WireError> {
    let mut rest = Reader::new(bytes);
    loop {
        parse_one(&mut rest)?;
        if rest.is_empty() {
            return Ok(RtcpIter { rest: Reader::new(bytes) });
        }
    }
}

/// Packets of a compound that [`parse_compound`] found good.
#[derive(Debug, Clone, Copy)]
pub struct RtcpIter<'a> {
    rest: Reader<'a>,
}

impl<'a> Iterator for RtcpIter<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        parse_one(&mut self.rest).ok()
    }
}

/// Takes one packet off the front.
fn parse_one<'a>(rest: &mut Reader<'a>) -> Result<RtcpPacket<'a>, WireError> {
    let (first, pt, words) = (rest.u8()?, rest.u8()?, rest.u16()?);
    if first >> 6 != 2 {
        return Err(WireError::BadVersion);
    }
    if !RTCP_TYPES.contains(&pt) {
        return Err(WireError::BadType);
    }
    let body = rest.take(4 * usize::from(words))?;
    // RFC 3550 §6.4.1 pads only the last packet of a compound; libwebrtc also pads feedback in its middle.
    let body = if first & 0x20 == 0 { body } else { without_padding(body)? };
    parse_body(pt, first & 0x1f, Reader::new(body))
}

/// RFC 3550 §6.4.1: the last octet counts the padding, itself included, and is a multiple of four.
fn without_padding(body: &[u8]) -> Result<&[u8], WireError> {
    let count = usize::from(*body.last().ok_or(WireError::BadPadding)?);
    if count == 0 || count % 4 != 0 {
        return Err(WireError::BadPadding);
    }
    let kept = body.len().checked_sub(count).ok_or(WireError::BadPadding)?;
    body.get(..kept).ok_or(WireError::BadPadding)
}

fn parse_body(pt: u8, count: u8, r: Reader<'_>) -> Result<RtcpPacket<'_>, WireError> {
    Ok(match (pt, count) {
        (pt::SR, _) => RtcpPacket::Sr(SenderReport::parse(count, r)?),
        (pt::RR, _) => RtcpPacket::Rr(ReceiverReport::parse(count, r)?),
        (pt::SDES, _) => RtcpPacket::Sdes(Sdes::parse(count, r)?),
        (pt::BYE, _) => RtcpPacket::Bye(Bye::parse(count, r)?),
        (pt::RTPFB, fmt::NACK) => RtcpPacket::Nack(Nack::parse(r)?),
        (pt::RTPFB, fmt::TRANSPORT_CC) => RtcpPacket::TransportCc(TransportCc::parse(r)?),
        (pt::PSFB, fmt::PLI) => RtcpPacket::Pli(Pli::parse(r)?),
        (pt::PSFB, fmt::FIR) => RtcpPacket::Fir(Fir::parse(r)?),
        (pt::PSFB, fmt::AFB) => match Remb::parse(r)? {
            Some(remb) => RtcpPacket::Remb(remb),
            None => RtcpPacket::Other { pt, count },
        },
        _ => RtcpPacket::Other { pt, count },
    })
}

/// Writes the common header around `body`, which leaves whole words.
fn write_packet(
    out: &mut [u8],
    pt: u8,
    count: u8,
    body: impl FnOnce(&mut Writer<'_>) -> Option<()>,
) -> Option<usize> {
    let mut w = Writer::new(out);
    w.u8(0x80 | count)?;
    w.u8(pt)?;
    w.u16(0)?;
    body(&mut w)?;
    w.align4()?;
    let words = u16::try_from(w.len() / 4 - 1).ok()?;
    w.patch(2, &words.to_be_bytes())?;
    Some(w.len())
}

/// The same for feedback (RFC 4585 §6.1), which names its sender and the media source.
fn write_feedback(
    out: &mut [u8],
    (pt, fmt): (u8, u8),
    (sender, media): (Ssrc, Ssrc),
    fci: impl FnOnce(&mut Writer<'_>) -> Option<()>,
) -> Option<usize> {
    write_packet(out, pt, fmt, |w| {
        w.u32(sender.0)?;
        w.u32(media.0)?;
        fci(w)
    })
}

/// The entries of `block`, which must be a whole number of `N` octets.
fn entries<const N: usize>(block: &[u8]) -> Result<&[[u8; N]], WireError> {
    match block.as_chunks::<N>() {
        (entries, []) => Ok(entries),
        _ => Err(WireError::BadLength),
    }
}

#[cfg(test)]
mod tests;
