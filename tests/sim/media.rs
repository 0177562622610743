//! What subscribers get: everything, once, in order, from their own room, whatever the network does.

use crate::seeds;
use relay_control::{Command, ReplyBody};
use relay_core::id::{SeqNo, Ssrc};
use relay_core::srtp::SrtpProfile;
use relay_core::stats::{Count, DropReason};
use relay_core::time::Time;
use relay_core::wire::rtcp::{self, ReportBlock};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::peer::{FRAME_INTERVAL, Received};
use tests::{Link, World};

/// A call of two, connected: publisher 0, subscriber 1, and the SSRC the latter receives.
fn call(world: &mut World, first_index: u64) -> Ssrc {
    let (publisher, subscriber) = (world.join(1), world.join(1));
    world.publish(publisher, first_index);
    let ssrc = world.subscribe(subscriber, publisher);
    world.run(Duration::from_secs(2));
    ssrc
}

fn numbers(received: &Received) -> BTreeSet<u32> {
    received.packets.iter().map(|(_, payload)| payload.number).collect()
}

/// Numbers between the first and the last received that never came.
fn holes(received: &Received) -> usize {
    let numbers = numbers(received);
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return usize::MAX };
    (last - first + 1) as usize - numbers.len()
}

#[test]
fn everything_arrives_once_and_in_order_under_every_profile() {
    for profile in SrtpProfile::ALL {
        let mut world = World::with_profile(1, profile);
        let ssrc = call(&mut world, 1_000);
        world.run(Duration::from_secs(5));
        let received = &world.peers[1].received[&ssrc];
        assert!(received.packets.len() > 500, "{profile:?}: {}", received.packets.len());
        assert!(received.packets.is_sorted(), "in order");
        assert_eq!(holes(received), 0);
        assert!(received.packets[0].1.keyframe, "video begins with a keyframe");
        assert_eq!(received.recovered, 0);
        assert!(received.reports >= 4, "a sender report a second");
        world.assert_ledger();
    }
}

#[test]
fn loss_on_both_legs_is_mended_by_nack_and_rtx() {
    for seed in seeds() {
        for percent in [2, 10] {
            let mut world = World::new(seed);
            let ssrc = call(&mut world, 1_000);
            world.net.set_link(Link::lossy(percent));
            world.run(Duration::from_secs(20));
            // The last ones may still be on their way.
            world.net.set_link(Link::GOOD);
            world.run(Duration::from_secs(2));
            let received = &world.peers[1].received[&ssrc];
            let (holes, all) = (holes(received), received.packets.len());
            assert!(
                all > 2_000 && holes * 1_000 <= all * 2,
                "seed {seed}, {percent} %: {holes} holes of {all}"
            );
            assert!(received.recovered > 0, "by RTX from the relay");
            assert!(world.shard.counters().get(Count::RxRtxRecovered) > 0, "by RTX from the publisher");
            world.assert_ledger();
        }
    }
}

#[test]
fn a_wrap_of_sequence_numbers_survives_loss_at_the_wrap() {
    for start in [65_300, 65_400, 65_535] {
        for lost_run in [0, 1, 17, 100, 250] {
            let mut world = World::new(start ^ lost_run);
            let ssrc = call(&mut world, start);
            // Upstream silence around the wrap, longer than NACK can mend.
            world.net.set_link(Link { loss_percent: 100, ..Link::GOOD });
            world.run(FRAME_INTERVAL * u32::try_from(lost_run).expect("small"));
            world.net.set_link(Link::GOOD);
            let before = world.peers[1].received[&ssrc].packets.len();
            world.run(Duration::from_secs(5));
            let received = &world.peers[1].received[&ssrc];
            assert!(received.packets.len() >= before + 480, "start {start}, {lost_run} lost: flows again");
            let last = numbers(received).last().copied().expect("some");
            let sent = world.peers[0].sending.as_ref().expect("it publishes").number;
            assert!(sent - last < 10, "start {start}, {lost_run} lost: up to date");
            assert_eq!(
                world.dropped(relay_core::stats::DropReason::RtpAuth),
                0,
                "the roll-over counter was right"
            );
            world.assert_ledger();
        }
    }
}

#[test]
fn keyframe_requests_of_a_crowd_merge() {
    let mut world = World::new(5);
    let publisher = world.join(1);
    world.publish(publisher, 1);
    let subscribers: Vec<u32> = (0..50).map(|_| world.join(1)).collect();
    for &subscriber in &subscribers {
        world.subscribe(subscriber, publisher);
    }
    world.run(Duration::from_secs(2));
    let start = world.now;
    for _ in 0..200 {
        for &subscriber in &subscribers {
            world.peers[subscriber as usize].send_pli();
        }
        world.run(Duration::from_millis(50));
    }
    let requests = &world.peers[publisher as usize].sending.as_ref().expect("it publishes").requests;
    let during: Vec<_> = requests.iter().filter(|at| **at >= start).collect();
    // 50 with one and the same moment: what each may ask for in 10 s.
    assert!((4..=5).contains(&during.len()), "the crowd is heard: {}", during.len());
    for pair in requests.windows(2) {
        assert!(pair[1].since(pair[0]) >= Duration::from_millis(495), "at most one per 500 ms");
    }
    let counters = world.shard.counters();
    assert!(counters.get(Count::KeyframesMerged) + counters.get(Count::KeyframesDeferred) > 9_000);
    world.assert_ledger();
}

/// Keyframe requests that the publisher got from this moment on.
fn requests_since(world: &World, start: Time) -> Vec<Time> {
    let sending = world.peers[0].sending.as_ref().expect("it publishes");
    sending.requests.iter().copied().filter(|at| *at >= start).collect()
}

/// A keyframe is everybody's: each costs all the others bits and quality.
#[test]
fn a_viewer_on_a_bad_line_costs_the_others_few_keyframes() {
    let mut world = World::new(17);
    call(&mut world, 1_000);
    let other = world.join(1);
    world.subscribe(other, 0);
    world.run(Duration::from_secs(15));
    let start = world.now;
    for _ in 0..200 {
        world.peers[1].send_pli();
        world.peers[1].send_fir();
        world.run(Duration::from_millis(100));
    }
    let asked = requests_since(&world, start);
    assert_eq!(asked.len(), 5, "at once, and after 1, 3, 7 and 15 s: {asked:?}");
    assert!(asked[0].since(start) < Duration::from_millis(200));
    // Another one's first is heard at once, and so is one who joins.
    let start = world.now;
    world.peers[other as usize].send_pli();
    world.run(Duration::from_millis(200));
    assert_eq!(requests_since(&world, start).len(), 1);
    let late = world.join(1);
    let ssrc = world.subscribe(late, 0);
    world.run(Duration::from_secs(1));
    assert!(world.peers[late as usize].received[&ssrc].packets.len() > 20);
    // Who is well for a while is heard at once again.
    world.run(Duration::from_secs(70));
    let start = world.now;
    world.peers[1].send_pli();
    world.run(Duration::from_millis(200));
    assert_eq!(requests_since(&world, start).len(), 1);
    world.assert_ledger();
}

/// One who asks once and has to wait is served all the same.
#[test]
fn a_request_that_has_to_wait_is_not_forgotten() {
    let mut world = World::new(18);
    call(&mut world, 1_000);
    world.run(Duration::from_secs(15));
    let start = world.now;
    for _ in 0..2 {
        world.peers[1].send_pli();
        world.run(Duration::from_millis(300));
    }
    world.run(Duration::from_secs(2));
    let asked = requests_since(&world, start);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].since(asked[0]) >= Duration::from_millis(995), "{asked:?}");
    assert_eq!(world.shard.counters().get(Count::KeyframesDeferred), 1);
}

/// However many they are: keyframes that are asked for again and again stay a fifth of what is sent.
#[test]
fn a_crowd_on_bad_lines_leaves_the_publisher_most_of_its_bitrate() {
    let mut world = World::new(19);
    let publisher = world.join(1);
    world.publish(publisher, 1);
    // At one a second they would be a third of what is sent.
    world.peers[0].keyframe_packets = 50;
    let viewers: Vec<u32> = (0..30).map(|_| world.join(1)).collect();
    for &viewer in &viewers {
        world.subscribe(viewer, publisher);
    }
    world.run(Duration::from_secs(20));
    let start = world.now;
    for round in 0..600 {
        // Each begins at another moment, so that somebody's wait is always over.
        for &viewer in viewers.iter().filter(|viewer| **viewer * 7 < round) {
            world.peers[viewer as usize].send_pli();
        }
        world.run(Duration::from_millis(100));
    }
    let asked = requests_since(&world, start);
    // After the last of them has asked for the first time.
    for second in 25..50 {
        let (from, until) = (start + Duration::from_secs(second), start + Duration::from_secs(second + 10));
        let keyframes = asked.iter().filter(|at| (from..until).contains(*at)).count();
        assert!(keyframes * 50 * 100 <= (keyframes * 49 + 1_000) * 23, "{keyframes} from {second} s on");
    }
    assert!(asked.len() > 20, "they are heard: {}", asked.len());
    let late = world.join(1);
    let ssrc = world.subscribe(late, publisher);
    world.run(Duration::from_millis(1_300));
    assert!(world.peers[late as usize].received[&ssrc].packets.len() > 10, "a joiner does not wait for it");
    world.assert_ledger();
}

#[test]
fn a_late_joiner_gets_a_keyframe_at_once() {
    let mut world = World::new(6);
    call(&mut world, 1);
    world.run(Duration::from_secs(10));
    let late = world.join(1);
    let ssrc = world.subscribe(late, 0);
    world.run(Duration::from_millis(600));
    let received = &world.peers[late as usize].received[&ssrc];
    assert!(received.packets.first().is_some_and(|(_, payload)| payload.keyframe));
    assert!(received.packets.len() > 20);
}

#[test]
fn a_new_ssrc_continues_the_track_and_so_does_the_old_one_again() {
    let mut world = World::new(8);
    let ssrc = call(&mut world, 1_000);
    let own = world.peers[0].sending.as_ref().expect("it publishes").ssrc;
    let mut indices = vec![];
    for (next, first_index) in [(Ssrc(0x2000_0000), 7), (own, 40_000), (Ssrc(0x2000_0000), 30_000)] {
        world.peers[0].switch_ssrc(next, first_index);
        world.run(Duration::from_secs(2));
        let received = &world.peers[1].received[&ssrc];
        indices.push(received.packets.len());
        assert!(received.packets.windows(2).all(|w| w[0].0 + 1 == w[1].0), "one numbering without holes");
    }
    assert!(indices.windows(2).all(|w| w[1] - w[0] > 150), "each source is forwarded: {indices:?}");
    world.assert_ledger();
}

/// While the old SSRC may still be there, the new one waits: nothing says yet that it is not beside it.
#[test]
fn a_late_packet_of_the_old_ssrc_takes_nothing_back() {
    let mut world = World::new(10);
    let ssrc = call(&mut world, 1_000);
    // The last packets under the old SSRC are under way for longer than the first under the new one.
    let (now, me) = (world.now, &mut world.peers[0]);
    (0..3).for_each(|_| me.send_frame(now));
    let (address, late) = (me.address, me.take_out());
    me.switch_ssrc(Ssrc(0x2000_0000), 7);
    (0..3).for_each(|_| me.send_frame(now));
    let first = me.take_out();
    for (new, old) in first.iter().zip(&late) {
        world.inject(address, new);
        world.inject(address, old);
    }
    assert_eq!(world.dropped(DropReason::RtpOtherSource), 3);
    world.run(Duration::from_secs(2));
    // Those of 300 ms, and until its keyframe came.
    let waited = world.dropped(DropReason::RtpOtherSource);
    assert!((28..=34).contains(&waited), "{waited}");
    let received = &world.peers[1].received[&ssrc];
    assert!(received.packets.len() > 330, "{}", received.packets.len());
    let (first, last) = (received.seen.first().expect("some"), received.seen.last().expect("some"));
    assert_eq!((last - first + 1) as usize, received.seen.len(), "one numbering without holes");
    assert!(world.peers[0].sending.as_ref().expect("it sends").requests.len() <= 1);
    // One more of the old one, when the new one is there: counted, and it takes nothing back.
    world.inject(address, &late[0]);
    assert_eq!(world.dropped(DropReason::RtpReplay), 1);
    world.assert_ledger();
}

/// Layers that nobody negotiated, an encoder that is begun twice: one is forwarded, the others are counted.
#[test]
fn of_several_ssrcs_on_one_m_line_one_is_forwarded() {
    for (announced, others) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
        let mut world = World::new(14);
        let (publisher, subscriber) = (world.join(1), world.join(1));
        let (Command::AddUpTrack(mut add), own) = World::publication(publisher) else { unreachable!() };
        if !announced {
            (add.ssrc, add.rtx_ssrc) = (0, 0);
        }
        world.command(Command::AddUpTrack(add));
        world.peers[0].publish(own, 100);
        for other in 0..others {
            world.peers[0].publish_beside(Ssrc(0x2000_0000 + other * 16), 40_000);
        }
        let ssrc = world.subscribe(subscriber, publisher);
        world.run(Duration::from_secs(10));
        let received = &world.peers[1].received[&ssrc];
        let sent = world.peers[0].sending.as_ref().expect("it sends").number as usize;
        assert!(received.packets.len() + 10 > sent, "{} of {sent}", received.packets.len());
        assert!(received.packets.windows(2).all(|w| w[0].1.number + 1 == w[1].1.number), "of one source");
        let asked = world.shard.counters().get(Count::KeyframesAsked);
        let counted = world.dropped(DropReason::RtpOtherSource);
        assert!(asked <= 2, "{asked} keyframes asked for");
        assert!(counted + 10 * u64::from(others) >= sent as u64 * u64::from(others), "{counted}");
        // It ends, and one of the others takes over: for one keyframe.
        world.peers[0].sending = Some(world.peers[0].beside.remove(0));
        let (before, reported) = (received_of(&world, 1, ssrc), world.peers[1].received[&ssrc].reports);
        world.run(Duration::from_secs(5));
        let flowed = received_of(&world, 1, ssrc) - before;
        assert!((270..=300).contains(&flowed), "2 s later: {flowed}");
        assert_eq!(world.shard.counters().get(Count::KeyframesAsked), asked + 1);
        assert!(world.peers[1].received[&ssrc].reports > reported + 2);
        world.assert_ledger();
    }
}

fn received_of(world: &World, peer: usize, ssrc: Ssrc) -> usize {
    world.peers[peer].received[&ssrc].packets.len()
}

/// One that was announced is what the publisher means, though another one came first.
#[test]
fn an_announced_ssrc_is_preferred() {
    let mut world = World::new(15);
    let (publisher, subscriber) = (world.join(1), world.join(1));
    let (add, own) = World::publication(publisher);
    world.command(add);
    world.peers[0].publish(Ssrc(0x2000_0000), 40_000);
    let ssrc = world.subscribe(subscriber, publisher);
    world.run(Duration::from_secs(1));
    world.peers[0].publish_beside(own, 100);
    world.run(Duration::from_secs(4));
    let received = &world.peers[1].received[&ssrc];
    let sent = world.peers[0].beside[0].number;
    assert!(sent - received.packets.last().expect("some").1.number < 4, "of the announced one");
    assert!(received.packets.len() > 430, "{}", received.packets.len());
    assert!(world.shard.counters().get(Count::KeyframesAsked) <= 2);
    world.assert_ledger();
}

/// An m-line without RTX whose answer lists NACK: RFC 4585 has the lost packet itself sent again.
#[test]
fn a_publisher_without_rtx_is_asked_for_what_is_lost() {
    for profile in SrtpProfile::ALL {
        let mut world = World::with_profile(16, profile);
        let (publisher, subscriber) = (world.join(1), world.join(1));
        let (Command::AddUpTrack(mut add), own) = World::publication(publisher) else { unreachable!() };
        (add.rtx_ssrc, add.rtp.rtx_payload_type) = (0, None);
        world.command(Command::AddUpTrack(add));
        world.peers[0].publish(own, 65_300);
        world.peers[0].without_rtx = true;
        let ssrc = world.subscribe(subscriber, publisher);
        world.run(Duration::from_secs(2));
        world.net.set_link(Link::lossy(5));
        world.run(Duration::from_secs(10));
        world.net.set_link(Link::GOOD);
        world.run(Duration::from_secs(2));
        let received = &world.peers[1].received[&ssrc];
        let (holes, all) = (holes(received), received.packets.len());
        assert!(all > 1_300 && holes <= 3, "{profile:?}: {holes} holes of {all}");
        let counters = world.shard.counters();
        assert!(counters.get(Count::NacksSent) > 40);
        assert!(counters.get(Count::UpLost) <= 3);
        // What was asked for twice and came twice is not forwarded twice.
        assert_eq!(numbers(received).len(), all);
        world.assert_ledger();
    }
}

/// A player whose answer lists NACK and no RTX: what it lost comes again as it was, and never under a used
/// index as anything else, which the world itself looks at.
#[test]
fn a_player_without_rtx_gets_what_it_lost_once_more() {
    for profile in SrtpProfile::ALL {
        let mut world = World::with_profile(20, profile);
        let (publisher, with, without) = (world.join(1), world.join(1), world.join(1));
        world.publish(publisher, 65_000);
        let rtx = world.subscribe(with, publisher);
        let Command::AddDownTrack(mut down) = World::subscription(without, publisher) else {
            unreachable!("a subscription")
        };
        down.rtp.rtx_payload_type = None;
        let ReplyBody::DownTrackAdded(added) = world.command(Command::AddDownTrack(down)) else {
            panic!("not added")
        };
        assert_eq!(added.rtx_ssrc, 0);
        let ssrc = world.peers[without as usize].receives(&added);
        world.run(Duration::from_secs(2));
        world.net.set_link(Link::lossy(5));
        for round in 0..100 {
            // Frames of packets that are nearly of one length, and so are padded.
            let (now, address) = (world.now, world.peers[0].address);
            (0..3).for_each(|n| world.peers[0].send_packet(now, 300 + n));
            for bytes in world.peers[0].take_out() {
                world.inject(address, &bytes);
            }
            if round == 50 {
                let block = ReportBlock { ssrc, ..ReportBlock::default() };
                world.peers[without as usize].send_rtcp(|out| rtcp::write_rr(out, Ssrc(1), &[block]));
            }
            world.run(Duration::from_millis(100));
        }
        world.net.set_link(Link::GOOD);
        world.run(Duration::from_secs(2));
        for (peer, ssrc) in [(with, rtx), (without, ssrc)] {
            let received = &world.peers[peer as usize].received[&ssrc];
            let (holes, all) = (holes(received), received.packets.len());
            assert!(all > 1_500 && holes <= 5, "{profile:?}, peer {peer}: {holes} holes of {all}");
        }
        assert!(world.repeated > 40, "{profile:?}: {}", world.repeated);
        assert_eq!(world.dropped(DropReason::ResendDiffers), 0);
        world.assert_ledger();
    }
}

/// As with RTX: who asks for everything all the time is no amplifier.
#[test]
fn repeated_nacks_without_rtx_are_throttled() {
    let mut world = World::new(21);
    let (publisher, subscriber) = (world.join(1), world.join(1));
    world.publish(publisher, 1);
    let Command::AddDownTrack(mut down) = World::subscription(subscriber, publisher) else { unreachable!() };
    down.rtp.rtx_payload_type = None;
    let ReplyBody::DownTrackAdded(added) = world.command(Command::AddDownTrack(down)) else { panic!() };
    let ssrc = world.peers[1].receives(&added);
    world.run(Duration::from_secs(2));
    let highest = *world.peers[1].received[&ssrc].seen.last().expect("some");
    let seqs: Vec<SeqNo> = (highest - 16..highest).map(|i| SeqNo(i as u16)).collect();
    let before = world.shard.counters().get(Count::TxRtx);
    for _ in 0..1_000 {
        world.peers[1].send_rtcp(|out| rtcp::write_nack(out, Ssrc(1), ssrc, &seqs));
        world.run(Duration::from_millis(1));
    }
    let resent = world.shard.counters().get(Count::TxRtx) - before;
    assert!((16..300).contains(&resent), "50,000 octets a second: {resent} packets");
    world.assert_ledger();
}

/// A new encoder, a program that is started again, a renegotiation: each has new SSRCs, and so have its
/// retransmissions.
#[test]
fn a_publisher_changes_its_ssrcs_as_often_as_it_likes() {
    let mut world = World::new(12);
    let ssrc = call(&mut world, 1_000);
    world.net.set_link(Link::lossy(5));
    let mut recorded: Vec<_> = world.overheard.iter().cloned().collect();
    recorded.retain(|(path, bytes)| path.remote == world.peers[0].address && bytes[0] >> 6 == 2);
    for change in 0..40 {
        let before = world.peers[1].received[&ssrc].packets.len();
        let restored = world.shard.counters().get(Count::RxRtxRecovered);
        world.peers[0].switch_ssrc(Ssrc(0x2000_0000 + change * 16), u64::from(change) * 1_000);
        world.run(Duration::from_secs(3));
        let flowed = world.peers[1].received[&ssrc].packets.len() - before;
        assert!(flowed > 100, "change {change}: {flowed} packets in 3 s, of which PLIs may be lost");
        assert!(world.shard.counters().get(Count::RxRtxRecovered) > restored, "change {change}");
    }
    assert_eq!(world.dropped(DropReason::RtpSsrcLimit), 0);
    // RFC 3711 §3.3.2: what was sent under the first ones is not new because they are left.
    let (accepted, refused) =
        (world.shard.counters().get(Count::RxRtp), world.dropped(DropReason::RtpReplay));
    assert!(recorded.len() > 100);
    for (path, bytes) in &recorded {
        world.inject_along(*path, bytes);
    }
    assert_eq!(world.shard.counters().get(Count::RxRtp), accepted);
    assert_eq!(world.dropped(DropReason::RtpReplay) - refused, recorded.len() as u64);
    world.assert_ledger();
}

/// Two encoders that follow each other may have numbers that continue, so what is resent of the first would
/// pass for a lost packet of the second.
#[test]
fn a_late_retransmission_of_the_old_ssrc_is_not_taken_for_the_new_one() {
    let mut world = World::new(13);
    let ssrc = call(&mut world, 1_000);
    let me = &mut world.peers[0];
    let (own, next) =
        me.sending.as_ref().map(|sending| (sending.ssrc, sending.packets.next())).expect("it sends");
    me.retransmit(SeqNo((next - 1) as u16));
    let (address, late) = (me.address, me.take_out());
    me.switch_ssrc(Ssrc(0x2000_0000), next);
    world.run(Duration::from_millis(400));
    for bytes in &late {
        world.inject(address, bytes);
    }
    assert_eq!(
        (world.dropped(DropReason::RtpOldSource), world.shard.counters().get(Count::RxRtxRecovered)),
        (1, 0)
    );
    // The one that was left may come back, and its retransmissions count again.
    world.run(Duration::from_secs(1));
    world.peers[0].switch_ssrc(own, next + 40_000);
    world.net.set_link(Link::lossy(5));
    world.run(Duration::from_secs(4));
    assert!(world.shard.counters().get(Count::RxRtxRecovered) > 5);
    let received = &world.peers[1].received[&ssrc];
    assert!(received.packets.len() > 600, "{} packets", received.packets.len());
    world.assert_ledger();
}

#[test]
fn who_has_no_mid_is_sent_none() {
    let mut world = World::new(11);
    let (publisher, subscriber) = (world.join(1), world.join(1));
    world.publish(publisher, 1_000);
    let Command::AddDownTrack(mut down) = World::subscription(subscriber, publisher) else {
        unreachable!("a subscription")
    };
    down.rtp.mid.clear();
    let ReplyBody::DownTrackAdded(added) = world.command(Command::AddDownTrack(down)) else {
        panic!("not added")
    };
    let ssrc = world.peers[subscriber as usize].receives(&added);
    world.run(Duration::from_secs(2));
    let received = &world.peers[subscriber as usize].received[&ssrc];
    assert!(received.packets.len() > 150, "{} packets", received.packets.len());
    assert_eq!((received.last_header_bytes, world.dropped(DropReason::OutboxFull)), (12, 0));
}

#[test]
fn packets_never_leave_their_room_while_slots_are_reused() {
    let mut world = World::new(7);
    for round in 0..40u64 {
        let rooms = [round * 2, round * 2 + 1];
        let mut members = Vec::new();
        for room in rooms {
            let (a, b) = (world.join(room), world.join(room));
            for peer in [a, b] {
                world.publish(peer, 1);
            }
            world.subscribe(a, b);
            world.subscribe(b, a);
            members.extend([a, b]);
        }
        world.run(Duration::from_millis(900));
        for &peer in &members {
            let me = &world.peers[peer as usize];
            let all: Vec<_> = me.received.values().flat_map(|r| &r.packets).collect();
            assert!(!all.is_empty(), "peer {peer} receives");
            assert!(all.iter().all(|(_, p)| p.room == me.room && p.sender != peer), "only its own room");
        }
        for peer in members {
            world.command(relay_control::Command::CloseTransport(relay_control::CloseTransport {
                transport_id: World::transport_id(peer),
            }));
            world.peers[peer as usize].alive = false;
        }
    }
    assert!(world.inventory().is_empty());
    assert_eq!(world.shard.transports().count(), 0);
    world.assert_ledger();
}
