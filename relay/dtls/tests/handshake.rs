//! Two ends in a pair: who agrees on what, and who is refused.

mod support;

use relay_core::dtls::{DtlsEngine, DtlsFactory, DtlsStatus, DtlsSummary};
use relay_core::srtp::SrtpProfile;
use relay_dtls::{DATAGRAM_BYTES_MAX, EngineFactory};
use ringvox_client::dtls::{ClientFactory, ClientOptions, Versions};
use std::collections::BTreeSet;
use support::{Pair, drain};

/// Keys are equal crosswise and of the profile's length.
fn assert_crosswise(server: &DtlsSummary, client: &DtlsSummary) {
    assert_eq!(server.keys.profile, client.keys.profile);
    assert_eq!(server.keys.local_key, client.keys.remote_key);
    assert_eq!(server.keys.local_salt, client.keys.remote_salt);
    assert_eq!(server.keys.remote_key, client.keys.local_key);
    assert_eq!(server.keys.remote_salt, client.keys.local_salt);
    assert_ne!(server.keys.local_key, server.keys.remote_key);
    assert_eq!(server.keys.local_key.len(), server.keys.profile.key_len());
    assert_eq!(server.keys.local_salt.len(), server.keys.profile.salt_len());
}

#[test]
fn both_versions_agree_on_the_servers_choice() {
    use SrtpProfile::{AeadAes128Gcm as Gcm128, AeadAes256Gcm as Gcm256, Aes128CmHmacSha1_80 as Sha1};
    for (versions, version) in
        [(Versions::Both, "DTLS 1.3"), (Versions::Only1_3, "DTLS 1.3"), (Versions::Only1_2, "DTLS 1.2")]
    {
        for (offered, want) in [
            (vec![Sha1, Gcm128, Gcm256], Gcm128),
            (vec![Gcm256, Gcm128], Gcm128),
            (vec![Sha1, Gcm256], Gcm256),
            (vec![Sha1], Sha1),
        ] {
            let mut pair =
                Pair::new(&ClientOptions { profiles: offered, versions, ..ClientOptions::default() });
            pair.run();
            let (server, client) = pair.summaries();
            assert_eq!((server.version, client.version), (version, version));
            assert_eq!(server.keys.profile, want, "{version}");
            assert_crosswise(&server, &client);
            assert!(pair.server.take_summary().is_none(), "keys are given once");
        }
    }
}

#[test]
fn groups_follow_our_order() {
    for (versions, groups, want) in [
        (Versions::Both, "X25519MLKEM768:X25519:P-256", "X25519MLKEM768"),
        (Versions::Both, "X25519:X25519MLKEM768", "X25519MLKEM768"),
        (Versions::Both, "P-256:X25519", "x25519"),
        (Versions::Both, "P-256", "secp256r1"),
        (Versions::Only1_2, "P-256:X25519:X25519MLKEM768", "x25519"),
        (Versions::Only1_2, "P-256", "secp256r1"),
    ] {
        let mut pair =
            Pair::new(&ClientOptions { versions, groups: groups.to_owned(), ..ClientOptions::default() });
        pair.run();
        let (server, client) = pair.summaries();
        assert_eq!((server.group, client.group), (want, want), "{versions:?}, {groups}");
    }
}

/// A post-quantum ClientHello does not fit into one datagram, and no datagram of ours is longer than we say.
#[test]
fn a_hello_in_two_datagrams_is_put_together() {
    let mut pair = Pair::new(&ClientOptions::default());
    let hello = drain(&mut pair.client);
    assert_eq!(hello.len(), 2);
    for datagram in hello.iter().rev() {
        assert!(pair.server.handle_datagram(pair.now, datagram));
    }
    let flight = drain(&mut *pair.server);
    assert!(!flight.is_empty());
    for datagram in hello.iter().chain(&flight) {
        assert!(datagram.len() <= DATAGRAM_BYTES_MAX, "{} octets", datagram.len());
    }
    for datagram in flight {
        pair.client.handle_datagram(pair.now, &datagram);
    }
    pair.run();
    assert_eq!(pair.summaries().0.group, "X25519MLKEM768");
}

/// S13: no key leaves the engine if the certificate is not the announced one.
#[test]
fn s13_another_certificate_is_refused_before_there_are_keys() {
    for versions in [Versions::Only1_2, Versions::Only1_3] {
        for flipped in [0, 17, 31] {
            let options = ClientOptions { versions, ..ClientOptions::default() };
            let mut pair = Pair::with_announced(&options, |mut fingerprint| {
                fingerprint[flipped] ^= 1;
                fingerprint
            });
            pair.run();
            assert!(matches!(pair.server.status(), DtlsStatus::FingerprintMismatch), "{versions:?}");
            assert!(pair.server.take_summary().is_none());
            assert!(pair.server.poll_timeout().is_none());
            assert!(matches!(pair.client.status(), DtlsStatus::Failed), "{versions:?}: the client is told");
        }
    }
}

/// RFC 8122 §5: any of several is enough, and none is as none of one.
#[test]
fn one_of_several_announced_certificates_is_enough() {
    for versions in [Versions::Only1_2, Versions::Only1_3] {
        for (own, is_good) in [(Some(0), true), (Some(2), true), (None, false)] {
            let options = ClientOptions { versions, ..ClientOptions::default() };
            let (mut server, client) = (EngineFactory::new().unwrap(), ClientFactory::new(&options).unwrap());
            let mut announced = [[1; 32], [2; 32], [3; 32]];
            if let Some(own) = own {
                announced[own] = client.fingerprint();
            }
            let engine = server.accept(support::START, announced.into_iter().collect());
            let peer = client.connect(support::START, Some(server.fingerprint()));
            let mut pair = Pair { client: peer, server: engine, now: support::START };
            pair.run();
            let status = pair.server.status();
            assert_eq!(matches!(status, DtlsStatus::Connected), is_good, "{versions:?} {own:?} {status:?}");
            assert_eq!(pair.server.take_summary().is_some(), is_good, "{versions:?} {own:?}");
        }
    }
}

#[test]
fn a_client_refuses_another_server() {
    let mut server = EngineFactory::new().unwrap();
    let client = ClientFactory::new(&ClientOptions::default()).unwrap();
    let engine = server.accept(support::START, client.fingerprint().into());
    let mut pair =
        Pair { client: client.connect(support::START, Some([7; 32])), server: engine, now: support::START };
    pair.run();
    assert!(matches!(pair.client.status(), DtlsStatus::FingerprintMismatch));
    assert!(pair.server.take_summary().is_none());
}

/// S14: no SRTP, no association.
#[test]
fn s14_without_use_srtp_there_is_no_handshake() {
    for versions in [Versions::Only1_2, Versions::Only1_3] {
        let mut pair = Pair::new(&ClientOptions { profiles: vec![], versions, ..ClientOptions::default() });
        pair.run();
        // A hello in clear may be forged, so the server waits for a better one.
        assert!(matches!(pair.server.status(), DtlsStatus::Handshaking), "{versions:?}");
        assert!(matches!(pair.client.status(), DtlsStatus::Handshaking), "{versions:?}: no octet comes back");
        assert!(pair.server.take_summary().is_none());
        assert!(pair.server.poll_timeout().is_none());
    }
}

/// S14: DTLS 1.2 without the extended master secret (RFC 7627) is refused; the extension's type is made one
/// that nobody knows.
#[test]
fn s14_without_extended_master_secret_there_is_no_handshake() {
    let mut pair = Pair::new(&ClientOptions { versions: Versions::Only1_2, ..ClientOptions::default() });
    for mut datagram in drain(&mut pair.client) {
        let extension = datagram.windows(4).position(|octets| octets == [0, 23, 0, 0]).unwrap();
        datagram[extension] = 0xfa;
        pair.server.handle_datagram(pair.now, &datagram);
    }
    assert_eq!(drain(&mut *pair.server), Vec::<Vec<u8>>::new(), "no octet comes back");
    assert!(matches!(pair.server.status(), DtlsStatus::Handshaking));
    assert!(pair.server.poll_timeout().is_none());
}

/// S15: every factory has a key of its own.
#[test]
fn s15_a_hundred_factories_have_a_hundred_certificates() {
    let fingerprints: BTreeSet<_> = (0..100).map(|_| EngineFactory::new().unwrap().fingerprint()).collect();
    assert_eq!(fingerprints.len(), 100);
}

/// One factory serves many at a time, each with keys of its own.
#[test]
fn associations_of_one_factory_are_apart() {
    let mut server = EngineFactory::new().unwrap();
    let client = ClientFactory::new(&ClientOptions::default()).unwrap();
    let mut keys = BTreeSet::new();
    for _ in 0..20 {
        let engine = server.accept(support::START, client.fingerprint().into());
        let peer = client.connect(support::START, Some(server.fingerprint()));
        let mut pair = Pair { client: peer, server: engine, now: support::START };
        pair.run();
        let (server, client) = pair.summaries();
        assert_crosswise(&server, &client);
        keys.insert(server.keys.local_key.clone());
    }
    assert_eq!(keys.len(), 20);
}

#[test]
fn secrets_stay_out_of_debug() {
    let mut pair = Pair::new(&ClientOptions::default());
    pair.run();
    assert_eq!(format!("{:?}", pair.client), "Association { side: Client, status: Connected, .. }");
    let (server, _) = pair.summaries();
    let debug = format!("{server:?}");
    assert!(debug.contains("AeadAes128Gcm") && !debug.contains("key:"), "{debug}");
}
