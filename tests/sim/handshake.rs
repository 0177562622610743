//! The shard with its real DTLS engine: a client's first datagrams up to media that opens.

use relay::convert;
use relay_control::{
    AddUpTrack, Command, ErrorCode, EventBody, FailReason, OpenTransport, ReplyBody, TransportState,
};
use relay_core::dtls::{DtlsEngine, DtlsFactory, DtlsSummary};
use relay_core::id::{Pt, SeqNo, Ssrc};
use relay_core::outbox::{Path, VecOutbox};
use relay_core::srtp::{SealContext, SrtpProfile};
use relay_core::stats::{Count, DropReason};
use relay_core::time::{NtpClock, Time};
use relay_core::wire::rtp::{HeaderFields, write_header};
use relay_core::wire::stun::{IntegrityKey, write_binding_request};
use relay_core::{Limits, Shard, ShardConfig};
use relay_dtls::EngineFactory;
use ringvox_client::dtls::{ClientFactory, ClientOptions, Versions};
use std::net::SocketAddr;
use std::time::Duration;
use tests::world::Traffic;
use tests::{Shards, World};

const NOW: Time = Time::from_nanos(1_000_000_000_000);
const CLIENT: Path = Path {
    remote: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 4_000),
    local: None,
};

/// A shard with one transport, for a client whose certificate is `fingerprint`; the check that proves its
/// address.
fn shard(fingerprint: [u8; 32]) -> (Shard, [u8; 32], Vec<u8>) {
    let server = EngineFactory::new().expect("a certificate");
    let ours = server.fingerprint();
    let config = ShardConfig {
        shard: 0,
        candidates: vec![SocketAddr::from(([198, 51, 100, 1], 10_000))],
        ntp: NtpClock::default(),
        default_max_receive_bitrate_bps: 8_000_000,
        four_lanes: true,
        limits: Limits::default(),
    };
    let mut shard = Shard::new(config, Box::new(server), [1; 32]);
    let open = Command::OpenTransport(OpenTransport {
        transport_id: 1,
        room_id: 1,
        remote_ufrag: "peer".into(),
        remote_pwd: "a password of the peer's own".into(),
        remote_fingerprint_sha256: fingerprint.to_vec(),
        more_fingerprints_sha256: Vec::new(),
        label: Vec::new(),
        max_receive_bitrate_bps: 0,
        dtls_client: false,
    });
    let mut outbox = VecOutbox::default();
    let ReplyBody::TransportOpened(opened) = convert::obey(&mut shard, NOW, open, &mut outbox) else {
        panic!("refused");
    };
    let up = AddUpTrack {
        transport_id: 1,
        track_id: 2,
        rtp: tests::world::video_parameters(),
        ssrc: 7,
        ..AddUpTrack::default()
    };
    convert::obey(&mut shard, NOW, Command::AddUpTrack(up), &mut outbox);
    let username = format!("{}:peer", opened.local_ufrag);
    let key = IntegrityKey::new(opened.local_pwd.as_bytes());
    let mut check = vec![0; 300];
    let len =
        write_binding_request(&mut check, [1; 12], username.as_bytes(), 1, 2, true, &key).expect("fits");
    check.truncate(len);
    (shard, ours, check)
}

/// Lets client and shard talk until neither has anything to say. Each datagram is delivered `copies` times.
fn talk(shard: &mut Shard, client: &mut dyn DtlsEngine, copies: usize) -> usize {
    let (mut buffer, mut datagrams) = ([0; 2_048], 0);
    loop {
        let mut outbox = VecOutbox::default();
        while let Some(len) = client.poll_datagram(&mut buffer) {
            for _ in 0..copies {
                shard.handle_datagram(NOW, &CLIENT, &mut buffer[..len].to_vec(), &mut outbox);
            }
            datagrams += 1;
        }
        while shard.poll_timeout().is_some_and(|due| due <= NOW) {
            shard.handle_timeout(NOW, &mut outbox);
        }
        if outbox.sent.is_empty() {
            return datagrams;
        }
        for (_, bytes) in outbox.sent {
            for _ in 0..copies {
                client.handle_datagram(NOW, &bytes);
            }
        }
    }
}

#[test]
fn a_client_shakes_hands_and_its_media_opens() {
    for (versions, version) in [(Versions::Only1_2, "DTLS 1.2"), (Versions::Only1_3, "DTLS 1.3")] {
        for copies in [1, 2] {
            let clients =
                ClientFactory::new(&ClientOptions { versions, ..ClientOptions::default() }).expect("client");
            let (mut shard, ours, check) = shard(clients.fingerprint());
            let mut client = clients.connect(NOW, Some(ours));
            let mut outbox = VecOutbox::default();
            shard.handle_datagram(NOW, &CLIENT, &mut check.clone(), &mut outbox);
            assert_eq!(outbox.sent.len(), 1, "the check is answered");
            talk(&mut shard, &mut client, copies);
            let summary = client.take_summary().expect("the handshake ends");
            let inventory = convert::inventory(&shard);
            assert_eq!(inventory[0].dtls_version, version);
            assert_eq!(
                inventory[0].srtp_profile,
                SrtpProfile::AeadAes128Gcm.name(),
                "our order, not the client's"
            );
            if version == "DTLS 1.3" {
                assert_eq!(inventory[0].dtls_group, "X25519MLKEM768");
            }
            assert_media_opens(&mut shard, &summary);
        }
    }
}

/// OpenSSL sends so where nobody tells it the path's MTU, as in GStreamer: it takes 256 octets for it.
#[test]
fn a_flight_of_many_small_datagrams_is_taken_at_once() {
    let options = ClientOptions { versions: Versions::Only1_2, ..ClientOptions::default() };
    let clients = ClientFactory::new(&options).expect("client");
    let (mut shard, ours, check) = shard(clients.fingerprint());
    let mut client = clients.connect(NOW, Some(ours));
    let mut outbox = VecOutbox::default();
    shard.handle_datagram(NOW, &CLIENT, &mut check.clone(), &mut outbox);
    let (mut buffer, mut records, mut longest) = ([0; 2_048], 0, 0);
    for _ in 0..4 {
        let mut flight = Vec::new();
        while let Some(len) = client.poll_datagram(&mut buffer) {
            flight.extend(in_small_datagrams(&buffer[..len], &mut records));
        }
        longest = longest.max(flight.len());
        let mut outbox = VecOutbox::default();
        // All of them come before the shard's turn ends.
        for datagram in &mut flight {
            shard.handle_datagram(NOW, &CLIENT, datagram, &mut outbox);
        }
        while shard.poll_timeout().is_some_and(|due| due <= NOW) {
            shard.handle_timeout(NOW, &mut outbox);
        }
        for (_, bytes) in outbox.sent {
            client.handle_datagram(NOW, &bytes);
        }
    }
    assert!(longest >= 8, "{longest} in a flight");
    assert_eq!(shard.counters().dropped(DropReason::DtlsBusy), 0);
    let summary = client.take_summary().expect("the handshake ends without a flight sent again");
    assert_media_opens(&mut shard, &summary);
}

/// The records of a datagram one by one, numbered anew, and what is in clear cut into pieces.
fn in_small_datagrams(mut datagram: &[u8], records: &mut u64) -> Vec<Vec<u8>> {
    const PIECE: usize = 40;
    let number = |octets: &[u8]| octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    let mut out = Vec::new();
    while let Some((head, rest)) = datagram.split_at_checked(13) {
        let (body, rest) = rest.split_at(number(&head[11..13]));
        datagram = rest;
        if head[3..5] != [0, 0] {
            out.push([head, body].concat());
            continue;
        }
        let mut pieces = if head[0] == 22 { Vec::new() } else { vec![body.to_vec()] };
        let mut messages = if head[0] == 22 { body } else { &[] };
        // RFC 6347 §4.2.2: type, length, message's number, offset and length of the fragment.
        while let Some((message, rest)) = messages.split_at_checked(12) {
            let (fragment, rest) = rest.split_at(number(&message[9..12]));
            messages = rest;
            let begin = number(&message[6..9]);
            for (piece, offset) in fragment.chunks(PIECE).zip((begin..).step_by(PIECE)) {
                let place = [&offset.to_be_bytes()[5..], &piece.len().to_be_bytes()[5..]].concat();
                pieces.push([&message[..6], &place, piece].concat());
            }
        }
        for piece in pieces {
            let (seq, len) = (records.to_be_bytes(), piece.len().to_be_bytes());
            out.push([&head[..5], &seq[2..], &len[6..], &piece].concat());
            *records += 1;
        }
    }
    out
}

fn assert_media_opens(shard: &mut Shard, summary: &DtlsSummary) {
    let keys = &summary.keys;
    let seal = SealContext::new(keys.profile, &keys.local_key, &keys.local_salt);
    let mut outbox = VecOutbox::default();
    for seq in 0..10 {
        let fields = HeaderFields {
            marker: true,
            padding: false,
            pt: Pt(96),
            seq: SeqNo(seq),
            timestamp: 0,
            ssrc: Ssrc(7),
        };
        let mut slot = vec![0; 1_500];
        let header = write_header(&mut slot, &fields, &[]).expect("fits");
        let len = seal.seal_rtp(&mut slot, header, Ssrc(7), seq.into(), b"\x10\x00payload").expect("fits");
        shard.handle_datagram(NOW, &CLIENT, &mut slot[..len], &mut outbox);
    }
    assert_eq!(shard.counters().get(Count::RxRtp), 10);
    assert_eq!(shard.counters().dropped(DropReason::RtpAuth), 0);
}

#[test]
fn dtls_before_ice_and_a_strangers_certificate_get_no_keys() {
    let clients = ClientFactory::new(&ClientOptions::default()).expect("client");
    let (mut shard, ours, check) = shard([0x55; 32]);
    let mut client = clients.connect(NOW, Some(ours));
    let mut outbox = VecOutbox::default();
    let mut hello = [0; 2_048];
    let len = client.poll_datagram(&mut hello).expect("a ClientHello");
    shard.handle_datagram(NOW, &CLIENT, &mut hello[..len], &mut outbox);
    assert!(outbox.sent.is_empty(), "not an octet before ICE");
    assert_eq!(shard.counters().dropped(DropReason::TupleNotValidated), 1);

    let mut client = clients.connect(NOW, Some(ours));
    shard.handle_datagram(NOW, &CLIENT, &mut check.clone(), &mut outbox);
    talk(&mut shard, &mut client, 1);
    assert!(convert::inventory(&shard).is_empty(), "another certificate than announced ends the transport");
    assert_eq!(shard.counters().get(Count::FingerprintMismatches), 1);
    assert_eq!(shard.counters().get(Count::TransportsConnected), 0);
}

/// What anybody can send who knows the client's address: before its hello, and between its flights. The
/// transport goes on.
#[test]
fn forged_fragments_end_no_transport() {
    for versions in [Versions::Only1_2, Versions::Only1_3] {
        let clients =
            ClientFactory::new(&ClientOptions { versions, ..ClientOptions::default() }).expect("client");
        let (mut shard, ours, check) = shard(clients.fingerprint());
        let mut client = clients.connect(NOW, Some(ours));
        let mut outbox = VecOutbox::default();
        shard.handle_datagram(NOW, &CLIENT, &mut check.clone(), &mut outbox);
        // A hello of 80 octets, of which 20 are there; a whole one that says nothing; an alert.
        let head = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 7, 0, 32, 1, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 20];
        let mut whole = [&head[..], &[0x5a; 20]].concat();
        whole[16] = 20;
        let alert = vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 7, 0, 2, 2, 40];
        for mut forged in [[&head[..], &[0x5a; 20]].concat(), whole, alert] {
            shard.handle_datagram(NOW, &CLIENT, &mut forged, &mut outbox);
            shard.handle_timeout(NOW, &mut outbox);
        }
        talk(&mut shard, &mut client, 1);
        let summary = client.take_summary().expect("the handshake ends");
        assert_eq!(shard.counters().get(Count::TransportsConnected), 1, "{versions:?}");
        // What says nothing is no attempt, nor is a look at a signature.
        assert_eq!(shard.counters().get(Count::DtlsRestarts), 0, "{versions:?}");
        assert_media_opens(&mut shard, &summary);
    }
}

#[test]
fn a_transport_takes_a_place_of_the_unproved_until_it_has_keys() {
    let limits = Limits { unproved_transports: 1, ..Limits::default() };
    let mut world = Shards::with_limits(1, (1, 64), SrtpProfile::AeadAes128Gcm, &limits);
    world.join(1);
    let refused = |world: &mut Shards| match world.try_command(World::opening(7, 1).0) {
        ReplyBody::Error(error) => error.code() == ErrorCode::LimitReached,
        _ => false,
    };
    let told = |world: &Shards, state: TransportState| {
        let is = |event: &EventBody| matches!(event, EventBody::TransportState(c) if c.state() == state);
        world.events.iter().any(is)
    };
    let mut checked = 0;
    while !told(&world, TransportState::Connected) {
        checked += usize::from(told(&world, TransportState::IceConnected));
        assert!(refused(&mut world), "after {checked} turns with a check");
        world.run(Duration::from_millis(1));
    }
    assert!(checked > 0, "a handshake takes its time");
    assert!(!refused(&mut world));
    assert_eq!(world.drivers[0].shard.check_invariants(), Ok(()));
}

/// A peer that is the passive side waits for the relay's hello, which goes where something of the peer's came
/// from alone; both ways media flows under keys of the other direction.
#[test]
fn the_relay_begins_with_a_peer_that_is_passive() {
    for (seed, profile) in (0..30).zip(SrtpProfile::ALL.into_iter().cycle()) {
        let mut world = World::with_profile(seed, profile);
        let (publisher, subscriber) = (world.join_passive(1), world.join_passive(1));
        world.run(Duration::from_secs(3));
        for peer in [publisher, subscriber] {
            assert!(world.peers[peer as usize].is_keyed(), "seed {seed}: peer {peer}");
        }
        world.publish(publisher, 1);
        let ssrc = world.subscribe(subscriber, publisher);
        world.run(Duration::from_secs(2));
        let received = world.peers[subscriber as usize].received[&ssrc].packets.len();
        assert!(received > 100, "seed {seed}: {received} packets");
        world.assert_ledger();
        assert_eq!(world.shard.check_invariants(), Ok(()));
    }
}

/// Its hello does not go where nobody reads: checks of a passive peer, sent from an address that is not its
/// own, earn no more than other checks do. Of a peer that never answers, the controller hears.
#[test]
fn the_relays_hello_is_no_amplifier_and_does_not_wait_for_ever() {
    let spoofed = "203.0.113.7:9".parse().expect("an address");
    let mut world = World::new(1);
    let peer = world.join_passive(1);
    world.peers[peer as usize].alive = false;
    for _ in 0..20 {
        let check = world.peers[peer as usize].make_check(true);
        world.inject(spoofed, &check);
        world.run(Duration::from_millis(200));
        let Traffic { received, sent, media } = world.traffic(spoofed);
        assert!(sent <= 3 * received && media == 0, "{sent} octets for {received}");
    }
    world.run(Duration::from_secs(60));
    assert!(world.failed(peer, FailReason::DtlsFailed).is_some(), "{:?}", world.events);
    world.assert_ledger();
}

/// FFmpeg's WHIP muxer sends a single check, answers what comes before the answer to it, and then waits.
#[test]
fn a_passive_peer_that_sends_one_check_hears_the_relays_hello() {
    let mut world = World::new(2);
    let peer = world.join_passive(1);
    world.peers[peer as usize].checks_left = 1;
    world.run(Duration::from_secs(2));
    assert!(world.peers[peer as usize].is_keyed());
}
