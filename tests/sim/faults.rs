//! Panics, at any point where the core calls what it was given: who caused one ends, nobody else loses a
//! packet.

use relay_control::{CloseTransport, Command, EventBody, FailReason, TransportState};
use relay_core::id::Ssrc;
use relay_core::outbox::{Path, VecOutbox};
use relay_core::stats::{Count, DropReason};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::faults::{Panicking, no_more, panic_after, panic_every};
use tests::{Shards, World};

/// Who receives from whom, and under which SSRC.
#[derive(Clone, Copy, Debug)]
struct Play {
    from: u32,
    to: u32,
    ssrc: Ssrc,
}

fn play(world: &mut Shards, from: u32, to: u32) -> Play {
    Play { from, to, ssrc: world.subscribe(to, from) }
}

/// A room on both shards (0 and 1 on the first, 2 and 3 on the second), one on the first alone (4 and 5);
/// both run.
fn calls(seed: u64) -> (Shards, Vec<Play>) {
    let mut world = Shards::new(seed, 2, 2);
    world.panics = true;
    let publisher = world.join(1);
    world.publish(publisher, 1_000);
    let others: Vec<u32> = (0..3).map(|_| world.join(1)).collect();
    let mut plays: Vec<Play> = others.iter().map(|to| play(&mut world, publisher, *to)).collect();
    // Back over the pipe of the other direction.
    world.publish(others[2], 5_000);
    plays.push(play(&mut world, others[2], publisher));
    let (alone, listener) = (world.join(2), world.join(2));
    world.publish(alone, 1_000);
    plays.push(play(&mut world, alone, listener));
    world.run(Duration::from_secs(2));
    (world, plays)
}

/// Numbers of the payloads that a subscriber received.
fn numbers(world: &Shards, play: Play) -> BTreeSet<u32> {
    let received = &world.peers[play.to as usize].received[&play.ssrc];
    received.packets.iter().map(|(_, payload)| payload.number).collect()
}

fn assert_whole(world: &Shards, play: Play) {
    let numbers = numbers(world, play);
    let (first, last) = (numbers.first().expect("some came"), numbers.last().expect("some came"));
    assert_eq!((last - first + 1) as usize, numbers.len(), "{play:?}: a packet is missing");
    let sent = world.peers[play.from as usize].sending.as_ref().expect("it publishes").number;
    assert!(last + 5 >= sent, "{play:?}: {last} of {sent}");
}

fn panics(world: &Shards) -> u64 {
    (0..2).map(|shard| world.count(shard, Count::Panics)).sum()
}

fn restarts(world: &Shards) -> u64 {
    (0..2).map(|shard| world.count(shard, Count::PanicRestarts)).sum()
}

/// Transports that ended by a fault of the relay.
fn faulted(world: &Shards) -> BTreeSet<u32> {
    let ids = world.events.iter().filter_map(|event| match event {
        EventBody::TransportState(s) if s.state() == TransportState::Failed => {
            assert_eq!(s.reason(), FailReason::RelayFault);
            Some(s.transport_id)
        }
        _ => None,
    });
    let peers = ids.map(|id| (0..).find(|peer| World::transport_id(*peer) == id).expect("one of ours"));
    peers.collect()
}

/// Whoever did not end, and plays from one who did not, has everything.
fn assert_others_are_whole(world: &Shards, plays: &[Play]) {
    let ended = faulted(world);
    let going = plays.iter().filter(|play| !ended.contains(&play.from) && !ended.contains(&play.to));
    going.for_each(|play| assert_whole(world, *play));
    let known: BTreeSet<usize> = ended.iter().map(|peer| *peer as usize).collect();
    assert!(known.iter().all(|peer| world.failed(*peer as u32) == Some(FailReason::RelayFault)));
}

#[test]
fn a_panic_anywhere_ends_one_transport_and_the_others_lose_nothing() {
    let (mut ended, mut spared) = (BTreeSet::new(), 0);
    for calls_before in (0..100).chain((100..3_000).step_by(41)) {
        let (mut world, mut plays) = calls(calls_before.into());
        panic_after(calls_before);
        // Among what is hit is a join.
        let newcomer = world.join(1);
        plays.push(play(&mut world, 0, newcomer));
        world.run(Duration::from_secs(4));
        assert!(!no_more(), "call {calls_before} came");
        world.run(Duration::from_secs(1));
        assert_eq!((panics(&world), restarts(&world)), (1, 0), "call {calls_before}");
        let faulted = faulted(&world);
        // What somebody may have forged ends nobody: the newcomer says hello again.
        assert!(faulted.len() <= 1, "call {calls_before}: {faulted:?}");
        spared += usize::from(faulted.is_empty());
        assert_others_are_whole(&world, &plays);
        world.assert_ledger();
        ended.extend(faulted);
    }
    assert!(ended.len() >= 5 && ended.contains(&6), "publishers, subscribers and the newcomer: {ended:?}");
    assert!((1..10).contains(&spared), "{spared} in a hello");
}

#[test]
fn what_is_lost_by_a_panic_is_counted() {
    let lost = |calls_before| {
        let (mut world, _) = calls(72);
        panic_after(calls_before);
        world.join(1);
        world.run(Duration::from_secs(1));
        world.assert_ledger();
        [
            DropReason::Panicked,
            DropReason::EgressPanicked,
            DropReason::PipeOutPanicked,
            DropReason::PipeInPanicked,
        ]
        .map(|reason| world.dropped(0, reason) + world.dropped(1, reason))
    };
    let lost: Vec<[u64; 4]> = (0..60).map(lost).collect();
    assert!(lost.iter().any(|lost| lost[0] == 1), "a datagram: {lost:?}");
    assert!(lost.iter().any(|lost| lost[1] > 0), "a packet on its way out: {lost:?}");
}

#[test]
fn a_shard_that_is_given_up_begins_anew_and_the_other_goes_on() {
    let (mut world, plays) = calls(73);
    assert!((0..6).all(|peer| world.shard_of(peer) == usize::from(peer == 2 || peer == 3)));
    world.drivers[1].begin_anew("the test wants it");
    world.run(Duration::from_secs(1));
    assert_eq!(faulted(&world), [2, 3].into(), "each is told of");
    assert_eq!(world.inventory().len(), 4);
    assert_others_are_whole(&world, &plays);
    // Pipes are closed on both sides: nothing is offered to the shard that forgot everything.
    let offered = world.count(0, Count::PipeOffered);
    world.run(Duration::from_secs(1));
    assert_eq!(world.count(0, Count::PipeOffered), offered);
    world.assert_ledger();

    // Those who come back find the shard in its place, with pipes both ways.
    let again = world.join(1);
    assert_eq!(world.shard_of(again), 1, "its places are free");
    world.publish(again, 1_000);
    let back = [play(&mut world, again, 1), play(&mut world, 0, again)];
    world.run(Duration::from_secs(3));
    back.iter().for_each(|play| assert!(numbers(&world, *play).len() > 200, "{play:?}"));
    back.iter().for_each(|play| assert_whole(&world, *play));
    assert_others_are_whole(&world, &plays);
    world.assert_ledger();
}

#[test]
fn too_many_panics_in_a_minute_make_a_shard_begin_anew_and_the_other_loses_nothing() {
    let (mut world, plays) = calls(74);
    world.panics_on = Some(1);
    let mut joined = 0;
    // Each ends one transport; others come.
    while restarts(&world) == 0 {
        panic_every(9);
        joined += 1;
        assert!(joined < 200, "{} panics and no end", panics(&world));
        let newcomer = world.join(100 + joined);
        world.publish(newcomer, 1);
        world.run(Duration::from_millis(200));
        no_more();
    }
    assert_eq!((world.count(0, Count::PanicRestarts), world.count(0, Count::Panics)), (0, 0));
    assert!(panics(&world) > 20, "{}", panics(&world));
    world.run(Duration::from_secs(1));
    assert_others_are_whole(&world, &plays);
    assert_whole(&world, plays[4]);
    world.assert_ledger();
    let (publisher, listener) = (world.join(900), world.join(900));
    world.publish(publisher, 1);
    let fresh = play(&mut world, publisher, listener);
    world.run(Duration::from_secs(2));
    assert_eq!(world.shard_of(publisher), 1);
    assert_whole(&world, fresh);
}

/// Somebody sends from a peer's address. True: what he sent made the shard panic.
fn forge(world: &mut Shards, victim: u32, mut bytes: Vec<u8>) -> bool {
    let (now, number) = (world.now, world.shard_of(victim));
    let path = Path { remote: world.peers[victim as usize].address, local: None };
    let mut outbox = Panicking(VecOutbox::default());
    panic_after(0);
    world.drivers[number].handle_datagram(now, &path, &mut bytes, &mut outbox);
    assert!(outbox.0.sent.is_empty(), "nothing is answered");
    !no_more()
}

/// A check whose MESSAGE-INTEGRITY is wrong; FINGERPRINT is behind it.
fn bad_check(world: &mut Shards, victim: u32) -> Vec<u8> {
    let mut check = world.peers[victim as usize].make_check(true);
    let within = check.len() - 18;
    check[within] ^= 1;
    check
}

#[test]
fn a_forged_datagram_that_panics_ends_no_call_however_often_it_comes() {
    const VICTIMS: u32 = 6;
    let (mut world, plays) = calls(75);
    let (mut checks, mut records) = (0, 0);
    for _ in 0..100 {
        for victim in 0..VICTIMS {
            let check = bad_check(&mut world, victim);
            checks += u64::from(forge(&mut world, victim, check));
            let record = tests::dtls::hello(&world.peers[victim as usize].fingerprint);
            records += u64::from(forge(&mut world, victim, record));
        }
        world.run(Duration::from_millis(100));
    }
    assert!(checks >= 50 * u64::from(VICTIMS), "{checks} checks");
    assert_eq!(records, u64::from(VICTIMS), "the first takes the engine away, which the keys do not need");
    assert_eq!((panics(&world), restarts(&world)), (checks + records, 0));
    assert!(faulted(&world).is_empty(), "{:?}", faulted(&world));
    plays.iter().for_each(|play| assert_whole(&world, *play));
    world.assert_ledger();

    // Without their engines they end as others do: by command, and when nobody is there any more.
    let transport_id = World::transport_id(0);
    world.command(Command::CloseTransport(CloseTransport { transport_id }));
    world.peers.iter_mut().for_each(|peer| peer.alive = false);
    world.run(Duration::from_secs(40));
    assert_eq!(world.inventory().len(), 0);
    assert_eq!(world.failed(1), Some(FailReason::ConsentExpired));
    world.assert_ledger();
}

#[test]
fn a_check_from_anothers_address_that_panics_ends_who_signed_it() {
    let (mut world, plays) = calls(76);
    // Peer 4, of another room on the same shard, from the address of 0.
    let check = world.peers[4].make_check(true);
    assert!(forge(&mut world, 0, check));
    world.run(Duration::from_secs(2));
    assert_eq!(faulted(&world), [4].into());
    assert_others_are_whole(&world, &plays);
    world.assert_ledger();
}

/// Transports that wait for their peer's first check have few places; those of a shard that began anew are
/// free.
#[test]
fn a_shard_that_begins_anew_has_all_places_for_those_who_wait_for_a_check() {
    let mut world = World::new(77);
    for peer in 0..100 {
        world.command(World::opening(peer, 1).0);
    }
    world.shard.begin_anew([9; 32]);
    assert_eq!(world.shard.check_invariants(), Ok(()));
    let places = World::config(0, ([192, 0, 2, 1], 1).into()).limits.unproved_transports as u32;
    for peer in 0..places {
        world.command(World::opening(peer, 1).0);
    }
    assert_eq!(world.shard.transports().count(), places as usize);
    assert_eq!(world.shard.check_invariants(), Ok(()));
}
