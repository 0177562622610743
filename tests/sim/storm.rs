//! Many join at once: the loop belongs to media, and nobody is forgotten.

use relay::overload::{OverloadControl, Turn};
use relay::usage::Usage;
use relay_control::{CloseTransport, Command};
use relay_core::handshakes::{HELLOS_MAX, PER_TRANSPORT_MAX, STEPS_PER_TURN};
use relay_core::stats::{Count, DropReason};
use relay_core::time::Time;
use std::time::Duration;
use tests::{World, dtls};

/// Peers that have proved their addresses and not shaken hands.
fn crowd(world: &mut World, count: usize) -> Vec<u32> {
    let joined: Vec<u32> = (0..count).map(|_| world.join(1)).collect();
    for &index in &joined {
        let peer = &mut world.peers[index as usize];
        peer.tick(world.now);
        let (address, checks) = (peer.address, peer.take_out());
        checks.iter().for_each(|check| world.inject(address, check));
    }
    joined
}

fn say_hello(world: &mut World, index: u32) {
    let peer = &world.peers[index as usize];
    let (address, hello) = (peer.address, dtls::hello(&peer.fingerprint));
    world.inject(address, &hello);
}

/// One turn in which the publisher has a packet; how many handshake datagrams it took in.
fn turn(world: &mut World, publisher: u32) -> u64 {
    let (forwarded, steps) = (count(world, Count::TxRtp), count(world, Count::RxDtls));
    let peer = &mut world.peers[publisher as usize];
    peer.send_frame(world.now);
    let (address, packets) = (peer.address, peer.take_out());
    packets.iter().for_each(|packet| world.inject(address, packet));
    assert_eq!(count(world, Count::TxRtp), forwarded + 1, "media waits for no handshake");
    assert_eq!(count(world, Count::RxDtls), steps, "and no handshake comes before it");
    world.turn();
    count(world, Count::RxDtls) - steps
}

fn count(world: &World, what: Count) -> u64 {
    world.shard.counters().get(what)
}

fn is_busy(world: &World) -> bool {
    world.shard.poll_timeout() == Some(Time::ZERO)
}

#[test]
fn a_turn_spends_little_on_handshakes_and_media_goes_first() {
    let mut world = World::new(31);
    let (publisher, subscriber) = (world.join(1), world.join(1));
    world.publish(publisher, 1);
    world.subscribe(subscriber, publisher);
    world.run(Duration::from_secs(2));
    let joined = crowd(&mut world, 1_000);
    joined.iter().for_each(|&index| say_hello(&mut world, index));
    assert_eq!(count(&world, Count::TransportsConnected), 2, "all of them wait");

    let mut left = joined.len();
    while is_busy(&world) {
        let steps = turn(&mut world, publisher) as usize;
        assert_eq!(steps, left.min(STEPS_PER_TURN));
        left -= steps;
    }
    assert_eq!(left, 0);
    assert_eq!(count(&world, Count::TransportsConnected), 2 + joined.len() as u64);
    assert_eq!(world.dropped(DropReason::DtlsBusy), 0);
    world.assert_ledger();
}

/// What a step of a handshake and a forwarded packet cost, about.
const STEP: Duration = Duration::from_micros(150);
const PACKET: Duration = Duration::from_micros(3);

#[test]
fn a_storm_of_joins_sheds_nobodys_video() {
    let mut world = World::new(35);
    let (publisher, subscriber) = (world.join(1), world.join(1));
    world.publish(publisher, 1);
    world.subscribe(subscriber, publisher);
    world.run(Duration::from_secs(2));
    let joined = crowd(&mut world, 2_000);
    joined.iter().for_each(|&index| say_hello(&mut world, index));
    let begun = world.now;
    let (mut overload, mut usage) = (OverloadControl::new(begun, Duration::ZERO), Usage::default());
    // As the worker's loop, but that time passes as if steps had their real costs. It never sleeps.
    while is_busy(&world) {
        let turn_begun = world.now;
        let deferred = STEP * turn(&mut world, publisher) as u32;
        world.now += deferred + PACKET;
        usage.cpu += deferred + PACKET;
        let turn = Turn { begun: turn_begun, ended: world.now, received: 1, kept_awake: true, deferred };
        if overload.end_turn(&turn) {
            overload.measure(world.now, usage);
            world.shard.shed(world.now, overload.shed());
        }
    }
    assert!(world.now.since(begun) >= Duration::from_millis(300), "as long as a storm lasts");
    assert_eq!((overload.shed(), world.dropped(DropReason::Overload)), (0, 0));
    world.assert_ledger();
}

#[test]
fn what_finds_no_place_is_counted_and_comes_again() {
    let mut world = World::new(32);
    let each = usize::from(PER_TRANSPORT_MAX);
    let joined = crowd(&mut world, HELLOS_MAX / each + 10);
    for &index in &joined {
        (0..each).for_each(|_| say_hello(&mut world, index));
    }
    let refused = joined.len() * each - HELLOS_MAX;
    assert_eq!(world.dropped(DropReason::DtlsBusy), refused as u64);
    world.run(Duration::from_secs(3));
    assert!(joined.iter().all(|&index| world.peers[index as usize].is_keyed()), "everybody came in");
    assert_eq!(count(&world, Count::TransportsConnected), joined.len() as u64);
    world.assert_ledger();
}

#[test]
fn nobody_takes_the_places_of_others() {
    let mut world = World::new(33);
    let joined = crowd(&mut world, 2);
    (0..100).for_each(|_| say_hello(&mut world, joined[0]));
    say_hello(&mut world, joined[1]);
    assert_eq!(world.dropped(DropReason::DtlsBusy), 100 - u64::from(PER_TRANSPORT_MAX));
    let turns = (usize::from(PER_TRANSPORT_MAX) + 1).div_ceil(STEPS_PER_TURN);
    (0..turns).for_each(|_| world.turn());
    assert_eq!(count(&world, Count::TransportsConnected), 2);
    world.assert_ledger();
}

#[test]
fn what_waits_for_a_transport_that_ends_is_counted_and_reaches_no_other() {
    let mut world = World::new(34);
    let gone = crowd(&mut world, 1)[0];
    (0..3).for_each(|_| say_hello(&mut world, gone));
    world.command(Command::CloseTransport(CloseTransport { transport_id: World::transport_id(gone) }));
    assert_eq!(world.dropped(DropReason::DtlsUnexpected), 3);
    // It takes the place of the one that went.
    crowd(&mut world, 1);
    world.turn();
    assert_eq!((count(&world, Count::RxDtls), count(&world, Count::TransportsConnected)), (0, 0));
    world.assert_ledger();
}

/// Anybody can write a client's address, so what no engine has a use for takes no place from its hello.
#[test]
fn junk_from_a_clients_address_takes_no_place() {
    let mut world = World::new(36);
    let joined = crowd(&mut world, 1)[0];
    let address = world.peers[joined as usize].address;
    (0..100).for_each(|_| world.inject(address, &[22; 60]));
    say_hello(&mut world, joined);
    world.turn();
    assert_eq!(count(&world, Count::TransportsConnected), 1);
    assert_eq!((world.dropped(DropReason::DtlsRefused), world.dropped(DropReason::DtlsBusy)), (100, 0));
    world.assert_ledger();
}
