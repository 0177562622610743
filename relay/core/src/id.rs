//! Field newtypes and wrap-around arithmetic. The only place where sequence numbers are compared.

use arrayvec::ArrayString;

/// Synchronization source (RFC 3550 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ssrc(pub u32);

/// RTP payload type, 0 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pt(pub u8);

/// Media identification (RFC 9143), at most 16 octets here.
pub type Mid = ArrayString<16>;

/// Canonical name of a source (RFC 3550 §6.5.1), at most 64 octets here.
pub type Cname = ArrayString<64>;

/// RTP sequence number as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SeqNo(pub u16);

impl SeqNo {
    /// Signed distance `self - other` on the circle, in -32768..=32767.
    #[must_use]
    pub const fn distance(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// The extended (unwrapped) number nearest to `reference`, never below zero: of the candidates that share
    /// these low 16 bits, the one with the smallest distance (RFC 3711 §3.3.1, RFC 3550 A.1).
    #[must_use]
    pub const fn extend(self, reference: u64) -> u64 {
        let delta = self.distance(Self(reference as u16)) as i64;
        let guess = (reference as i64).wrapping_add(delta);
        if guess < 0 { guess.wrapping_add(1 << 16) as u64 } else { guess as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extend_takes_the_nearest() {
        for (seq, reference, want) in [
            (5u16, 4u64, 5u64),
            (65_535, 0, 65_535),
            (0, 65_535, 65_536),
            (65_535, 65_536, 65_535),
            (10, 0x1_ffff, 0x2_000a),
            (0x8000, 0x1_0000, 0x8000),
        ] {
            assert_eq!(SeqNo(seq).extend(reference), want, "seq {seq} near {reference}");
        }
    }
}
