//! Forwarding allocates nothing: counted over 1,000 packets to 50 subscribers, all of the core in the loop;
//! and so on both sides of a pipe, with its real queue. Those who leave leave nothing behind, and who has not
//! come yet takes little.

use relay::convert;
use relay_control::{
    AddDownTrack, AddUpTrack, CloseTransport, Codec, Command, ErrorCode, MediaKind, OpenTransport,
    RemoveTrack, ReplyBody, RtpParameters,
};
use relay_core::Shard;
use relay_core::outbox::{NullOutbox, Path};
use relay_core::srtp::SrtpProfile;
use relay_core::stats::Count;
use relay_core::time::Time;
use relay_core::wire::stun::{IntegrityKey, write_binding_request};
use relay_port::{Entry, Load};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;
use tests::{Peer, Shards, World, dtls};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

fn live(allocations: i64, bytes: i64) {
    LIVE.set(LIVE.get() + allocations);
    LIVE_BYTES.set(LIVE_BYTES.get() + bytes);
}

// SAFETY: every call is handed to the system's allocator unchanged; the counters are plain thread-local cells
// that allocate nothing themselves.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        live(1, layout.size() as i64);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        live(-1, -(layout.size() as i64));
        // SAFETY: the pointer came from `System` through `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        live(0, size as i64 - layout.size() as i64);
        // SAFETY: the pointer came from `System` through `alloc` above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// 15 s of a publisher's packets and the way they come, so that only the core is in the loop.
fn made_beforehand(publisher: &mut Peer, mut now: Time) -> (Path, Vec<(Time, Vec<u8>)>) {
    let mut packets = Vec::new();
    for _ in 0..1_500 {
        now += Duration::from_millis(10);
        publisher.tick(now);
        packets.extend(publisher.take_out().into_iter().map(|bytes| (now, bytes)));
    }
    (Path { remote: publisher.address, local: None }, packets)
}

/// One packet a batch, several, and more than go together.
fn in_batches(packets: &mut [(Time, Vec<u8>)], mut handle: impl FnMut(Time, &mut [(Time, Vec<u8>)])) {
    let mut rest = packets;
    for size in [1, 5, 20].into_iter().cycle() {
        let (batch, behind) = rest.split_at_mut(size.min(rest.len()));
        let Some(now) = batch.last().map(|(at, _)| *at) else { break };
        handle(now, batch);
        rest = behind;
    }
}

#[test]
fn forwarding_allocates_nothing_in_steady_state() {
    for profile in relay_core::srtp::SrtpProfile::ALL {
        let mut world = World::with_profile(1, profile);
        let publisher = world.join(1);
        world.publish(publisher, 1);
        for _ in 0..50 {
            let subscriber = world.join(1);
            world.subscribe(subscriber, publisher);
        }
        world.run(Duration::from_secs(3));

        let (path, mut packets) = made_beforehand(&mut world.peers[publisher as usize], world.now);
        let mut outbox = NullOutbox::default();
        let (warm_up, measured) = packets.split_at_mut(300);
        let mut feed = |packets: &mut [(Time, Vec<u8>)]| {
            in_batches(packets, |now, batch| {
                for (_, bytes) in batch {
                    world.shard.handle_datagram(now, &path, bytes, &mut outbox);
                }
                world.shard.forward_pending(&mut outbox);
                world.shard.handle_timeout(now, &mut outbox);
            });
        };
        feed(warm_up);
        let before = ALLOCATIONS.get();
        feed(measured);
        let allocations = ALLOCATIONS.get() - before;
        assert_eq!(allocations, 0, "{profile:?}");
        assert!(outbox.datagrams > 60_000, "{profile:?}: {} datagrams", outbox.datagrams);
    }
}

#[test]
fn a_pipe_allocates_nothing_in_steady_state() {
    for profile in relay_core::srtp::SrtpProfile::ALL {
        let mut world = Shards::with_profile(1, 2, 26, profile);
        let publisher = world.join(1);
        world.publish(publisher, 1);
        for _ in 0..50 {
            let subscriber = world.join(1);
            world.subscribe(subscriber, publisher);
        }
        world.run(Duration::from_secs(3));
        let counts = |world: &Shards| {
            [(0, Count::PipeSent), (1, Count::PipeAccepted), (1, Count::TxRtp)]
                .map(|(n, c)| world.count(n, c))
        };
        let start = counts(&world);

        let (path, mut packets) = made_beforehand(&mut world.peers[publisher as usize], world.now);
        let mut outbox = NullOutbox::default();
        let (warm_up, measured) = packets.split_at_mut(300);
        let mut feed = |packets: &mut [(Time, Vec<u8>)]| {
            in_batches(packets, |now, batch| {
                let [near, far] = &mut world.drivers[..] else { panic!("two shards") };
                for (_, bytes) in batch {
                    near.shard.handle_datagram(now, &path, bytes, &mut outbox);
                }
                near.shard.ring_ports();
                for driver in [near, far] {
                    driver.handle_ports(now, &mut outbox);
                    driver.shard.handle_timeout(now, &mut outbox);
                    driver.shard.ring_ports();
                }
            });
        };
        feed(warm_up);
        let before = ALLOCATIONS.get();
        feed(measured);
        let allocations = ALLOCATIONS.get() - before;
        assert_eq!(allocations, 0, "{profile:?}");
        let [sent, accepted, forwarded] = counts(&world);
        let [sent, accepted, forwarded] = [sent - start[0], accepted - start[1], forwarded - start[2]];
        assert!(sent >= 1_500, "{profile:?}: {sent}");
        assert_eq!((accepted, forwarded), (sent, 25 * sent), "{profile:?}");
    }
}

/// Peer `number` joins, publishes, subscribes to itself, shakes hands if its number says so, and leaves or
/// falls silent.
fn come_and_go(shard: &mut Shard, now: Time, number: u64) {
    let mut outbox = NullOutbox::default();
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&number.to_be_bytes());
    let open = Command::OpenTransport(OpenTransport {
        transport_id: number,
        room_id: 1,
        remote_ufrag: "peer".into(),
        remote_pwd: "a password of the peer's own".into(),
        remote_fingerprint_sha256: fingerprint.to_vec(),
        more_fingerprints_sha256: Vec::new(),
        label: vec![1; 100],
        max_receive_bitrate_bps: 0,
        dtls_client: false,
    });
    let ReplyBody::TransportOpened(opened) = convert::obey(shard, now, open, &mut outbox) else {
        panic!("refused");
    };
    let (peer, rtp) = (u32::try_from(number).expect("few"), tests::world::video_parameters());
    let up = AddUpTrack {
        transport_id: number,
        track_id: World::up_track_id(peer),
        rtp,
        ssrc: 7,
        rtx_ssrc: 8,
        ..AddUpTrack::default()
    };
    convert::obey(shard, now, Command::AddUpTrack(up), &mut outbox);
    let mut down = World::subscription(peer, peer);
    if let Command::AddDownTrack(down) = &mut down {
        down.transport_id = number;
        down.track_id += 1_000_000_000;
    }
    convert::obey(shard, now, down, &mut outbox);

    let path = Path { remote: SocketAddr::from(([10, 0, 0, 1], 1_000 + number as u16)), local: None };
    if !number.is_multiple_of(4) {
        let username = format!("{}:peer", opened.local_ufrag);
        let key = IntegrityKey::new(opened.local_pwd.as_bytes());
        let mut check = [0; 300];
        let len = write_binding_request(&mut check, [1; 12], username.as_bytes(), 1, 2, true, &key);
        shard.handle_datagram(now, &path, &mut check[..len.expect("fits")], &mut outbox);
        shard.handle_datagram(now, &path, &mut dtls::hello(&fingerprint), &mut outbox);
    }
    if number % 4 != 1 {
        shard.handle_timeout(now, &mut outbox);
    }
    if number.is_multiple_of(2) {
        let close = CloseTransport { transport_id: number };
        convert::obey(shard, now, Command::CloseTransport(close), &mut outbox);
    }
    while shard.poll_event().is_some() {}
}

/// What WHIP asks for a client that publishes, and WHEP for one that plays its streams.
fn tracks_of(number: u64, plays: Option<u64>) -> [Command; 2] {
    [MediaKind::Audio, MediaKind::Video].map(|kind| {
        let mut rtp =
            RtpParameters { kind: kind.into(), transport_cc: true, ..tests::world::video_parameters() };
        rtp.extensions.transport_cc = 3;
        if kind == MediaKind::Audio {
            (rtp.codec, rtp.clock_rate_hz, rtp.rtx_payload_type) = (Codec::Opus.into(), 48_000, None);
        }
        let track_id = |of: u64| of * 4 + u64::from(kind == MediaKind::Video);
        match plays {
            None => Command::AddUpTrack(AddUpTrack {
                transport_id: number,
                track_id: track_id(number),
                rtp,
                ssrc: 0x1000 + u32::from(kind == MediaKind::Video),
                ..AddUpTrack::default()
            }),
            Some(publisher) => Command::AddDownTrack(AddDownTrack {
                transport_id: number,
                track_id: track_id(number) + 2,
                up_track_id: track_id(publisher),
                rtp,
                cname: "stream".into(),
            }),
        }
    })
}

fn opening(number: u64) -> Command {
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&number.to_be_bytes());
    Command::OpenTransport(OpenTransport {
        transport_id: number,
        room_id: 1,
        remote_ufrag: "a ufrag!".into(),
        remote_pwd: "a password of the peer's own".into(),
        remote_fingerprint_sha256: fingerprint.to_vec(),
        more_fingerprints_sha256: Vec::new(),
        label: vec![1; 256],
        max_receive_bitrate_bps: 0,
        dtls_client: false,
    })
}

/// Octets for each transport that proved no address: what it publishes or plays, tables and queues.
const UNPROVED_BYTES_MAX: i64 = 4096;

#[test]
fn who_has_not_proved_an_address_takes_four_kibibytes() {
    unproved(|_| None);
    // Every other one plays what the one before would publish.
    unproved(|number| number.is_multiple_of(2).then(|| number - 1));
}

fn unproved(plays: impl Fn(u64) -> Option<u64>) {
    let config = World::config(0, SocketAddr::from(([198, 51, 100, 1], 10_000)));
    let many = config.limits.unproved_transports as u64;
    let mut shard = Shard::new(config, Box::new(dtls::Factory(SrtpProfile::AeadAes128Gcm)), [1; 32]);
    let (now, mut outbox) = (Time::from_nanos(1_000_000_000_000), NullOutbox::default());
    let (before, mut each) = (LIVE_BYTES.get(), 0);
    for number in 1..=many {
        for command in [opening(number)].into_iter().chain(tracks_of(number, plays(number))) {
            let reply = convert::obey(&mut shard, now, command, &mut outbox);
            assert!(!matches!(reply, ReplyBody::Error(_)), "{reply:?}");
        }
        each = (LIVE_BYTES.get() - before) / number as i64;
        assert!(number < 64 || each <= UNPROVED_BYTES_MAX, "{each} octets for each of {number}");
    }
    println!("{each} octets for each of {many} transports without a proved address");
    // More are refused, by name, and counted; until those before have gone.
    let ReplyBody::Error(refused) = convert::obey(&mut shard, now, opening(many + 1), &mut outbox) else {
        panic!("taken");
    };
    assert_eq!(refused.code(), ErrorCode::LimitReached);
    assert_eq!(shard.counters().get(Count::TransportsRefused), 1);
    assert_eq!(shard.check_invariants(), Ok(()));
    shard.handle_timeout(now + Duration::from_secs(16), &mut outbox);
    while shard.poll_event().is_some() {}
    assert_eq!((shard.transports().count(), shard.check_invariants()), (0, Ok(())));
    let reply = convert::obey(&mut shard, now, opening(many + 1), &mut outbox);
    assert!(matches!(reply, ReplyBody::TransportOpened(_)), "{reply:?}");
}

#[test]
fn what_media_needs_is_allocated_with_the_keys_and_not_by_a_packet() {
    let mut world = World::new(1);
    let (publisher, subscriber) = (world.join(1), world.join(1));
    world.publish(publisher, 1);
    world.subscribe(subscriber, publisher);
    // Nobody sends but by hand.
    let sending = world.peers[publisher as usize].sending.take();
    let before = LIVE_BYTES.get();
    world.run(Duration::from_secs(1));
    assert!(LIVE_BYTES.get() - before > 512 * 1024, "a history of video");

    let me = &mut world.peers[publisher as usize];
    me.sending = sending;
    me.send_frame(world.now);
    let (path, mut packets) = (Path { remote: me.address, local: None }, me.take_out());
    let mut outbox = NullOutbox::default();
    let before = LIVE_BYTES.get();
    world.shard.handle_datagram(world.now, &path, &mut packets[0], &mut outbox);
    world.shard.forward_pending(&mut outbox);
    assert_eq!(world.shard.counters().get(Count::TxRtp), 1);
    let grown = LIVE_BYTES.get() - before;
    assert!(grown < 4096, "{grown} octets: a replay window and places in queues, no history");
}

#[test]
fn two_thousand_joins_and_leaves_leave_nothing() {
    let config = World::config(0, SocketAddr::from(([198, 51, 100, 1], 10_000)));
    let mut shard = Shard::new(config, Box::new(dtls::Factory(SrtpProfile::AeadAes128Gcm)), [1; 32]);
    let mut now = Time::from_nanos(1_000_000_000_000);
    let mut run = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            now += Duration::from_millis(100);
            come_and_go(&mut shard, now, number);
        }
        assert_eq!(shard.check_invariants(), Ok(()));
        // Those who fell silent lose their consent, and what was set for them rings in vain.
        let end = now + Duration::from_secs(60);
        while let Some(due) = shard.poll_timeout() {
            assert!(due < end, "a deadline of somebody who went");
            now = now.max(due);
            shard.handle_timeout(now, &mut NullOutbox::default());
        }
        while shard.poll_event().is_some() {}
        assert_eq!(shard.transports().count(), 0);
        (LIVE.get(), LIVE_BYTES.get())
    };
    let (few, few_bytes) = run(1..2_000);
    let (many, many_bytes) = run(2_000..4_000);
    assert_eq!(many, few, "live allocations");
    // A table may grow once more by the luck of its hashes: less than the smallest allocation for each join.
    assert!(many_bytes - few_bytes < 2_000 * 16, "{} live octets more", many_bytes - few_bytes);
    assert!(shard.counters().get(Count::TransportsConnected) > 1_000);
}

#[test]
fn a_queue_to_another_shard_has_what_its_tracks_need_and_gives_it_back() {
    const HISTORY_BYTES: i64 = relay_core::up::stream::VIDEO_HISTORY_BYTES as i64;
    let mut world = Shards::new(1, 2, 2);
    let peers: Vec<u32> = (0..4).map(|_| world.join(1)).collect();
    world.publish(0, 1);
    // Nobody sends: what is counted is what the track's beginning allocates.
    world.peers[0].sending = None;
    assert_eq!(peers.iter().map(|peer| world.shard_of(*peer)).collect::<Vec<_>>(), [0, 0, 1, 1]);
    world.run(Duration::from_secs(2));
    let entries = |load: Load| (load.entries() * size_of::<Entry>()) as i64;
    let mut round = || {
        let before = LIVE_BYTES.get();
        let ReplyBody::DownTrackAdded(_) = world.command(World::subscription(2, 0)) else {
            panic!("refused")
        };
        world.run(Duration::from_millis(100));
        let grown = LIVE_BYTES.get() - before;
        let Command::AddDownTrack(down) = World::subscription(2, 0) else { unreachable!() };
        world.command(Command::RemoveTrack(RemoveTrack { track_id: down.track_id }));
        world.run(Duration::from_secs(15));
        assert_eq!(world.inventory().iter().map(|t| t.down_tracks.len()).sum::<usize>(), 0);
        (grown, LIVE_BYTES.get() - before)
    };
    let (_, left) = round();
    let idle = 2 * entries(Load::default());
    assert!((idle..idle + 32 * 1024).contains(&left), "{left} octets for both queues, their places too");
    let there = Load { videos: 1, ..Load::default() };
    let back = Load { back: 1, ..Load::default() };
    for _ in 0..5 {
        let (grown, left) = round();
        let queues = entries(there) + entries(back) - idle;
        let rest = grown - queues - HISTORY_BYTES;
        assert!((0..200 * 1024).contains(&rest), "{grown} octets, {queues} of them for the queues");
        assert!(left.abs() < 4096, "{left} octets stay");
    }
}
