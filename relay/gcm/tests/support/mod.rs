//! What both test binaries do with a quad.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use relay_gcm::{LANES, Quad, SealKey, TAG_LEN, is_supported};

/// One packet as one subscriber gets it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) key: [u8; 16],
    pub(crate) nonce: [u8; 12],
    pub(crate) aad: Vec<u8>,
}

/// Says so where there is nothing to be tested: the relay then takes the library, which has tests of its own.
#[must_use]
pub(crate) fn supported() -> bool {
    if !is_supported() {
        println!("no AVX-512, VAES or VPCLMULQDQ here: nothing to test");
    }
    is_supported()
}

/// Seals behind an odd number of octets, as in a send buffer behind a header.
#[must_use]
pub(crate) fn seal(cases: &[Case; LANES], plaintext: &[u8]) -> [Vec<u8>; LANES] {
    seal_prefixed(cases, [&[]; LANES], plaintext)
}

/// The same with prefixes.
#[must_use]
pub(crate) fn seal_prefixed(
    cases: &[Case; LANES],
    prefixes: [&[u8]; LANES],
    rest: &[u8],
) -> [Vec<u8>; LANES] {
    const BEFORE: usize = 13;
    let end = BEFORE + prefixes[0].len() + rest.len() + TAG_LEN;
    let keys = cases.each_ref().map(|case| SealKey::new(&case.key).expect("supported"));
    let mut buffers = cases.each_ref().map(|_| vec![0xa5; end + 1]);
    Quad::new(keys.each_ref())
        .seal_prefixed(
            cases.each_ref().map(|case| &case.nonce),
            cases.each_ref().map(|case| case.aad.as_slice()),
            prefixes,
            rest,
            buffers.each_mut().map(|buffer| &mut buffer[BEFORE..end]),
        )
        .expect("lengths fit");
    buffers.map(|mut buffer| {
        assert_eq!(buffer.pop(), Some(0xa5), "written behind the output");
        let out = buffer.split_off(BEFORE);
        assert_eq!(buffer, [0xa5; BEFORE], "written before the output");
        out
    })
}

/// The same by aws-lc.
#[allow(dead_code, reason = "the vectors need no library")]
#[must_use]
pub(crate) fn library(case: &Case, plaintext: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &case.key).expect("16 octets"));
    let mut out = plaintext.to_vec();
    let nonce = Nonce::assume_unique_for_key(case.nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(&case.aad), &mut out).expect("sealed");
    out
}
