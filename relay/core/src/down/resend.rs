//! What is kept of each packet that a subscriber without RTX was sent, so that it can be sent again under the
//! media's own SSRC and index (RFC 4585 §6.2.1), and only as the very same octets.
//!
//! Two packets that differ must never be sealed for anybody under one key, SSRC and index: in counter mode
//! their difference is that of the plaintexts (RFC 3711 §9.1), and in GCM the key of the tag comes to light.
//! The sealed packet itself is not kept. It is made again from what it was made from: the payload in the
//! history with its padding, own numbers, and the header in the form that it had. Both ciphers are functions
//! of these, so the octets are the same; and that they are is compared by their tag before anything leaves.
//!
//! Invariants
//! - Nothing is allocated after [`SentPackets::new`]; a subscriber with RTX has none.
//! - What is not kept any more is not sent again.

use crate::media::MediaKind;
use crate::wire::rtp::RtpHeader;

/// Packets remembered of a video: half a second at 1,000 packets a second.
const VIDEO_PACKETS: usize = 512;
/// The same of an audio: as many as its history holds.
const AUDIO_PACKETS: usize = 128;
/// Octets of the tag that are kept. Octets that differ by a mistake of ours agree in them once in 2^57 (GHASH
/// over 1,500 octets, cut to 64 bits) or 2^64 (HMAC).
const TAG_BYTES: usize = 8;

/// A packet that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentPacket {
    /// Own index, [`NEVER`] in a place that was not used yet.
    index: u64,
    tag: [u8; TAG_BYTES],
    /// Octets of the datagram.
    pub len: u16,
    /// Octets of its header.
    pub header_len: u16,
}

/// No index: it has 48 bits.
const NEVER: u64 = u64::MAX;

impl SentPacket {
    /// Of a sealed datagram with this index.
    #[must_use]
    pub fn of(index: u64, datagram: &[u8]) -> Option<Self> {
        let header = RtpHeader::parse(datagram).ok()?;
        let (len, header_len) = (datagram.len().try_into().ok()?, header.len.try_into().ok()?);
        Some(Self { index, tag: *datagram.last_chunk()?, len, header_len })
    }

    /// Whether a datagram that was sealed again is that which was sent.
    #[must_use]
    pub fn is(&self, datagram: &[u8]) -> bool {
        Self::of(self.index, datagram) == Some(*self)
    }
}

/// See the module.
#[derive(Debug)]
pub struct SentPackets {
    places: Box<[SentPacket]>,
}

impl SentPackets {
    /// With room for what a track of this kind needs.
    #[must_use]
    pub fn new(kind: MediaKind) -> Self {
        let packets = match kind {
            MediaKind::Audio => AUDIO_PACKETS,
            MediaKind::Video => VIDEO_PACKETS,
        };
        let empty = SentPacket { index: NEVER, ..SentPacket::default() };
        Self { places: vec![empty; packets].into_boxed_slice() }
    }

    /// Remembers one, in the place of an older one.
    pub fn note(&mut self, sent: SentPacket) {
        let place = self.place(sent.index);
        if let Some(kept) = self.places.get_mut(place) {
            *kept = sent;
        }
    }

    /// What was sent under this index, if it is still known.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<SentPacket> {
        self.places.get(self.place(index)).copied().filter(|sent| sent.index == index)
    }

    fn place(&self, index: u64) -> usize {
        (index % self.places.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(seq: u8, len: usize) -> Vec<u8> {
        let mut out = vec![seq; len];
        out[..12].copy_from_slice(&[0x80, 96, 0, seq, 0, 0, 0, 1, 0, 0, 0, 2]);
        out
    }

    #[test]
    fn what_differs_in_length_header_or_tag_is_another_packet() {
        let sent = datagram(7, 40);
        let known = SentPacket::of(7, &sent).expect("RTP");
        assert!(known.is(&sent) && known.header_len == 12);
        for at in 32..40 {
            let mut other = sent.clone();
            other[at] ^= 1;
            assert!(!known.is(&other), "octet {at}");
        }
        let mut extended = sent.clone();
        extended[0] |= 0x10;
        extended[14..16].fill(0);
        assert!(!known.is(&extended), "an extension");
        assert!(!known.is(&datagram(7, 41)) && !known.is(&sent[..11]));
    }

    #[test]
    fn the_last_ones_are_remembered() {
        let mut sent = SentPackets::new(MediaKind::Audio);
        for index in 0..200 {
            sent.note(SentPacket::of(index, &datagram(index as u8, 40)).expect("RTP"));
        }
        for (index, known) in [(0, false), (71, false), (72, true), (199, true), (200, false), (NEVER, false)]
        {
            assert_eq!(sent.get(index).is_some(), known, "{index}");
        }
    }
}
