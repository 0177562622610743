//! The VP8 payload descriptor (RFC 7741 §4.2).

use crate::wire::cursor::Reader;

/// A parsed descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// S: the first packet of a partition.
    pub start_of_partition: bool,
    /// N: nothing else refers to this frame.
    pub non_reference: bool,
    /// PID: index of the partition, 0 to 7.
    pub pid: u8,
    /// PictureID of 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// TL0PICIDX: running index of base-layer frames.
    pub tl0picidx: Option<u8>,
    /// TID: temporal layer, 0 to 3.
    pub tid: Option<u8>,
    /// Length of the descriptor in octets: offset of the VP8 payload.
    pub len: usize,
    /// The packet starts a keyframe: first of partition 0, and the P bit of the VP8 payload header is clear
    /// (RFC 7741 §4.3).
    pub keyframe: bool,
}

/// Reads the descriptor at the front of an RTP payload; `None` if it is cut short.
#[must_use]
pub fn parse(payload: &[u8]) -> Option<Vp8Descriptor> {
    let mut r = Reader::new(payload);
    let first = r.u8().ok()?;
    let extended = if first & 0x80 == 0 { 0 } else { r.u8().ok()? };
    let picture_id = if extended & 0x80 == 0 {
        None
    } else {
        let high = r.u8().ok()?;
        let low = if high & 0x80 == 0 { None } else { Some(r.u8().ok()?) };
        Some(low.map_or(u16::from(high), |low| u16::from_be_bytes([high & 0x7f, low])))
    };
    let tl0picidx = if extended & 0x40 == 0 { None } else { Some(r.u8().ok()?) };
    let tid_keyidx = if extended & 0x30 == 0 { 0 } else { r.u8().ok()? };
    let (start_of_partition, pid) = (first & 0x10 != 0, first & 0x07);
    let inverse_keyframe = r.rest().first().is_none_or(|octet| octet & 1 != 0);
    Some(Vp8Descriptor {
        start_of_partition,
        non_reference: first & 0x20 != 0,
        pid,
        picture_id,
        tl0picidx,
        tid: (extended & 0x20 != 0).then_some(tid_keyidx >> 6),
        len: payload.len() - r.rest().len(),
        keyframe: start_of_partition && pid == 0 && !inverse_keyframe,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Vp8Descriptor = Vp8Descriptor {
        start_of_partition: false,
        non_reference: false,
        pid: 0,
        picture_id: None,
        tl0picidx: None,
        tid: None,
        len: 1,
        keyframe: false,
    };

    #[test]
    fn descriptors() {
        let start = Vp8Descriptor { start_of_partition: true, ..PLAIN };
        for (payload, want) in [
            (&[][..], None),
            (&[0x00], Some(PLAIN)),
            (&[0x10], Some(start)),
            (&[0x10, 0x00], Some(Vp8Descriptor { keyframe: true, ..start })),
            (&[0x10, 0x01], Some(start)),
            (&[0x00, 0x00], Some(PLAIN)),
            (&[0x11, 0x00], Some(Vp8Descriptor { pid: 1, ..start })),
            (&[0x20, 0x00], Some(Vp8Descriptor { non_reference: true, ..PLAIN })),
            (&[0x80], None),
            (&[0x80, 0x00], Some(Vp8Descriptor { len: 2, ..PLAIN })),
            (&[0x80, 0x80], None),
            (&[0x80, 0x80, 0x7f], Some(Vp8Descriptor { picture_id: Some(0x7f), len: 3, ..PLAIN })),
            (&[0x80, 0x80, 0x81], None),
            (&[0x80, 0x80, 0x81, 0x02], Some(Vp8Descriptor { picture_id: Some(0x102), len: 4, ..PLAIN })),
            (&[0x80, 0x40, 0x09], Some(Vp8Descriptor { tl0picidx: Some(9), len: 3, ..PLAIN })),
            (&[0x80, 0x20, 0xc0], Some(Vp8Descriptor { tid: Some(3), len: 3, ..PLAIN })),
            (&[0x80, 0x10, 0x1f], Some(Vp8Descriptor { len: 3, ..PLAIN })),
            (
                &[0x90, 0xf0, 0xff, 0xff, 0x05, 0x40, 0x10],
                Some(Vp8Descriptor {
                    picture_id: Some(0x7fff),
                    tl0picidx: Some(5),
                    tid: Some(1),
                    len: 6,
                    keyframe: true,
                    ..start
                }),
            ),
            (&[0x90, 0xf0, 0xff, 0xff, 0x05], None),
        ] {
            assert_eq!(parse(payload), want, "{payload:x?}");
        }
    }
}
