//! Full intra request (RFC 5104 §4.3.1).

use super::{entries, fmt, pt, write_feedback};
use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::Reader;

/// Somebody demands keyframes. The media source of the header means nothing here (RFC 5104 §4.3.1.2).
#[derive(Debug, Clone, Copy)]
pub struct Fir<'a> {
    /// Who.
    pub sender_ssrc: Ssrc,
    entries: &'a [[u8; 8]],
}

/// One demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntry {
    /// The stream.
    pub ssrc: Ssrc,
    /// A repetition has the same number.
    pub seq_nr: u8,
}

impl<'a> Fir<'a> {
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Self, WireError> {
        let (sender_ssrc, _media) = (Ssrc(r.u32()?), r.u32()?);
        Ok(Self { sender_ssrc, entries: entries::<8>(r.rest())? })
    }

    /// The demands.
    pub fn entries(&self) -> impl Iterator<Item = FirEntry> + use<'a> {
        self.entries.iter().map(|&[a, b, c, d, seq_nr, ..]| FirEntry {
            ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])),
            seq_nr,
        })
    }
}

/// Writes a FIR for one stream. Returns its length, `None` if it does not fit.
#[must_use]
pub fn write_fir(out: &mut [u8], sender: Ssrc, media: Ssrc, seq_nr: u8) -> Option<usize> {
    write_feedback(out, (pt::PSFB, fmt::FIR), (sender, Ssrc(0)), |w| {
        w.u32(media.0)?;
        w.u8(seq_nr)?;
        w.zeros(3)
    })
}
