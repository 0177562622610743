//! VP8 frames in RTP payloads (RFC 7741) and back.

/// Longest part of a frame in one payload.
const PART_BYTES: usize = 1_100;
/// S: a partition begins (RFC 7741 §4.2).
const START: u8 = 0x10;

/// The payloads of a frame.
pub(crate) fn payloads(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let parts = frame.chunks(PART_BYTES).enumerate();
    parts.map(|(index, part)| [&[if index == 0 { START } else { 0 }][..], part].concat())
}

/// Whether a frame can be decoded without the one before (RFC 6386 §9.1).
pub(crate) fn is_keyframe(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 0)
}

/// Width and height, as a keyframe says (RFC 6386 §9.1).
pub(crate) fn size(keyframe: &[u8]) -> Option<(u16, u16)> {
    let [b0, b1, b2, b3] = *keyframe.get(6..)?.first_chunk::<4>()?;
    Some((u16::from_le_bytes([b0, b1]) & 0x3fff, u16::from_le_bytes([b2, b3]) & 0x3fff))
}

/// A payload without its descriptor (RFC 7741 §4.2).
fn part(payload: &[u8]) -> Option<&[u8]> {
    let (first, mut rest) = payload.split_first()?;
    if first & 0x80 != 0 {
        let (extended, behind) = rest.split_first()?;
        rest = behind;
        if extended & 0x80 != 0 {
            let (picture, _) = rest.split_first()?;
            rest = rest.get(if picture & 0x80 != 0 { 2 } else { 1 }..)?;
        }
        rest = rest.get(usize::from(extended & 0x40 != 0)..)?;
        rest = rest.get(usize::from(extended & 0x30 != 0)..)?;
    }
    Some(rest)
}

/// Puts frames together. Behind a hole it waits for the next keyframe.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    frame: Vec<u8>,
    expected: Option<u64>,
    broken: bool,
    begun: bool,
}

impl Assembler {
    /// Takes a packet in the order of its number; the frame that it ends.
    pub(crate) fn take(&mut self, seq: u64, marker: bool, payload: &[u8]) -> Option<Vec<u8>> {
        if self.expected.is_some_and(|expected| expected != seq) {
            (self.broken, self.begun) = (true, false);
        }
        self.expected = Some(seq + 1);
        match part(payload) {
            Some(part) => self.frame.extend_from_slice(part),
            None => self.broken = true,
        }
        if !marker {
            return None;
        }
        let (frame, broken) = (std::mem::take(&mut self.frame), std::mem::take(&mut self.broken));
        self.begun = !broken && (self.begun || is_keyframe(&frame));
        self.begun.then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_from_a_keyframe_on_and_again_behind_a_hole() {
        let key = [&[0x10; 6][..], &[0x40, 1, 0xf0, 0], &[7; 3_000]].concat();
        let other = vec![0x11; 2_500];
        assert_eq!(size(&key), Some((320, 240)));
        let frames = [&other, &key, &other, &other, &key];
        let (mut assembler, mut seq, mut got) = (Assembler::default(), 0, Vec::new());
        for (number, frame) in frames.into_iter().enumerate() {
            let payloads: Vec<Vec<u8>> = payloads(frame).collect();
            for (index, payload) in payloads.iter().enumerate() {
                seq += 1;
                // The middle of the third frame is lost.
                if (number, index) != (2, 1) {
                    got.extend(assembler.take(seq, index + 1 == payloads.len(), payload));
                }
            }
        }
        assert!(got == [key.clone(), key], "{}", got.len());
    }

    #[test]
    fn descriptors_are_taken_off() {
        for (payload, want) in [
            (&[0x10, 1, 2][..], Some(&[1, 2][..])),
            (&[0x90, 0x80, 0x05, 1], Some(&[1])),
            (&[0x90, 0x80, 0x85, 0, 1], Some(&[1])),
            (&[0x90, 0xf0, 0x85, 0, 9, 9, 1], Some(&[1])),
            (&[0x90, 0x20, 9], Some(&[])),
            (&[0x90, 0x80], None),
            (&[], None),
        ] {
            assert_eq!(part(payload), want, "{payload:02x?}");
        }
    }
}
