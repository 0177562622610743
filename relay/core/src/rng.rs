//! Randomness from a seed that the caller drew: AES-256 in counter mode as a stream of unguessable octets.
//!
//! The same seed gives the same stream, which is what makes a simulated run repeatable.

use aes::Aes256;
use ctr::Ctr64BE;
use ctr::cipher::{KeyIvInit, StreamCipher};

/// A deterministic, cryptographically strong generator.
pub struct Rng(Ctr64BE<Aes256>);

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng([redacted])")
    }
}

/// Alphabet of ICE credentials: 64 of the `ice-char`s (RFC 8839 §5.4), 6 bits each.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Rng {
    /// From 32 octets of entropy.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Ctr64BE::new(&seed.into(), &[0; 16].into()))
    }

    /// Overwrites `out` with random octets.
    pub fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.0.apply_keystream(out);
    }

    /// A random number.
    pub fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    /// `N` characters for an ICE ufrag or password, 6 bits of entropy each.
    pub fn ice_string<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes.map(|b| ICE_CHARS[usize::from(b & 63)])
    }
}
