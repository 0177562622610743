//! Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2).

use super::{entries, fmt, pt, write_feedback};
use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::Reader;

const IDENTIFIER: &[u8; 4] = b"REMB";
const MANTISSA_BITS: u32 = 18;

/// What a receiver thinks that its path carries.
#[derive(Debug, Clone, Copy)]
pub struct Remb<'a> {
    /// The receiver.
    pub sender_ssrc: Ssrc,
    /// Estimate for all the streams together, bit/s; what exceeds 64 bits is [`u64::MAX`].
    pub bitrate_bps: u64,
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Remb<'a> {
    /// `None` for application-layer feedback of another kind.
    pub(super) fn parse(mut r: Reader<'a>) -> Result<Option<Self>, WireError> {
        let (sender_ssrc, _media) = (Ssrc(r.u32()?), r.u32()?);
        if !r.rest().starts_with(IDENTIFIER) {
            return Ok(None);
        }
        let (_identifier, count, exponent_mantissa) = (r.u32()?, r.u8()?, r.u24()?);
        let ssrcs = entries::<4>(r.rest())?;
        if ssrcs.len() != usize::from(count) {
            return Err(WireError::BadLength);
        }
        let (exponent, mantissa) =
            (exponent_mantissa >> MANTISSA_BITS, exponent_mantissa & ((1 << MANTISSA_BITS) - 1));
        let bitrate_bps = (u128::from(mantissa) << exponent).try_into().unwrap_or(u64::MAX);
        Ok(Some(Self { sender_ssrc, bitrate_bps, ssrcs }))
    }

    /// The streams it speaks of.
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        self.ssrcs.iter().map(|b| Ssrc(u32::from_be_bytes(*b)))
    }
}

/// Writes a REMB for at most 255 streams; the bitrate is rounded down to 18 significant bits. Returns its
/// length, `None` if it does not fit.
#[must_use]
pub fn write_remb(out: &mut [u8], sender: Ssrc, bitrate_bps: u64, ssrcs: &[Ssrc]) -> Option<usize> {
    let count = u8::try_from(ssrcs.len()).ok()?;
    let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let mantissa = u32::try_from(bitrate_bps >> exponent).ok()?;
    write_feedback(out, (pt::PSFB, fmt::AFB), (sender, Ssrc(0)), |w| {
        w.put(IDENTIFIER)?;
        w.u8(count)?;
        w.u24((exponent << MANTISSA_BITS) | mantissa)?;
        ssrcs.iter().try_for_each(|ssrc| w.u32(ssrc.0))
    })
}
