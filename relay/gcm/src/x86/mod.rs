//! The instructions are here: four AES-128-GCM seals in the four lanes of 512-bit registers.
//!
//! ```text
//! enciphered   1 (masks the tag), 2 .. 8 | 9 .. 16             | 17 .. 24  | rest
//! hashed       AAD but its last block    | AAD's last, 2 .. 8  | 9 .. 16   | 17 .. 24, then rest and lengths
//! ```
//!
//! While a group of eight blocks is enciphered the one before it is hashed, so AES and multiplication both
//! find work in every cycle. A packet of up to seven blocks is one group. Hash values and hashed blocks stand
//! octet-reversed, as `ghash.rs` says.
//!
//! All that is `unsafe`, and why:
//! - The methods of [`Key`] and [`Quad`] call functions compiled for the instructions, after [`is_supported`]
//!   or with a key in hand, which exists nowhere else. The list of features is the same on all of those
//!   functions; `is_supported` asks for each.
//! - [`load`], [`load_some`] and [`store`] take references to pointers.
//!
//! The rest is safe code over slices whose lengths are checked.

mod ghash;
mod key;
mod sum;

pub(crate) use key::{Key, Quad};

use crate::{LANES, NONCE_LEN, TAG_LEN};
use std::arch::x86_64::*;
use sum::Sum;

/// Octets of a block.
const BLOCK: usize = 16;

/// Blocks in a group: AES chains that hide one another's latency, and powers of H at hand.
const GROUP: usize = 8;

/// Blocks of plaintext in the first group, beside the one that masks the tag.
const HEAD: usize = GROUP - 1;

/// One block in each lane.
type Lanes = __m512i;

/// Octets of a group.
type Octets = [[u8; BLOCK]; GROUP];

pub(crate) fn is_supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
}

impl Quad {
    /// The caller has checked the lengths.
    #[inline]
    pub(crate) fn seal(
        &self,
        nonces: [&[u8; NONCE_LEN]; LANES],
        aads: [&[u8]; LANES],
        prefixes: [&[u8]; LANES],
        rest: &[u8],
        outs: [&mut [u8]; LANES],
    ) {
        // SAFETY: `seal` demands the processor's features and nothing else. A quad is made of keys, and a key
        // is made only after `is_supported` has found all of them.
        unsafe { seal(self, nonces, aads, prefixes, rest, outs) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn seal(
    quad: &Quad,
    nonces: [&[u8; NONCE_LEN]; LANES],
    aads: [&[u8]; LANES],
    prefixes: [&[u8]; LANES],
    rest: &[u8],
    outs: [&mut [u8]; LANES],
) {
    let prefix_len = prefixes[0].len();
    let (shared, tail) = rest.split_at(rest.len().min(HEAD_OCTETS - prefix_len));
    if prefix_len == 0 {
        let text = Text { first: _mm512_setzero_si512(), head: shared, rest: tail };
        return seal_text::<false>(quad, nonces, aads, text, outs);
    }
    let copy = behind_zeros(prefix_len, shared);
    let [a, b, c, d] = prefixes;
    let first = lanes([load_some(a), load_some(b), load_some(c), load_some(d)]);
    let text = Text { first, head: &copy[..prefix_len + shared.len()], rest: tail };
    seal_text::<true>(quad, nonces, aads, text, outs);
}

/// Without `PREFIXED` nothing is looked at that stands in front of the text.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn seal_text<const PREFIXED: bool>(
    quad: &Quad,
    nonces: [&[u8; NONCE_LEN]; LANES],
    aads: [&[u8]; LANES],
    text: Text<'_>,
    outs: [&mut [u8]; LANES],
) {
    let len = text.head.len() + text.rest.len();
    let (y, aad) = ghash::associated_data(quad, aads);
    let packet = Packet::<PREFIXED> {
        quad,
        counters: Counters::new(quad, nonces),
        // SP 800-38D §7.1 step 5: the lengths in bits, octet-reversed.
        lengths: broadcast(_mm_set_epi64x(aads[0].len() as i64 * 8, len as i64 * 8)),
    };
    match len.div_ceil(BLOCK) {
        0 => packet.short::<0, 1>(y, aad, text, outs),
        1 => packet.short::<1, 2>(y, aad, text, outs),
        2 => packet.short::<2, 3>(y, aad, text, outs),
        3 => packet.short::<3, 4>(y, aad, text, outs),
        4 => packet.short::<4, 5>(y, aad, text, outs),
        5 => packet.short::<5, 6>(y, aad, text, outs),
        6 => packet.short::<6, 7>(y, aad, text, outs),
        7 => packet.short::<7, 8>(y, aad, text, outs),
        _ => packet.long(y, aad, text, outs),
    }
}

/// Octets of the first group.
const HEAD_OCTETS: usize = HEAD * BLOCK;

/// A plaintext.
struct Text<'a> {
    /// The prefixes, each in its lane and followed by zeros.
    first: Lanes,
    /// The first group, or all there is, with zeros where the prefixes are: the lanes have it in common.
    head: &'a [u8],
    /// What is behind it.
    rest: &'a [u8],
}

#[inline(never)]
fn behind_zeros(count: usize, octets: &[u8]) -> [u8; HEAD_OCTETS] {
    let mut copy = [0; HEAD_OCTETS];
    copy[count..count + octets.len()].copy_from_slice(octets);
    copy
}

/// Runs the rounds of AES over `$state`, counter blocks that are already added to the first round key, and
/// does `$meanwhile` with the number of each round.
///
/// A macro because a function with target features cannot be told to be inlined (`#[inline(always)]` is
/// refused), and a call here would carry sixteen registers through memory.
macro_rules! rounds {
    ($quad:expr, $state:expr, |$round:ident| $meanwhile:block) => {{
        for $round in 1..key::ROUNDS {
            let key = $quad.round_key($round);
            for block in &mut $state {
                *block = _mm512_aesenc_epi128(*block, key);
            }
            $meanwhile
        }
        let key = $quad.round_key(key::ROUNDS);
        for block in &mut $state {
            *block = _mm512_aesenclast_epi128(*block, key);
        }
    }};
}

/// Enciphers `$state` and hashes the group `$blocks` into `$y` meanwhile.
macro_rules! rounds_and_hash {
    ($quad:expr, $state:expr, $y:expr, $blocks:expr) => {{
        let mut sum = Sum::zero();
        rounds!($quad, $state, |round| {
            // The group's first block waits for the reduction before it, so it comes last.
            if round < GROUP {
                sum.add($quad, $blocks[round], GROUP - 1 - round);
            } else if round == GROUP {
                sum.add($quad, _mm512_xor_si512($y, $blocks[0]), GROUP - 1);
            }
        });
        $y = sum.reduce();
    }};
}

/// What does not change from block to block.
struct Packet<'a, const PREFIXED: bool> {
    quad: &'a Quad,
    counters: Counters,
    lengths: Lanes,
}

/// What the last blocks of a long packet need of those before.
struct Sofar {
    /// First counter of the rest.
    counter: u32,
    /// The hash up to `pending`, and the group that it lacks.
    y: Lanes,
    pending: [Lanes; GROUP],
    /// What the tag is masked with.
    mask: Lanes,
}

impl<const PREFIXED: bool> Packet<'_, PREFIXED> {
    /// At most seven blocks, `N`: all of them and the tag's mask in one group of `M` = `N` + 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn short<const N: usize, const M: usize>(
        &self,
        y: Lanes,
        aad: Lanes,
        text: Text<'_>,
        mut outs: [&mut [u8]; LANES],
    ) {
        let mut sum = Sum::zero();
        sum.add(self.quad, _mm512_xor_si512(y, aad), 0);
        let y = sum.reduce();
        let mut keystream = self.counters.group::<M>(0);
        rounds!(self.quad, keystream, |_round| {});
        let mut own = [_mm512_setzero_si512(); N];
        own.copy_from_slice(&keystream[1..]);
        if PREFIXED && let Some(own) = own.first_mut() {
            *own = _mm512_xor_si512(*own, text.first);
        }
        let blocks = write_rest(own, text.head, &mut outs);
        self.write_tags(y, &blocks, keystream[0], outs);
    }

    /// More than seven blocks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn long(&self, mut y: Lanes, aad: Lanes, text: Text<'_>, outs: [&mut [u8]; LANES]) {
        let (head, groups, tail) = split(&text);
        let [a, b, c, d] = outs;
        let (a_head, a, a_tail) = split_mut(a, groups.len());
        let (b_head, b, b_tail) = split_mut(b, groups.len());
        let (c_head, c, c_tail) = split_mut(c, groups.len());
        let (d_head, d, d_tail) = split_mut(d, groups.len());

        let mut keystream = self.counters.group::<GROUP>(0);
        rounds!(self.quad, keystream, |_round| {});
        let [mask, mut own @ ..] = keystream;
        if PREFIXED {
            own[0] = _mm512_xor_si512(own[0], text.first);
        }
        let [h0, h1, h2, h3, h4, h5, h6] = write_group(own, head, [a_head, b_head, c_head, d_head]);
        let mut pending = [aad, h0, h1, h2, h3, h4, h5, h6];
        let mut counter = GROUP as u32;
        for ((((p, a), b), c), d) in groups.iter().zip(a).zip(b).zip(c).zip(d) {
            let mut keystream = self.counters.group::<GROUP>(counter);
            rounds_and_hash!(self.quad, keystream, y, pending);
            pending = write_group(keystream, p, [a, b, c, d]);
            counter += GROUP as u32;
        }
        let sofar = Sofar { counter, y, pending, mask };
        let outs = [a_tail, b_tail, c_tail, d_tail];
        match tail.len().div_ceil(BLOCK) {
            0 => self.tail::<0>(&sofar, tail, outs),
            1 => self.tail::<1>(&sofar, tail, outs),
            2 => self.tail::<2>(&sofar, tail, outs),
            3 => self.tail::<3>(&sofar, tail, outs),
            4 => self.tail::<4>(&sofar, tail, outs),
            5 => self.tail::<5>(&sofar, tail, outs),
            6 => self.tail::<6>(&sofar, tail, outs),
            7 => self.tail::<7>(&sofar, tail, outs),
            _ => self.tail::<8>(&sofar, tail, outs),
        }
    }

    /// The last `N` blocks of a long packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn tail<const N: usize>(&self, sofar: &Sofar, plaintext: &[u8], mut outs: [&mut [u8]; LANES]) {
        let mut y = sofar.y;
        let mut keystream = self.counters.group::<N>(sofar.counter);
        rounds_and_hash!(self.quad, keystream, y, sofar.pending);
        let blocks = write_rest(keystream, plaintext, &mut outs);
        self.write_tags(y, &blocks, sofar.mask, outs);
    }

    /// Hashes the last `blocks` and the lengths, and puts the tags where the outputs end.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn write_tags(&self, y: Lanes, blocks: &[Lanes], mask: Lanes, outs: [&mut [u8]; LANES]) {
        let y = ghash::end(self.quad, y, blocks, self.lengths);
        let tags = quarters(_mm512_xor_si512(reverse(y), mask));
        for (out, tag) in outs.into_iter().zip(tags) {
            store(out.last_chunk_mut::<TAG_LEN>().expect("length was checked"), tag);
        }
    }
}

/// Makes counter blocks, already added to the first round key.
struct Counters(Lanes);

impl Counters {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn new(quad: &Quad, nonces: [&[u8; NONCE_LEN]; LANES]) -> Self {
        let [a, b, c, d] = nonces;
        let nonces = lanes([load_nonce(a), load_nonce(b), load_nonce(c), load_nonce(d)]);
        Self(_mm512_xor_si512(nonces, quad.round_key(0)))
    }

    /// The first `N` of the counters `after` + 1 .. `after` + 8, where `after` is a multiple of eight: but
    /// for the last they differ in three bits only, so that an addition without carry makes them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn group<const N: usize>(&self, after: u32) -> [Lanes; N] {
        debug_assert!(after.is_multiple_of(GROUP as u32));
        let mut blocks = [self.add(after); N];
        for (i, block) in blocks.iter_mut().enumerate() {
            *block = match i + 1 {
                GROUP => self.add(after + GROUP as u32),
                n => _mm512_xor_si512(*block, counter(n as u32)),
            };
        }
        blocks
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
    fn add(&self, value: u32) -> Lanes {
        _mm512_xor_si512(self.0, counter(value))
    }
}

/// SP 800-38D §7.1 step 2: the counter is the last 32 bits, big-endian.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn counter(value: u32) -> Lanes {
    _mm512_maskz_set1_epi32(0x8888, value.swap_bytes() as i32)
}

/// Enciphers a group of whole blocks into the four outputs. Returns the ciphertext, ready to be hashed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn write_group<const N: usize>(
    mut keystream: [Lanes; N],
    plaintext: &[[u8; BLOCK]; N],
    outs: [&mut [[u8; BLOCK]; N]; LANES],
) -> [Lanes; N] {
    let [a, b, c, d] = outs;
    for i in 0..N {
        let block = _mm512_xor_si512(keystream[i], broadcast(load(&plaintext[i])));
        let quarters = quarters(block);
        store(&mut a[i], quarters[0]);
        store(&mut b[i], quarters[1]);
        store(&mut c[i], quarters[2]);
        store(&mut d[i], quarters[3]);
        keystream[i] = reverse(block);
    }
    keystream
}

/// Enciphers the last `N` blocks, of which the very last may be short. What is written behind it is where the
/// tag will be.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn write_rest<const N: usize>(
    mut keystream: [Lanes; N],
    plaintext: &[u8],
    outs: &mut [&mut [u8]; LANES],
) -> [Lanes; N] {
    let (whole, last) = plaintext.split_at(N.saturating_sub(1) * BLOCK);
    let whole = whole.as_chunks::<BLOCK>().0;
    let [a, b, c, d] = outs.each_mut().map(|out| -> &mut [[u8; BLOCK]; N] {
        out.as_chunks_mut().0.first_chunk_mut().expect("a tag's room is behind the text")
    });
    for i in 0..N {
        let is_last = i == N - 1;
        let text = if is_last { load_some(last) } else { load(&whole[i]) };
        let cipher = _mm512_xor_si512(keystream[i], broadcast(text));
        let quarters = quarters(cipher);
        store(&mut a[i], quarters[0]);
        store(&mut b[i], quarters[1]);
        store(&mut c[i], quarters[2]);
        store(&mut d[i], quarters[3]);
        // The keystream that was written beyond the text is no ciphertext.
        let cipher = if is_last { _mm512_and_si512(cipher, broadcast(ones(last.len()))) } else { cipher };
        keystream[i] = reverse(cipher);
    }
    keystream
}

/// A long packet's head, its groups and the rest.
#[inline]
fn split<'a>(text: &Text<'a>) -> (&'a [[u8; BLOCK]; HEAD], &'a [Octets], &'a [u8]) {
    let head = text.head.as_chunks().0.first_chunk().expect("seven blocks");
    let (groups, _) = text.rest.as_chunks::<BLOCK>().0.as_chunks::<GROUP>();
    (head, groups, &text.rest[groups.len() * GROUP * BLOCK..])
}

/// The same places in an output, which is longer by a tag.
#[inline]
fn split_mut(out: &mut [u8], groups: usize) -> (&mut [[u8; BLOCK]; HEAD], &mut [Octets], &mut [u8]) {
    let (head, rest) = out.split_at_mut(HEAD_OCTETS);
    let (middle, tail) = rest.split_at_mut(groups * GROUP * BLOCK);
    let head = head.as_chunks_mut().0.first_chunk_mut().expect("seven blocks");
    (head, middle.as_chunks_mut::<BLOCK>().0.as_chunks_mut::<GROUP>().0, tail)
}

/// One block for each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn lanes([a, b, c, d]: [__m128i; LANES]) -> Lanes {
    let lanes = _mm512_zextsi128_si512(a);
    let lanes = _mm512_inserti32x4::<1>(lanes, b);
    let lanes = _mm512_inserti32x4::<2>(lanes, c);
    _mm512_inserti32x4::<3>(lanes, d)
}

/// The block of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn quarters(lanes: Lanes) -> [__m128i; LANES] {
    [
        _mm512_castsi512_si128(lanes),
        _mm512_extracti32x4_epi32::<1>(lanes),
        _mm512_extracti32x4_epi32::<2>(lanes),
        _mm512_extracti32x4_epi32::<3>(lanes),
    ]
}

/// The same block in each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn broadcast(block: __m128i) -> Lanes {
    _mm512_broadcast_i32x4(block)
}

/// Reverses the octets of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn reverse(lanes: Lanes) -> Lanes {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_shuffle_epi8(lanes, broadcast(order))
}

/// A bit for each of the first `len` octets of a block.
#[inline]
const fn mask(len: usize) -> __mmask16 {
    assert!(len <= BLOCK);
    ((1u32 << len) - 1) as __mmask16
}

/// A block whose first `len` octets are all ones, and the others zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn ones(len: usize) -> __m128i {
    _mm_movm_epi8(mask(len))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn load(block: &[u8; BLOCK]) -> __m128i {
    // SAFETY: the load reads 16 octets at any alignment, and the reference is to 16 initialized octets.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

/// A nonce and four zeros, in two pieces: its octets were just written, and pieces get at them sooner than a
/// masked load.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn load_nonce(nonce: &[u8; NONCE_LEN]) -> __m128i {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *nonce;
    let low = i64::from_le_bytes([a, b, c, d, e, f, g, h]);
    _mm_set_epi64x(i64::from(u32::from_le_bytes(rest)), low)
}

/// Up to 16 octets, filled up with zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn load_some(octets: &[u8]) -> __m128i {
    let mask = mask(octets.len());
    // SAFETY: the load touches only octets whose bit is set in the mask, at any alignment; the mask has the
    // slice's length, which it asserts to be 16 at most.
    unsafe { _mm_maskz_loadu_epi8(mask, octets.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq")]
fn store(block: &mut [u8; BLOCK], value: __m128i) {
    // SAFETY: the store writes 16 octets at any alignment, and the reference is unique and to 16 octets.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) }
}
