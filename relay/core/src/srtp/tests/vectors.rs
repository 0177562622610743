//! Both directions of every vector, and every vector again with each bit flipped, which must fail.

use super::super::cipher::{Cipher, RtcpWord};
use super::super::cm::Cm;
use super::super::gcm::Gcm;
use super::super::keys::{Half, Purpose, derive};
use super::super::{OpenContext, OpenError, SealContext, SrtpProfile};
use super::{one_bit_flipped, open};
use crate::id::Ssrc;
use crate::wire::rtp::RtpHeader;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn rfc3711() -> Value {
    json(include_str!("../../../../../tests/vectors/rfc3711-srtp.json"))
}

fn rfc6188() -> Value {
    json(include_str!("../../../../../tests/vectors/rfc6188-srtp-aes256.json"))
}

fn rfc7714() -> Value {
    json(include_str!("../../../../../tests/vectors/rfc7714-srtp-gcm.json"))
}

fn libsrtp() -> Value {
    json(include_str!("../../../../../tests/vectors/libsrtp-made-packets.json"))
}

fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// Keystream of AES-CM at block `block` for an all-zero SSRC and index: what the salt alone makes of the IV.
fn keystream_block(cm: &Cm, block: usize) -> [u8; 16] {
    let mut text = vec![0; 16 * (block + 1)];
    cm.apply_in_place((Ssrc(0), 0), &mut text);
    text[16 * block..].try_into().unwrap()
}

#[test]
fn rfc3711_b2_keystream() {
    let b2 = &rfc3711()["b2"];
    let cm = Cm::new(
        &octets(&b2["session_key"]).try_into().unwrap(),
        octets(&b2["session_salt"]).try_into().unwrap(),
        &[0; 20],
    );
    for pair in b2["counter_keystream"].as_array().unwrap() {
        let counter = octets(&pair[0]);
        let block = usize::from(u16::from_be_bytes([counter[14], counter[15]]));
        assert_eq!(keystream_block(&cm, block).to_vec(), octets(&pair[1]), "counter {}", pair[0]);
    }
}

#[test]
fn rfc3711_b3_key_derivation() {
    let b3 = &rfc3711()["b3"];
    let (key, salt) = (octets(&b3["master_key"]), octets(&b3["master_salt"]));
    let more = &b3["derived_not_in_rfc"];
    assert_eq!(
        derive::<16>(&key, &salt, Half::Rtp, Purpose::Cipher).to_vec(),
        octets(&b3["label_00_cipher_key"])
    );
    assert_eq!(
        derive::<94>(&key, &salt, Half::Rtp, Purpose::Auth).to_vec(),
        octets(&b3["label_01_auth_key_94_octets"])
    );
    assert_eq!(
        derive::<14>(&key, &salt, Half::Rtp, Purpose::Salt).to_vec(),
        octets(&b3["label_02_cipher_salt"])
    );
    assert_eq!(
        derive::<16>(&key, &salt, Half::Rtcp, Purpose::Cipher).to_vec(),
        octets(&more["label_03_srtcp_cipher_key"])
    );
    assert_eq!(
        derive::<20>(&key, &salt, Half::Rtcp, Purpose::Auth).to_vec(),
        octets(&more["label_04_srtcp_auth_key_20_octets"])
    );
    assert_eq!(
        derive::<14>(&key, &salt, Half::Rtcp, Purpose::Salt).to_vec(),
        octets(&more["label_05_srtcp_cipher_salt"])
    );
}

#[test]
fn rfc6188_key_derivation_and_keystream() {
    let vectors = rfc6188();
    let s7_2 = &vectors["s7_2"];
    let (key, salt) = (octets(&s7_2["master_key"]), octets(&s7_2["master_salt"]));
    assert_eq!(
        derive::<32>(&key, &salt, Half::Rtp, Purpose::Cipher).to_vec(),
        octets(&s7_2["label_00_cipher_key"])
    );
    assert_eq!(
        derive::<20>(&key, &salt, Half::Rtp, Purpose::Auth).to_vec(),
        octets(&s7_2["label_01_auth_key_20_octets"])
    );
    assert_eq!(
        derive::<14>(&key, &salt, Half::Rtp, Purpose::Salt).to_vec(),
        octets(&s7_2["label_02_cipher_salt"])
    );

    // §7.1: the derivation function is the keystream; label 0 leaves the IV what the salt is.
    let s7_1 = &vectors["s7_1"];
    let blocks = s7_1["counter_keystream"].as_array().unwrap();
    let salt = octets(&blocks[0][0])[..14].to_vec();
    let stream = derive::<48>(&octets(&s7_1["session_key"]), &salt, Half::Rtp, Purpose::Cipher);
    for (made, pair) in stream.chunks(16).zip(blocks) {
        assert_eq!(made.to_vec(), octets(&pair[1]), "counter {}", pair[0]);
    }
}

#[test]
fn one_flipped_bit_derives_another_key() {
    let b3 = &rfc3711()["b3"];
    let (key, salt) = (octets(&b3["master_key"]), octets(&b3["master_salt"]));
    let want = octets(&b3["label_00_cipher_key"]);
    for broken in one_bit_flipped(&key) {
        assert_ne!(derive::<16>(&broken, &salt, Half::Rtp, Purpose::Cipher).to_vec(), want);
    }
    for broken in one_bit_flipped(&salt) {
        assert_ne!(derive::<16>(&key, &broken, Half::Rtp, Purpose::Cipher).to_vec(), want);
    }
}

/// The vectors of RFC 7714 give session keys, so they go below the contexts.
fn gcm(vectors: &Value, bits: u32) -> Cipher {
    let key = octets(&vectors[format!("key_{bits}")]);
    Cipher::Gcm(Box::new(Gcm::new(&key, octets(&vectors["salt"]).try_into().unwrap())))
}

#[test]
fn rfc7714_rtp() {
    let vectors = rfc7714();
    let rtp = &vectors["rtp"];
    let plain = octets(&rtp["packet"]);
    let at = (Ssrc(0x5501_a0b2), 0xf17b);
    // "Tag only": all of the packet is associated data.
    for (bits, name, clear) in [
        (128, "16.1.1 aead_aes_128_gcm", 12),
        (128, "16.1.3 aead_aes_128_gcm tag only", plain.len()),
        (256, "16.2.1 aead_aes_256_gcm", 12),
        (256, "16.2.3 aead_aes_256_gcm tag only", plain.len()),
    ] {
        let cipher = gcm(&vectors, bits);
        let want = octets(&rtp[name]);
        let mut slot = vec![0; 1500];
        slot[..clear].copy_from_slice(&plain[..clear]);
        assert_eq!(cipher.seal_rtp(&mut slot, clear, at, &plain[clear..]), Some(want.len()), "{name}");
        assert_eq!(slot[..want.len()], want, "{name}");

        for prefix_len in 1..=plain.len() - clear {
            let (prefix, rest) = plain[clear..].split_at(prefix_len);
            slot[clear..].fill(0);
            assert_eq!(
                cipher.seal_rtp_prefixed(&mut slot, clear, at, prefix, rest),
                Some(want.len()),
                "{name}"
            );
            assert_eq!(slot[..want.len()], want, "{name}, {prefix_len} in front");
        }

        let mut out = vec![0; plain.len() - clear];
        assert!(cipher.open_rtp(&want, clear, at, &mut out).is_some(), "{name}");
        assert_eq!(out, plain[clear..], "{name}");
        for broken in one_bit_flipped(&want) {
            assert!(cipher.open_rtp(&broken, clear, at, &mut out).is_none(), "{name}");
        }
    }
}

#[test]
fn rfc7714_rtcp() {
    let vectors = rfc7714();
    let rtcp = &vectors["rtcp"];
    let plain = octets(&rtcp["packet"]);
    for (bits, name, encrypted) in [
        (128, "17.1 aead_aes_128_gcm", true),
        (256, "17.2 aead_aes_256_gcm", true),
        (128, "17.3 aead_aes_128_gcm tag only", false),
        (256, "17.4 aead_aes_256_gcm tag only", false),
    ] {
        let cipher = gcm(&vectors, bits);
        let want = octets(&rtcp[name]);
        if encrypted {
            let mut slot = plain.clone();
            slot.resize(1500, 0);
            let word = RtcpWord::encrypted(0x5d4);
            assert_eq!(
                cipher.seal_rtcp(&mut slot, plain.len(), Ssrc(0x4d61_7273), word),
                Some(want.len()),
                "{name}"
            );
            assert_eq!(slot[..want.len()], want, "{name}");
        }
        let opens = |packet: &[u8]| {
            let mut packet = packet.to_vec();
            let (ssrc, word) = cipher.rtcp_fields(&packet).unwrap();
            let len = cipher.open_rtcp(&mut packet, ssrc, word)?;
            packet.truncate(len);
            Some(packet)
        };
        assert_eq!(opens(&want).as_deref(), Some(&plain[..]), "{name}");
        for broken in one_bit_flipped(&want) {
            assert_eq!(opens(&broken), None, "{name}");
        }
    }
}

fn profiles(vectors: &Value) -> impl Iterator<Item = (SrtpProfile, &Value)> {
    vectors["profiles"].as_array().unwrap().iter().filter_map(|case| {
        let id = u16::from_str_radix(case["dtls_srtp_profile"].as_str().unwrap(), 16).unwrap();
        Some((SrtpProfile::from_dtls_id(id)?, case))
    })
}

#[test]
fn libsrtp_covers_every_profile() {
    let vectors = libsrtp();
    for profile in SrtpProfile::ALL {
        assert!(profiles(&vectors).any(|(found, _)| found == profile), "{}", profile.name());
    }
}

#[test]
fn libsrtp_rtp() {
    let vectors = libsrtp();
    for (profile, case) in profiles(&vectors) {
        let (key, salt) = (octets(&case["master_key"]), octets(&case["master_salt"]));
        let seal = SealContext::new(profile, &key, &salt);
        let mut receiver = OpenContext::new(profile, &key, &salt);
        for packet in case["rtp"].as_array().unwrap() {
            let name = format!("{}: {}", profile.name(), packet["name"]);
            let (plain, protected) = (octets(&packet["plain"]), octets(&packet["protected"]));
            let header = RtpHeader::parse(&plain).unwrap();
            let index = packet["roc"].as_u64().unwrap() << 16 | u64::from(header.seq.0);

            let mut slot = vec![0; 1500];
            slot[..header.len].copy_from_slice(&plain[..header.len]);
            let len = seal.seal_rtp(&mut slot, header.len, header.ssrc, index, &plain[header.len..]).unwrap();
            assert_eq!(slot[..len], protected, "{name}");

            for broken in one_bit_flipped(&protected) {
                assert!(open(&mut receiver, &broken).is_err(), "{name}");
            }
            let (opened, payload) = open(&mut receiver, &protected).unwrap();
            assert_eq!((opened.index, &payload[..]), (index, &plain[header.len..]), "{name}");
            assert_eq!(open(&mut receiver, &protected), Err(OpenError::Replay), "{name}");
        }
    }
}

#[test]
fn libsrtp_rtcp() {
    let vectors = libsrtp();
    for (profile, case) in profiles(&vectors) {
        let (key, salt) = (octets(&case["master_key"]), octets(&case["master_salt"]));
        let mut seal = SealContext::new(profile, &key, &salt);
        let mut receiver = OpenContext::new(profile, &key, &salt);
        for packet in case["rtcp"].as_array().unwrap() {
            let name = format!("{}: {}", profile.name(), packet["name"]);
            let (plain, protected) = (octets(&packet["plain"]), octets(&packet["protected"]));

            let mut slot = plain.clone();
            slot.resize(1500, 0);
            let len = seal.seal_rtcp(plain.len(), &mut slot).unwrap();
            assert_eq!(slot[..len], protected, "{name}");

            for mut broken in one_bit_flipped(&protected) {
                assert!(receiver.open_rtcp(&mut broken).is_err(), "{name}");
            }
            let mut received = protected.clone();
            assert_eq!(receiver.open_rtcp(&mut received), Ok(plain.len()), "{name}");
            assert_eq!(received[..plain.len()], plain, "{name}");
            assert_eq!(receiver.open_rtcp(&mut protected.clone()), Err(OpenError::Replay), "{name}");
        }
    }
}

/// Encrypted header extensions are not negotiated: such a packet opens like any other and its elements stay
/// as they are on the wire.
#[test]
fn rfc6904_is_not_special() {
    let v = json(include_str!("../../../../../tests/vectors/rfc6904-header-extension-encryption.json"));
    let extension = octets(&v["extension_encrypted"]);
    let packet = [
        octets(&v["header_octets"]),
        extension.clone(),
        octets(&v["payload_encrypted"]),
        octets(&v["hmac_sha1_80_tag_libsrtp"]),
    ]
    .concat();
    let profile = SrtpProfile::Aes128CmHmacSha1_80;
    let mut receiver = OpenContext::new(profile, &octets(&v["master_key"]), &octets(&v["master_salt"]));
    let (_, payload) = open(&mut receiver, &packet).unwrap();
    assert_eq!(payload, octets(&v["payload_plain"]));
    assert_eq!(packet[16..16 + extension.len()], extension);
    assert_ne!(extension, octets(&v["extension_plain"]));
}
