//! AES128_CM_HMAC_SHA1_80 (RFC 3711 §4): counter mode first, then a tag over all that is sent.

use super::keys::{AUTH_KEY_LEN, Half, Purpose, derive};
use crate::id::Ssrc;
use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher};
use aws_lc_rs::{constant_time, hmac};
use ctr::Ctr128BE;

pub(super) const TAG_LEN: usize = 10;

const SALT_LEN: usize = 14;

/// One direction and half of a context.
pub(super) struct Cm {
    cipher: Aes128,
    salt: [u8; SALT_LEN],
    auth: hmac::Key,
}

impl Cm {
    pub(super) fn derive(master_key: &[u8], master_salt: &[u8], half: Half) -> Self {
        Self::new(
            &derive::<16>(master_key, master_salt, half, Purpose::Cipher),
            *derive::<SALT_LEN>(master_key, master_salt, half, Purpose::Salt),
            &derive::<AUTH_KEY_LEN>(master_key, master_salt, half, Purpose::Auth),
        )
    }

    /// From session keys.
    pub(super) fn new(key: &[u8; 16], salt: [u8; SALT_LEN], auth: &[u8; AUTH_KEY_LEN]) -> Self {
        Self {
            cipher: Aes128::new(key.into()),
            salt,
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth),
        }
    }

    /// RFC 3711 §4.1.1: `(salt << 16) ^ (SSRC << 64) ^ (index << 16)`, the block counter in the low 16 bits.
    fn keystream(&self, ssrc: Ssrc, index: u64) -> Ctr128BE<&Aes128> {
        let mut iv = [0; 16];
        iv[4..8].copy_from_slice(&ssrc.0.to_be_bytes());
        iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        for (octet, salt) in iv.iter_mut().zip(self.salt) {
            *octet ^= salt;
        }
        let core = ctr::CtrCore::inner_iv_init(&self.cipher, (&iv).into());
        aes::cipher::StreamCipherCoreWrapper::from_core(core)
    }

    /// Encrypts or decrypts `input` into `out` (of equal length).
    pub(super) fn apply(&self, (ssrc, index): (Ssrc, u64), input: &[u8], out: &mut [u8]) -> Option<()> {
        self.keystream(ssrc, index).apply_keystream_b2b(input, out).ok()
    }

    /// Encrypts `prefix` where it lies and goes on with `rest` into `out` (of equal length).
    pub(super) fn apply_behind(
        &self,
        (ssrc, index): (Ssrc, u64),
        prefix: &mut [u8],
        rest: &[u8],
        out: &mut [u8],
    ) -> Option<()> {
        let mut keystream = self.keystream(ssrc, index);
        keystream.apply_keystream(prefix);
        keystream.apply_keystream_b2b(rest, out).ok()
    }

    /// Encrypts or decrypts `text` where it lies.
    pub(super) fn apply_in_place(&self, (ssrc, index): (Ssrc, u64), text: &mut [u8]) {
        self.keystream(ssrc, index).apply_keystream(text);
    }

    /// The tag over `message`, followed by the roll-over counter if there is one (RFC 3711 §4.2: SRTP has,
    /// SRTCP has not).
    pub(super) fn tag(&self, message: &[u8], roc: Option<u32>) -> [u8; TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(message);
        if let Some(roc) = roc {
            context.update(&roc.to_be_bytes());
        }
        let full = context.sign();
        *full.as_ref().first_chunk().expect("SHA-1 makes 20 octets")
    }

    /// Compares a received tag, in time that does not tell where they differ.
    pub(super) fn verify(&self, message: &[u8], roc: Option<u32>, tag: &[u8]) -> Option<()> {
        constant_time::verify_slices_are_equal(&self.tag(message, roc), tag).ok()
    }
}
