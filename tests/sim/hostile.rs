//! What strangers and hostile members can do: be counted.

use relay_control::{AddUpTrack, Command, EventBody};
use relay_core::rng::Rng;
use relay_core::stats::{Count, DropReason};
use std::net::SocketAddr;
use std::time::Duration;
use tests::peer::FRAME_INTERVAL;
use tests::{Payload, World};

fn stranger() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 666))
}

fn call(world: &mut World) -> relay_core::id::Ssrc {
    let (publisher, subscriber) = (world.join(1), world.join(1));
    world.publish(publisher, 1);
    let ssrc = world.subscribe(subscriber, publisher);
    world.run(Duration::from_secs(2));
    ssrc
}

#[test]
fn a_stranger_gets_nothing_but_counters() {
    let mut world = World::new(21);
    let ssrc = call(&mut world);
    let mut rng = Rng::new([3; 32]);
    let before = world.shard.counters().get(Count::RxDatagrams);
    for first in 0..=255u8 {
        for len in [0usize, 1, 2, 11, 12, 13, 20, 28, 64, 1200] {
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            if let Some(octet) = bytes.first_mut() {
                *octet = first;
            }
            world.inject(stranger(), &bytes);
        }
    }
    assert_eq!(world.shard.counters().get(Count::RxDatagrams), before + 2_560);
    assert!(!world.sent_to.contains_key(&stranger()), "not one octet back");
    assert!(world.dropped(DropReason::TupleNotValidated) > 500);
    assert!(world.dropped(DropReason::UnknownProtocol) > 500);
    world.run(Duration::from_secs(2));
    assert!(world.peers[1].received[&ssrc].packets.len() > 300, "the call goes on");
    world.assert_ledger();
}

#[test]
fn spoofed_garbage_from_a_members_address_ends_nothing() {
    let mut world = World::new(22);
    let ssrc = call(&mut world);
    let victim = world.peers[0].address;
    let mut rng = Rng::new([4; 32]);
    for n in 0..20_000usize {
        let mut bytes = vec![0; n % 80];
        rng.fill(&mut bytes);
        if let Some(octet) = bytes.first_mut() {
            // RTP, RTCP, DTLS alerts and handshakes.
            *octet = [0x80, 0x90, 0xb0, 21, 22, 23, 0x81][n % 7];
        }
        world.inject(victim, &bytes);
    }
    let before = world.peers[1].received[&ssrc].packets.len();
    world.run(Duration::from_secs(5));
    assert!(world.peers[1].received[&ssrc].packets.len() >= before + 490, "the call lives");
    world.assert_ledger();
}

#[test]
fn thirty_four_packets_end_nothing() {
    let mut world = World::new(27);
    let ssrc = call(&mut world);
    let (attacker, victim) = (world.join(1), world.join(1));
    world.publish(attacker, 985);
    world.subscribe(victim, attacker);
    // It sends by hand only, once it has keys.
    world.peers[attacker as usize].sending = None;
    world.run(Duration::from_secs(1));
    let (_, own) = World::publication(attacker);
    world.peers[attacker as usize].publish(own, 0);
    let again = (1 << 16) + 985;
    for index in (985..=1_000).chain([21_000, 41_000]).chain(again..=again + 15) {
        let (now, me) = (world.now, &mut world.peers[attacker as usize]);
        me.sending.as_mut().expect("it publishes").packets.skip_to(index);
        me.send_frame(now);
        let (address, datagrams) = (me.address, me.take_out());
        datagrams.iter().for_each(|bytes| world.inject(address, bytes));
    }
    assert_eq!(world.shard.counters().get(Count::UpResync), 1, "the numbering began anew");
    let before = world.peers[1].received[&ssrc].packets.len();
    world.run(Duration::from_secs(5));
    assert!(world.peers[1].received[&ssrc].packets.len() >= before + 490, "the call beside it lives");
    world.assert_ledger();
}

#[test]
fn an_unknown_ssrc_in_a_report_hides_nothing_behind_it() {
    use relay_core::id::Ssrc;
    use relay_core::wire::rtcp::{self, ReportBlock};
    for sender in [false, true] {
        let mut world = World::new(28);
        let ssrc = call(&mut world);
        let foreign = world.dropped(DropReason::RtcpForeignSsrc);
        let has_mid = |world: &mut World| {
            world.run(Duration::from_millis(100));
            world.peers[1].received[&ssrc].last_header_bytes
        };
        assert_eq!(has_mid(&mut world), 20, "a MID until the subscriber has reported");
        let blocks = [Ssrc(1), Ssrc(2), ssrc].map(|ssrc| ReportBlock { ssrc, ..ReportBlock::default() });
        world.peers[1].send_rtcp(|out| {
            if sender {
                rtcp::write_sr(out, Ssrc(3), 1, 1, 1, 1, &blocks)
            } else {
                rtcp::write_rr(out, Ssrc(3), &blocks)
            }
        });
        assert_eq!(has_mid(&mut world), 12, "the third block was read; in a sender report: {sender}");
        // Of the blocks two, and of a sender report the sender.
        assert_eq!(world.dropped(DropReason::RtcpForeignSsrc) - foreign, 2 + u64::from(sender));
    }
}

#[test]
fn an_unknown_ssrc_in_a_fir_hides_nothing_behind_it() {
    use relay_core::id::Ssrc;
    let mut world = World::new(29);
    let ssrc = call(&mut world);
    let asked = world.shard.counters().get(Count::KeyframesAsked);
    // RFC 5104 §4.3.1: two entries in one message.
    let entry = |ssrc: Ssrc| [&ssrc.0.to_be_bytes()[..], &[1, 0, 0, 0]].concat();
    let body = [vec![0; 8], entry(Ssrc(5)), entry(ssrc)].concat();
    world.peers[1].send_rtcp(|out| {
        out[..4].copy_from_slice(&[0x84, 206, 0, 6]);
        out[4..28].copy_from_slice(&body);
        Some(28)
    });
    world.run(Duration::from_millis(100));
    assert_eq!(world.dropped(DropReason::RtcpForeignSsrc), 1);
    assert_eq!(world.shard.counters().get(Count::KeyframesAsked), asked + 1);
}

#[test]
fn a_replayed_packet_is_forwarded_once() {
    let mut world = World::new(23);
    let ssrc = call(&mut world);
    let address = world.peers[0].address;
    let mut captured = Vec::new();
    for _ in 0..50 {
        world.now += FRAME_INTERVAL;
        let now = world.now;
        world.peers[0].tick(now);
        captured.extend(world.peers[0].take_out());
    }
    for round in 0..3 {
        for bytes in
            if round == 1 { captured.iter().rev().collect::<Vec<_>>() } else { captured.iter().collect() }
        {
            world.inject(address, bytes);
        }
    }
    world.run(Duration::from_secs(1));
    let packets = &world.peers[1].received[&ssrc].packets;
    let mut numbers: Vec<u32> = packets.iter().map(|(_, p): &(u64, Payload)| p.number).collect();
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all, "forwarded twice = 0");
    assert!(world.dropped(DropReason::RtpReplay) >= 100);
    world.assert_ledger();
}

#[test]
fn feedback_about_foreign_tracks_is_ignored() {
    use relay_core::id::{SeqNo, Ssrc};
    use relay_core::wire::rtcp;
    let mut world = World::new(24);
    call(&mut world);
    let other = world.join(9);
    world.run(Duration::from_secs(1));
    let asked = world.shard.counters().get(Count::KeyframesAsked);
    let victim = world.peers[0].sending.as_ref().expect("it publishes").ssrc;
    let theirs: Vec<Ssrc> = world.peers[1].received.keys().copied().collect();
    for media in [victim, theirs[0], Ssrc(7)] {
        let me = &mut world.peers[other as usize];
        me.send_rtcp(|out| rtcp::write_pli(out, Ssrc(1), media));
        me.send_rtcp(|out| rtcp::write_fir(out, Ssrc(1), media, 9));
        me.send_rtcp(|out| rtcp::write_nack(out, Ssrc(1), media, &[SeqNo(1), SeqNo(2)]));
        me.send_rtcp(|out| rtcp::write_bye(out, media));
    }
    world.run(Duration::from_secs(3));
    assert_eq!(world.dropped(DropReason::RtcpForeignSsrc), 9);
    assert_eq!(world.shard.counters().get(Count::KeyframesAsked), asked);
    assert_eq!(world.inventory().len(), 3, "a BYE ends nothing");
    world.assert_ledger();
}

#[test]
fn repeated_nacks_are_throttled() {
    use relay_core::id::{SeqNo, Ssrc};
    use relay_core::wire::rtcp;
    let mut world = World::new(25);
    let ssrc = call(&mut world);
    let highest = *world.peers[1].received[&ssrc].seen.last().expect("some");
    let seqs: Vec<SeqNo> = (highest - 16..highest).map(|i| SeqNo(i as u16)).collect();
    let before = world.shard.counters().get(Count::TxRtx);
    for _ in 0..1_000 {
        world.peers[1].send_rtcp(|out| rtcp::write_nack(out, Ssrc(1), ssrc, &seqs));
        world.run(Duration::from_millis(1));
    }
    let resent = world.shard.counters().get(Count::TxRtx) - before;
    assert!(resent * 200 <= 60_000, "budget of 50,000 octets a second: {resent} packets");
    assert!(world.dropped(DropReason::NackThrottled) > 10_000);
    world.assert_ledger();
}

/// Of the first peer, for two seconds.
fn flood(world: &mut World) {
    let publisher = world.peers[0].address;
    for _ in 0..20_000 {
        // 100 µs apart: 17 Mbit/s of what would be 8.
        world.now += Duration::from_micros(100);
        let now = world.now;
        world.peers[0].send_frame(now);
        for bytes in world.peers[0].take_out() {
            world.inject(publisher, &bytes);
        }
        world.turn();
    }
}

/// Encoders without transport-wide feedback have no other word of it while they send.
#[test]
fn a_publisher_hears_its_bound_in_remb_and_less_while_it_sends_more() {
    const BOUND_BPS: u64 = 8_000_000;
    let mut world = World::new(30);
    call(&mut world);
    let first = std::mem::take(&mut world.peers[0].told_bitrates);
    assert!(!first.is_empty() && first.iter().all(|told| *told == BOUND_BPS), "{first:?}");
    flood(&mut world);
    world.run(Duration::from_secs(1));
    let flooding = std::mem::take(&mut world.peers[0].told_bitrates);
    let low = *flooding.last().expect("told each second");
    assert!(low < BOUND_BPS * 9 / 10, "{flooding:?}");
    world.run(Duration::from_secs(30));
    let after = std::mem::take(&mut world.peers[0].told_bitrates);
    assert!(after.is_sorted() && after.last() == Some(&BOUND_BPS), "it rises again: {after:?}");
    assert!(world.peers[1].told_bitrates.is_empty(), "who sends nothing is told nothing");
}

/// To a browser's estimator what is policed is loss.
#[test]
fn what_is_policed_is_missing_from_transport_wide_feedback() {
    let mut world = World::new(32);
    world.join(1);
    let (mut command, ssrc) = World::publication(0);
    let Command::AddUpTrack(AddUpTrack { rtp, .. }) = &mut command else { panic!("another command") };
    (rtp.transport_cc, rtp.extensions.transport_cc) = (true, 3);
    world.command(command);
    world.peers[0].publish(ssrc, 1);
    world.peers[0].transport_seq = Some(65_000);
    world.run(Duration::from_secs(2));
    let (came, all) = std::mem::take(&mut world.peers[0].transport_feedback);
    assert!(all > 100 && came == all, "{came} of {all}");
    flood(&mut world);
    world.run(Duration::from_secs(1));
    let (came, all) = world.peers[0].transport_feedback;
    let percent = came * 100 / all;
    assert!(all >= 20_000 && (55..=85).contains(&percent), "{came} of {all}, {percent} %");
}

#[test]
fn a_flood_by_a_member_is_policed_before_decryption() {
    let mut world = World::new(26);
    call(&mut world);
    let policed = |world: &World| world.dropped(DropReason::RtpPoliced);
    flood(&mut world);
    let rate = 100 - policed(&world) * 100 / 20_000;
    assert!((55..=85).contains(&rate), "{rate} % of 17 Mbit/s came through, 12 Mbit/s are allowed");
    // Its track is named, and the controller told once, not for each packet or second.
    assert_eq!(world.inventory()[0].up_tracks[0].policed, policed(&world));
    world.run(Duration::from_secs(2));
    let before = policed(&world);
    world.run(Duration::from_secs(2));
    assert_eq!(policed(&world), before, "an honest rate is not touched");
    let told = |world: &World| -> Vec<_> {
        let told = world.events.iter().filter_map(|(_, event)| match event {
            EventBody::UpTrackPoliced(policed) => Some(*policed),
            _ => None,
        });
        told.collect()
    };
    let once = told(&world);
    assert_eq!(once.len(), 1, "{once:?}");
    assert_eq!((once[0].track_id, once[0].max_receive_bitrate_bps), (World::up_track_id(0), 8_000_000));
    world.run(Duration::from_secs(10));
    let all = told(&world);
    assert_eq!(all.len(), 2, "the rest after a pause: {all:?}");
    assert_eq!(all[0].packets + all[1].packets, before);
    assert_eq!(world.inventory().len(), 2);
    world.assert_ledger();
}
