//! Picture loss indication (RFC 4585 §6.3.1).

use super::{fmt, pt, write_feedback};
use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::Reader;

/// Somebody cannot decode any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pli {
    /// Who.
    pub sender_ssrc: Ssrc,
    /// Which stream.
    pub media_ssrc: Ssrc,
}

impl Pli {
    pub(super) fn parse(mut r: Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { sender_ssrc: Ssrc(r.u32()?), media_ssrc: Ssrc(r.u32()?) })
    }
}

/// Writes a PLI. Returns its length, `None` if it does not fit.
#[must_use]
pub fn write_pli(out: &mut [u8], sender: Ssrc, media: Ssrc) -> Option<usize> {
    write_feedback(out, (pt::PSFB, fmt::PLI), (sender, media), |_| Some(()))
}
