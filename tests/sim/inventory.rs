//! A controller takes over a relay that is large and busy.

use relay::control::placement::PAGE_ITEMS_MAX;
use relay_control::{CloseTransport, Command, EventBody, TransportInfo, TransportState};
use relay_core::config::Limits;
use relay_core::srtp::SrtpProfile;
use std::collections::BTreeMap;
use std::time::Instant;
use tests::{Shards, World};

/// On two shards.
const TRANSPORTS: u32 = 20_000;

fn open(world: &mut Shards, index: u32) {
    let (command, _) = World::opening(index, u64::from(index / 10));
    world.command(command);
}

/// What a controller believes after it has taken in all pages and then the events.
fn believed(pages: Vec<TransportInfo>, events: &[EventBody]) -> BTreeMap<u64, u64> {
    let mut known: BTreeMap<u64, u64> = pages.iter().map(|info| (info.transport_id, info.room_id)).collect();
    for event in events {
        if let EventBody::TransportState(change) = event
            && matches!(change.state(), TransportState::Failed | TransportState::Closed)
        {
            known.remove(&change.transport_id);
        }
    }
    known
}

#[test]
fn a_large_relay_is_taken_over_while_transports_come_and_go() {
    // None of them is a real peer's.
    let limits = Limits { unproved_transports: TRANSPORTS as usize, ..Limits::default() };
    let mut world = Shards::with_limits(1, (2, 64), SrtpProfile::AeadAes128Gcm, &limits);
    for index in 0..TRANSPORTS {
        open(&mut world, index);
    }
    world.events.clear();
    let (mut pages, mut after, mut round) = (Vec::new(), 0, 0);
    let mut closed = Vec::new();
    loop {
        let page = world.inventory_page(after);
        assert!(page.transports.len() <= PAGE_ITEMS_MAX);
        pages.extend(page.transports);
        after = page.next;
        if after == 0 {
            break;
        }
        // The controller knows what it does itself meanwhile; events report the rest.
        for index in [round * 3, TRANSPORTS - 1 - round * 5] {
            let transport_id = World::transport_id(index);
            world.command(Command::CloseTransport(CloseTransport { transport_id }));
            closed.push(transport_id);
        }
        open(&mut world, TRANSPORTS + round);
        round += 1;
    }
    let mut believed = believed(pages, &world.events);
    believed.retain(|id, _| !closed.contains(id));
    let truth = world.drivers.iter().flat_map(|driver| relay::convert::inventory(&driver.shard));
    let truth: BTreeMap<u64, u64> = truth.map(|info| (info.transport_id, info.room_id)).collect();
    let unknown: Vec<&u64> = truth.keys().filter(|id| !believed.contains_key(id)).collect();
    let own = |id: &&&u64| (TRANSPORTS..TRANSPORTS + round).any(|index| World::transport_id(index) == ***id);
    assert!(
        unknown.iter().all(|id| own(&id)),
        "only what it opened itself behind the last page: {unknown:?}"
    );
    assert!(believed.iter().all(|(id, room)| truth.get(id) == Some(room)), "no ghosts");

    // How long the media thread is held: by the longest page, and by all of a shard at once. Each is timed
    // twenty times and the best counts, as others use the machine as well.
    let shard = &world.drivers[0].shard;
    let ids: Vec<u64> = relay::convert::inventory(shard).iter().map(|info| info.transport_id).collect();
    let time = |ids: &[u64]| {
        let times = (0..20).map(|_| {
            let begun = Instant::now();
            assert_eq!(relay::convert::describe(shard, ids).len(), ids.len());
            begun.elapsed()
        });
        times.min()
    };
    let longest = ids.chunks(PAGE_ITEMS_MAX).filter_map(time).max();
    println!("longest page: {longest:?}; all {} transports at once: {:?}", ids.len(), time(&ids));
}
