//! What a subscriber has in front of the payload that it shares with all others: its own numbers where a
//! codec counts pictures within the payload, as VP8 does (RFC 7741 §4.2).

use std::ops::Deref;

/// Longest prefix: VP8's descriptor has six octets at most.
pub const PREFIX_BYTES_MAX: usize = 8;

const _: () = assert!(PREFIX_BYTES_MAX <= relay_gcm::PREFIX_MAX, "four are sealed at once behind it");

/// Up to [`PREFIX_BYTES_MAX`] octets. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadPrefix {
    octets: [u8; PREFIX_BYTES_MAX],
    len: u8,
}

impl PayloadPrefix {
    /// `None` if there are too many.
    #[must_use]
    pub fn new(prefix: &[u8]) -> Option<Self> {
        let mut octets = [0; PREFIX_BYTES_MAX];
        octets.get_mut(..prefix.len())?.copy_from_slice(prefix);
        Some(Self { octets, len: prefix.len() as u8 })
    }
}

impl Deref for PayloadPrefix {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }
}
