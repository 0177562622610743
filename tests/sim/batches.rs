//! Packets of one batch leave subscriber by subscriber: in order, as runs, and each in the ledger.

use relay_core::id::Ssrc;
use relay_core::outbox::{Path, VecOutbox};
use relay_core::stats::{Count, DropReason};
use relay_core::track::BURST_MAX;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tests::World;

/// Octets 2 and 3 of an RTP packet.
fn seq(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

/// A publisher and so many subscribers, all connected and past the first keyframe.
pub(crate) fn room(seed: u64, subscribers: u32) -> (World, u32, Vec<Ssrc>) {
    let mut world = World::new(seed);
    let publisher = world.join(1);
    world.publish(publisher, 1);
    let ssrcs = (0..subscribers)
        .map(|_| {
            let subscriber = world.join(1);
            world.subscribe(subscriber, publisher)
        })
        .collect();
    world.run(Duration::from_secs(3));
    (world, publisher, ssrcs)
}

/// Hands the shard `count` packets of the publisher as one batch.
pub(crate) fn batch(world: &mut World, publisher: u32, count: usize) -> VecOutbox {
    let path = Path { remote: world.peers[publisher as usize].address, local: None };
    let mut outbox = VecOutbox::default();
    for _ in 0..count {
        let peer = &mut world.peers[publisher as usize];
        peer.send_frame(world.now);
        for mut packet in peer.take_out() {
            world.shard.handle_datagram(world.now, &path, &mut packet, &mut outbox);
        }
    }
    world.shard.forward_pending(&mut outbox);
    outbox
}

#[test]
fn every_subscriber_gets_the_batch_in_order_and_in_one_piece() {
    // Whole groups of lanes and rests of each size.
    for subscribers in [1, 3, 4, 5, 8, 11] {
        let (mut world, publisher, ssrcs) = room(7, subscribers);
        let outbox = batch(&mut world, publisher, 5);
        assert_eq!(outbox.runs, vec![5; subscribers as usize], "each one's packets are one run");
        let mut numbers: HashMap<SocketAddr, Vec<u16>> = HashMap::new();
        for (path, packet) in &outbox.sent {
            numbers.entry(path.remote).or_default().push(seq(packet));
        }
        assert_eq!(numbers.len(), ssrcs.len());
        for numbers in numbers.values() {
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
        }
    }
}

/// libwebrtc splits a frame into packets of which the last are one octet longer.
#[test]
fn the_packets_of_a_frame_are_padded_into_one_run() {
    // Octets of a frame's payloads, then the datagrams of each run.
    for (frame, runs) in [
        (&[299, 299, 300, 300][..], &[4][..]),
        (&[300, 300, 299, 200], &[4]),
        (&[300, 200, 300], &[2, 1]),
        (&[292, 300, 291, 300, 300], &[3, 2]),
        (&[300], &[1]),
    ] {
        let (mut world, publisher, ssrcs) = room(11, 3);
        let before: Vec<usize> =
            ssrcs.iter().enumerate().map(|(n, ssrc)| received(&world, n, *ssrc)).collect();
        let path = Path { remote: world.peers[publisher as usize].address, local: None };
        let mut outbox = VecOutbox::default();
        for len in frame {
            let peer = &mut world.peers[publisher as usize];
            peer.send_packet(world.now, *len);
            let mut packet = peer.take_out().pop().expect("a packet");
            world.shard.handle_datagram(world.now, &path, &mut packet, &mut outbox);
        }
        world.shard.forward_pending(&mut outbox);
        assert_eq!(outbox.runs, runs.repeat(3), "{frame:?}");
        for (path, mut bytes) in outbox.sent {
            let peer = world.peers.iter_mut().find(|peer| peer.address == path.remote).expect("a subscriber");
            peer.receive(world.now, &mut bytes); // Checks what it opens, without the padding, octet for octet.
        }
        for (n, ssrc) in ssrcs.iter().enumerate() {
            assert_eq!(received(&world, n, *ssrc) - before[n], frame.len());
        }
    }
}

/// Packets that the nth subscriber got.
fn received(world: &World, n: usize, ssrc: Ssrc) -> usize {
    world.peers[n + 1].received[&ssrc].packets.len()
}

#[test]
fn a_batch_longer_than_a_burst_goes_in_several() {
    let (mut world, publisher, _) = room(8, 2);
    let outbox = batch(&mut world, publisher, 2 * BURST_MAX + 3);
    assert_eq!(outbox.runs, [BURST_MAX, BURST_MAX, BURST_MAX, BURST_MAX, 3, 3]);
    let first = outbox.sent[0].0.remote;
    let numbers: Vec<u16> =
        outbox.sent.iter().filter(|(path, _)| path.remote == first).map(|(_, packet)| seq(packet)).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
}

#[test]
fn who_cannot_be_served_is_counted_and_does_not_harm_the_group() {
    let (mut world, publisher, _) = room(9, 2);
    // One that never connects, and one that connects but waits for a keyframe.
    let absent = world.join(1);
    world.peers[absent as usize].alive = false;
    world.subscribe(absent, publisher);
    let late = world.join(1);
    world.run(Duration::from_secs(2));
    world.subscribe(late, publisher);
    let before =
        [DropReason::SubscriberNotReady, DropReason::AwaitingKeyframe].map(|reason| world.dropped(reason));
    let outbox = batch(&mut world, publisher, 3);
    assert_eq!(outbox.runs, [3, 3]);
    let after =
        [DropReason::SubscriberNotReady, DropReason::AwaitingKeyframe].map(|reason| world.dropped(reason));
    assert_eq!([after[0] - before[0], after[1] - before[1]], [3, 3]);
    let counters = world.shard.counters();
    let egress: u64 =
        after.iter().sum::<u64>() + world.dropped(DropReason::TooOld) + world.dropped(DropReason::OutboxFull);
    assert_eq!(counters.get(Count::FanOut), counters.get(Count::TxRtp) + egress);
}

/// A publisher's largest packet does not fit behind a subscriber's header with a MID, which the publisher's
/// has not: it is counted, and nothing longer than a datagram is ever sent.
#[test]
fn a_packet_that_our_header_makes_too_long_is_counted() {
    // One alone, and a group of four.
    for subscribers in [1, 4] {
        let (mut world, publisher, _) = room(13, subscribers);
        world.peers[publisher as usize].without_mid = true;
        let path = Path { remote: world.peers[publisher as usize].address, local: None };
        let before = world.dropped(DropReason::OutboxFull);
        let mut outbox = VecOutbox::default();
        // The first becomes 1,508 octets long, the second 1,500.
        for len in [1_472, 1_464] {
            let peer = &mut world.peers[publisher as usize];
            peer.send_packet(world.now, len);
            let mut packet = peer.take_out().pop().expect("a packet");
            world.shard.handle_datagram(world.now, &path, &mut packet, &mut outbox);
        }
        world.shard.forward_pending(&mut outbox);
        let lens: Vec<usize> = outbox.sent.iter().map(|(_, packet)| packet.len()).collect();
        assert_eq!(lens, vec![1_500; subscribers as usize]);
        assert_eq!(world.dropped(DropReason::OutboxFull) - before, u64::from(subscribers));
    }
}

#[test]
fn a_command_does_not_overtake_what_waits() {
    let (mut world, publisher, _) = room(10, 3);
    let path = Path { remote: world.peers[publisher as usize].address, local: None };
    let mut outbox = VecOutbox::default();
    let peer = &mut world.peers[publisher as usize];
    peer.send_frame(world.now);
    let mut packet = peer.take_out().pop().expect("a packet");
    world.shard.handle_datagram(world.now, &path, &mut packet, &mut outbox);
    assert!(outbox.sent.is_empty(), "it waits for the end of the batch");
    let remove = relay_control::RemoveTrack { track_id: World::up_track_id(publisher) };
    relay::convert::obey(
        &mut world.shard,
        world.now,
        relay_control::Command::RemoveTrack(remove),
        &mut outbox,
    );
    assert_eq!(outbox.runs, [1, 1, 1]);
    world.shard.forward_pending(&mut outbox);
    assert_eq!(outbox.runs.len(), 3, "and goes once");
}
