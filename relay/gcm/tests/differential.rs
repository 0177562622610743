//! The same octets as aws-lc, for every shape of packet.

mod support;

use proptest::array::{uniform4, uniform12, uniform16};
use proptest::prelude::*;
use relay_gcm::{AAD_MAX, LANES, PLAINTEXT_MAX, PREFIX_MAX, Quad, SealError, SealKey, TAG_LEN};
use support::{Case, library, seal, seal_prefixed, supported};

/// Longest RTP payload that is tried at every length: an Ethernet frame's.
const PAYLOAD_MAX: usize = 1500;

/// Octets that look like nothing, the same on every machine.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn cases(seed: u64, aad_len: usize) -> [Case; LANES] {
    std::array::from_fn(|lane| {
        let octets = noise(seed * LANES as u64 + lane as u64, 28 + aad_len);
        Case {
            key: octets[..16].try_into().expect("16 octets"),
            nonce: octets[16..28].try_into().expect("12 octets"),
            aad: octets[28..].to_vec(),
        }
    })
}

fn compare(cases: &[Case; LANES], plaintext: &[u8]) {
    for (lane, (out, case)) in seal(cases, plaintext).iter().zip(cases).enumerate() {
        let what = (plaintext.len(), case.aad.len());
        assert_eq!(*out, library(case, plaintext), "lane {lane}, octets of payload and header {what:?}");
    }
}

/// What is sealed behind a prefix is what the library makes of prefix and rest in one piece.
fn compare_prefixed(cases: &[Case; LANES], prefixes: &[Vec<u8>; LANES], rest: &[u8]) {
    let outs = seal_prefixed(cases, prefixes.each_ref().map(Vec::as_slice), rest);
    for (lane, ((out, case), prefix)) in outs.iter().zip(cases).zip(prefixes).enumerate() {
        let whole = [prefix, rest].concat();
        assert_eq!(*out, library(case, &whole), "lane {lane}, {} octets behind {}", rest.len(), prefix.len());
    }
}

#[test]
fn every_payload_behind_every_prefix() {
    if !supported() {
        return;
    }
    let shared = noise(4, PAYLOAD_MAX);
    for len in (0..=300).chain(PAYLOAD_MAX - 40..=PAYLOAD_MAX) {
        for prefix_len in 0..=PREFIX_MAX {
            let prefixes = std::array::from_fn(|lane| noise((len * 8 + lane) as u64, prefix_len));
            compare_prefixed(&cases(len as u64, 12), &prefixes, &shared[..len]);
        }
    }
}

#[test]
fn every_payload_under_every_header() {
    if !supported() {
        return;
    }
    let plaintext = noise(1, PAYLOAD_MAX);
    for len in 0..=PAYLOAD_MAX {
        for header in [12, 16, 20, 24, 28, 32, 36, 40] {
            compare(&cases((len * 64 + header) as u64, header), &plaintext[..len]);
        }
    }
}

#[test]
fn every_length_of_associated_data() {
    if !supported() {
        return;
    }
    for header in 0..=AAD_MAX {
        for len in [0, 1, 15, 16, 17, 111, 112, 113, 127, 128, 129, 239, 240, 241] {
            compare(&cases((len * 64 + header) as u64, header), &noise(2, len));
        }
    }
}

/// Counters go on beyond their lowest octet and their second.
#[test]
fn long_plaintexts() {
    if !supported() {
        return;
    }
    for len in [PLAINTEXT_MAX, PLAINTEXT_MAX - 1, PLAINTEXT_MAX - 15, 4096 + 112, 4096, 4096 - 16, 4095] {
        compare(&cases(len as u64, 12), &noise(3, len));
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    if !supported() {
        return;
    }
    let key = SealKey::new(&[1; 16]).expect("supported");
    let quad = Quad::new([&key; LANES]);
    let try_seal = |aads: [usize; LANES], text: usize, outs: [usize; LANES]| {
        let aads = aads.map(|len| vec![0; len]);
        let mut outs = outs.map(|len| vec![0xa5; len]);
        let result = quad.seal(
            [&[0; 12]; LANES],
            aads.each_ref().map(Vec::as_slice),
            &vec![0; text],
            outs.each_mut().map(Vec::as_mut_slice),
        );
        let untouched = outs.iter().flatten().all(|octet| *octet == 0xa5);
        assert_eq!(result.is_err(), untouched);
        result
    };
    let prefixes = |lens: [usize; LANES]| {
        let [a, b, c, d] = lens.map(|len| &[0; PREFIX_MAX + 1][..len]);
        let mut outs = [[0; 116]; LANES];
        let outs = outs.each_mut().map(|out| &mut out[..TAG_LEN + 100]);
        quad.seal_prefixed([&[0; 12]; LANES], [&[0; 12]; LANES], [a, b, c, d], &[0; 100], outs)
    };
    for lens in [[PREFIX_MAX + 1; 4], [1, 1, 2, 1], [0, 0, 0, 1]] {
        assert_eq!(prefixes(lens), Err(SealError::PrefixLength), "{lens:?}");
    }
    assert_eq!(prefixes([1; 4]), Err(SealError::OutLength));
    let long = PLAINTEXT_MAX + 1;
    let table = [
        ([12; 4], 100, [116; 4], Ok(())),
        ([12, 12, 12, 13], 100, [116; 4], Err(SealError::AadLength)),
        ([AAD_MAX + 1; 4], 100, [116; 4], Err(SealError::AadLength)),
        ([12; 4], 100, [116, 116, 115, 116], Err(SealError::OutLength)),
        ([12; 4], 100, [117; 4], Err(SealError::OutLength)),
        ([12; 4], 0, [0; 4], Err(SealError::OutLength)),
        ([12; 4], long, [long + TAG_LEN; 4], Err(SealError::PlaintextLength)),
    ];
    for (aads, text, outs, expected) in table {
        assert_eq!(try_seal(aads, text, outs), expected, "{aads:?} {text} {outs:?}");
    }
}

proptest! {
    #[test]
    fn anything(
        keys in uniform4(uniform16(any::<u8>())),
        nonces in uniform4(uniform12(any::<u8>())),
        aad in prop::collection::vec(any::<[u8; LANES]>(), 0..=AAD_MAX),
        prefix in prop::collection::vec(any::<[u8; LANES]>(), 0..=PREFIX_MAX),
        plaintext in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        if supported() {
            let cases = std::array::from_fn(|lane| Case {
                key: keys[lane],
                nonce: nonces[lane],
                aad: aad.iter().map(|octets| octets[lane]).collect(),
            });
            compare(&cases, &plaintext);
            let prefixes = std::array::from_fn(|lane| prefix.iter().map(|octets| octets[lane]).collect());
            compare_prefixed(&cases, &prefixes, &plaintext);
        }
    }
}
