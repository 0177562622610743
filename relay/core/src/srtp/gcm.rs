//! AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 7714), one pass from source to destination.

use super::SrtpProfile;
use super::keys::{Half, Purpose, derive};
use crate::id::Ssrc;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Octets of the tag (RFC 7714 §13.2).
pub(super) const TAG_LEN: usize = 16;

const SALT_LEN: usize = 12;

/// One direction and half of a context.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl Gcm {
    pub(super) fn derive(profile: SrtpProfile, master_key: &[u8], master_salt: &[u8], half: Half) -> Self {
        let salt = *derive::<SALT_LEN>(master_key, master_salt, half, Purpose::Salt);
        if profile.key_len() == 32 {
            Self::new(&*derive::<32>(master_key, master_salt, half, Purpose::Cipher), salt)
        } else {
            Self::new(&*derive::<16>(master_key, master_salt, half, Purpose::Cipher), salt)
        }
    }

    /// From session keys.
    pub(super) fn new(key: &[u8], salt: [u8; SALT_LEN]) -> Self {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).expect("a session key has its algorithm's length");
        Self { key: LessSafeKey::new(key), salt }
    }

    /// RFC 7714 §8.1 and §9.1: two zero octets, SSRC, 48 bits of index, all added to the salt. An SRTCP index
    /// has 31 bits, which makes the two zero octets of §9.1.
    pub(super) fn nonce_octets(&self, ssrc: Ssrc, index: u64) -> [u8; SALT_LEN] {
        let mut nonce = [0; SALT_LEN];
        nonce[2..6].copy_from_slice(&ssrc.0.to_be_bytes());
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        for (octet, salt) in nonce.iter_mut().zip(self.salt) {
            *octet ^= salt;
        }
        nonce
    }

    fn nonce(&self, ssrc: Ssrc, index: u64) -> Nonce {
        Nonce::assume_unique_for_key(self.nonce_octets(ssrc, index))
    }

    /// Encrypts `plaintext` into `out` (of equal length) and writes the tag.
    #[inline]
    pub(super) fn seal(
        &self,
        (ssrc, index): (Ssrc, u64),
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
        tag: &mut [u8],
    ) -> Option<()> {
        self.key
            .seal_out_of_place_scatter(self.nonce(ssrc, index), Aad::from(aad), plaintext, out, &[], tag)
            .ok()
    }

    /// Encrypts `prefix` where it lies and `rest` into `out`, and writes the tag behind it: `out` ends with
    /// room for that.
    pub(super) fn seal_behind(
        &self,
        (ssrc, index): (Ssrc, u64),
        aad: &[u8],
        prefix: &mut [u8],
        rest: &[u8],
        out: &mut [u8],
    ) -> Option<()> {
        self.key.seal_in_place_scatter(self.nonce(ssrc, index), Aad::from(aad), prefix, rest, out).ok()
    }

    /// Encrypts `text` where it lies and writes the tag.
    pub(super) fn seal_in_place(
        &self,
        (ssrc, index): (Ssrc, u64),
        aad: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) -> Option<()> {
        self.key.seal_in_place_scatter(self.nonce(ssrc, index), Aad::from(aad), text, &[], tag).ok()
    }

    /// Decrypts `ciphertext` into `out` (of equal length) if the tag is good. If not, what stands in `out`
    /// means nothing.
    pub(super) fn open(
        &self,
        (ssrc, index): (Ssrc, u64),
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Option<()> {
        self.key.open_separate_gather(self.nonce(ssrc, index), Aad::from(aad), ciphertext, tag, out).ok()
    }

    /// Decrypts `text` where it lies if the tag is good. If not, `text` is destroyed.
    pub(super) fn open_in_place(
        &self,
        (ssrc, index): (Ssrc, u64),
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8],
    ) -> Option<()> {
        self.key.open_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(aad), tag, text).ok().map(drop)
    }
}
