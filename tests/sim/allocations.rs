//! Forwarding allocates nothing: counted over 1,000 packets to 50 subscribers, all of the core in the loop; and so on both
//! sides of a pipe, with its real queue.

use relay_core::outbox::{NullOutbox, Path};
use relay_core::stats::Count;
use relay_core::time::Time;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;
use tests::{Peer, Shards, World};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator unchanged; the counter is a plain thread-local cell that
// allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` through `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
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
                let [near, far] = &mut world.stations[..] else { panic!("two shards") };
                for (_, bytes) in batch {
                    near.shard.handle_datagram(now, &path, bytes, &mut outbox);
                }
                near.shard.ring_pipes();
                for station in [near, far] {
                    station.handle_pipes(now, &mut outbox);
                    station.shard.handle_timeout(now, &mut outbox);
                    station.shard.ring_pipes();
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
