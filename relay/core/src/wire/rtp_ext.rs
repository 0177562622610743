//! RTP header extension elements (RFC 8285), and the values of those we use.

use super::cursor::{Reader, Writer};

/// "Defined by profile" bits of the one-byte form (RFC 8285 §4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xbede;
/// The same of the two-byte form with its four "appbits" cleared (RFC 8285 §4.3).
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Iterates over `(id, value)`. Garbage ends it, what came before stands. An unknown profile has no elements.
#[derive(Clone, Copy, Debug)]
pub struct ExtElements<'a> {
    rest: Reader<'a>,
    two_byte: bool,
}

impl<'a> ExtElements<'a> {
    /// Elements of the extension block `block` (without its four octets of profile and length).
    #[must_use]
    pub fn new(profile: u16, block: &'a [u8]) -> Self {
        match profile {
            ONE_BYTE_PROFILE => Self { rest: Reader::new(block), two_byte: false },
            _ if profile & 0xfff0 == TWO_BYTE_PROFILE => Self { rest: Reader::new(block), two_byte: true },
            _ => Self::default(),
        }
    }

    /// Value of the first element with this id; id 0 is never found, it stands for "not negotiated".
    #[must_use]
    pub fn find(mut self, id: u8) -> Option<&'a [u8]> {
        if id == 0 {
            None
        } else {
            Iterator::find(&mut self, |(found, _)| *found == id).map(|(_, value)| value)
        }
    }

    /// Id and length of the next element, after padding; `None` where parsing has to end.
    fn next_head(&mut self) -> Option<(u8, usize)> {
        loop {
            let head = self.rest.u8().ok()?;
            if head == 0 {
                continue; // padding in both forms
            }
            if self.two_byte {
                return Some((head, usize::from(self.rest.u8().ok()?)));
            }
            // RFC 8285 §4.2: the id 15 and an id 0 that has a length end the processing.
            return match (head >> 4, usize::from(head & 0x0f) + 1) {
                (0 | 15, _) => None,
                head => Some(head),
            };
        }
    }
}

impl Default for ExtElements<'_> {
    fn default() -> Self {
        Self { rest: Reader::new(&[]), two_byte: false }
    }
}

impl<'a> Iterator for ExtElements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.next_head().and_then(|(id, len)| Some((id, self.rest.take(len).ok()?)));
        if element.is_none() {
            *self = Self::default();
        }
        element
    }
}

impl std::iter::FusedIterator for ExtElements<'_> {}

/// Writes profile, length and elements in the one-byte form, padded to 32 bits. See
/// [`write_header`](super::rtp::write_header) for what is refused.
pub(in crate::wire) fn write_one_byte_block(w: &mut Writer<'_>, ext: &[(u8, &[u8])]) -> Option<()> {
    w.u16(ONE_BYTE_PROFILE)?;
    w.u16(0)?;
    let start = w.len();
    for (id, value) in ext {
        let len_minus_one = u8::try_from(value.len().checked_sub(1)?).ok()?;
        if !(1..=14).contains(id) || len_minus_one > 15 {
            return None;
        }
        w.u8((id << 4) | len_minus_one)?;
        w.put(value)?;
    }
    w.align4()?;
    let words = u16::try_from((w.len() - start) / 4).ok()?;
    w.patch(start - 2, &words.to_be_bytes())
}

/// Audio level of RFC 6464: whether the sender's voice detector fired, and the level in -dBov (0 loud, 127
/// silence).
#[must_use]
pub fn audio_level(value: &[u8]) -> Option<(bool, u8)> {
    let level = *value.first()?;
    Some((level & 0x80 != 0, level & 0x7f))
}

/// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
#[must_use]
pub fn transport_seq(value: &[u8]) -> Option<u16> {
    value.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Element<'a> = (u8, &'a [u8]);

    fn elements(profile: u16, block: &[u8]) -> Vec<Element<'_>> {
        ExtElements::new(profile, block).collect()
    }

    #[test]
    fn one_byte_form() {
        let table: &[(&[u8], &[Element<'_>])] = &[
            (&[], &[]),
            (&[0, 0, 0, 0], &[]),
            (&[0x10, 0xaa, 0x21, 0xbb, 0xcc, 0, 0, 0], &[(1, &[0xaa]), (2, &[0xbb, 0xcc])]),
            (&[0, 0x10, 0xaa, 0, 0x10, 0xbb], &[(1, &[0xaa]), (1, &[0xbb])]),
            // id 15 ends, earlier elements stay (licode #2046)
            (&[0x10, 0xaa, 0xf0, 0xbb, 0x20, 0xcc, 0, 0], &[(1, &[0xaa])]),
            (&[0xff; 4], &[]),
            // id 0 with a length ends (OME #2312)
            (&[0x10, 0xaa, 0x01, 0xbb, 0x20, 0xcc, 0, 0], &[(1, &[0xaa])]),
            // a length past the block ends
            (&[0x10, 0xaa, 0x23, 0xbb], &[(1, &[0xaa])]),
            (&[0x1f, 0, 0, 0], &[]),
        ];
        for (block, want) in table {
            assert_eq!(elements(ONE_BYTE_PROFILE, block), *want, "{block:x?}");
        }
    }

    #[test]
    fn two_byte_form() {
        let table: &[(u16, &[u8], &[Element<'_>])] = &[
            (
                0x1000,
                &[1, 0, 2, 1, 0xaa, 0, 255, 2, 0xbb, 0xcc, 0, 0],
                &[(1, &[]), (2, &[0xaa]), (255, &[0xbb, 0xcc])],
            ),
            (0x100f, &[15, 1, 0xaa, 0], &[(15, &[0xaa])]),
            (0x1000, &[1, 1, 0xaa, 2], &[(1, &[0xaa])]),
            (0x1000, &[1, 1, 0xaa, 2, 2, 0xbb], &[(1, &[0xaa])]),
            (0x1010, &[1, 1, 0xaa, 0], &[]),
            (0x0000, &[1, 1, 0xaa, 0], &[]),
        ];
        for (profile, block, want) in table {
            assert_eq!(elements(*profile, block), *want, "{profile:x} {block:x?}");
        }
    }

    /// All blocks of up to six octets, and of up to four words with a smaller alphabet, in both forms:
    /// iteration ends, and every value lies inside the block.
    #[test]
    fn every_small_block_ends() {
        let alphabet = [0x00u8, 0x01, 0x02, 0x0f, 0x10, 0x13, 0xe0, 0xf0, 0xff];
        for_each_block(&alphabet, 6);
        for_each_block(&[0x00, 0x01, 0x13, 0xf0], 9);
        for_each_block(&[0x00, 0x12, 0xf1], 11);
        for_each_block(&[0x01, 0x10], 16);
    }

    fn for_each_block(alphabet: &[u8], len_max: usize) {
        for len in 0..=len_max {
            let mut digits = vec![0usize; len];
            loop {
                let block: Vec<u8> = digits.iter().map(|d| alphabet[*d]).collect();
                check(&block);
                let Some(at) = digits.iter().position(|d| d + 1 < alphabet.len()) else { break };
                digits[..at].fill(0);
                digits[at] += 1;
            }
        }
    }

    fn check(block: &[u8]) {
        for (profile, head) in [(ONE_BYTE_PROFILE, 1), (TWO_BYTE_PROFILE, 2)] {
            let mut it = ExtElements::new(profile, block);
            let mut octets = 0;
            for (id, value) in it.by_ref() {
                octets += head + value.len();
                assert!(octets <= block.len(), "{block:x?}");
                assert_ne!(id, 0);
                assert!(profile == TWO_BYTE_PROFILE || (1..15).contains(&id));
                assert!(profile == TWO_BYTE_PROFILE || (1..=16).contains(&value.len()));
            }
            assert_eq!(it.next(), None, "fused");
        }
    }

    #[test]
    fn find_takes_the_first_and_never_zero() {
        let it = ExtElements::new(ONE_BYTE_PROFILE, &[0x10, 0xaa, 0x10, 0xbb]);
        assert_eq!(it.find(1), Some(&[0xaa][..]));
        assert_eq!(it.find(2), None);
        assert_eq!(it.find(0), None);
        assert_eq!(audio_level(&[0x85]), Some((true, 5)));
        assert_eq!(audio_level(&[]), None);
        assert_eq!(transport_seq(&[1, 2]), Some(258));
        assert_eq!(transport_seq(&[1]), None);
    }
}
