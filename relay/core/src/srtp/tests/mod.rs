//! Vectors of RFCs and of libsrtp; roll-over, replay and limits by simulation of a sender.

mod behaviour;
mod vectors;

use super::{OpenContext, OpenError, Opened};
use crate::id::{SeqNo, Ssrc};
use crate::wire::rtp::RtpHeader;

/// A 12-octet header.
fn header(seq: u16, ssrc: Ssrc) -> [u8; 12] {
    let mut header = [0x80, 0x60, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&SeqNo(seq).0.to_be_bytes());
    header[8..].copy_from_slice(&ssrc.0.to_be_bytes());
    header
}

/// Opens as the transport does: header first, then into another buffer.
fn open(context: &mut OpenContext, packet: &[u8]) -> Result<(Opened, Vec<u8>), OpenError> {
    let header = RtpHeader::parse(packet).map_err(|_| OpenError::Truncated)?;
    let mut out = vec![0; packet.len()];
    let opened = context.open_rtp(&header, packet, &mut out)?;
    out.truncate(opened.len);
    Ok((opened, out))
}

/// Every copy of `packet` with one bit flipped.
fn one_bit_flipped(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..packet.len() * 8).map(|bit| {
        let mut broken = packet.to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        broken
    })
}
