//! Local ports: the real cores, queues, exchange and control side; only the sockets are missing.

use relay::ports::SOURCES_MAX;
use relay_control::{
    AddDownTrack, AddSource, AddTap, CONTROL_VERSION, Command, ErrorCode, EventBody, Hello, PortChanged,
    PortTrackEnded, RemoveSource, RemoveTap, RemoveTrack, ReplyBody, RequestKeyframe,
};
use relay_core::id::Ssrc;
use relay_core::outbox::VecOutbox;
use relay_core::srtp::SrtpProfile;
use relay_core::stats::{Count, DropReason, Ledger};
use relay_core::wire::rtcp;
use relay_port::{Clock, Entry, Frame, MediaTime, Message, Packet, PortId};
use std::time::Duration;
use tests::media::Payload;
use tests::{Shards, World, faults};

/// A room has two transports on a shard before it uses the other one.
const BUDGET: usize = 2;

/// The track of a source.
const SOURCE: u64 = 77;

fn tap(track_id: u64, port: &str) -> Command {
    Command::AddTap(AddTap { track_id, port: port.into(), label: Vec::new() })
}

fn hello(epoch: u64) -> Hello {
    Hello { version: CONTROL_VERSION, epoch, name: "again".into(), instance: epoch }
}

fn source(track_id: u64, room_id: u64, port: &str) -> Command {
    let rtp = tests::world::video_parameters();
    Command::AddSource(AddSource { track_id, room_id, port: port.into(), rtp, priority: 0 })
}

/// Publisher 0 and subscriber 1 on shard 0, subscriber 2 on shard 1.
fn room(world: &mut Shards) -> [(u32, Ssrc); 2] {
    let publisher = world.join(1);
    world.publish(publisher, 1_000);
    let subscribers = [world.join(1), world.join(1)].map(|peer| (peer, world.subscribe(peer, publisher)));
    assert_eq!([0, 1, 2].map(|peer| world.shard_of(peer)), [0, 0, 1]);
    world.run(Duration::from_secs(2));
    subscribers
}

/// Publisher 0 says where its timestamps stand.
fn report(world: &mut Shards) {
    let ssrc = world.peers[0].sending.as_ref().expect("it publishes").ssrc;
    let now_us = world.now.as_micros();
    let (ntp, timestamp) = ((now_us << 32) / 1_000_000, (now_us * 9 / 100) as u32);
    world.peers[0].send_rtcp(|out| rtcp::write_sr(out, ssrc, ntp, timestamp, 0, 0, &[]));
}

/// Of the packets among these, the numbers that their payloads carry.
fn numbers(frames: &[(Frame, Vec<u8>)]) -> Vec<u32> {
    let packets = frames.iter().filter(|(frame, _)| matches!(frame, Frame::Message(Message::Packet(_))));
    packets.map(|(_, payload)| Payload::read(payload).expect("as it was sent").number).collect()
}

fn message_count(frames: &[(Frame, Vec<u8>)], is: impl Fn(&Message) -> bool) -> usize {
    frames.iter().filter(|(frame, _)| matches!(frame, Frame::Message(message) if is(message))).count()
}

fn packets(world: &Shards, (peer, ssrc): (u32, Ssrc)) -> usize {
    world.peers[peer as usize].received.get(&ssrc).map_or(0, |received| received.packets.len())
}

fn ended(world: &Shards, track_id: u64, source: bool) -> usize {
    let is = |event: &&EventBody| {
        matches!(event, EventBody::PortTrackEnded(PortTrackEnded { track_id: id, source: s, .. })
            if (*id, *s) == (track_id, source))
    };
    world.events.iter().filter(is).count()
}

#[test]
fn a_tapped_track_comes_whole_under_every_profile_and_its_end_is_told() {
    for profile in SrtpProfile::ALL {
        let mut world = Shards::with_profile(1, 2, BUDGET, profile);
        room(&mut world);
        let (recorder, track_id) = (world.connect_process("recorder"), World::up_track_id(0));
        world.command(tap(track_id, "recorder"));
        let came = world.count(0, Count::RxRtp);
        for _ in 0..5 {
            report(&mut world);
            world.run(Duration::from_secs(1));
        }
        let frames = world.process_reads(recorder);
        let begins = frames.iter().position(|(frame, _)| {
            matches!(frame, Frame::Message(Message::Begin { track_id: id, track, .. })
                if *id == track_id && track.room_id == 1 && track.connected)
        });
        assert_eq!(begins, Some(1), "behind the greeting: {profile:?}");
        let numbers = numbers(&frames);
        assert_eq!(numbers.len() as u64, world.count(0, Count::RxRtp) - came);
        assert!(numbers.len() > 490 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        assert!(message_count(&frames, |m| matches!(m, Message::Clock { .. })) >= 4);
        let times = frames.iter().filter_map(|(frame, _)| match frame {
            Frame::Message(Message::Packet(packet)) => Some(packet.arrival.as_nanos()),
            _ => None,
        });
        let times: Vec<i64> = times.collect();
        let seconds = (times[times.len() - 1] - times[0]) / 1_000_000;
        assert!(times.is_sorted() && (4_900..=5_000).contains(&seconds), "{seconds} ms");

        world.command(Command::RemoveTrack(RemoveTrack { track_id }));
        let frames = world.process_reads(recorder);
        assert_eq!(message_count(&frames, |m| *m == Message::End { track_id }), 1);
        assert_eq!(ended(&world, track_id, false), 1);
        assert!(world.inventory_page(0).ports[0].taps.is_empty());
        world.assert_ledger();
    }
}

/// What it writes has its true time from the first packet on.
#[test]
fn who_taps_a_track_late_hears_its_clock_before_its_first_packet() {
    let mut world = Shards::new(3, 2, BUDGET);
    room(&mut world);
    let (recorder, track_id) = (world.connect_process("recorder"), World::up_track_id(0));
    report(&mut world);
    world.run(Duration::from_secs(3));
    world.command(tap(track_id, "recorder"));
    world.run(Duration::from_secs(1));
    let frames = world.process_reads(recorder);
    let first = |is: fn(&Message) -> bool| {
        let is = |(frame, _): &(Frame, Vec<u8>)| matches!(frame, Frame::Message(message) if is(message));
        frames.iter().position(is)
    };
    let begins = first(|m| matches!(m, Message::Begin { .. }));
    let clock = first(|m| matches!(m, Message::Clock { .. }));
    let packet = first(|m| matches!(m, Message::Packet(_)));
    assert!(begins < clock && clock < packet && begins.is_some(), "{begins:?} {clock:?} {packet:?}");
    world.assert_ledger();
}

#[test]
fn a_process_asks_for_a_keyframe_and_ends_its_tap() {
    let mut world = Shards::new(2, 2, BUDGET);
    room(&mut world);
    let (recorder, track_id) = (world.connect_process("recorder"), World::up_track_id(0));
    world.command(tap(track_id, "recorder"));
    world.run(Duration::from_secs(3));
    let before = world.count(0, Count::KeyframesAsked);
    world.process_says(recorder, &Frame::Message(Message::Keyframe { track_id }), &[]);
    world.run(Duration::from_millis(600));
    assert_eq!(world.count(0, Count::KeyframesAsked) - before, 1);

    let close = Message::Close { track_id, opening: 0 };
    world.process_says(recorder, &Frame::Message(close), &[]);
    world.run(Duration::from_secs(1));
    world.process_reads(recorder);
    world.run(Duration::from_secs(1));
    assert!(numbers(&world.process_reads(recorder)).is_empty());
    assert_eq!(ended(&world, track_id, false), 1);
    // And by command, and what is not there.
    world.command(tap(track_id, "recorder"));
    world.run(Duration::from_secs(1));
    assert!(numbers(&world.process_reads(recorder)).len() > 90);
    for _ in 0..2 {
        world.command(Command::RemoveTap(RemoveTap { track_id, port: "recorder".into() }));
    }
    world.process_reads(recorder);
    world.run(Duration::from_secs(1));
    assert!(numbers(&world.process_reads(recorder)).is_empty());
    world.assert_ledger();
}

#[test]
fn a_process_that_comes_again_and_again_has_its_keyframe_each_time() {
    let mut world = Shards::new(2, 2, BUDGET);
    room(&mut world);
    let track_id = World::up_track_id(0);
    world.run(Duration::from_secs(3));
    for time in 0..8 {
        let recorder = world.connect_process("recorder");
        world.command(tap(track_id, "recorder"));
        world.run(Duration::from_millis(100));
        let before = world.count(0, Count::KeyframesAsked);
        world.process_says(recorder, &Frame::Message(Message::Keyframe { track_id }), &[]);
        world.run(Duration::from_millis(1_100));
        assert_eq!(world.count(0, Count::KeyframesAsked) - before, 1, "time {time}");
        world.process_ends(recorder);
        world.run(Duration::from_secs(1));
    }
    world.assert_ledger();
}

/// As a signaling does that is started again.
#[test]
fn a_tap_that_is_ordered_again_changes_its_label_and_loses_nothing() {
    let mut world = Shards::new(4, 2, BUDGET);
    room(&mut world);
    let (recorder, track_id) = (world.connect_process("recorder"), World::up_track_id(0));
    let labelled =
        |label: &[u8]| Command::AddTap(AddTap { track_id, port: "recorder".into(), label: label.to_vec() });
    // The second before the first is answered: the shard opens the port twice.
    world.stalled = Some(0);
    assert!([b"a", b"b"].iter().all(|label| world.send_command(labelled(*label)).is_none()));
    world.stalled = None;
    world.run(Duration::from_secs(1));
    world.command(Command::Hello(hello(2)));
    for label in [b"b", b"c"] {
        world.command(labelled(label));
        world.run(Duration::from_secs(1));
    }
    let frames = world.process_reads(recorder);
    assert_eq!(message_count(&frames, |m| matches!(m, Message::Begin { .. })), 2);
    let labels = frames.iter().filter_map(|(frame, _)| match frame {
        Frame::Label { label, .. } => Some(label.as_slice()),
        _ => None,
    });
    assert_eq!(labels.collect::<Vec<_>>(), [b"b", b"c"]);
    let numbers = numbers(&frames);
    assert!(numbers.len() > 290 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    world.assert_ledger();
}

#[test]
fn what_one_process_asks_for_costs_no_other_its_keyframe() {
    let mut world = Shards::new(5, 2, BUDGET);
    room(&mut world);
    let track_id = World::up_track_id(0);
    let ask = Frame::Message(Message::Keyframe { track_id });
    let [greedy, modest] = ["greedy", "modest"].map(|name| {
        let number = world.connect_process(name);
        world.command(tap(track_id, name));
        number
    });
    world.run(Duration::from_secs(3));
    let before = world.count(0, Count::KeyframesAsked);
    for second in 0..10 {
        // Who comes changes nothing for those that are there.
        let other = format!("other{second}");
        world.connect_process(&other);
        world.command(tap(track_id, &other));
        for _ in 0..10 {
            world.process_says(greedy, &ask, &[]);
            world.run(Duration::from_millis(100));
        }
    }
    let asked = world.count(0, Count::KeyframesAsked);
    assert_eq!(asked - before, 4, "at once, and after 1, 2 and 4 s more");
    world.process_says(modest, &ask, &[]);
    world.run(Duration::from_millis(600));
    assert_eq!(world.count(0, Count::KeyframesAsked) - asked, 1, "it has asked for none yet");
    world.assert_ledger();
}

#[test]
fn a_process_that_does_not_read_costs_a_counter_and_nobody_else() {
    let mut world = Shards::new(3, 2, BUDGET);
    let subscribers = room(&mut world);
    let (stuck, track_id) = (world.connect_process("stuck"), World::up_track_id(0));
    let other = world.connect_process("other");
    world.command(tap(track_id, "stuck"));
    world.command(tap(track_id, "other"));
    let before = subscribers.map(|subscriber| packets(&world, subscriber));
    let mut got = 0;
    for _ in 0..150 {
        world.run(Duration::from_secs(1));
        got += numbers(&world.process_reads(other)).len();
    }
    assert!(world.port_counts.dropped_slow.get() > 100, "{}", world.port_counts.dropped_slow.get());
    assert_eq!(world.dropped_in(Ledger::PipeOut), 0, "no shard waits for it");
    assert!(got > 14_990, "{got}");
    for (subscriber, before) in subscribers.into_iter().zip(before) {
        assert!(packets(&world, subscriber) - before > 14_990);
    }
    // It reads again, and goes on behind a hole.
    let seen = numbers(&world.process_reads(stuck));
    world.run(Duration::from_secs(1));
    let then = numbers(&world.process_reads(stuck));
    assert!(then.len() > 90 && then[0] - seen[seen.len() - 1] > 100);
    world.assert_ledger();
}

/// A source of 100 packets a second: one for each 10 ms, a keyframe each second.
struct Player {
    number: u32,
    sent: u32,
}

impl Player {
    fn play(&mut self, world: &mut Shards, packets: u32) {
        for _ in 0..packets {
            let (packet, payload) = self.next();
            world.process_says(self.number, &Frame::Message(Message::Packet(packet)), &payload);
            world.run(Duration::from_millis(10));
        }
    }

    fn next(&mut self) -> (Packet, Vec<u8>) {
        let number = self.sent;
        self.sent += 1;
        let keyframe = number.is_multiple_of(100);
        let packet = Packet {
            track_id: SOURCE,
            seq: 5_000 + u64::from(number),
            source: 0,
            timestamp: number.wrapping_mul(900),
            arrival: MediaTime::from_nanos(i64::from(number) * 10_000_000),
            marker: true,
            keyframe,
            audio_level: None,
            video_orientation: None,
        };
        (packet, Payload { room: 1, sender: 99, number, keyframe }.write(1_000))
    }
}

fn subscribe(world: &mut Shards, peer: u32) -> (u32, Ssrc) {
    let Command::AddDownTrack(subscription) = World::subscription(peer, 500) else { unreachable!() };
    let command = Command::AddDownTrack(AddDownTrack { up_track_id: SOURCE, ..subscription });
    let ReplyBody::DownTrackAdded(added) = world.command(command) else { panic!("not added") };
    (peer, world.peers[peer as usize].receives(&added))
}

#[test]
fn a_source_reaches_subscribers_on_both_shards_and_a_tap() {
    let mut world = Shards::new(4, 2, BUDGET);
    room(&mut world);
    let mut player = Player { number: world.connect_process("player"), sent: 0 };
    world.connect_process("recorder");
    world.command(source(SOURCE, 1, "player"));
    world.command(source(SOURCE, 1, "player"));
    let frames = world.process_reads(player.number);
    let wants = frames.iter().filter(|(frame, _)| matches!(frame, Frame::Want { track_id: SOURCE, .. }));
    assert_eq!(wants.count(), 1, "ordered again, it changes nothing");
    let subscribers = [1, 2].map(|peer| subscribe(&mut world, peer));
    world.command(tap(SOURCE, "recorder"));
    // Nobody has a keyframe yet, so one is wanted.
    player.play(&mut world, 200);
    let clock = Clock { time: MediaTime::from_nanos(0), timestamp: 0 };
    let clock = Message::Clock { track_id: SOURCE, clock };
    world.process_says(player.number, &Frame::Message(clock), &[]);
    player.play(&mut world, 200);
    for subscriber in subscribers {
        let received = &world.peers[subscriber.0 as usize].received[&subscriber.1];
        assert!(received.packets.len() > 390, "{subscriber:?}: {}", received.packets.len());
        assert!(received.packets.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0));
        assert!(received.reports >= 3, "on the source's clock");
    }
    assert_eq!(numbers(&world.process_reads(2)).len(), 400);
    world.command(Command::RequestKeyframe(RequestKeyframe { track_id: SOURCE }));
    world.run(Duration::from_secs(1));
    let frames = world.process_reads(player.number);
    assert!(message_count(&frames, |m| *m == Message::Keyframe { track_id: SOURCE }) >= 1);

    // Nobody listens for a while, and it stays.
    for peer in [1, 2] {
        let track_id = 3_000_000 + peer * 1_000 + 500;
        world.command(Command::RemoveTrack(RemoveTrack { track_id }));
    }
    world.run(Duration::from_secs(30));
    let again = subscribe(&mut world, 2);
    player.play(&mut world, 150);
    assert!(packets(&world, again) > 100, "from the keyframe on");
    world.command(Command::RemoveSource(RemoveSource { track_id: SOURCE }));
    let frames = world.process_reads(player.number);
    assert_eq!(message_count(&frames, |m| matches!(m, Message::Close { track_id: SOURCE, .. })), 1);
    assert_eq!(ended(&world, SOURCE, false), 1, "and its tap with it");
    player.play(&mut world, 5);
    assert_eq!(world.port_counts.dropped_no_source.get(), 5);
    world.assert_ledger();
}

#[test]
fn a_process_that_goes_takes_its_tracks_with_it_and_comes_back() {
    let mut world = Shards::new(5, 2, BUDGET);
    let subscribers = room(&mut world);
    for round in 0..3 {
        let mut player = Player { number: world.connect_process("player"), sent: 0 };
        world.command(source(SOURCE, 1, "player"));
        world.command(tap(World::up_track_id(0), "player"));
        let subscriber = subscribe(&mut world, 2);
        player.play(&mut world, 120);
        assert!(packets(&world, subscriber) > 110, "round {round}");
        world.process_ends(player.number);
        world.run(Duration::from_secs(1));
        let inventory = world.inventory_page(0);
        assert!(inventory.ports.is_empty());
        let downs: usize = inventory.transports.iter().map(|t| t.down_tracks.len()).sum();
        assert_eq!(downs, subscribers.len(), "those of the peer's track");
        let gone = PortChanged { port: "player".into(), connected: false };
        assert_eq!(world.events.iter().filter(|e| **e == EventBody::Port(gone.clone())).count(), round + 1);
        assert_eq!(world.dropped(0, DropReason::PipeFull), 0);
        world.assert_ledger();
    }
}

#[test]
fn a_source_that_ends_by_itself_is_told_and_a_shard_that_begins_anew_ends_all() {
    let mut world = Shards::new(6, 2, BUDGET);
    room(&mut world);
    let mut player = Player { number: world.connect_process("player"), sent: 0 };
    world.command(source(SOURCE, 1, "player"));
    player.play(&mut world, 20);
    world.process_says(player.number, &Frame::Message(Message::End { track_id: SOURCE }), &[]);
    assert_eq!(ended(&world, SOURCE, true), 1);
    world.command(source(SOURCE, 1, "player"));
    world.command(tap(World::up_track_id(0), "player"));
    player.play(&mut world, 20);
    world.process_reads(player.number);
    world.panics = true;
    // The peer's track is on one shard, the source on the other, where the room has fewer transports.
    world.drivers.iter_mut().for_each(|driver| driver.begin_anew("the test says so"));
    world.run(Duration::from_secs(2));
    let frames = world.process_reads(player.number);
    assert_eq!(message_count(&frames, |m| matches!(m, Message::End { .. })), 1);
    assert_eq!(message_count(&frames, |m| matches!(m, Message::Close { .. })), 1);
    assert_eq!((ended(&world, SOURCE, true), ended(&world, World::up_track_id(0), false)), (2, 1));
    world.assert_ledger();
}

/// Its packets make a shard panic that is not the one it sends to, while more of them wait there.
#[test]
fn a_process_ends_whose_packets_made_another_shard_panic() {
    let mut world = Shards::new(9, 2, BUDGET);
    room(&mut world);
    let mut player = Player { number: world.connect_process("player"), sent: 0 };
    world.command(source(SOURCE, 1, "player"));
    let elsewhere = subscribe(&mut world, 1);
    player.play(&mut world, 20);
    assert!(packets(&world, elsewhere) > 10, "piped from shard 1");
    let (packet, payload) = player.next();
    let mut entries = [Entry::default(), Entry::default()];
    entries[0].write_packet(packet, &payload);
    entries[1].write(Message::Fault { track_id: SOURCE });
    let (now, mut outbox) = (world.now, VecOutbox::default());
    let shard = &mut world.drivers[1].shard;
    for (from, entry) in [PortId::local(player.number), PortId::shard(0)].into_iter().zip(&mut entries) {
        shard.handle_entry(now, from, entry, &mut outbox);
    }
    shard.forward_pending(&mut outbox);
    world.run(Duration::from_secs(1));
    assert!(world.ports.is_empty());
    assert_eq!(world.port_counts.closed_fault.get(), 1);
}

#[test]
fn what_is_not_the_business_of_a_process_is_counted_and_changes_nothing() {
    let mut world = Shards::new(7, 2, BUDGET);
    let subscribers = room(&mut world);
    let (process, track_id) = (world.connect_process("stranger"), World::up_track_id(0));
    let before = packets(&world, subscribers[1]);
    for message in [
        Message::End { track_id },
        Message::Fault { track_id },
        Message::Keyframe { track_id },
        Message::Close { track_id, opening: 1 },
        Message::Reset { opening: u64::MAX },
    ] {
        world.process_says(process, &Frame::Message(message), &[]);
    }
    assert_eq!(world.port_counts.refused_messages.get(), 5);
    world.run(Duration::from_secs(1));
    assert!(packets(&world, subscribers[1]) - before > 90);
    // The same name, no name, and what is no frame.
    for (name, count) in [("stranger", 1), ("other", 2)] {
        world.connect_process(name);
        assert_eq!(world.ports.len(), count, "{name}");
    }
    assert_eq!(world.port_counts.refused_name.get(), 1);
    world.assert_ledger();
}

#[test]
fn orders_that_cannot_be_obeyed_are_refused_and_change_nothing() {
    let mut world = Shards::new(8, 2, BUDGET);
    room(&mut world);
    let track_id = World::up_track_id(0);
    let refused = |world: &mut Shards, command: Command| match world.try_command(command) {
        ReplyBody::Error(error) => error.code(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut world, tap(track_id, "nobody")), ErrorCode::UnknownPort);
    assert_eq!(refused(&mut world, source(SOURCE, 1, "nobody")), ErrorCode::UnknownPort);
    let number = world.connect_process("process");
    assert_eq!(refused(&mut world, tap(4_711, "process")), ErrorCode::UnknownTrack);
    assert_eq!(refused(&mut world, source(track_id, 1, "process")), ErrorCode::IdInUse);
    let Command::AddSource(mut odd) = source(SOURCE, 1, "process") else { unreachable!() };
    odd.rtp.clock_rate_hz = 0;
    assert_eq!(refused(&mut world, Command::AddSource(odd)), ErrorCode::BadRequest);
    for id in 0..SOURCES_MAX as u64 {
        world.command(source(10_000_000 + id, 1, "process"));
    }
    assert_eq!(refused(&mut world, source(SOURCE, 1, "process")), ErrorCode::LimitReached);
    assert_eq!(world.inventory_page(0).ports[0].sources.len(), SOURCES_MAX);
    world.process_ends(number);
    assert_eq!(refused(&mut world, tap(track_id, "process")), ErrorCode::UnknownPort);
    world.assert_ledger();
}

#[test]
fn a_process_whose_packet_makes_a_shard_panic_is_ended_and_nobody_else() {
    let mut world = Shards::new(9, 2, BUDGET);
    world.panics = true;
    let peers = [1, 1, 1].map(|room| world.join(room));
    world.run(Duration::from_secs(2));
    let mut player = Player { number: world.connect_process("player"), sent: 0 };
    world.command(source(SOURCE, 1, "player"));
    let subscriber = subscribe(&mut world, 2);
    player.play(&mut world, 50);
    faults::panic_after(0);
    player.play(&mut world, 1);
    assert!(!faults::no_more(), "it came to that");
    world.run(Duration::from_secs(2));
    assert_eq!(world.port_counts.closed_fault.get(), 1);
    assert!(world.inventory_page(0).ports.is_empty());
    let gone = PortChanged { port: "player".into(), connected: false };
    assert!(world.events.contains(&EventBody::Port(gone)));
    assert!(packets(&world, subscriber) >= 49);
    assert!(peers.into_iter().all(|peer| world.failed(peer).is_none()), "the peers stay");
    world.assert_ledger();
}
