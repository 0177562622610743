//! Goodbye (RFC 3550 §6.6).

use super::{pt, write_packet};
use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::Reader;

/// Sources that leave. The reason, if there is one, is skipped.
#[derive(Debug, Clone, Copy)]
pub struct Bye<'a> {
    sources: Reader<'a>,
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, mut r: Reader<'a>) -> Result<Self, WireError> {
        let sources = Reader::new(r.take(4 * usize::from(count))?);
        if !r.is_empty() {
            let len = usize::from(r.u8()?);
            r.take(len)?;
        }
        Ok(Self { sources })
    }

    /// Who leaves.
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        let mut r = self.sources;
        std::iter::from_fn(move || r.u32().ok().map(Ssrc))
    }
}

/// Writes a goodbye of one source. Returns its length, `None` if it does not fit.
#[must_use]
pub fn write_bye(out: &mut [u8], ssrc: Ssrc) -> Option<usize> {
    write_packet(out, pt::BYE, 1, |w| w.u32(ssrc.0))
}
