//! VP8 in RTP (RFC 7741).

use super::frame::VideoParams;

/// The payload descriptor (RFC 7741 §4.2), as far as it is needed, and what stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    /// S bit and PID 0: a frame begins.
    pub begins: bool,
    /// N bit: no other frame refers to this one.
    pub disposable: bool,
    pub picture_id: Option<PictureId>,
    pub part: &'a [u8],
}

/// A running number of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PictureId {
    /// 7 bits
    Short(u8),
    /// 15 bits
    Long(u16),
}

impl PictureId {
    /// Whether it is the number of the frame behind `other`.
    pub(super) const fn follows(self, other: Self) -> bool {
        match (self, other) {
            (Self::Short(own), Self::Short(other)) => own == other.wrapping_add(1) & 0x7f,
            (Self::Long(own), Self::Long(other)) => own == other.wrapping_add(1) & 0x7fff,
            _ => false,
        }
    }
}

/// `None` if the descriptor is cut short.
pub(super) fn parse(payload: &[u8]) -> Option<Payload<'_>> {
    let mut rest = payload;
    let mut take = || -> Option<u8> {
        let (first, behind) = rest.split_first()?;
        rest = behind;
        Some(*first)
    };
    let first = take()?;
    let extended = if first & 0x80 == 0 { 0 } else { take()? };
    let mut picture_id = None;
    if extended & 0x80 != 0 {
        let high = take()?;
        picture_id = Some(match high & 0x80 {
            0 => PictureId::Short(high),
            _ => PictureId::Long(u16::from_be_bytes([high & 0x7f, take()?])),
        });
    }
    // TL0PICIDX; TID and KEYIDX share an octet.
    for bits in [0x40, 0x30] {
        if extended & bits != 0 {
            take()?;
        }
    }
    Some(Payload { begins: first & 0x17 == 0x10, disposable: first & 0x20 != 0, picture_id, part: rest })
}

/// The P bit of the frame header (RFC 6386 §9.1).
pub(super) fn is_keyframe(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 0)
}

/// What the header of a keyframe says (RFC 6386 §9.1); `None` if it is none.
pub(super) fn params(keyframe: &[u8]) -> Option<VideoParams> {
    let [0x9d, 0x01, 0x2a, w0, w1, h0, h1] = *keyframe.get(3..)?.first_chunk()? else { return None };
    // The upper two bits are a hint for scaling.
    let side = |octets| u32::from(u16::from_le_bytes(octets) & 0x3fff);
    let (width, height) = (side([w0, w1]), side([h0, h1]));
    (width > 0 && height > 0).then_some(VideoParams { width, height, config: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors() {
        let plain = Payload { begins: false, disposable: false, picture_id: None, part: &[7] };
        let begins = Payload { begins: true, ..plain };
        let numbered = |id| Payload { picture_id: Some(id), ..begins };
        for (payload, want) in [
            (&[][..], None),
            (&[0x10], Some(Payload { part: &[], ..begins })),
            (&[0x10, 7], Some(begins)),
            (&[0x00, 7], Some(plain)),
            // Another partition of the same frame.
            (&[0x11, 7], Some(plain)),
            (&[0x30, 7], Some(Payload { disposable: true, ..begins })),
            (&[0x90], None),
            (&[0x90, 0x00, 7], Some(begins)),
            (&[0x90, 0x80], None),
            (&[0x90, 0x80, 0x05, 7], Some(numbered(PictureId::Short(5)))),
            (&[0x90, 0x80, 0x85], None),
            (&[0x90, 0x80, 0x85, 0x06, 7], Some(numbered(PictureId::Long(0x506)))),
            (&[0x90, 0x40, 9, 7], Some(begins)),
            (&[0x90, 0x20, 9, 7], Some(begins)),
            (&[0x90, 0x10, 9, 7], Some(begins)),
            (&[0x90, 0x30], None),
            (&[0x90, 0xf0, 0x85, 0x06, 9, 9, 7], Some(numbered(PictureId::Long(0x506)))),
        ] {
            assert_eq!(parse(payload), want, "{payload:02x?}");
        }
    }

    #[test]
    fn picture_ids_run_on() {
        use PictureId::{Long, Short};
        for (own, other, want) in [
            (Short(6), Short(5), true),
            (Short(0), Short(0x7f), true),
            (Short(5), Short(5), false),
            (Short(7), Short(5), false),
            (Long(0x80), Long(0x7f), true),
            (Long(0), Long(0x7fff), true),
            (Long(6), Short(5), false),
        ] {
            assert_eq!(own.follows(other), want, "{own:?} {other:?}");
        }
    }

    #[test]
    fn keyframes_say_their_size() {
        let header = [0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x41, 0xf0, 0x00];
        let params = |header: &[u8]| params(header).map(|params| (params.width, params.height));
        assert_eq!(params(&header), Some((320, 240)));
        assert_eq!(params(&header[..9]), None, "cut");
        assert_eq!(
            params(&[&header[..3], &[0x9d, 0x01, 0x2b], &header[6..]].concat()),
            None,
            "no start code"
        );
        assert_eq!(params(&[&header[..6], &[0, 0x40, 0xf0, 0]].concat()), None, "no width");
        assert!(is_keyframe(&header));
        assert!(!is_keyframe(&[0x11]));
        assert!(!is_keyframe(&[]));
    }
}
