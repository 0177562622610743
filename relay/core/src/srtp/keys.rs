//! Session keys from master keys (RFC 3711 §4.3; AES-256 by RFC 6188 §3; GCM salts by RFC 7714 §11).
//!
//! The key derivation rate is zero, as DTLS-SRTP has it (RFC 5764 §4.1.2): one derivation for the life of a
//! context.

use aes::{Aes128, Aes256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

/// Octets of an HMAC-SHA1 session key (RFC 3711 §8.2).
pub(super) const AUTH_KEY_LEN: usize = 20;

/// Octets of a salt as the key derivation sees it: shorter ones (GCM) are filled up with zeros behind.
const KDF_SALT_LEN: usize = 14;

/// Where a label stands in the 14 octets that the salt is added to: above `index DIV kdr`, 48 bits.
const LABEL_AT: usize = 7;

/// Which half of a context: the two never share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Rtp,
    Rtcp,
}

/// What a derived key is for (RFC 3711 §4.3.1 and §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Cipher,
    Auth,
    Salt,
}

impl Half {
    const fn label(self, purpose: Purpose) -> u8 {
        match (self, purpose) {
            (Self::Rtp, Purpose::Cipher) => 0,
            (Self::Rtp, Purpose::Auth) => 1,
            (Self::Rtp, Purpose::Salt) => 2,
            (Self::Rtcp, Purpose::Cipher) => 3,
            (Self::Rtcp, Purpose::Auth) => 4,
            (Self::Rtcp, Purpose::Salt) => 5,
        }
    }
}

/// Derives one session key of `N` octets.
///
/// # Panics
/// On a master key or salt of a length that no profile has: our own mistake, never the network's.
pub(super) fn derive<const N: usize>(
    master_key: &[u8],
    master_salt: &[u8],
    half: Half,
    purpose: Purpose,
) -> Zeroizing<[u8; N]> {
    assert!(master_salt.len() <= KDF_SALT_LEN, "master salt of {} octets", master_salt.len());
    let mut iv = Zeroizing::new([0; 16]);
    iv[..master_salt.len()].copy_from_slice(master_salt);
    iv[LABEL_AT] ^= half.label(purpose);

    let mut key = Zeroizing::new([0; N]);
    match master_key.len() {
        16 => Ctr128BE::<Aes128>::new(master_key.into(), (&*iv).into()).apply_keystream(&mut *key),
        32 => Ctr128BE::<Aes256>::new(master_key.into(), (&*iv).into()).apply_keystream(&mut *key),
        other => panic!("master key of {other} octets"),
    }
    key
}
