//! One transport from start to end: addresses move, consent expires, credentials change, commands repeat.

use relay_control::{Command, ErrorCode, EventBody, FailReason, ProbeTransport, ReplyBody, TransportState};
use relay_core::stats::{Count, DropReason};
use std::net::SocketAddr;
use std::time::Duration;
use tests::World;

/// Publisher 0 and subscriber 1, connected.
fn call(world: &mut World) -> relay_core::id::Ssrc {
    let (publisher, subscriber) = (world.join(1), world.join(1));
    world.publish(publisher, 1);
    let ssrc = world.subscribe(subscriber, publisher);
    world.run(Duration::from_secs(2));
    ssrc
}

#[test]
fn an_address_change_moves_the_pair_by_an_authenticated_check() {
    for peer in [0, 1] {
        let mut world = World::new(11);
        let ssrc = call(&mut world);
        let old = world.peers[peer].address;
        world.peers[peer].address = SocketAddr::from(([203, 0, 113, 5], 5_000));
        // The next check comes within a consent interval; what flew to the old address is lost.
        world.run(Duration::from_secs(3));
        let (before, to_old) = (world.peers[1].received[&ssrc].packets.len(), world.sent_to[&old]);
        world.run(Duration::from_secs(3));
        let received = world.peers[1].received[&ssrc].packets.len() - before;
        assert!(received >= 280, "peer {peer}: media flows again: {received}");
        assert_eq!(world.sent_to[&old], to_old, "peer {peer}: nothing to the old address");
        assert_eq!(world.shard.counters().get(Count::PathMoves), 1);
        world.assert_ledger();
    }
}

/// How long the relay has heard nothing of a peer, which it asks for a sign of life.
fn silent(world: &mut World, peer: usize) -> Duration {
    let transport_id = World::transport_id(peer as u32);
    match world.command(Command::ProbeTransport(ProbeTransport { transport_id })) {
        ReplyBody::TransportProbed(probed) => Duration::from_millis(probed.silent_ms),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_probe_tells_the_dead_from_those_who_have_nothing_to_send() {
    let mut world = World::new(15);
    call(&mut world);
    assert!(silent(&mut world, 0) < Duration::from_millis(50), "it sends");
    // It is paused: a check now and then is all that comes of it, until it is asked.
    world.peers[0].sending = None;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        world.run(Duration::from_millis(700));
        longest = longest.max(silent(&mut world, 0));
        world.run(Duration::from_millis(100));
        assert!(silent(&mut world, 0) <= Duration::from_millis(100), "it answers");
    }
    assert!(longest >= Duration::from_millis(600), "{longest:?}");
    // It is dead, and somebody sends again whatever he has overheard of it.
    world.peers[0].alive = false;
    world.run(Duration::from_millis(200));
    let before = silent(&mut world, 0);
    let address = world.peers[0].address;
    for round in 1..=30 {
        for (path, bytes) in world.overheard.clone() {
            if path.remote == address {
                world.inject_along(path, &bytes);
            }
        }
        world.run(Duration::from_millis(100));
        assert_eq!(silent(&mut world, 0), before + Duration::from_millis(100) * round);
    }
    world.assert_ledger();
}

#[test]
fn a_probe_of_one_that_never_came_tells_since_when_it_could() {
    let mut world = World::new(16);
    let peer = world.join(1) as usize;
    world.peers[peer].alive = false;
    world.run(Duration::from_secs(2));
    assert_eq!(silent(&mut world, peer), Duration::from_secs(2));
    let unknown = Command::ProbeTransport(ProbeTransport { transport_id: 4711 });
    assert!(
        matches!(world.try_command(unknown), ReplyBody::Error(e) if e.code() == ErrorCode::UnknownTransport)
    );
}

#[test]
fn media_that_stops_is_told_within_three_seconds_and_its_coming_back_at_once() {
    let mut world = World::new(17);
    call(&mut world);
    let track_id = World::up_track_id(0);
    let told = |world: &World, active: bool| {
        let of_track = |body: &EventBody| matches!(body, EventBody::UpTrackActivity(a) if a.track_id == track_id && a.active == active);
        world.events.iter().filter(|(_, body)| of_track(body)).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    let sending = world.peers[0].sending.take();
    let (stopped, before) = (world.now, told(&world, true).len());
    // Its checks go on; so would its reports.
    world.run(Duration::from_secs(5));
    let stops = told(&world, false);
    assert_eq!(stops.len(), 1);
    assert!(stops[0].since(stopped) < Duration::from_secs(3), "{:?}", stops[0].since(stopped));
    world.peers[0].sending = sending;
    let resumed = world.now;
    world.run(Duration::from_millis(200));
    let starts = told(&world, true);
    assert_eq!(starts.len(), before + 1);
    assert!(starts[before].since(resumed) < Duration::from_millis(150));
    // A still screen and an Opus encoder in silence send little; that is no stop.
    for _ in 0..10 {
        let mut sending = world.peers[0].sending.take();
        world.run(Duration::from_secs(2));
        std::mem::swap(&mut world.peers[0].sending, &mut sending);
        world.run(Duration::from_millis(10));
    }
    assert_eq!(told(&world, false).len(), 1);
}

/// Who probes the path with padding sends no media, and who has stopped does not come back by it.
#[test]
fn padding_is_no_media() {
    let mut world = World::new(18);
    let publisher = world.join(1);
    let (add, own) = World::publication(publisher);
    world.command(add);
    world.peers[0].publish(own, 100);
    world.run(Duration::from_secs(1));
    let told = |world: &World| {
        let told =
            |body: &EventBody| if let EventBody::UpTrackActivity(a) = body { Some(a.active) } else { None };
        world.events.iter().filter_map(|(_, body)| told(body)).collect::<Vec<_>>()
    };
    assert_eq!(told(&world), [true]);
    let mut sending = world.peers[0].sending.take().expect("it publishes");
    let before = world.shard.counters().get(Count::RxRtp);
    for _ in 0..20 {
        let now = world.now;
        world.peers[0].send_padding(now, &mut sending);
        world.run(Duration::from_millis(500));
    }
    assert_eq!(world.shard.counters().get(Count::RxRtp), before + 20);
    assert_eq!(told(&world), [true, false]);
    world.peers[0].sending = Some(sending);
    world.run(Duration::from_secs(1));
    assert_eq!(told(&world), [true, false, true]);
    world.assert_ledger();
}

#[test]
fn consent_expires_30_s_after_the_last_check_and_leaves_nothing() {
    let mut world = World::new(12);
    call(&mut world);
    world.peers[1].alive = false;
    let silent_since = world.now;
    world.run(Duration::from_secs(25));
    assert_eq!(world.inventory().len(), 2, "25 s of silence are within consent");
    world.run(Duration::from_secs(10));
    let at = world.failed(1, FailReason::ConsentExpired).expect("it ended");
    let silence = at.since(silent_since);
    assert!((27..=31).contains(&silence.as_secs()), "{silence:?}");
    let left = world.inventory();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].state(), TransportState::Connected, "the publisher stays");
    world.assert_ledger();
}

/// As libnice, which sends no checks once it is connected: the keys say that it is there.
#[test]
fn who_sends_media_or_reports_keeps_its_consent_without_checks() {
    let mut world = World::new(18);
    let ssrc = call(&mut world);
    for peer in &mut world.peers {
        peer.checks_left = 0;
    }
    world.run(Duration::from_secs(65));
    let before = world.peers[1].received[&ssrc].packets.len();
    world.run(Duration::from_secs(1));
    assert!(world.peers[1].received[&ssrc].packets.len() - before >= 90, "media flows");
    // It is gone, and somebody sends again what he has overheard of it.
    world.peers[0].alive = false;
    let (address, silent_since) = (world.peers[0].address, world.now);
    for _ in 0..33 {
        for (path, bytes) in world.overheard.clone() {
            if path.remote == address {
                world.inject_along(path, &bytes);
            }
        }
        world.run(Duration::from_secs(1));
    }
    let at = world.failed(0, FailReason::ConsentExpired).expect("it ended");
    let silence = at.since(silent_since);
    assert!((29..=31).contains(&silence.as_secs()), "{silence:?}");
    assert_eq!(world.inventory().len(), 1, "the viewer, who reports, stays");
    world.assert_ledger();
}

#[test]
fn nobody_answers_so_ice_and_dtls_time_out() {
    let mut world = World::new(13);
    let (silent, no_dtls) = (world.join(1), world.join(1));
    world.peers[silent as usize].alive = false;
    world.peers[no_dtls as usize].fingerprint[31] ^= 1;
    world.run(Duration::from_secs(16));
    assert!(world.failed(silent, FailReason::IceTimeout).is_some());
    assert!(world.failed(no_dtls, FailReason::DtlsFingerprint).is_some(), "a stranger's certificate");
    assert_eq!(world.shard.counters().get(Count::FingerprintMismatches), 1);
    assert!(world.inventory().is_empty());
    world.assert_ledger();
}

/// RFC 8122 §5: a peer may show any of the certificates that it announces.
#[test]
fn a_peer_is_known_by_any_of_its_fingerprints() {
    let mut world = World::new(13);
    let known = world.join_announced(1, |own| vec![[9; 32], [7; 32], own]);
    let stranger = world.join_announced(1, |_| vec![[9; 32], [7; 32]]);
    world.run(Duration::from_secs(16));
    assert!(world.failed(stranger, FailReason::DtlsFingerprint).is_some());
    assert_eq!(world.failed(known, FailReason::DtlsFingerprint), None);
    let connected: Vec<_> = world.inventory().into_iter().map(|transport| transport.transport_id).collect();
    assert_eq!(connected, [World::transport_id(known)]);
    world.assert_ledger();
}

#[test]
fn ice_restart_keeps_media_flowing() {
    let mut world = World::new(14);
    let ssrc = call(&mut world);
    let before = world.peers[1].received[&ssrc].packets.len();
    for peer in [0, 1] {
        world.restart_ice(peer);
    }
    world.run(Duration::from_secs(60));
    let received = world.peers[1].received[&ssrc].packets.len() - before;
    assert!(received >= 5_990, "nothing is lost over a restart: {received}");
    assert_eq!(world.dropped(DropReason::StunBadIntegrity) + world.dropped(DropReason::StunUnknownUfrag), 0);
    world.assert_ledger();
}

#[test]
fn commands_are_idempotent_and_refusals_change_nothing() {
    let mut world = World::new(15);
    let (a, b, stranger) = (world.join(1), world.join(1), world.join(2));
    world.publish(a, 1);
    let subscription = World::subscription(b, a);
    let first = world.command(subscription.clone());
    assert_eq!(world.command(subscription), first, "the same answer");
    let inventory = world.inventory();

    let refused = |world: &mut World, command: Command| match world.try_command(command) {
        ReplyBody::Error(error) => error.code(),
        other => panic!("{other:?}"),
    };
    let code = refused(&mut world, World::subscription(stranger, a));
    assert_eq!(code, ErrorCode::Mismatch, "of another room");
    let code = refused(&mut world, World::subscription(b, stranger));
    assert_eq!(code, ErrorCode::UnknownTrack);
    let code = refused(&mut world, World::subscription(99, a));
    assert_eq!(code, ErrorCode::UnknownTransport);
    let Command::AddDownTrack(mut other) = World::subscription(b, a) else { unreachable!() };
    other.rtp.payload_type = 100;
    assert_eq!(refused(&mut world, Command::AddDownTrack(other.clone())), ErrorCode::IdInUse);
    for (pt, mid) in [(64, "0"), (95, "0"), (128, "0"), (100, "a mid of more than 16")] {
        let mut bad = other.clone();
        (bad.rtp.payload_type, bad.rtp.mid) = (pt, mid.into());
        assert_eq!(
            refused(&mut world, Command::AddDownTrack(bad)),
            ErrorCode::BadRequest,
            "PT {pt}, MID {mid}"
        );
    }
    assert_eq!(world.inventory(), inventory, "nothing changed");
}

#[test]
fn removing_an_up_track_removes_what_it_feeds() {
    let mut world = World::new(16);
    call(&mut world);
    let remove = Command::RemoveTrack(relay_control::RemoveTrack { track_id: World::up_track_id(0) });
    world.command(remove.clone());
    world.command(remove);
    let inventory = world.inventory();
    assert_eq!(inventory.len(), 2, "the transports stay");
    assert!(inventory.iter().all(|t| t.up_tracks.is_empty() && t.down_tracks.is_empty()));
    world.run(Duration::from_secs(1));
    assert!(world.dropped(DropReason::RtpUnknownPt) > 50, "what still comes is counted");
    world.assert_ledger();
}
