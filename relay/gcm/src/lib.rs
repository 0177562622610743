//! AES-128-GCM that seals one plaintext under four keys at once: what a packet relay does all day.
//!
//! A library call on a short packet is mostly latency. Here lane `i` of a 512-bit register carries subscriber
//! `i`: the round keys of four subscribers stand side by side, a block of the shared plaintext is broadcast
//! to the four lanes, GHASH multiplies by four different `H` in one instruction, and one reduction serves
//! four packets.
//!
//! Invariants
//! - Sealing only. Nothing here ever judges a tag, so nothing here can accept a forgery.
//! - No table and no branch depends on a key, a plaintext or what came of them; only lengths decide what
//!   runs.
//! - A [`SealKey`] exists only on a processor that has the instructions ([`is_supported`]); everything else
//!   takes its existence as the proof. Keys are wiped when dropped, in both forms.
//! - Nonces are the caller's: using one twice under a key gives the key away (SP 800-38D §8).
//!
//! Deliberately absent: opening, other key and tag lengths, nonces of other than 96 bits, fewer than four
//! keys. The caller has a library for those.

#![warn(missing_docs)]

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86 as imp;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod absent;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use absent as imp;

use std::fmt;

/// Keys that are sealed under at once: the 128-bit lanes of a register.
pub const LANES: usize = 4;

/// Octets of a tag.
pub const TAG_LEN: usize = 16;

/// Longest associated data: more than any RTP header that the relay writes.
pub const AAD_MAX: usize = 64;

/// Longest plaintext: more than a datagram holds, and far from where the block counter would come round.
pub const PLAINTEXT_MAX: usize = 65_535;

/// Longest prefix of one lane's own in front of the shared plaintext.
pub const PREFIX_MAX: usize = 8;

/// Octets of a nonce.
pub const NONCE_LEN: usize = 12;

/// Whether this processor has what is needed: AVX-512 (F, BW, VL), VAES and VPCLMULQDQ. The answer never
/// changes.
#[must_use]
pub fn is_supported() -> bool {
    imp::is_supported()
}

/// One expanded key: round keys and powers of the hash key, 368 octets. Wiped when dropped.
pub struct SealKey(imp::Key);

impl SealKey {
    /// Expands a key; `None` where [`is_supported`] is false.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Option<Self> {
        imp::Key::new(key).map(Self)
    }
}

/// Four keys side by side, for as long as a batch is sealed: 1,472 octets for the stack. Wiped when dropped.
pub struct Quad(imp::Quad);

impl Quad {
    /// Lays four keys side by side. They may be the same key.
    #[must_use]
    pub fn new(keys: [&SealKey; LANES]) -> Self {
        Self(imp::Quad::new(keys.map(|key| &key.0)))
    }

    /// Seals `plaintext` once for each lane: `outs[i]` gets the ciphertext under key `i` and the tag behind
    /// it.
    ///
    /// # Errors
    /// If lengths do not fit one another; then nothing was written.
    pub fn seal(
        &self,
        nonces: [&[u8; NONCE_LEN]; LANES],
        aads: [&[u8]; LANES],
        plaintext: &[u8],
        outs: [&mut [u8]; LANES],
    ) -> Result<(), SealError> {
        self.seal_prefixed(nonces, aads, [&[]; LANES], plaintext, outs)
    }

    /// As [`Quad::seal`], of a plaintext that begins with `prefixes[i]` under key `i` and goes on with `rest`
    /// under each. The prefixes are equally long.
    ///
    /// # Errors
    /// If lengths do not fit one another; then nothing was written.
    #[inline]
    pub fn seal_prefixed(
        &self,
        nonces: [&[u8; NONCE_LEN]; LANES],
        aads: [&[u8]; LANES],
        prefixes: [&[u8]; LANES],
        rest: &[u8],
        outs: [&mut [u8]; LANES],
    ) -> Result<(), SealError> {
        let aad_len = aads[0].len();
        if aad_len > AAD_MAX || aads.iter().any(|aad| aad.len() != aad_len) {
            return Err(SealError::AadLength);
        }
        let prefix_len = prefixes[0].len();
        if prefix_len > PREFIX_MAX || prefixes.iter().any(|prefix| prefix.len() != prefix_len) {
            return Err(SealError::PrefixLength);
        }
        let len = prefix_len + rest.len();
        if len > PLAINTEXT_MAX {
            return Err(SealError::PlaintextLength);
        }
        if outs.iter().any(|out| out.len() != len + TAG_LEN) {
            return Err(SealError::OutLength);
        }
        self.0.seal(nonces, aads, prefixes, rest, outs);
        Ok(())
    }
}

/// Why nothing was sealed. All of them are the caller's mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The four associated data differ in length, or are longer than [`AAD_MAX`].
    AadLength,
    /// The four prefixes differ in length, or are longer than [`PREFIX_MAX`].
    PrefixLength,
    /// The plaintext is longer than [`PLAINTEXT_MAX`].
    PlaintextLength,
    /// An output has not the length of the plaintext and [`TAG_LEN`].
    OutLength,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AadLength => "associated data of different lengths, or too long",
            Self::PrefixLength => "prefixes of different lengths, or too long",
            Self::PlaintextLength => "plaintext too long",
            Self::OutLength => "an output is not as long as plaintext and tag",
        })
    }
}

impl std::error::Error for SealError {}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

impl fmt::Debug for Quad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quad")
    }
}
