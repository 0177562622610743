//! Bits of a raw byte sequence payload (ITU-T H.264 §7.2).

/// Reads what stands in a NAL unit behind its header, without the octets that prevent start codes.
pub(super) struct Bits<'a> {
    octets: &'a [u8],
    /// Zero octets read in a row.
    zeros: u8,
    current: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(octets: &'a [u8]) -> Self {
        Self { octets, zeros: 0, current: 0, left: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let (first, rest) = self.octets.split_first()?;
            let (mut octet, mut rest) = (*first, rest);
            // §7.4.1: 00 00 03 stands for 00 00.
            if self.zeros >= 2 && octet == 3 {
                self.zeros = 0;
                (octet, rest) = rest.split_first().map(|(first, rest)| (*first, rest))?;
            }
            self.zeros = if octet == 0 { self.zeros + 1 } else { 0 }.min(2);
            (self.octets, self.current, self.left) = (rest, octet, 8);
        }
        self.left -= 1;
        Some(u32::from(self.current >> self.left & 1))
    }

    /// u(n), up to 32 bits.
    pub(super) fn u(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    /// ue(v) (§9.1), up to 2^32 - 2.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros == 32 {
                return None;
            }
        }
        Some(((1 << zeros) - 1) + self.u(zeros)?)
    }

    /// se(v) (§9.1.1).
    pub(super) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code & 1 == 1 { code / 2 + 1 } else { -(code / 2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        for (octets, ue, se) in [
            (&[0x80][..], Some(0), Some(0)),
            (&[0b0100_0000], Some(1), Some(1)),
            (&[0b0110_0000], Some(2), Some(-1)),
            (&[0b0010_0000], Some(3), Some(2)),
            (&[0b0010_1000], Some(4), Some(-2)),
            (&[], None, None),
            (&[0], None, None),
            (&[0, 0, 3, 0, 0, 0xff, 0xff, 0xff, 0xff], None, None),
        ] {
            assert_eq!(Bits::new(octets).ue(), ue, "{octets:02x?}");
            assert_eq!(Bits::new(octets).se(), se, "{octets:02x?}");
        }
    }

    #[test]
    fn start_code_prevention_is_taken_out() {
        let mut bits = Bits::new(&[0, 0, 3, 1, 0, 0, 3]);
        assert_eq!(bits.u(24), Some(1));
        assert_eq!(bits.u(16), Some(0));
        assert_eq!(bits.u(1), None);
    }
}
