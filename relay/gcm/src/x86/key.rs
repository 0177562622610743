//! One key expanded, and four of them side by side.
//!
//! Both are the same list of blocks: the round keys, the powers of H, and, two to a block, the sums of the
//! powers' halves that Karatsuba's multiplication wants.

use super::sum::{MODULUS_HIGH, Sum, fold};
use super::{GROUP, Lanes, is_supported, lanes, load};
use crate::LANES;
use std::arch::x86_64::*;
use zeroize::Zeroize;

/// Rounds of AES-128.
pub(super) const ROUNDS: usize = 10;

const POWERS_AT: usize = ROUNDS + 1;
const HALVES_AT: usize = POWERS_AT + GROUP;
const BLOCKS: usize = HALVES_AT + GROUP / 2;

/// Proof that the processor has the instructions: made only where [`is_supported`] said so.
pub(crate) struct Key([__m128i; BLOCKS]);

/// As it is made of keys, it proves CPU support as they do.
pub(crate) struct Quad([Lanes; BLOCKS]);

impl Key {
    pub(crate) fn new(key: &[u8; 16]) -> Option<Self> {
        // SAFETY: `expand` demands the processor's features and nothing else; they were just found.
        is_supported().then(|| unsafe { expand(key) })
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Quad {
    #[inline]
    pub(crate) fn new(keys: [&Key; LANES]) -> Self {
        // SAFETY: `interleave` demands the processor's features and nothing else; there are keys, so it has
        // them.
        unsafe { interleave(keys) }
    }

    #[inline]
    pub(super) fn round_key(&self, round: usize) -> Lanes {
        self.0[round]
    }

    /// H^(`index` + 1).
    #[inline]
    pub(super) fn power(&self, index: usize) -> Lanes {
        self.0[POWERS_AT + index]
    }

    /// Sums of the halves of H^(2·`index` + 1) and H^(2·`index` + 2).
    #[inline]
    pub(super) fn halves(&self, index: usize) -> Lanes {
        self.0[HALVES_AT + index]
    }
}

impl Drop for Quad {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `wipe` demands the processor's features and nothing else; a quad is made of keys, so it has
        // them.
        unsafe { wipe(self) }
    }
}

/// In whole registers: octet by octet it would take longer than the sealing.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn wipe(quad: &mut Quad) {
    quad.0.zeroize();
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn interleave([a, b, c, d]: [&Key; LANES]) -> Quad {
    Quad(std::array::from_fn(|i| lanes([a.0[i], b.0[i], c.0[i], d.0[i]])))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn expand(key: &[u8; 16]) -> Key {
    let mut expanded = Key([_mm_setzero_si128(); BLOCKS]);
    let (round_keys, rest) = expanded.0.split_at_mut(POWERS_AT);
    expand_rounds(key, round_keys.first_chunk_mut().expect("that many"));

    let mut block = round_keys[0];
    for round_key in &round_keys[1..ROUNDS] {
        block = _mm_aesenc_si128(block, *round_key);
    }
    let h = times_x(_mm_aesenclast_si128(block, round_keys[ROUNDS]));

    let (powers, halves) = rest.split_at_mut(GROUP);
    let h = _mm512_zextsi128_si512(h);
    let mut power = h;
    for (i, place) in powers.iter_mut().enumerate() {
        *place = _mm512_castsi512_si128(power);
        let sum = _mm512_castsi512_si128(fold(power));
        let pair = &mut halves[i / 2];
        *pair = if i.is_multiple_of(2) { sum } else { _mm_unpacklo_epi64(*pair, sum) };
        let mut product = Sum::zero();
        product.add_product::<0x00>(power, h, fold(h));
        power = product.reduce();
    }
    expanded
}

/// FIPS 197 §5.2.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn expand_rounds(key: &[u8; 16], round_keys: &mut [__m128i; ROUNDS + 1]) {
    round_keys[0] = load(key);
    round_keys[1] = next_round_key::<0x01>(round_keys[0]);
    round_keys[2] = next_round_key::<0x02>(round_keys[1]);
    round_keys[3] = next_round_key::<0x04>(round_keys[2]);
    round_keys[4] = next_round_key::<0x08>(round_keys[3]);
    round_keys[5] = next_round_key::<0x10>(round_keys[4]);
    round_keys[6] = next_round_key::<0x20>(round_keys[5]);
    round_keys[7] = next_round_key::<0x40>(round_keys[6]);
    round_keys[8] = next_round_key::<0x80>(round_keys[7]);
    round_keys[9] = next_round_key::<0x1b>(round_keys[8]);
    round_keys[10] = next_round_key::<0x36>(round_keys[9]);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn next_round_key<const CONSTANT: i32>(key: __m128i) -> __m128i {
    let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<CONSTANT>(key));
    // Each word is the sum of all the words before it in the old key.
    let sums = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let sums = _mm_xor_si128(sums, _mm_slli_si128::<8>(sums));
    _mm_xor_si128(sums, word)
}

/// Octet-reverses H and multiplies it by x (RFC 8452 appendix A), without a branch on its highest bit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn times_x(h: __m128i) -> __m128i {
    let high = (_mm_extract_epi64::<0>(h) as u64).swap_bytes();
    let low = (_mm_extract_epi64::<1>(h) as u64).swap_bytes();
    let overflow = (high >> 63).wrapping_neg();
    let shifted_high = (high << 1 | low >> 63) ^ (overflow & MODULUS_HIGH);
    let shifted_low = (low << 1) ^ (overflow & 1);
    _mm_set_epi64x(shifted_high as i64, shifted_low as i64)
}
