//! Generic NACK (RFC 4585 §6.2.1).

use super::{entries, fmt, pt, write_feedback};
use crate::id::{SeqNo, Ssrc};
use crate::wire::WireError;
use crate::wire::cursor::Reader;

/// Packets that somebody misses: at most 17 for every four octets.
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    /// Who misses them.
    pub sender_ssrc: Ssrc,
    /// The stream they belong to.
    pub media_ssrc: Ssrc,
    entries: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self, WireError> {
        let (sender_ssrc, media_ssrc) = (Ssrc(r.u32()?), Ssrc(r.u32()?));
        let entries = entries::<4>(r.rest())?;
        if entries.is_empty() {
            return Err(WireError::Truncated); // RFC 4585 §6.2.1: at least one
        }
        Ok(Self { sender_ssrc, media_ssrc, entries })
    }

    /// The missing sequence numbers, in the order of the message: PID, then the bits of BLP from the lowest.
    pub fn seqs(&self) -> impl Iterator<Item = SeqNo> + use<'a> {
        self.entries.iter().flat_map(|&[p0, p1, b0, b1]| {
            let (pid, blp) = (u16::from_be_bytes([p0, p1]), u16::from_be_bytes([b0, b1]));
            let following = (0..16u16).filter(move |bit| blp >> bit & 1 != 0).map(move |bit| bit + 1);
            std::iter::once(0).chain(following).map(move |offset| SeqNo(pid.wrapping_add(offset)))
        })
    }
}

/// Writes a NACK for `seqs`, which are sorted upwards (over the wrap) so that neighbours share an entry.
/// Returns its length, `None` if it does not fit or there are none.
#[must_use]
pub fn write_nack(out: &mut [u8], sender: Ssrc, media: Ssrc, seqs: &[SeqNo]) -> Option<usize> {
    let (first, rest) = seqs.split_first()?;
    write_feedback(out, (pt::RTPFB, fmt::NACK), (sender, media), |w| {
        let (mut pid, mut blp) = (*first, 0u16);
        for seq in rest {
            match seq.0.wrapping_sub(pid.0) {
                0 => {}
                offset @ 1..=16 => blp |= 1 << (offset - 1),
                _ => {
                    w.u16(pid.0)?;
                    w.u16(blp)?;
                    (pid, blp) = (*seq, 0);
                }
            }
        }
        w.u16(pid.0)?;
        w.u16(blp)
    })
}
