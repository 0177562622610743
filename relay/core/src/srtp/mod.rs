//! SRTP and SRTCP (RFC 3711, RFC 7714), profiles of DTLS-SRTP (RFC 5764).
//!
//! Invariants
//! - A packet is decrypted once, from the receive buffer into the place where its plaintext stays, and
//!   encrypted once per subscriber, from there into the send slot. Neither allocates.
//! - Replay windows and roll-over counters move only after the tag proved good (RFC 3711 §3.3).
//! - The send side keeps no index for RTP: whoever owns the down-track owns its 48-bit index and never uses
//!   one twice. SRTCP indices are counted here.
//!
//! Deliberately absent: MKI, key derivation rates other than zero, encrypted header extensions (RFC 6904),
//! rekeying (a new DTLS handshake makes new contexts) and the 32-bit tag profile.

mod cipher;
mod cm;
mod gcm;
mod keys;
mod open;
mod replay;
mod seal;

#[cfg(test)]
mod tests;

pub use open::{OpenContext, OpenError, Opened, RETIRED_MAX, SSRCS_MAX};
pub use replay::{ReplayWindow, WINDOW_PACKETS};
pub use seal::{SealContext, SealFour};

use zeroize::Zeroize;

/// Octets that protection adds to an RTP packet, at most (RFC 7714 §13.2).
pub const RTP_OVERHEAD_MAX: usize = 16;

/// Octets that protection adds to an RTCP packet, at most: tag, E bit and index (RFC 7714 §9.2).
pub const RTCP_OVERHEAD_MAX: usize = 20;

/// Protection profiles, best first: the order in which the relay chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// 0x0007, RFC 7714
    AeadAes128Gcm,
    /// 0x0008, RFC 7714
    AeadAes256Gcm,
    /// 0x0001, RFC 3711
    Aes128CmHmacSha1_80,
}

impl SrtpProfile {
    /// All of them, in the order in which the relay chooses.
    pub const ALL: [Self; 3] = [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmHmacSha1_80];

    /// Octets of the master key (and of the session cipher key).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmHmacSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Octets of the master salt (and of the session salt).
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Octets of the tag behind an RTP packet.
    #[must_use]
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmHmacSha1_80 => 10,
        }
    }

    /// Octets of tag, E bit and index behind an RTCP packet.
    #[must_use]
    pub const fn rtcp_trailer_len(self) -> usize {
        self.rtp_tag_len() + 4
    }

    /// As the RFCs write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::Aes128CmHmacSha1_80 => "AES128_CM_HMAC_SHA1_80",
        }
    }

    /// The profile's number in the `use_srtp` extension (RFC 5764 §4.1.2, RFC 7714 §14.2).
    #[must_use]
    pub const fn dtls_id(self) -> u16 {
        match self {
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
            Self::Aes128CmHmacSha1_80 => 0x0001,
        }
    }

    /// The profile with this number in `use_srtp`.
    #[must_use]
    pub const fn from_dtls_id(id: u16) -> Option<Self> {
        match id {
            0x0007 => Some(Self::AeadAes128Gcm),
            0x0008 => Some(Self::AeadAes256Gcm),
            0x0001 => Some(Self::Aes128CmHmacSha1_80),
            _ => None,
        }
    }
}

/// Master keys and salts of one association, seen from the relay. Wiped when dropped.
#[derive(Clone)]
pub struct KeyingMaterial {
    /// What was agreed.
    pub profile: SrtpProfile,
    /// Master key for what we send.
    pub local_key: Vec<u8>,
    /// Master salt for what we send.
    pub local_salt: Vec<u8>,
    /// Master key for what the peer sends.
    pub remote_key: Vec<u8>,
    /// Master salt for what the peer sends.
    pub remote_salt: Vec<u8>,
}

impl std::fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyingMaterial").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Drop for KeyingMaterial {
    fn drop(&mut self) {
        for secret in [&mut self.local_key, &mut self.local_salt, &mut self.remote_key, &mut self.remote_salt]
        {
            secret.zeroize();
        }
    }
}
