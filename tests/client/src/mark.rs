//! What every payload says of itself: room, stream, running number and the moment it was sent, then octets
//! that follow from the number. A receiver can tell a foreign packet, a doubled one and a changed octet.

pub const MARK_BYTES: usize = 28;

/// First octets of a mark: a payload without them is not ours.
const MAGIC: [u8; 4] = *b"RvLd";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Room of the publisher.
    pub room: u32,
    /// Which stream of the test or run it is of.
    pub stream: u32,
    /// 0 for the first packet of the stream, then one more each.
    pub number: u64,
    /// CLOCK_MONOTONIC in nanoseconds.
    pub sent_ns: u64,
}

/// The octets behind all marks: a payload's filling begins at a place that its number chooses.
#[derive(Debug)]
pub struct Filling(Vec<u8>);

const PAYLOAD_BYTES_MAX: usize = 1500;

/// Offsets at which a payload's filling may begin.
const PLACES: u64 = 509;

impl Default for Filling {
    fn default() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let octet = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        Self((0..PAYLOAD_BYTES_MAX + PLACES as usize).map(octet).collect())
    }
}

impl Filling {
    fn of(&self, mark: &Mark, len: usize) -> &[u8] {
        let start = (mark.number % PLACES) as usize;
        &self.0[start..start + len]
    }

    /// Writes `mark` and its filling over all of `out`, which holds a mark at least.
    ///
    /// # Panics
    /// If it does not, or is longer than any payload.
    pub fn write(&self, mark: &Mark, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(MARK_BYTES);
        head[..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&mark.room.to_be_bytes());
        head[8..12].copy_from_slice(&mark.stream.to_be_bytes());
        head[12..20].copy_from_slice(&mark.number.to_be_bytes());
        head[20..28].copy_from_slice(&mark.sent_ns.to_be_bytes());
        rest.copy_from_slice(self.of(mark, rest.len()));
    }

    /// The mark at the front of `bytes`; `None` if any octet is not as it was written.
    #[must_use]
    pub fn read(&self, bytes: &[u8]) -> Option<Mark> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (room, rest) = rest.split_first_chunk::<4>()?;
        let (stream, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (sent_ns, rest) = rest.split_first_chunk::<8>()?;
        let mark = Mark {
            room: u32::from_be_bytes(*room),
            stream: u32::from_be_bytes(*stream),
            number: u64::from_be_bytes(*number),
            sent_ns: u64::from_be_bytes(*sent_ns),
        };
        (*magic == MAGIC && rest.len() <= PAYLOAD_BYTES_MAX && rest == self.of(&mark, rest.len()))
            .then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_any_changed_octet_is_seen() {
        let filling = Filling::default();
        for (number, len) in [(0, MARK_BYTES), (7, 100), (u64::MAX, 1200)] {
            let mark = Mark { room: 3, stream: 4, number, sent_ns: 5 };
            let mut bytes = vec![0; len];
            filling.write(&mark, &mut bytes);
            assert_eq!(filling.read(&bytes), Some(mark));
            for at in (0..4).chain(MARK_BYTES..len) {
                bytes[at] ^= 1;
                assert_eq!(filling.read(&bytes), None, "octet {at}");
                bytes[at] ^= 1;
            }
            assert_eq!(filling.read(&bytes[..MARK_BYTES - 1]), None);
        }
    }
}
