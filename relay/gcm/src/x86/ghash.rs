//! GHASH in four lanes, each with its own H.

use super::key::Quad;
use super::sum::Sum;
use super::{BLOCK, GROUP, Lanes, lanes, load_some, reverse};
use crate::LANES;
use std::arch::x86_64::*;

impl Sum {
    /// Adds `block` · H^(`power` + 1).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    pub(super) fn add(&mut self, quad: &Quad, block: Lanes, power: usize) {
        let (h, halves) = (quad.power(power), quad.halves(power / 2));
        if power.is_multiple_of(2) {
            self.add_product::<0x00>(block, h, halves);
        } else {
            self.add_product::<0x10>(block, h, halves);
        }
    }
}

/// Hashes the associated data of the four, all but the last block, which is returned beside the hash.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn associated_data(quad: &Quad, aads: [&[u8]; LANES]) -> (Lanes, Lanes) {
    let [mut a, mut b, mut c, mut d] = aads;
    let mut y = _mm512_setzero_si512();
    loop {
        let len = a.len().min(BLOCK);
        let (a_block, b_block, c_block, d_block);
        (a_block, a) = a.split_at(len);
        (b_block, b) = b.split_at(len);
        (c_block, c) = c.split_at(len);
        (d_block, d) = d.split_at(len);
        let block = [load_some(a_block), load_some(b_block), load_some(c_block), load_some(d_block)];
        let block = reverse(lanes(block));
        if a.is_empty() {
            // Without associated data this is a block of zeros before the first, which changes nothing.
            return (y, block);
        }
        let mut sum = Sum::zero();
        sum.add(quad, _mm512_xor_si512(y, block), 0);
        y = sum.reduce();
    }
}

/// Hashes a packet's last `blocks` and its lengths.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
pub(super) fn end(quad: &Quad, y: Lanes, blocks: &[Lanes], lengths: Lanes) -> Lanes {
    let mut sum = Sum::zero();
    if blocks.len() == GROUP {
        // One block more than there are powers.
        for (i, block) in blocks.iter().enumerate().skip(1) {
            sum.add(quad, *block, GROUP - 1 - i);
        }
        sum.add(quad, _mm512_xor_si512(y, blocks[0]), GROUP - 1);
        return end(quad, sum.reduce(), &[], lengths);
    }
    for (i, block) in blocks.iter().enumerate() {
        let block = if i == 0 { _mm512_xor_si512(y, *block) } else { *block };
        sum.add(quad, block, blocks.len() - i);
    }
    let lengths = if blocks.is_empty() { _mm512_xor_si512(y, lengths) } else { lengths };
    sum.add(quad, lengths, 0);
    sum.reduce()
}
