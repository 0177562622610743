//! Source description (RFC 3550 §6.5).

use super::{pt, write_packet};
use crate::id::Ssrc;
use crate::wire::WireError;
use crate::wire::cursor::Reader;

/// Item type of the canonical name (RFC 3550 §6.5.1).
pub const SDES_CNAME: u8 = 1;

/// The chunks of a source description.
#[derive(Debug, Clone, Copy)]
pub struct Sdes<'a> {
    count: u8,
    chunks: Reader<'a>,
}

/// One item of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SdesItem<'a> {
    /// The source described.
    pub ssrc: Ssrc,
    /// [`SDES_CNAME`] or another item type, never 0.
    pub kind: u8,
    /// UTF-8 by definition, unchecked here.
    pub value: &'a [u8],
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(count: u8, chunks: Reader<'a>) -> Result<Self, WireError> {
        let mut r = chunks;
        for _ in 0..count {
            r.u32()?;
            while read_item(&mut r)?.is_some() {}
        }
        Ok(Self { count, chunks })
    }

    /// All items in their order.
    pub fn items(&self) -> impl Iterator<Item = SdesItem<'a>> + use<'a> {
        let (mut chunks_left, mut r, mut current) = (self.count, self.chunks, None);
        std::iter::from_fn(move || {
            loop {
                let ssrc = match current {
                    Some(ssrc) => ssrc,
                    None => {
                        chunks_left = chunks_left.checked_sub(1)?;
                        Ssrc(r.u32().ok()?)
                    }
                };
                let item = read_item(&mut r).ok()?;
                current = item.map(|_| ssrc);
                if let Some((kind, value)) = item {
                    return Some(SdesItem { ssrc, kind, value });
                }
            }
        })
    }
}

/// Reads an item, or the zeros that end a chunk on a 32-bit boundary (RFC 3550 §6.5). A packet's body starts
/// on such a boundary and ends on one, so what is left tells where we are.
fn read_item<'a>(r: &mut Reader<'a>) -> Result<Option<(u8, &'a [u8])>, WireError> {
    let kind = r.u8()?;
    if kind == 0 {
        r.take(r.rest().len() % 4)?;
        return Ok(None);
    }
    let len = usize::from(r.u8()?);
    Ok(Some((kind, r.take(len)?)))
}

/// Writes a description of one source by its canonical name (255 octets at most). Returns its length, `None`
/// if it does not fit.
#[must_use]
pub fn write_sdes_cname(out: &mut [u8], ssrc: Ssrc, cname: &str) -> Option<usize> {
    write_packet(out, pt::SDES, 1, |w| {
        w.u32(ssrc.0)?;
        w.u8(SDES_CNAME)?;
        w.u8(u8::try_from(cname.len()).ok()?)?;
        w.put(cname.as_bytes())?;
        w.u8(0)
    })
}
