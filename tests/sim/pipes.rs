//! One room on two shards: the real cores, mailboxes, queues and control side.

use crate::seeds;
use relay_control::{
    CloseTransport, Command, ErrorCode, EventBody, RemoveTrack, ReplyBody, TransportInfo, TransportState,
};
use relay_core::command::RefusalCode;
use relay_core::id::Ssrc;
use relay_core::outbox::VecOutbox;
use relay_core::port::OpenPort;
use relay_core::srtp::SrtpProfile;
use relay_core::stats::{Count, DropReason, Ledger};
use relay_core::wire::rtcp;
use relay_port::{Entry, Load, Message, PortId};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::peer::Received;
use tests::{Link, Shards, World};

/// A room has two transports on a shard before it uses the other one.
const BUDGET: usize = 2;

/// Who receives: the client, and the SSRC it does so under.
type Subscriber = (u32, Ssrc);

/// Publisher 0 and subscriber 1 on shard 0, subscribers 2 and 3 on shard 1, the others in turn.
fn room(world: &mut Shards, subscribers: u32) -> Vec<Subscriber> {
    let publisher = world.join(1);
    world.publish(publisher, 1_000);
    let joined = (0..subscribers).map(|_| {
        let peer = world.join(1);
        (peer, world.subscribe(peer, publisher))
    });
    let joined = joined.collect();
    let shards: Vec<usize> = (0..4.min(subscribers + 1)).map(|peer| world.shard_of(peer)).collect();
    assert!([0, 0, 1, 1].starts_with(&shards), "the room outgrew its budget: {shards:?}");
    world.run(Duration::from_secs(2));
    joined
}

fn received(world: &Shards, (peer, ssrc): Subscriber) -> &Received {
    &world.peers[peer as usize].received[&ssrc]
}

fn packets(world: &Shards, subscriber: Subscriber) -> usize {
    received(world, subscriber).packets.len()
}

/// Numbers between the first and the last received that never came.
fn holes(received: &Received) -> usize {
    let numbers: BTreeSet<u32> = received.packets.iter().map(|(_, payload)| payload.number).collect();
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return usize::MAX };
    (last - first + 1) as usize - numbers.len()
}

#[test]
fn a_packet_crosses_once_and_all_get_all_in_order() {
    for profile in SrtpProfile::ALL {
        let mut world = Shards::with_profile(1, 2, BUDGET, profile);
        let subscribers = room(&mut world, 9);
        let before = [Count::RxRtp, Count::PipeSent].map(|what| world.count(0, what));
        let fan_out = world.count(1, Count::FanOut);
        world.run(Duration::from_secs(5));
        let [came, crossed] =
            [(0, Count::RxRtp), (1, Count::PipeSent)].map(|(i, what)| world.count(0, what) - before[i]);
        assert!(came >= 498, "{came}");
        assert_eq!(crossed, came, "{profile:?}: once per shard, not per subscriber");
        let remote = subscribers.iter().filter(|(peer, _)| world.shard_of(*peer) == 1).count() as u64;
        assert_eq!((world.count(1, Count::FanOut) - fan_out, remote), (came * remote, 5));
        for subscriber in subscribers {
            let received = received(&world, subscriber);
            assert!(received.packets.len() > 500, "{profile:?} {subscriber:?}: {}", received.packets.len());
            assert!(received.packets.is_sorted(), "in order");
            assert_eq!((holes(received), received.recovered), (0, 0), "{subscriber:?}: nothing lost");
            assert!(received.packets[0].1.keyframe, "video begins with a keyframe");
            assert!(received.reports >= 4, "a sender report a second");
        }
        assert_eq!(world.dropped_in(Ledger::PipeOut) + world.dropped_in(Ledger::PipeIn), 0);
        assert_eq!(world.count(1, Count::RxRtp), 0, "nothing is decrypted twice");
        world.assert_ledger();
    }
}

#[test]
fn a_full_queue_is_a_counted_drop_and_holds_up_nobody_else() {
    let mut world = Shards::new(2, 2, BUDGET);
    let subscribers = room(&mut world, 3);
    let (near, far) = (subscribers[0], subscribers[1]);
    let before = (packets(&world, near), packets(&world, far), world.count(0, Count::PipeSent));
    world.stalled = Some(1);
    world.run(Duration::from_secs(8));
    let full = world.dropped(0, DropReason::PipeFull);
    let load = Load { videos: 1, ..Load::default() };
    assert_eq!(world.count(0, Count::PipeSent) - before.2, load.entries() as u64);
    assert!(full > 200, "{full}");
    assert!(packets(&world, near) - before.0 > 790, "shard 0 goes on");
    assert!(packets(&world, far) - before.1 <= 2, "what had been sent before");

    world.stalled = None;
    world.run(Duration::from_secs(3));
    assert_eq!(world.dropped(0, DropReason::PipeFull), full, "it flows again");
    assert_eq!(holes(received(&world, far)) as u64, full, "what was dropped, and nothing else");
    assert!(received(&world, far).packets.last().expect("some").1.number > 1_250, "up to date");
    world.assert_ledger();
}

#[test]
fn loss_on_both_legs_is_mended_on_both_shards() {
    for seed in seeds() {
        let mut world = Shards::new(seed, 2, BUDGET);
        let subscribers = room(&mut world, 3);
        world.net.set_link(Link::lossy(5));
        world.run(Duration::from_secs(20));
        world.net.set_link(Link::GOOD);
        world.run(Duration::from_secs(2));
        assert!(world.count(0, Count::RxRtxRecovered) > 0, "the publisher's shard asks the publisher");
        assert_eq!(world.count(1, Count::NacksSent), 0, "and no other does");
        assert!(world.count(1, Count::TxRtx) > 0, "the subscribers' shard answers from its own history");
        for subscriber in subscribers {
            let received = received(&world, subscriber);
            let (holes, all) = (holes(received), received.packets.len());
            assert!(all > 2_000 && holes * 1_000 <= all * 2, "seed {seed}: {holes} holes of {all}");
        }
        world.assert_ledger();
    }
}

#[test]
fn keyframe_requests_of_both_shards_merge() {
    let mut world = Shards::new(3, 2, BUDGET);
    let subscribers = room(&mut world, 20);
    let start = world.now;
    for _ in 0..200 {
        for (peer, _) in &subscribers {
            world.peers[*peer as usize].send_pli();
        }
        world.run(Duration::from_millis(50));
    }
    let requests = &world.peers[0].sending.as_ref().expect("it publishes").requests;
    // What each of them may ask for in 10 s: at once, after 1, 3 and 7 s.
    assert!(requests.iter().filter(|at| **at >= start).count() >= 4, "the crowd is heard");
    for pair in requests.windows(2) {
        assert!(pair[1].since(pair[0]) >= Duration::from_millis(495), "at most one per 500 ms");
    }
    assert_eq!(world.count(1, Count::KeyframesAsked), 0, "a publisher is asked by its own shard");
    assert!((4..=6).contains(&world.count(1, Count::PipeKeyframesAsked)), "merged before they cross");
    world.assert_ledger();
}

#[test]
fn a_late_joiner_on_another_shard_gets_a_keyframe_at_once() {
    let mut world = Shards::new(4, 2, BUDGET);
    room(&mut world, 1);
    world.run(Duration::from_secs(10));
    let late = world.join(1);
    assert_eq!(world.shard_of(late), 1);
    let ssrc = world.subscribe(late, 0);
    world.run(Duration::from_millis(600));
    let received = received(&world, (late, ssrc));
    assert!(received.packets.first().is_some_and(|(_, payload)| payload.keyframe));
    assert!(received.packets.len() > 20);
}

#[test]
fn a_jump_of_the_numbering_is_mended_for_subscribers_elsewhere() {
    let mut world = Shards::new(13, 2, BUDGET);
    let publisher = world.join(1);
    world.publish(publisher, 1_000);
    world.join(1);
    let far = world.join(1);
    let far = (far, world.subscribe(far, publisher));
    assert_eq!(world.shard_of(far.0), 1, "nobody listens on shard 0");
    world.run(Duration::from_secs(3));
    let sending = world.peers[0].sending.as_mut().expect("it publishes");
    let before = sending.requests.len();
    sending.packets.skip_to(sending.packets.next() + 20_000);
    world.run(Duration::from_millis(500));
    assert_eq!(world.count(0, Count::UpResync), 1);
    let after = world.peers[0].sending.as_ref().expect("it publishes").requests.len();
    assert_eq!(after - before, 1, "a keyframe is asked for");
    world.run(Duration::from_secs(1));
    let packets = &received(&world, far).packets;
    assert!(packets.len() > 420 && packets.iter().filter(|(_, p)| p.keyframe).count() >= 2);
    world.assert_ledger();
}

#[test]
fn a_new_ssrc_continues_the_track_on_both_shards() {
    let mut world = Shards::new(5, 2, BUDGET);
    let subscribers = room(&mut world, 3);
    let own = world.peers[0].sending.as_ref().expect("it publishes").ssrc;
    let mut before: Vec<usize> = subscribers.iter().map(|s| packets(&world, *s)).collect();
    for (next, first_index) in [(Ssrc(0x2000_0000), 7), (own, 40_000), (Ssrc(0x2000_0000), 30_000)] {
        world.peers[0].switch_ssrc(next, first_index);
        world.run(Duration::from_secs(2));
        for (subscriber, before) in subscribers.iter().zip(&mut before) {
            let received = received(&world, *subscriber);
            assert!(received.packets.windows(2).all(|w| w[0].0 + 1 == w[1].0), "one numbering, no holes");
            assert!(received.packets.len() - *before > 150, "{subscriber:?}: each source is forwarded");
            *before = received.packets.len();
        }
    }
    world.assert_ledger();
}

/// RTP timestamp of payload 0 at NTP time 0, as a subscriber's last report and packet have it.
fn clock_of(received: &Received) -> u32 {
    let ((ntp, at), (number, timestamp)) =
        (received.last_report.expect("a report"), received.last_packet.expect("a packet"));
    // 90 ticks a millisecond, a payload every 10 ms.
    let ticks = (u128::from(ntp) * 90_000) >> 32;
    at.wrapping_sub(ticks as u32).wrapping_sub(timestamp.wrapping_sub(number.wrapping_mul(900)))
}

#[test]
fn subscribers_on_both_shards_are_told_the_same_clock() {
    let mut world = Shards::new(6, 2, BUDGET);
    let subscribers = room(&mut world, 3);
    let without: Vec<u32> = subscribers.iter().map(|s| clock_of(received(&world, *s))).collect();
    // The publisher says that its pictures are half a second older than they seem.
    let ssrc = world.peers[0].sending.as_ref().expect("it publishes").ssrc;
    for _ in 0..4 {
        let (now_us, ntp) = (world.now.as_micros(), 3_800_000_000u64 << 32);
        let ntp = ntp + ((now_us << 32) / 1_000_000);
        let timestamp = ((now_us - 500_000) * 9 / 100) as u32;
        world.peers[0].send_rtcp(|out| rtcp::write_sr(out, ssrc, ntp, timestamp, 0, 0, &[]));
        world.run(Duration::from_secs(1));
    }
    let with: Vec<u32> = subscribers.iter().map(|s| clock_of(received(&world, *s))).collect();
    for (clocks, why) in [(&without, "by arrival"), (&with, "as reported")] {
        for clock in clocks {
            assert!(clock.wrapping_sub(clocks[0]).cast_signed().abs() <= 90, "{why}: {clocks:?}");
        }
    }
    let moved = without[0].wrapping_sub(with[0]).cast_signed();
    assert!((moved - 45_000).abs() <= 1_800, "half a second: {moved}");
    assert!(world.dropped_in(Ledger::Own) == 0 && world.crossed() > 0);
}

fn remove(world: &mut Shards, track_id: u64) {
    world.command(Command::RemoveTrack(RemoveTrack { track_id }));
}

fn close(world: &mut Shards, peer: u32) {
    let transport_id = World::transport_id(peer);
    world.command(Command::CloseTransport(CloseTransport { transport_id }));
    world.peers[peer as usize].alive = false;
}

fn down_tracks(inventory: &[TransportInfo]) -> usize {
    inventory.iter().map(|transport| transport.down_tracks.len()).sum()
}

#[test]
fn the_end_of_a_track_ends_it_on_all_shards() {
    type End = fn(&mut Shards);
    let ends: [(&str, End); 4] = [
        ("removed", |world| remove(world, World::up_track_id(0))),
        ("closed", |world| close(world, 0)),
        ("vanished", |world| {
            world.peers[0].alive = false;
            world.run(Duration::from_secs(35));
        }),
        // Nothing fits any more: the end waits for room, and is not lost.
        ("removed while the queue is full", |world| {
            world.stalled = Some(1);
            world.run(Duration::from_secs(7));
            assert!(world.dropped(0, DropReason::PipeFull) > 0);
            remove(world, World::up_track_id(0));
            world.stalled = None;
            world.run(Duration::from_secs(1));
        }),
    ];
    for (name, end) in ends {
        let mut world = Shards::new(7, 2, BUDGET);
        let subscribers = room(&mut world, 5);
        assert_eq!(down_tracks(&world.inventory()), 5);
        end(&mut world);
        let inventory = world.inventory();
        assert_eq!(down_tracks(&inventory), 0, "{name}: without a moment's delay");
        assert!(inventory.iter().all(|transport| transport.up_tracks.is_empty()), "{name}");
        assert!(subscribers.iter().all(|(peer, _)| world.failed(*peer).is_none()), "{name}: the peers stay");
        let crossed = world.count(0, Count::PipeSent);
        world.run(Duration::from_secs(1));
        assert_eq!(world.count(0, Count::PipeSent), crossed, "{name}");
        world.assert_ledger();
    }
}

#[test]
fn a_pipe_that_nobody_uses_is_closed_and_opened_again() {
    let mut world = Shards::new(8, 2, BUDGET);
    let subscribers = room(&mut world, 3);
    let down = |peer: u32| 3_000_000 + u64::from(peer) * 1_000;
    remove(&mut world, down(2));
    close(&mut world, 3);
    world.run(Duration::from_secs(1));
    let mut sent = world.count(0, Count::PipeSent);
    // Somebody comes back while it is still open: nothing needs to begin anew.
    let again = (2, world.subscribe(2, 0));
    world.run(Duration::from_secs(20));
    assert!(world.count(0, Count::PipeSent) - sent >= 1_990, "stays open while it is used");
    assert!(packets(&world, again) > 1_900);
    // Now nobody is left there.
    remove(&mut world, down(2));
    world.run(Duration::from_secs(11));
    sent = world.count(0, Count::PipeSent);
    world.run(Duration::from_secs(5));
    assert_eq!(world.count(0, Count::PipeSent), sent, "closed within twice five seconds");
    assert_eq!(world.dropped(1, DropReason::PipeStale), 0, "the queue was empty");

    let third = (2, world.subscribe(2, 0));
    world.run(Duration::from_secs(2));
    assert!(packets(&world, third) > 150 && holes(received(&world, third)) == 0, "opened again");
    assert!(packets(&world, subscribers[0]) > 3_500, "shard 0 never noticed");
    world.assert_ledger();
}

#[test]
fn a_late_word_to_close_means_nothing_once_the_pipe_was_opened_again() {
    let mut world = Shards::new(9, 2, BUDGET);
    let subscribers = room(&mut world, 2);
    let (track_id, far) = (World::up_track_id(0), subscribers[1]);
    let say = |world: &mut Shards, opening| {
        let mut entry = Entry::default();
        entry.write(Message::Close { track_id, opening });
        let now = world.now;
        world.drivers[0].shard.handle_entry(now, PortId::shard(1), &mut entry, &mut VecOutbox::default());
    };
    world.command(World::subscription(2, 0));
    let before = packets(&world, far);
    say(&mut world, 1);
    world.run(Duration::from_secs(1));
    assert!(packets(&world, far) - before > 90, "opening 2 is another one");
    say(&mut world, 2);
    world.run(Duration::from_secs(1));
    assert!(packets(&world, far) - before < 110, "that was the word");
    world.assert_ledger();
}

#[test]
fn packets_never_leave_their_room_whatever_shard_they_are_on() {
    let mut world = Shards::new(10, 2, 1);
    for round in 0..20u64 {
        let mut members = Vec::new();
        for room in [round * 2, round * 2 + 1] {
            let (a, b) = (world.join(room), world.join(room));
            assert_ne!(world.shard_of(a), world.shard_of(b), "each room is on both shards");
            for peer in [a, b] {
                world.publish(peer, 1);
            }
            world.subscribe(a, b);
            world.subscribe(b, a);
            members.extend([a, b]);
        }
        // Across rooms: refused, on the own shard and on the other, and nothing of it is piped.
        for publisher in [members[0], members[1]] {
            let reply = world.try_command(World::subscription(members[2], publisher));
            assert!(matches!(&reply, ReplyBody::Error(e) if e.code() == ErrorCode::Mismatch), "{reply:?}");
        }
        world.run(Duration::from_millis(900));
        for &peer in &members {
            let me = &world.peers[peer as usize];
            let all: Vec<_> = me.received.values().flat_map(|r| &r.packets).collect();
            assert!(!all.is_empty(), "peer {peer} receives");
            assert!(all.iter().all(|(_, p)| p.room == me.room && p.sender != peer), "only its own room");
        }
        for peer in members {
            close(&mut world, peer);
        }
    }
    assert!(world.inventory().is_empty());
    world.assert_ledger();
}

#[test]
fn the_publishers_shard_itself_refuses_another_room() {
    let mut world = Shards::new(11, 2, BUDGET);
    room(&mut world, 2);
    let track_id = World::up_track_id(0);
    for (order, code) in [
        (OpenPort { track_id, to: PortId::shard(1), room_id: Some(2) }, RefusalCode::Mismatch),
        (OpenPort { track_id: 5, to: PortId::shard(1), room_id: Some(1) }, RefusalCode::UnknownTrack),
    ] {
        let reply = world.drivers[0].shard.open_port(order);
        assert_eq!(reply.map_err(|refused| refused.code), Err(code), "{order:?}");
    }
    // What comes by a pipe is not piped on.
    let reply =
        world.drivers[1].shard.open_port(OpenPort { track_id, to: PortId::shard(0), room_id: Some(1) });
    assert_eq!(reply.map_err(|refused| refused.code), Err(RefusalCode::UnknownTrack));
}

#[test]
fn a_controller_sees_each_track_once_and_its_events_once() {
    let mut world = Shards::new(12, 2, BUDGET);
    room(&mut world, 5);
    let inventory = world.inventory();
    let ups: Vec<u64> = inventory.iter().flat_map(|t| &t.up_tracks).map(|up| up.track_id).collect();
    assert_eq!(ups, [World::up_track_id(0)]);
    assert_eq!(inventory.iter().map(|t| t.shard).collect::<BTreeSet<u32>>(), BTreeSet::from([0, 1]));
    for transport in &inventory {
        assert_eq!(transport.state(), TransportState::Connected);
        assert!(transport.down_tracks.iter().all(|down| down.up_track_id == World::up_track_id(0)));
    }
    assert_eq!(down_tracks(&inventory), 5);
    // A repeated subscription is answered as the first one was.
    for peer in [1, 2] {
        let first = world.command(World::subscription(peer, 0));
        assert_eq!(world.command(World::subscription(peer, 0)), first);
    }
    // Silence, and sound again: told by one shard only.
    let sending = world.peers[0].sending.take();
    world.run(Duration::from_secs(10));
    world.peers[0].sending = sending;
    world.run(Duration::from_secs(1));
    let activity = world.events.iter().filter_map(|event| match event {
        EventBody::UpTrackActivity(activity) => Some(activity.active),
        _ => None,
    });
    assert_eq!(activity.collect::<Vec<_>>(), [true, false, true]);
    world.assert_ledger();
}
