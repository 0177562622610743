//! The RTP header (RFC 3550 §5.1): a view, and the writer of ours.

use super::WireError;
use super::cursor::{Reader, Writer};
use super::rtp_ext::{self, ExtElements};
use crate::id::{Pt, SeqNo, Ssrc};

/// Octets before CSRCs and extension.
pub const FIXED_HEADER_BYTES: usize = 12;

/// A parsed header. Offsets are into the packet it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub pt: Pt,
    /// Sequence number.
    pub seq: SeqNo,
    /// RTP timestamp in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: Ssrc,
    /// The P bit. The padding count itself is encrypted: see [`strip_padding`].
    pub padding: bool,
    /// Length in octets of the whole header with CSRCs and extension: the offset of the payload.
    pub len: usize,
    /// The extension, if the X bit is set.
    pub extension: Option<Extension>,
}

/// Where the header extension (RFC 3550 §5.3.1) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The 16 bits "defined by profile": 0xBEDE or 0x100X for RFC 8285.
    pub profile: u16,
    /// Offset of the first element in the packet.
    pub start: usize,
    /// Octets of elements.
    pub len: usize,
}

impl RtpHeader {
    /// Reads the header at the front of `packet`.
    ///
    /// # Errors
    /// [`WireError::BadVersion`], or [`WireError::Truncated`] if CSRCs or extension do not fit.
    pub fn parse(packet: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(packet);
        let (vpxcc, marker_pt) = (r.u8()?, r.u8()?);
        if vpxcc >> 6 != 2 {
            return Err(WireError::BadVersion);
        }
        let (seq, timestamp, ssrc) = (SeqNo(r.u16()?), r.u32()?, Ssrc(r.u32()?));
        r.take(4 * usize::from(vpxcc & 0x0f))?;
        let extension = if vpxcc & 0x10 == 0 {
            None
        } else {
            let (profile, words) = (r.u16()?, r.u16()?);
            let start = packet.len() - r.rest().len();
            let len = r.take(4 * usize::from(words))?.len();
            Some(Extension { profile, start, len })
        };
        Ok(Self {
            marker: marker_pt & 0x80 != 0,
            pt: Pt(marker_pt & 0x7f),
            seq,
            timestamp,
            ssrc,
            padding: vpxcc & 0x20 != 0,
            len: packet.len() - r.rest().len(),
            extension,
        })
    }

    /// The extension elements, read from the packet that this header was parsed from.
    #[must_use]
    pub fn elements<'a>(&self, packet: &'a [u8]) -> ExtElements<'a> {
        let Some(Extension { profile, start, len }) = self.extension else { return ExtElements::default() };
        let block = packet.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default();
        ExtElements::new(profile, block)
    }
}

/// Length of the decrypted `payload` without its padding (RFC 3550 §5.1), which is 0 for a probe of padding
/// only. `None` if the count in the last octet is zero or larger than the payload.
#[must_use]
pub fn strip_padding(padding: bool, payload: &[u8]) -> Option<usize> {
    if !padding {
        return Some(payload.len());
    }
    let count = usize::from(*payload.last()?);
    if count == 0 { None } else { payload.len().checked_sub(count) }
}

/// What we write into a header; we never send CSRCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFields {
    /// Marker bit.
    pub marker: bool,
    /// The P bit: the payload ends with padding.
    pub padding: bool,
    /// Payload type.
    pub pt: Pt,
    /// Sequence number.
    pub seq: SeqNo,
    /// RTP timestamp in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: Ssrc,
}

/// Writes a header with the elements `ext` in the one-byte form (RFC 8285 §4.2), padded to 32 bits; without
/// any there is no extension block. Returns its length; `None` if it does not fit, an id is not in 1..=14, or
/// an element's length not in 1..=16.
#[must_use]
pub fn write_header(out: &mut [u8], fields: &HeaderFields, ext: &[(u8, &[u8])]) -> Option<usize> {
    let mut w = Writer::new(out);
    let extension = u8::from(!ext.is_empty()) << 4;
    let mut fixed = [0; FIXED_HEADER_BYTES];
    fixed[0] = 0x80 | (u8::from(fields.padding) << 5) | extension;
    fixed[1] = (u8::from(fields.marker) << 7) | (fields.pt.0 & 0x7f);
    fixed[2..4].copy_from_slice(&fields.seq.0.to_be_bytes());
    fixed[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
    fixed[8..].copy_from_slice(&fields.ssrc.0.to_be_bytes());
    w.put(&fixed)?;
    if !ext.is_empty() {
        rtp_ext::write_one_byte_block(&mut w, ext)?;
    }
    Some(w.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_figure_shows() {
        let packet = [
            0xb2, 0xe0, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0xca, 0xfe, 0xba,
            0xbe, // fixed, P X CC=2, M PT=96
            0, 0, 0, 1, 0, 0, 0, 2, // CSRC
            0xbe, 0xde, 0, 1, 0x10, 0x7f, 0, 0, // extension
            0xaa,
        ];
        let header = RtpHeader::parse(&packet).expect("good");
        let want = RtpHeader {
            marker: true,
            pt: Pt(96),
            seq: SeqNo(0x1234),
            timestamp: 0xdead_beef,
            ssrc: Ssrc(0xcafe_babe),
            padding: true,
            len: 28,
            extension: Some(Extension { profile: 0xbede, start: 24, len: 4 }),
        };
        assert_eq!(header, want);
        assert_eq!(header.elements(&packet).collect::<Vec<_>>(), [(1, &[0x7f][..])]);
        for len in 0..28 {
            assert_eq!(RtpHeader::parse(&packet[..len]), Err(WireError::Truncated), "cut at {len}");
        }
        for first in [0x00, 0x40, 0xc0] {
            let mut other = packet;
            other[0] = first;
            assert_eq!(RtpHeader::parse(&other), Err(WireError::BadVersion));
        }
    }

    /// Every combination of P, X, CC, extension length and packet length up to 40 octets: the header is
    /// accepted exactly if it fits, and nothing reaches outside the packet.
    #[test]
    fn every_small_header_fits_or_is_refused() {
        for (bits, words, len) in
            (0..64u8).flat_map(|b| (0..12u16).flat_map(move |w| (0..=40usize).map(move |l| (b, w, l))))
        {
            let mut packet = [0u8; 40];
            let csrc_end = FIXED_HEADER_BYTES + 4 * usize::from(bits & 0x0f);
            packet[0] = 0x80 | bits;
            if let Some(head) = packet.get_mut(csrc_end..csrc_end + 4) {
                head.copy_from_slice(&[0xbe, 0xde, 0, words as u8]);
            }
            let packet = &packet[..len];
            let extended = bits & 0x10 != 0;
            let need = csrc_end + if extended { 4 + 4 * usize::from(words) } else { 0 };
            match RtpHeader::parse(packet) {
                Ok(header) => {
                    assert!(need <= len, "accepted {bits:#x} {words} {len}");
                    assert_eq!(header.len, need);
                    assert_eq!(header.padding, bits & 0x20 != 0);
                    assert_eq!(header.extension.is_some(), extended);
                    assert_eq!(header.elements(packet).count(), 0);
                }
                Err(error) => {
                    assert_eq!(error, WireError::Truncated);
                    assert!(need > len, "refused {bits:#x} {words} {len}");
                }
            }
        }
    }

    #[test]
    fn padding_is_never_longer_than_the_payload() {
        for (padding, payload, want) in [
            (false, &[1u8, 2, 3][..], Some(3)),
            (false, &[], Some(0)),
            (true, &[], None),
            (true, &[9, 9, 0], None),
            (true, &[9, 9, 1], Some(2)),
            (true, &[9, 0, 2], Some(1)),
            (true, &[0, 0, 3], Some(0)),
            (true, &[0, 0, 4], None),
            (true, &[255], None),
        ] {
            assert_eq!(strip_padding(padding, payload), want, "{padding} {payload:?}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        let fields = HeaderFields {
            marker: true,
            padding: true,
            pt: Pt(111),
            seq: SeqNo(65_535),
            timestamp: 7,
            ssrc: Ssrc(0x8000_0001),
        };
        let sixteen = [7u8; 16];
        for (ext, want_len) in [
            (&[][..], Some(12)),
            (&[(1u8, &[0x80u8][..])][..], Some(20)),
            (&[(14, &sixteen[..]), (3, &[1, 2])], Some(36)),
            (&[(0, &[1])], None),
            (&[(15, &[1])], None),
            (&[(1, &[])], None),
            (&[(1, &[0; 17])], None),
        ] {
            let mut out = [0xffu8; 64];
            let len = write_header(&mut out, &fields, ext);
            assert_eq!(len, want_len, "{ext:?}");
            let Some(len) = len else { continue };
            let header = RtpHeader::parse(&out[..len]).expect("our own");
            assert_eq!((header.marker, header.pt, header.seq), (fields.marker, fields.pt, fields.seq));
            assert_eq!(header.padding, fields.padding);
            assert_eq!((header.timestamp, header.ssrc, header.len), (fields.timestamp, fields.ssrc, len));
            assert_eq!(header.elements(&out[..len]).collect::<Vec<_>>(), ext);
            for short in 0..len {
                assert_eq!(write_header(&mut out[..short], &fields, ext), None, "room {short} of {len}");
            }
        }
    }
}
