//! From plaintext to the send slot.

use super::SrtpProfile;
use super::cipher::{Cipher, RTCP_CLEAR_LEN, RtcpWord};
use super::keys::Half;
use crate::id::{SeqNo, Ssrc};

/// The index of RTP is roll-over counter and sequence number, 48 bits; behind the last there are no more packets
/// under one key (RFC 3711 §9.2).
const RTP_INDEX_END: u64 = 1 << 48;

/// The SRTCP index has 31 bits and never comes again under one key (RFC 3711 §9.2).
const RTCP_INDEX_END: u32 = 1 << 31;

/// Keys for what we send to one peer.
///
/// It keeps no index for RTP: the caller owns the 48-bit index of each of its SSRCs (its extended sequence number) and
/// never uses one twice. For SRTCP it counts itself.
pub struct SealContext {
    profile: SrtpProfile,
    rtp: Cipher,
    rtcp: Cipher,
    /// The next SRTCP index; one for all our SSRCs, which keeps each unique.
    rtcp_index: u32,
}

impl SealContext {
    /// Derives the session keys.
    ///
    /// # Panics
    /// If key and salt have not the profile's lengths.
    #[must_use]
    pub fn new(profile: SrtpProfile, master_key: &[u8], master_salt: &[u8]) -> Self {
        Self {
            profile,
            rtp: Cipher::derive(profile, master_key, master_salt, Half::Rtp),
            rtcp: Cipher::derive(profile, master_key, master_salt, Half::Rtcp),
            rtcp_index: 1,
        }
    }

    /// What was agreed.
    #[must_use]
    pub const fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Encrypts `payload` behind the header that stands in the first `header_len` octets of `slot`, in one pass, and adds
    /// the tag. The length of all, `None` if the slot is too short or the indices are used up.
    pub fn seal_rtp(
        &self,
        slot: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
        payload: &[u8],
    ) -> Option<usize> {
        debug_assert_header(slot, header_len, ssrc, index);
        if index >= RTP_INDEX_END {
            return None;
        }
        self.rtp.seal_rtp(slot, header_len, (ssrc, index), payload)
    }

    /// The same for a retransmission: the original sequence number comes first (RFC 4588 §4). Costs one copy.
    pub fn seal_rtx(
        &self,
        slot: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
        osn: SeqNo,
        payload: &[u8],
    ) -> Option<usize> {
        debug_assert_header(slot, header_len, ssrc, index);
        if index >= RTP_INDEX_END {
            return None;
        }
        let payload_at = header_len.checked_add(2)?;
        let end = payload_at.checked_add(payload.len())?;
        slot.get_mut(header_len..payload_at)?.copy_from_slice(&osn.0.to_be_bytes());
        slot.get_mut(payload_at..end)?.copy_from_slice(payload);
        self.rtp.seal_rtp_in_place(slot, header_len, end, (ssrc, index))
    }

    /// Protects the `len` octets of RTCP at the front of `slot` where they lie. The length of all, `None` if the slot is
    /// too short, the packet is no RTCP or the indices are used up.
    pub fn seal_rtcp(&mut self, len: usize, slot: &mut [u8]) -> Option<usize> {
        let (_, ssrc) = slot.get(..len)?.first_chunk::<RTCP_CLEAR_LEN>()?.split_last_chunk::<4>()?;
        let ssrc = Ssrc(u32::from_be_bytes(*ssrc));
        let index = self.rtcp_index;
        if index >= RTCP_INDEX_END {
            return None;
        }
        self.rtcp_index += 1;
        self.rtcp.seal_rtcp(slot, len, ssrc, RtcpWord::encrypted(index))
    }
}

impl std::fmt::Debug for SealContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealContext").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// The header and the index are written by different hands: they had better agree.
fn debug_assert_header(slot: &[u8], header_len: usize, ssrc: Ssrc, index: u64) {
    debug_assert!(header_len >= 12, "no RTP header");
    debug_assert_eq!(slot.get(2..4), Some(&(index as u16).to_be_bytes()[..]), "sequence number");
    debug_assert_eq!(slot.get(8..12), Some(&ssrc.0.to_be_bytes()[..]), "SSRC");
}
