//! A shard that does not keep up: whose video is withheld, in which order, and how it comes back.

use crate::batches::{batch, room};
use relay_control::{
    AddDownTrack, AddUpTrack, Codec, Command, ErrorCode, MediaKind, Priority, RemoveTrack, ReplyBody,
    RtpParameters,
};
use relay_core::shed::SHED_STEPS;
use relay_core::stats::DropReason;
use std::time::Duration;
use tests::{Shards, World};

/// Adds a peer that publishes with this priority.
fn publish(world: &mut World, priority: Priority) -> u32 {
    let publisher = world.join(1);
    let (command, ssrc) = publication(publisher, priority);
    world.command(command);
    world.peers[publisher as usize].publish(ssrc, 1);
    publisher
}

fn publication(publisher: u32, priority: Priority) -> (Command, relay_core::id::Ssrc) {
    let (command, ssrc) = World::publication(publisher);
    let Command::AddUpTrack(up) = command else { unreachable!("a publication") };
    (Command::AddUpTrack(AddUpTrack { priority: priority.into(), ..up }), ssrc)
}

fn subscribe(world: &mut World, publisher: u32, count: usize) {
    for _ in 0..count {
        let subscriber = world.join(1);
        world.subscribe(subscriber, publisher);
    }
}

/// Packets that leave for one of each publisher.
fn served(world: &mut World, publishers: &[u32]) -> Vec<usize> {
    publishers.iter().map(|publisher| batch(world, *publisher, 1).sent.len()).collect()
}

/// Keyframe requests that a publisher has received.
fn asked(world: &World, publisher: u32) -> usize {
    world.peers[publisher as usize].sending.as_ref().map_or(0, |sending| sending.requests.len())
}

#[test]
fn a_shard_that_does_not_keep_up_sheds_video_and_takes_it_back() {
    let (mut world, publisher, ssrcs) = room(12, 16);
    for (steps, served) in [(0, 16), (1, 14), (4, 8), (SHED_STEPS, 0)] {
        world.shard.shed(world.now, steps);
        let outbox = batch(&mut world, publisher, 2);
        assert_eq!(outbox.sent.len(), 2 * served, "{steps} steps are shed");
    }
    assert_eq!(world.dropped(DropReason::Overload), 2 * (2 + 8 + 16));
    let asked = world.peers[publisher as usize].sending.as_ref().map(|sending| sending.requests.len());
    world.shard.shed(world.now, 0);
    let outbox = batch(&mut world, publisher, 1);
    assert!(outbox.sent.is_empty(), "the picture begins with a keyframe");
    world.run(Duration::from_secs(1));
    let sending = world.peers[publisher as usize].sending.as_ref();
    assert!(sending.map(|sending| sending.requests.len()) > asked, "which is asked for");
    let outbox = batch(&mut world, publisher, 1);
    assert_eq!(outbox.sent.len(), ssrcs.len());
}

#[test]
fn who_gets_nothing_asks_for_no_keyframe() {
    let (mut world, publisher, _) = room(16, 4);
    world.shard.shed(world.now, SHED_STEPS);
    world.run(Duration::from_secs(2));
    let before = asked(&world, publisher);
    for peer in &mut world.peers[1..] {
        peer.send_pli();
    }
    // And who comes now is not served either.
    subscribe(&mut world, publisher, 1);
    world.run(Duration::from_secs(2));
    assert_eq!(asked(&world, publisher), before, "for nobody");
    assert_eq!(world.dropped(DropReason::KeyframeShed), 4);
    world.shard.shed(world.now, 0);
    world.run(Duration::from_secs(1));
    assert!(asked(&world, publisher) > before, "once they are served again");
    world.assert_ledger();
}

#[test]
fn each_stream_loses_the_same_share_of_its_subscribers() {
    let mut world = World::new(14);
    let publishers = [world.join(1), world.join(1)];
    publishers.iter().for_each(|publisher| world.publish(*publisher, 1));
    for _ in 0..8 {
        for publisher in publishers {
            let subscriber = world.join(1);
            world.subscribe(subscriber, publisher);
        }
    }
    world.run(Duration::from_secs(3));
    for (steps, served) in [(1, 7), (3, 5), (7, 1)] {
        world.shard.shed(world.now, steps);
        for publisher in publishers {
            assert_eq!(batch(&mut world, publisher, 1).sent.len(), served, "{steps} steps are shed");
        }
    }
}

/// A publisher of audio and so many subscribers.
fn audio(world: &mut World, subscribers: usize) -> u32 {
    let of_audio = |rtp: RtpParameters| RtpParameters {
        kind: MediaKind::Audio.into(),
        codec: Codec::Opus.into(),
        clock_rate_hz: 48_000,
        ..rtp
    };
    let publisher = world.join(1);
    let (command, ssrc) = publication(publisher, Priority::VeryLow);
    let Command::AddUpTrack(up) = command else { unreachable!("a publication") };
    world.command(Command::AddUpTrack(AddUpTrack { rtp: of_audio(up.rtp.clone()), ..up }));
    world.peers[publisher as usize].publish(ssrc, 1);
    for _ in 0..subscribers {
        let subscriber = world.join(1);
        let Command::AddDownTrack(down) = World::subscription(subscriber, publisher) else {
            unreachable!("a subscription")
        };
        let down = AddDownTrack { rtp: of_audio(down.rtp.clone()), ..down };
        let ReplyBody::DownTrackAdded(added) = world.command(Command::AddDownTrack(down)) else {
            panic!("not added")
        };
        world.peers[subscriber as usize].receives(&added);
    }
    publisher
}

#[test]
fn a_low_priority_is_shed_whole_before_the_next_and_comes_back_last() {
    let mut world = World::new(15);
    let publishers =
        [Priority::Low, Priority::Medium, Priority::High].map(|priority| publish(&mut world, priority));
    publishers.iter().for_each(|publisher| subscribe(&mut world, *publisher, 8));
    let audio = audio(&mut world, 4);
    world.run(Duration::from_secs(3));
    let steps: [[usize; 3]; 9] =
        [[8, 8, 8], [5, 8, 8], [2, 8, 8], [0, 7, 8], [0, 4, 8], [0, 1, 8], [0, 0, 6], [0, 0, 3], [0, 0, 0]];
    for (step, expected) in (0..=SHED_STEPS).zip(&steps) {
        world.shard.shed(world.now, step);
        assert_eq!(served(&mut world, &publishers), expected, "at step {step}");
        assert_eq!(served(&mut world, &[audio]), [4], "audio, at step {step}");
    }
    for (step, expected) in (0..=SHED_STEPS).zip(&steps).rev() {
        let before = publishers.map(|publisher| asked(&world, publisher));
        let were = served(&mut world, &publishers);
        world.shard.shed(world.now, step);
        world.run(Duration::from_secs(1));
        assert_eq!(served(&mut world, &publishers), expected, "back at step {step}");
        for ((publisher, before), (was, is)) in publishers.iter().zip(before).zip(were.iter().zip(expected)) {
            assert_eq!(asked(&world, *publisher) > before, is > was, "a keyframe for whom it is restored");
        }
    }
}

#[test]
fn who_comes_and_goes_while_the_shard_sheds_moves_the_cut() {
    let mut world = World::new(16);
    let publishers = [Priority::VeryLow, Priority::Medium].map(|priority| publish(&mut world, priority));
    publishers.iter().for_each(|publisher| subscribe(&mut world, *publisher, 8));
    world.run(Duration::from_secs(3));
    world.shard.shed(world.now, 4);
    assert_eq!(served(&mut world, &publishers), [0, 8]);
    // More of those who go first: half of all are now fewer than there are.
    subscribe(&mut world, publishers[0], 8);
    world.run(Duration::from_secs(3));
    world.shard.shed(world.now, 4);
    world.run(Duration::from_secs(1));
    assert_eq!(served(&mut world, &publishers), [4, 8], "those taken back had their keyframe");
    // Without them the others bear it.
    world.command(Command::RemoveTrack(RemoveTrack { track_id: World::up_track_id(publishers[0]) }));
    assert_eq!(served(&mut world, &publishers[1..]), [8], "until the next look");
    world.shard.shed(world.now, 4);
    assert_eq!(served(&mut world, &publishers[1..]), [4]);
}

#[test]
fn a_priority_is_checked_kept_and_told() {
    let mut world = World::new(17);
    let publisher = publish(&mut world, Priority::High);
    let told = |world: &World| world.inventory()[0].up_tracks[0].priority();
    assert_eq!(told(&world), Priority::High);
    let (again, _) = publication(publisher, Priority::High);
    assert!(matches!(world.command(again), ReplyBody::UpTrackAdded(_)));
    let refused = |world: &mut World, priority: i32, track_id: u64| {
        let (command, _) = World::publication(publisher);
        let Command::AddUpTrack(up) = command else { unreachable!("a publication") };
        match world.try_command(Command::AddUpTrack(AddUpTrack { priority, track_id, ..up })) {
            ReplyBody::Error(error) => (error.code(), error.message),
            other => panic!("{other:?}"),
        }
    };
    let known = World::up_track_id(publisher);
    assert_eq!(refused(&mut world, Priority::Low.into(), known).0, ErrorCode::IdInUse);
    for priority in [-1, 4, i32::MAX] {
        let (code, message) = refused(&mut world, priority, known + 1);
        assert_eq!(code, ErrorCode::BadRequest);
        let expected = format!("priority is {priority}, not 0 (medium), 1 (very low), 2 (low) or 3 (high)");
        assert_eq!(message, expected);
    }
    assert_eq!((told(&world), world.inventory()[0].up_tracks.len()), (Priority::High, 1));
}

/// Each shard sheds for itself, also what is published on another one.
#[test]
fn a_priority_crosses_with_its_track() {
    let mut world = Shards::new(18, 2, 2);
    let publishers = [Priority::High, Priority::Low].map(|priority| {
        let publisher = world.join(1);
        let (command, ssrc) = publication(publisher, priority);
        world.command(command);
        world.peers[publisher as usize].publish(ssrc, 1);
        publisher
    });
    let subscribers = [world.join(1), world.join(1)];
    let shards = publishers.into_iter().chain(subscribers).map(|peer| world.shard_of(peer));
    assert_eq!(shards.collect::<Vec<_>>(), [0, 0, 1, 1]);
    let ssrcs = subscribers.map(|peer| (peer, publishers.map(|publisher| world.subscribe(peer, publisher))));
    world.run(Duration::from_secs(3));
    let now = world.now;
    world.drivers[1].shard.shed(now, SHED_STEPS / 2);
    let packets = |world: &Shards| {
        ssrcs.map(|(peer, ssrcs)| ssrcs.map(|ssrc| world.peers[peer as usize].received[&ssrc].packets.len()))
    };
    world.run(Duration::from_millis(100));
    let before = packets(&world);
    world.run(Duration::from_secs(1));
    for (before, after) in before.iter().zip(packets(&world)) {
        assert!(after[0] > before[0] + 90, "the high one is served");
        assert_eq!(after[1], before[1], "the low one is not");
    }
    assert!(world.dropped(1, DropReason::Overload) > 180);
    let now = world.now;
    world.drivers[1].shard.shed(now, 0);
    world.run(Duration::from_secs(2));
    for (before, after) in before.iter().zip(packets(&world)) {
        assert!(after[1] > before[1] + 90, "it comes back, by a keyframe from the other shard");
    }
    world.assert_ledger();
}
