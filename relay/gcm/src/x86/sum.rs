//! Sums of products of polynomials.
//!
//! GHASH numbers the bits of a block from the wrong end for a multiplier of integers. Here blocks stand
//! octet-reversed and H is multiplied by x beforehand, which makes GHASH the same sums as POLYVAL (RFC 8452
//! appendix A): products of plain polynomials, then a division by x^128 modulo x^128 + x^127 + x^126 + x^121
//! + 1, which takes two multiplications.
//!
//! Products are summed before they are reduced: with powers of H at hand, `n` blocks take one reduction.

use super::{Lanes, broadcast};
use std::arch::x86_64::*;

/// Upper half of the modulus, without x^128.
pub(super) const MODULUS_HIGH: u64 = 0xc200_0000_0000_0000;

/// A sum of products, not yet reduced: the three of Karatsuba's.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    low: Lanes,
    middle: Lanes,
    high: Lanes,
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: zero, middle: zero, high: zero }
    }

    /// Adds `block` · `h`. The sum of `h`'s halves stands in the lower (0x00) or upper (0x10) half of
    /// `halves`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn add_product<const HALF: i32>(&mut self, block: Lanes, h: Lanes, halves: Lanes) {
        let low = _mm512_clmulepi64_epi128::<0x00>(block, h);
        let high = _mm512_clmulepi64_epi128::<0x11>(block, h);
        let middle = _mm512_clmulepi64_epi128::<HALF>(fold(block), halves);
        self.low = _mm512_xor_si512(self.low, low);
        self.high = _mm512_xor_si512(self.high, high);
        self.middle = _mm512_xor_si512(self.middle, middle);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn reduce(self) -> Lanes {
        let middle = xor3(self.middle, self.low, self.high);
        let low = _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(middle));
        let high = _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(middle));
        let modulus = broadcast(_mm_set_epi64x(MODULUS_HIGH as i64, 1));
        let low = _mm512_xor_si512(swap(low), _mm512_clmulepi64_epi128::<0x10>(low, modulus));
        xor3(high, swap(low), _mm512_clmulepi64_epi128::<0x10>(low, modulus))
    }
}

/// Both halves of each lane become their sum.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn fold(x: Lanes) -> Lanes {
    _mm512_xor_si512(x, swap(x))
}

/// Exchanges the halves of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn swap(x: Lanes) -> Lanes {
    _mm512_shuffle_epi32::<0b01_00_11_10>(x)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn xor3(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}
