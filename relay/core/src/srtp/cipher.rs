//! How the profiles lay out a packet. Everything here works on one packet of known SSRC and index and keeps
//! no state.
//!
//! ```text
//! SRTP,  both:  header | ciphertext | tag
//! SRTCP, GCM:   8 octets | ciphertext | tag | E, index      (RFC 7714 §9.2)
//! SRTCP, CM:    8 octets | ciphertext | E, index | tag      (RFC 3711 §3.4)
//! ```

use super::SrtpProfile;
use super::cm::{self, Cm};
use super::gcm::{self, Gcm};
use super::keys::Half;
use crate::id::Ssrc;

/// Octets of an RTCP packet that stay in clear: the first header with the sender's SSRC.
pub(super) const RTCP_CLEAR_LEN: usize = 8;

/// Octets of the E bit with the SRTCP index.
const WORD_LEN: usize = 4;

/// The E bit: the packet is encrypted, not only authenticated.
const ENCRYPTED: u32 = 1 << 31;

/// Session keys of one direction and half.
pub(super) enum Cipher {
    Gcm(Box<Gcm>),
    Cm(Box<Cm>),
}

/// The trailer's word.
#[derive(Clone, Copy)]
pub(super) struct RtcpWord(pub(super) u32);

impl RtcpWord {
    pub(super) const fn encrypted(index: u32) -> Self {
        Self(index | ENCRYPTED)
    }

    pub(super) const fn index(self) -> u64 {
        (self.0 & !ENCRYPTED) as u64
    }

    const fn is_encrypted(self) -> bool {
        self.0 & ENCRYPTED != 0
    }
}

impl Cipher {
    pub(super) fn derive(profile: SrtpProfile, master_key: &[u8], master_salt: &[u8], half: Half) -> Self {
        assert_eq!(master_key.len(), profile.key_len(), "master key of {}", profile.name());
        assert_eq!(master_salt.len(), profile.salt_len(), "master salt of {}", profile.name());
        match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                Self::Gcm(Box::new(Gcm::derive(profile, master_key, master_salt, half)))
            }
            SrtpProfile::Aes128CmHmacSha1_80 => Self::Cm(Box::new(Cm::derive(master_key, master_salt, half))),
        }
    }

    const fn tag_len(&self) -> usize {
        match self {
            Self::Gcm(_) => gcm::TAG_LEN,
            Self::Cm(_) => cm::TAG_LEN,
        }
    }

    /// Puts the ciphertext of `payload` and the tag behind the header; the length of all.
    #[inline]
    pub(super) fn seal_rtp(
        &self,
        slot: &mut [u8],
        header_len: usize,
        at: (Ssrc, u64),
        payload: &[u8],
    ) -> Option<usize> {
        let (message, tag) = split_message(slot, header_len + payload.len(), self.tag_len())?;
        let len = message.len() + tag.len();
        let (header, body) = message.split_at_mut_checked(header_len)?;
        match self {
            Self::Gcm(gcm) => gcm.seal(at, header, payload, body, tag)?,
            Self::Cm(cm) => {
                cm.apply(at, payload, body)?;
                tag.copy_from_slice(&cm.tag(message, Some(roc(at.1))));
            }
        }
        Some(len)
    }

    /// The same for a payload of two pieces.
    pub(super) fn seal_rtp_prefixed(
        &self,
        slot: &mut [u8],
        header_len: usize,
        at: (Ssrc, u64),
        prefix: &[u8],
        rest: &[u8],
    ) -> Option<usize> {
        let message_len = header_len.checked_add(prefix.len())?.checked_add(rest.len())?;
        let len = message_len.checked_add(self.tag_len())?;
        let slot = slot.get_mut(..len)?;
        match self {
            Self::Gcm(gcm) => {
                let (header, out) = slot.split_at_mut_checked(header_len)?;
                let (own, out) = out.split_at_mut_checked(prefix.len())?;
                own.copy_from_slice(prefix);
                gcm.seal_behind(at, header, own, rest, out)?;
            }
            Self::Cm(cm) => {
                let (message, tag) = slot.split_at_mut_checked(message_len)?;
                let (own, out) = message.get_mut(header_len..)?.split_at_mut_checked(prefix.len())?;
                own.copy_from_slice(prefix);
                cm.apply_behind(at, own, rest, out)?;
                tag.copy_from_slice(&cm.tag(message, Some(roc(at.1))));
            }
        }
        Some(len)
    }

    /// Decrypts what stands behind the header into `out`, whose length is the payload's.
    pub(super) fn open_rtp(
        &self,
        packet: &[u8],
        header_len: usize,
        at: (Ssrc, u64),
        out: &mut [u8],
    ) -> Option<()> {
        let (message, tag) = packet.split_at_checked(packet.len().checked_sub(self.tag_len())?)?;
        let (header, body) = message.split_at_checked(header_len)?;
        match self {
            Self::Gcm(gcm) => gcm.open(at, header, body, tag, out),
            Self::Cm(cm) => {
                cm.verify(message, Some(roc(at.1)), tag)?;
                cm.apply(at, body, out)
            }
        }
    }

    /// Protects the `len` octets of RTCP at the front of `slot` where they lie; the length of all.
    pub(super) fn seal_rtcp(&self, slot: &mut [u8], len: usize, ssrc: Ssrc, word: RtcpWord) -> Option<usize> {
        let at = (ssrc, word.index());
        let (message, trailer) = split_message(slot, len, self.tag_len() + WORD_LEN)?;
        let total = message.len() + trailer.len();
        let (clear, body) = message.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
        match self {
            Self::Gcm(gcm) => {
                let (tag, tail) = trailer.split_at_mut_checked(gcm::TAG_LEN)?;
                tail.copy_from_slice(&word.0.to_be_bytes());
                gcm.seal_in_place(at, &rtcp_aad(clear, word), body, tag)?;
            }
            Self::Cm(cm) => {
                cm.apply_in_place(at, body);
                trailer.get_mut(..WORD_LEN)?.copy_from_slice(&word.0.to_be_bytes());
                let (message, tag) = slot.get_mut(..total)?.split_at_mut_checked(len + WORD_LEN)?;
                tag.copy_from_slice(&cm.tag(message, None));
            }
        }
        Some(total)
    }

    /// Sender SSRC and trailer word of a protected RTCP packet, `None` if it is too short to be one.
    pub(super) fn rtcp_fields(&self, packet: &[u8]) -> Option<(Ssrc, RtcpWord)> {
        let len = packet.len().checked_sub(self.tag_len() + WORD_LEN)?;
        let (_, ssrc) = packet.get(..len)?.first_chunk::<RTCP_CLEAR_LEN>()?.split_last_chunk::<4>()?;
        let word_at = match self {
            Self::Gcm(_) => len + gcm::TAG_LEN,
            Self::Cm(_) => len,
        };
        let word = packet.get(word_at..)?.first_chunk::<WORD_LEN>()?;
        Some((Ssrc(u32::from_be_bytes(*ssrc)), RtcpWord(u32::from_be_bytes(*word))))
    }

    /// Decrypts an RTCP packet where it lies; the length of the plaintext at the front.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, word: RtcpWord) -> Option<usize> {
        let at = (ssrc, word.index());
        let len = packet.len().checked_sub(self.tag_len() + WORD_LEN)?;
        match self {
            Self::Gcm(gcm) if word.is_encrypted() => {
                let (message, trailer) = packet.split_at_mut_checked(len)?;
                let (clear, body) = message.split_first_chunk_mut::<RTCP_CLEAR_LEN>()?;
                gcm.open_in_place(
                    at,
                    &rtcp_aad(clear, word),
                    body,
                    trailer.first_chunk::<{ gcm::TAG_LEN }>()?,
                )?;
            }
            Self::Gcm(gcm) => {
                // RFC 7714 §9.3: all of the packet and the word are associated data; the word moves up behind
                // the packet, where the tag stood.
                let tag = *packet.get(len..)?.first_chunk::<{ gcm::TAG_LEN }>()?;
                packet.get_mut(len..len + WORD_LEN)?.copy_from_slice(&word.0.to_be_bytes());
                gcm.open_in_place(at, packet.get(..len + WORD_LEN)?, &mut [], &tag)?;
            }
            Self::Cm(cm) => {
                let (message, tag) = packet.split_at_mut_checked(len + WORD_LEN)?;
                cm.verify(message, None, tag)?;
                if word.is_encrypted() {
                    cm.apply_in_place(at, message.get_mut(RTCP_CLEAR_LEN..len)?);
                }
            }
        }
        Some(len)
    }
}

/// The first `message_len` octets of a slot and the `trailer_len` behind them, if the slot has them.
fn split_message(slot: &mut [u8], message_len: usize, trailer_len: usize) -> Option<(&mut [u8], &mut [u8])> {
    slot.get_mut(..message_len.checked_add(trailer_len)?)?.split_at_mut_checked(message_len)
}

/// RFC 7714 §9.2: the clear header and the word.
fn rtcp_aad(clear: &[u8; RTCP_CLEAR_LEN], word: RtcpWord) -> [u8; RTCP_CLEAR_LEN + WORD_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + WORD_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(clear);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&word.0.to_be_bytes());
    aad
}

/// Roll-over counter of a 48-bit index.
const fn roc(index: u64) -> u32 {
    (index >> 16) as u32
}
