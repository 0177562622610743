//! H.264 payloads (RFC 6184) in packetization modes 0 and 1: single NAL units, STAP-A, FU-A.

use crate::wire::cursor::Reader;

/// NAL unit types (ITU-T H.264 table 7-1, RFC 6184 table 1).
const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether the payload starts an IDR picture or brings the sequence parameter set that precedes one.
#[must_use]
pub fn is_keyframe(payload: &[u8]) -> bool {
    let Some((head, rest)) = payload.split_first() else { return false };
    match head & 0x1f {
        IDR | SPS => true,
        STAP_A => aggregated(rest).any(|kind| matches!(kind, IDR | SPS)),
        // RFC 6184 §5.8: the start bit, then the type of the fragmented unit.
        FU_A => rest.first().is_some_and(|fu| fu & 0x80 != 0 && matches!(fu & 0x1f, IDR | SPS)),
        _ => false,
    }
}

/// Types of the units in a STAP-A (RFC 6184 §5.7.1); ends where a size does not fit.
fn aggregated(units: &[u8]) -> impl Iterator<Item = u8> {
    let mut r = Reader::new(units);
    std::iter::from_fn(move || {
        let size = r.u16().ok()?;
        r.take(usize::from(size)).ok()?.first().map(|head| head & 0x1f)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes() {
        for (what, payload, want) in [
            ("empty", &[][..], false),
            ("IDR", &[0x65, 0x88], true),
            ("SPS", &[0x67, 0x42], true),
            ("PPS", &[0x68, 0xce], false),
            ("slice", &[0x41, 0x9a], false),
            ("SEI", &[0x06], false),
            ("STAP-A of SPS and PPS", &[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68], true),
            ("STAP-A of PPS and IDR", &[0x78, 0, 1, 0x68, 0, 1, 0x65], true),
            ("STAP-A of slices", &[0x78, 0, 1, 0x41, 0, 1, 0x41], false),
            ("STAP-A, size too large", &[0x78, 0, 9, 0x67], false),
            ("STAP-A, empty unit", &[0x78, 0, 0, 0, 1, 0x67], false),
            ("STAP-A, cut in a size", &[0x78, 0], false),
            ("STAP-A, second cut", &[0x78, 0, 1, 0x68, 0, 5, 0x65], false),
            ("FU-A start of IDR", &[0x7c, 0x85], true),
            ("FU-A middle of IDR", &[0x7c, 0x05], false),
            ("FU-A end of IDR", &[0x7c, 0x45], false),
            ("FU-A start of a slice", &[0x5c, 0x81], false),
            ("FU-A cut", &[0x7c], false),
            ("FU-B", &[0x7d, 0x85], false),
        ] {
            assert_eq!(is_keyframe(payload), want, "{what}");
        }
    }
}
