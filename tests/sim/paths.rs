//! Forged source addresses and overheard checks: a call loses nothing, and nobody is sent what he did not ask
//! for.

use relay_control::FailReason;
use relay_core::id::Ssrc;
use relay_core::outbox::{Path, VecOutbox};
use relay_core::stats::{Count, DropReason};
use relay_core::wire::rtcp;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tests::{Link, Peer, World};

/// Publisher 0 and subscriber 1 in room 1, and somebody with credentials of his own in room 2.
fn call(world: &mut World) -> (Ssrc, usize) {
    let (publisher, subscriber) = (world.join(1), world.join(1));
    let attacker = world.join(2) as usize;
    world.publish(publisher, 1);
    let ssrc = world.subscribe(subscriber, publisher);
    world.run(Duration::from_secs(2));
    (ssrc, attacker)
}

fn received(world: &World, ssrc: Ssrc) -> usize {
    world.peers[1].received[&ssrc].packets.len()
}

fn nobody() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 666))
}

/// Three times what came in goes out, and no media.
fn assert_not_reflected(world: &World, to: SocketAddr) {
    let traffic = world.traffic(to);
    assert!(traffic.sent <= 3 * traffic.received, "{traffic:?}");
    assert_eq!(traffic.media, 0, "{traffic:?}");
}

#[test]
fn a_members_check_from_anothers_address_costs_that_one_nothing() {
    for victim in [0, 1] {
        for answers in [true, false] {
            let mut world = World::careful(41);
            let (ssrc, attacker) = call(&mut world);
            (world.peers[victim].answers, world.peers[victim].attacked) = (answers, true);
            let address = world.peers[victim].address;
            let before = received(&world, ssrc);
            for _ in 0..200 {
                let check = world.peers[attacker].make_check(true);
                world.inject(address, &check);
                // A hello of his own, and one of nobody's.
                world.inject(address, &tests::dtls::hello(&world.peers[attacker].fingerprint.clone()));
                world.run(Duration::from_millis(50));
            }
            let flowed = received(&world, ssrc) - before;
            assert!(flowed >= 990, "victim {victim}: {flowed} of 1,000 packets");
            assert!(world.shard.counters().get(Count::PathClaims) > 100);
            assert_eq!(world.shard.counters().get(Count::PathTakeovers), 0);
            assert_eq!(world.inventory().len(), 3);
            world.assert_ledger();
        }
    }
}

#[test]
fn who_claims_an_address_first_does_not_keep_its_client_out() {
    for answers in [true, false] {
        let mut world = World::careful(42);
        let (publisher, attacker) = (world.join(1), world.join(2) as usize);
        world.publish(publisher, 1);
        world.run(Duration::from_secs(1));
        let victim = world.join(1) as usize;
        (world.peers[victim].answers, world.peers[victim].attacked) = (answers, true);
        world.peers[victim].alive = false;
        let ssrc = world.subscribe(victim as u32, publisher);
        let address = world.peers[victim].address;
        for round in 0..60 {
            let check = world.peers[attacker].make_check(true);
            world.inject(address, &check);
            world.inject(address, &tests::dtls::hello(&world.peers[attacker].fingerprint.clone()));
            world.peers[victim].alive = round >= 10;
            world.run(Duration::from_millis(50));
        }
        assert!(world.peers[victim].is_keyed(), "answers: {answers}");
        let flowed = world.peers[victim].received[&ssrc].packets.len();
        assert!(flowed >= 200, "answers {answers}: {flowed} packets in 2.5 s");
        world.assert_ledger();
    }
}

/// Somebody claims the address of a client with a transport of his own that has no keys, at any moment of its
/// join.
#[test]
fn a_join_is_not_held_up_by_checks_that_are_forged_from_its_address() {
    for first in 0..60 {
        for last in [first + 1, 200] {
            let mut world = World::careful(51);
            let attackers: Vec<usize> = (0..3).map(|_| world.join(2) as usize).collect();
            attackers.iter().for_each(|attacker| world.peers[*attacker].alive = false);
            let victim = world.join(1) as usize;
            (world.peers[victim].attacked, world.peers[victim].keeps_to_first) = (true, true);
            let address = world.peers[victim].address;
            world.peers[victim].alive = false;
            for round in 0..200 {
                if (first..last).contains(&round) {
                    let check = world.peers[attackers[round % 3]].make_check(true);
                    world.inject(address, &check);
                }
                // Before, between and after its check, the answer, and its hello.
                world.peers[victim].alive = round >= 10;
                world.run(Duration::from_millis(2));
            }
            let seen = world.peers[victim].answers_seen.len();
            assert!(world.peers[victim].is_keyed(), "forged in rounds {first} to {last}: {seen} answers");
            assert_eq!(seen, 1, "forged in rounds {first} to {last}: nobody else's engine answers its hello");
            world.assert_ledger();
        }
    }
}

/// With checks every 48 ms, as Chromium's while it looks for a pair, an answer that takes 200 ms is never to
/// the last request.
#[test]
fn a_challenge_is_answered_over_a_long_way() {
    let mut world = World::careful(52);
    let (ssrc, _) = call(&mut world);
    world.net.set_link(Link { delay: Duration::from_millis(100), ..Link::GOOD });
    world.peers[1].client.intervals.connected = Duration::from_millis(48);
    // Nothing but the answer proves it.
    world.peers[1].report_interval = Duration::from_secs(3_600);
    world.run(Duration::from_secs(3));
    world.peers[1].address = SocketAddr::from(([203, 0, 113, 5], 5_000));
    world.run(Duration::from_millis(500));
    let before = received(&world, ssrc);
    world.run(Duration::from_secs(1));
    assert!(received(&world, ssrc) - before >= 90, "{} packets", received(&world, ssrc) - before);
    world.assert_ledger();
}

/// A page that was loaded again may get the port of the one before, which the relay does not know to be gone.
#[test]
fn a_new_transport_at_the_same_address_takes_it_over_with_its_proof() {
    for answers in [true, false] {
        let mut world = World::careful(43);
        call(&mut world);
        let address = world.peers[1].address;
        world.peers[1].alive = false;
        let next = world.join(1) as usize;
        (world.peers[next].answers, world.peers[next].attacked) = (answers, true);
        world.peers[1].address = nobody();
        world.peers[next].address = address;
        let ssrc = world.subscribe(next as u32, 0);
        world.run(Duration::from_secs(1));
        let flowed = world.peers[next].received[&ssrc].packets.len();
        assert!(flowed >= 70, "answers {answers}: {flowed} packets in the first second");
        assert_eq!(world.shard.counters().get(Count::PathTakeovers), 1);
        world.run(Duration::from_secs(40));
        assert_eq!(world.inventory().len(), 3, "the old one ends, the new one does not");
        world.assert_ledger();
    }
}

#[test]
fn media_is_not_sent_to_an_address_by_a_forged_check() {
    for nominates in [true, false] {
        let mut world = World::careful(44);
        let (ssrc, _) = call(&mut world);
        let before = received(&world, ssrc);
        // The viewer itself lies about where it is, twenty times a second, and falls silent otherwise.
        for round in 0..200 {
            let check = world.peers[1].make_check(nominates);
            world.inject(nobody(), &check);
            world.peers[1].alive = round < 100;
            world.run(Duration::from_millis(50));
        }
        assert_not_reflected(&world, nobody());
        assert!(received(&world, ssrc) - before >= 490, "as long as it is there, it gets its media");
        world.assert_ledger();
    }
}

/// A challenge grows with the ufrag of whom it is for, and a check may be shorter than that: challenge and
/// answer together are no more than three times the check.
#[test]
fn a_challenge_leaves_enough_for_the_answer() {
    for ufrag in [4, 180, 190, 191, 192, 256] {
        let mut world = World::careful(54);
        call(&mut world);
        let check = world.peers[1].make_short_check();
        world.restart_ice_as(1, "u".repeat(ufrag));
        world.inject(nobody(), &check);
        let answer = world.traffic(nobody());
        assert!(answer.sent > 0, "ufrag of {ufrag}: nothing came back");
        assert_not_reflected(&world, nobody());
        world.assert_ledger();
    }
}

/// A viewer has keys, so it can forge all that keys are good for. Where nobody answers, none of it counts.
#[test]
fn media_is_not_sent_to_an_address_by_forged_reports() {
    for (nominates, stays) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = World::careful(55);
        let (ssrc, _) = call(&mut world);
        world.peers[1].alive = stays;
        let before = received(&world, ssrc);
        for _ in 0..100 {
            let check = world.peers[1].make_check(nominates);
            world.inject(nobody(), &check);
            world.peers[1].send_pli();
            for bytes in world.peers[1].take_out() {
                world.inject(nobody(), &bytes);
            }
            world.run(Duration::from_millis(100));
        }
        assert_not_reflected(&world, nobody());
        assert!(!stays || received(&world, ssrc) - before >= 990, "what is sent goes on where it is read");
        // Nor does it have its old address sent to for longer than consent lasts.
        world.peers[1].alive = false;
        for _ in 0..35 {
            let check = world.peers[1].make_check(nominates);
            world.inject(nobody(), &check);
            world.peers[1].send_pli();
            for bytes in world.peers[1].take_out() {
                world.inject(nobody(), &bytes);
            }
            world.run(Duration::from_secs(1));
        }
        assert_not_reflected(&world, nobody());
        assert!(world.failed(1, FailReason::ConsentExpired).is_some(), "consent is for one path");
        world.assert_ledger();
    }
}

/// The last flight may come from anywhere; what it answers was read where it was sent.
#[test]
fn the_end_of_a_handshake_proves_the_path_of_our_flights() {
    for everywhere in [false, true] {
        let mut world = World::careful(56);
        let publisher = world.join(1);
        world.publish(publisher, 1);
        world.run(Duration::from_secs(1));
        let liar = world.join(1) as usize;
        world.subscribe(liar as u32, publisher);
        world.peers[liar].alive = false;
        let (home, shown) = (world.peers[liar].address, world.peers[liar].fingerprint);
        let hello = tests::dtls::hello(&shown);
        let check = world.peers[liar].make_check(true);
        world.inject(home, &check);
        world.inject(home, &hello);
        let mut outbox = VecOutbox::default();
        world.shard.handle_timeout(world.now, &mut outbox);
        let finish = outbox.sent.iter().find_map(|(_, bytes)| tests::dtls::finish(&shown, bytes));
        world.run(Duration::from_millis(10));
        let check = world.peers[liar].make_check(true);
        world.inject(nobody(), &check);
        if everywhere {
            world.inject(nobody(), &hello);
            world.turn();
        }
        world.inject(nobody(), &finish.expect("an answer to the hello"));
        world.run(Duration::from_secs(1));
        assert_eq!(world.shard.counters().get(Count::TransportsConnected), 2);
        assert_not_reflected(&world, nobody());
        assert_eq!(world.traffic(home).media > 0, !everywhere, "only one path was read along");
        assert_eq!(world.shard.check_invariants(), Ok(()));
    }
}

/// Whoever moves between two flights is asked, as they prove nothing then.
#[test]
fn who_moves_while_he_shakes_hands_gets_his_media() {
    for moment in 0..80 {
        let mut world = World::careful(57);
        let publisher = world.join(1);
        world.publish(publisher, 1);
        world.run(Duration::from_secs(1));
        world.net.set_link(Link { delay: Duration::from_millis(20), ..Link::GOOD });
        let viewer = world.join(1) as usize;
        world.peers[viewer].client.intervals.connected = Duration::from_millis(50);
        let ssrc = world.subscribe(viewer as u32, publisher);
        world.run(Duration::from_millis(2 * moment));
        world.peers[viewer].address = SocketAddr::from(([203, 0, 113, 5], 5_000));
        world.run(Duration::from_millis(500));
        let before = world.peers[viewer].received[&ssrc].packets.len();
        world.run(Duration::from_millis(500));
        let flowed = world.peers[viewer].received[&ssrc].packets.len() - before;
        assert!(flowed >= 45, "moved after {} ms: {flowed} packets in half a second", 2 * moment);
        world.assert_ledger();
    }
}

/// As FFmpeg, which sends one check and may answer none: its handshake proves its address, and what it
/// publishes keeps its consent. From another address it is heard as long as it sends, and gets nothing there.
#[test]
fn a_publisher_that_answers_nothing_publishes() {
    let mut world = World::careful(58);
    let (publisher, viewer) = (world.join(1) as usize, world.join(1));
    world.publish(publisher as u32, 1);
    let ssrc = world.subscribe(viewer, publisher as u32);
    (world.peers[publisher].answers, world.peers[publisher].checks_left) = (false, 1);
    world.run(Duration::from_secs(65));
    assert!(world.traffic(world.peers[publisher].address).media > 0, "it gets reports");
    assert!(received(&world, ssrc) >= 6_400);
    world.peers[publisher].address = nobody();
    let check = world.peers[publisher].make_check(true);
    world.inject(nobody(), &check);
    let before = received(&world, ssrc);
    world.run(Duration::from_secs(65));
    assert!(received(&world, ssrc) - before >= 6_400, "it is heard");
    assert_not_reflected(&world, nobody());
    world.assert_ledger();
}

/// A viewer that answers nothing is not found at another address: its call ends, and it can join again.
#[test]
fn a_viewer_that_answers_nothing_gets_nothing_at_another_address() {
    let mut world = World::careful(59);
    call(&mut world);
    world.peers[1].answers = false;
    world.peers[1].address = nobody();
    world.run(Duration::from_secs(35));
    assert_not_reflected(&world, nobody());
    assert!(world.failed(1, FailReason::ConsentExpired).is_some());
    world.assert_ledger();
}

/// Whoever has keys of his own can send what they are good for from a member's address, too.
#[test]
fn a_members_report_from_anothers_address_takes_nothing_away() {
    for same_host in [false, true] {
        let mut world = World::careful(60);
        let (ssrc, attacker) = call(&mut world);
        world.peers[1].attacked = true;
        let mut address = world.peers[1].address;
        if same_host {
            // Both are behind one NAT.
            address = SocketAddr::new(world.peers[attacker].address.ip(), 5_000);
            world.peers[1].address = address;
            world.run(Duration::from_secs(3));
        }
        let before = received(&world, ssrc);
        for _ in 0..100 {
            let check = world.peers[attacker].make_check(true);
            world.inject(address, &check);
            world.peers[attacker].send_rtcp(|out| rtcp::write_rr(out, Ssrc(7), &[]));
            for bytes in world.peers[attacker].take_out() {
                world.inject(address, &bytes);
            }
            world.run(Duration::from_millis(50));
        }
        assert_eq!(world.shard.counters().get(Count::PathTakeovers), 0, "same host: {same_host}");
        assert!(received(&world, ssrc) - before >= 490, "same host: {same_host}");
        world.assert_ledger();
    }
}

/// Others' claims may displace a claim, but not the answer by which its peer proves to be there.
#[test]
fn a_crowd_of_claimants_keeps_nobody_out_who_is_there() {
    let mut world = World::careful(53);
    call(&mut world);
    let attackers: Vec<usize> = (0..4).map(|_| world.join(2) as usize).collect();
    // With keys, so that the client's hello does not end them.
    world.run(Duration::from_secs(1));
    attackers.iter().for_each(|attacker| world.peers[*attacker].alive = false);
    // Whose port it was is gone, which the relay does not know yet.
    let address = std::mem::replace(&mut world.peers[1].address, nobody());
    world.peers[1].alive = false;
    let next = world.join(1) as usize;
    let peer = &mut world.peers[next];
    (peer.address, peer.attacked, peer.keeps_to_first) = (address, true, true);
    let ssrc = world.subscribe(next as u32, 0);
    world.net.set_link(Link { delay: Duration::from_millis(25), ..Link::GOOD });
    for _ in 0..300 {
        for attacker in &attackers {
            let check = world.peers[*attacker].make_check(true);
            world.inject(address, &check);
        }
        world.run(Duration::from_millis(10));
    }
    assert!(world.peers[next].is_keyed());
    let flowed = world.peers[next].received[&ssrc].packets.len();
    assert!(flowed >= 200, "{flowed} packets in 3 s");
    world.assert_ledger();
}

#[test]
fn an_overheard_check_is_good_for_one_address() {
    let mut world = World::careful(45);
    let (ssrc, _) = call(&mut world);
    let before = received(&world, ssrc);
    for _ in 0..100 {
        let check = world.peers[1].make_check(true);
        world.inject(world.peers[1].address, &check);
        world.inject(nobody(), &check);
        world.inject(SocketAddr::from(([203, 0, 113, 67], 667)), &check);
        world.run(Duration::from_millis(50));
    }
    assert!(!world.sent_to.contains_key(&nobody()), "not one octet");
    assert_eq!(world.dropped(DropReason::StunReplayed), 200);
    assert!(received(&world, ssrc) - before >= 490);
    world.assert_ledger();
}

/// An eavesdropper may replay a check before it arrives. That ends no consent, and moves nothing.
#[test]
fn a_check_that_was_overtaken_still_counts() {
    let mut world = World::careful(46);
    let (ssrc, _) = call(&mut world);
    let before = received(&world, ssrc);
    world.peers[1].client.intervals.connected = Duration::from_secs(3_600);
    for _ in 0..50 {
        let check = world.peers[1].make_check(true);
        world.inject(nobody(), &check);
        world.inject(world.peers[1].address, &check);
        world.run(Duration::from_secs(1));
    }
    assert!(received(&world, ssrc) - before >= 4_900);
    assert_not_reflected(&world, nobody());
    world.assert_ledger();
}

/// Consent is new checks. One that is sent again, from the very address, renews nothing.
#[test]
fn a_repeated_check_is_no_consent() {
    let mut world = World::careful(47);
    call(&mut world);
    let check = world.peers[1].make_check(true);
    world.inject(world.peers[1].address, &check);
    world.peers[1].alive = false;
    for _ in 0..35 {
        world.inject(world.peers[1].address, &check);
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.inventory().len(), 2, "the viewer's consent expired");
    world.assert_ledger();
}

/// How long a viewer that sends a report a second, or one every five, is without media after its NAT gave it
/// another port; or another address, where it must answer.
#[test]
fn a_rebound_viewer_is_found_soon() {
    for (answers, nominates, report_s, most) in [
        (true, true, 5, Duration::from_millis(2_600)),
        (true, false, 5, Duration::from_millis(5_100)),
        (false, true, 1, Duration::from_millis(3_600)),
        (false, false, 1, Duration::from_millis(6_100)),
    ] {
        let mut world = World::careful(48);
        let (ssrc, _) = call(&mut world);
        (world.peers[1].answers, world.peers[1].client.nominates) = (answers, nominates);
        world.peers[1].report_interval = Duration::from_secs(report_s);
        world.run(Duration::from_secs(6));
        if answers {
            world.peers[1].address = SocketAddr::from(([203, 0, 113, 5], 5_000));
        } else {
            world.peers[1].address.set_port(5_000);
        }
        // What flew to the old address is lost.
        world.run(Duration::from_millis(20));
        let (start, before) = (world.now, received(&world, ssrc));
        while received(&world, ssrc) == before {
            world.run(Duration::from_millis(10));
            assert!(world.now.since(start) <= most, "{answers} {nominates}: {:?}", world.now.since(start));
        }
        println!("answers {answers}, nominates {nominates}: {:?}", world.now.since(start));
        world.assert_ledger();
    }
}

/// A pair is both addresses: a backup pair to another of ours does not move the nominated one.
#[test]
fn a_check_to_another_of_our_addresses_moves_nothing_unless_it_nominates() {
    let mut world = World::careful(49);
    let (ssrc, _) = call(&mut world);
    let to = |world: &World, local: &str| {
        let local: IpAddr = local.parse().expect("an address");
        Path { remote: world.peers[1].address, local: Some(local) }
    };
    let (before, moves) = (received(&world, ssrc), world.shard.counters().get(Count::PathMoves));
    for _ in 0..50 {
        let check = world.peers[1].make_check(false);
        world.inject_along(to(&world, "198.51.100.2"), &check);
        world.run(Duration::from_millis(100));
    }
    assert_eq!(world.shard.counters().get(Count::PathMoves), moves);
    assert!(received(&world, ssrc) - before >= 490);
    assert_eq!(world.traffic.get(&to(&world, "198.51.100.2")).expect("answers").media, 0);

    let check = world.peers[1].make_check(true);
    world.inject_along(to(&world, "198.51.100.2"), &check);
    world.peers[1].send_pli();
    for bytes in world.peers[1].take_out() {
        world.inject_along(to(&world, "198.51.100.2"), &bytes);
    }
    assert_eq!(world.shard.counters().get(Count::PathMoves), moves + 1, "nominated and proven");
    world.assert_ledger();
}

/// Nobody learns an address by asking: what an unproven path gets is bounded before there are keys as well.
#[test]
fn a_handshake_sends_no_more_than_three_times_what_came() {
    let mut world = World::careful(50);
    let liar = world.join(1) as usize;
    world.peers[liar].alive = false;
    for _ in 0..100 {
        let check = world.peers[liar].make_check(true);
        world.inject(nobody(), &check);
        world.run(Duration::from_millis(50));
    }
    assert_not_reflected(&world, nobody());
    let _ = Peer::PASSWORD;
    world.assert_ledger();
}
