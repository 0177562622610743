//! From plaintext to the send slot.

use super::SrtpProfile;
use super::cipher::{Cipher, RTCP_CLEAR_LEN, RtcpWord};
use super::gcm::TAG_LEN;
use super::keys::{Half, Purpose, derive};
use crate::id::{SeqNo, Ssrc};
use relay_gcm::{LANES, Quad, SealKey};

/// The index of RTP is roll-over counter and sequence number, 48 bits; behind the last there are no more
/// packets under one key (RFC 3711 §9.2).
const RTP_INDEX_END: u64 = 1 << 48;

/// The SRTCP index has 31 bits and never comes again under one key (RFC 3711 §9.2).
const RTCP_INDEX_END: u32 = 1 << 31;

/// Keys for what we send to one peer.
///
/// It keeps no index for RTP: the caller owns the 48-bit index of each of its SSRCs (its extended sequence
/// number) and never uses one twice. For SRTCP it counts itself.
pub struct SealContext {
    profile: SrtpProfile,
    rtp: Cipher,
    rtcp: Cipher,
    /// The RTP key once more, for sealing beside three others; boxed, because most of the time is spent
    /// without.
    lane: Option<Box<SealKey>>,
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
            lane: None,
            rtcp_index: 1,
        }
    }

    /// Lets it be one of [`SealFour`], given what it was made from. Changes nothing where the processor or
    /// the profile does not allow it.
    #[must_use]
    pub fn with_lane(mut self, master_key: &[u8], master_salt: &[u8]) -> Self {
        if self.profile == SrtpProfile::AeadAes128Gcm && relay_gcm::is_supported() {
            let key = derive::<16>(master_key, master_salt, Half::Rtp, Purpose::Cipher);
            self.lane = SealKey::new(&key).map(Box::new);
        }
        self
    }

    /// What was agreed.
    #[must_use]
    pub const fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Encrypts `payload` behind the header that stands in the first `header_len` octets of `slot`, in one
    /// pass, and adds the tag. The length of all, `None` if the slot is too short or the indices are used up.
    pub fn seal_rtp(
        &self,
        slot: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
        payload: &[u8],
    ) -> Option<usize> {
        self.seal_prefixed(slot, header_len, (ssrc, index), &[], payload)
    }

    /// The same for a payload in two pieces.
    #[inline]
    pub fn seal_prefixed(
        &self,
        slot: &mut [u8],
        header_len: usize,
        (ssrc, index): (Ssrc, u64),
        prefix: &[u8],
        rest: &[u8],
    ) -> Option<usize> {
        debug_assert_header(slot, header_len, ssrc, index);
        if index >= RTP_INDEX_END {
            return None;
        }
        if prefix.is_empty() {
            return self.rtp.seal_rtp(slot, header_len, (ssrc, index), rest);
        }
        self.rtp.seal_rtp_prefixed(slot, header_len, (ssrc, index), prefix, rest)
    }

    /// The same for a retransmission: the original sequence number comes first (RFC 4588 §4).
    pub fn seal_rtx(
        &self,
        slot: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
        osn: SeqNo,
        payload: &[u8],
    ) -> Option<usize> {
        self.seal_prefixed(slot, header_len, (ssrc, index), &osn.0.to_be_bytes(), payload)
    }

    /// Protects the `len` octets of RTCP at the front of `slot` where they lie. The length of all, `None` if
    /// the slot is too short, the packet is no RTCP or the indices are used up.
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

/// Four contexts side by side: one pass of the cipher seals a payload for all of them.
pub struct SealFour<'a> {
    quad: Quad,
    contexts: [&'a SealContext; LANES],
}

impl<'a> SealFour<'a> {
    /// `None` unless each was made [with a lane](SealContext::with_lane).
    #[must_use]
    pub fn new(contexts: [&'a SealContext; LANES]) -> Option<Self> {
        let [a, b, c, d] = contexts.map(|context| context.lane.as_deref());
        Some(Self { quad: Quad::new([a?, b?, c?, d?]), contexts })
    }

    /// [`SealContext::seal_rtp`] for each: headers of one length stand in front of the slots. The length of
    /// each datagram; `None`, and nothing is sealed, if a slot is too short or an index used up.
    pub fn seal_rtp(
        &self,
        slots: [&mut [u8]; LANES],
        header_len: usize,
        at: [(Ssrc, u64); LANES],
        payload: &[u8],
    ) -> Option<usize> {
        self.seal_prefixed(slots, header_len, at, [&[]; LANES], payload)
    }

    /// [`SealContext::seal_prefixed`] for each: as [`SealFour::seal_rtp`], with prefixes of one length.
    #[inline]
    pub fn seal_prefixed(
        &self,
        slots: [&mut [u8]; LANES],
        header_len: usize,
        at: [(Ssrc, u64); LANES],
        prefixes: [&[u8]; LANES],
        rest: &[u8],
    ) -> Option<usize> {
        let payload_len = prefixes[0].len().checked_add(rest.len())?;
        let len = header_len.checked_add(payload_len)?.checked_add(TAG_LEN)?;
        let [a, b, c, d] = slots.map(|slot| slot.get_mut(..len)?.split_at_mut_checked(header_len));
        let [(ha, oa), (hb, ob), (hc, oc), (hd, od)] = [a?, b?, c?, d?];
        let nonce = |lane: usize| {
            let (ssrc, index) = at[lane];
            match &self.contexts[lane].rtp {
                Cipher::Gcm(gcm) if index < RTP_INDEX_END => Some(gcm.nonce_octets(ssrc, index)),
                _ => None,
            }
        };
        let nonces = [nonce(0)?, nonce(1)?, nonce(2)?, nonce(3)?];
        self.quad
            .seal_prefixed(nonces.each_ref(), [ha, hb, hc, hd], prefixes, rest, [oa, ob, oc, od])
            .ok()?;
        Some(len)
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
