//! A room at its limit of viewers: silent ones make place for those who come, living ones never do.

use crate::whip_whep::{created, play, refused_with};
use crate::world::World;
use signaling::hub::{ANSWER_PATIENCE, HttpReply, HttpRequest, SILENCE};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A room with a stream and as many viewers as it takes: their transports.
fn full_room(max_viewers: usize) -> (World, Vec<u64>) {
    let mut world = World::with(|config| config.rooms.max_viewers = max_viewers);
    let a = world.enter("a", "r");
    let publisher = world.published(a, "r", "s1", "r-a-1");
    world.peer_lives(publisher, true);
    let viewers = (0..max_viewers).map(|_| {
        let (session, _) = created(world.http(play("r-a-1")));
        let transport = world.transport_of(&session);
        world.media_up(transport);
        world.peer_lives(transport, true);
        transport
    });
    let viewers = viewers.collect();
    world.wait(Duration::from_secs(10));
    (world, viewers)
}

/// Asks for a place, and gives the number of the request.
fn ask(world: &mut World) -> u64 {
    assert!(world.http(play("r-a-1")).is_none(), "nobody knows yet");
    world.next
}

fn is_in(world: &World, request: u64) -> bool {
    matches!(world.http.get(&request), Some(HttpReply::Created { .. }))
}

fn here(world: &World, viewers: &[u64]) -> usize {
    viewers.iter().filter(|key| world.relay.transports.contains_key(key)).count()
}

#[test]
fn a_viewer_that_comes_back_gets_the_place_of_one_that_is_silent() {
    for (ago, waits) in [(Duration::ZERO, SILENCE), (Duration::from_secs(9), ANSWER_PATIENCE)] {
        let (mut world, viewers) = full_room(3);
        world.peer_lives(viewers[1], false);
        world.wait(ago);
        let request = ask(&mut world);
        world.wait(waits - MS);
        assert!(!world.http.contains_key(&request), "not before it is known: {ago:?}");
        // The next look is a quarter of a second later at most.
        world.wait(MS * 252);
        assert!(is_in(&world, request), "{ago:?} {:?}", world.http.get(&request));
        assert_eq!(here(&world, &viewers), 2, "only one was displaced");
        assert!(!world.relay.transports.contains_key(&viewers[1]));
        world.wait(Duration::from_secs(5));
        assert!(world.hub.ledger().iter().all(|(name, size)| *size == 0 || !name.contains("places")));
    }
}

#[test]
fn nobody_makes_place_for_a_viewer_that_has_hung_up() {
    let (mut world, viewers) = full_room(3);
    world.peer_lives(viewers[1], false);
    ask(&mut world);
    world.hang_up();
    world.wait(Duration::from_secs(7));
    assert_eq!(here(&world, &viewers), 3);
    assert!(world.hub.ledger().iter().all(|(name, size)| *size == 0 || !name.contains("places")));
}

#[test]
fn all_come_back_at_once_and_no_more_are_displaced_than_come() {
    let (mut world, viewers) = full_room(8);
    // One after the other.
    for transport in &viewers[..6] {
        world.wait(MS * 10);
        world.peer_lives(*transport, false);
    }
    world.wait(Duration::from_secs(5));
    let requests: Vec<u64> = (0..4).map(|_| ask(&mut world)).collect();
    world.wait(Duration::from_secs(1));
    assert!(requests.iter().all(|request| is_in(&world, *request)));
    let still: Vec<bool> = viewers.iter().map(|key| world.relay.transports.contains_key(key)).collect();
    assert_eq!(still, [false, false, false, false, true, true, true, true], "the longest silent first");
}

#[test]
fn who_lives_keeps_the_place_and_is_not_asked_all_the_time() {
    let (mut world, viewers) = full_room(2);
    let request = ask(&mut world);
    world.wait(Duration::from_secs(1));
    assert!(refused_with(world.http.get(&request), 503), "{:?}", world.http.get(&request));
    // All of them lived a moment ago, so who comes now waits until they are asked again.
    let next = ask(&mut world);
    world.peer_lives(viewers[1], false);
    world.wait(Duration::from_secs(1));
    assert!(!world.http.contains_key(&next));
    world.wait(SILENCE);
    assert!(is_in(&world, next));
    assert_eq!(here(&world, &viewers), 1);
}

#[test]
fn a_place_that_comes_free_is_given_to_who_waits() {
    let mut world = World::with(|config| config.rooms.max_viewers = 1);
    let a = world.enter("a", "r");
    world.published(a, "r", "s1", "r-a-1");
    let (session, _) = created(world.http(play("r-a-1")));
    let (first, second) = (ask(&mut world), ask(&mut world));
    let delete = HttpRequest::Delete { secret: session, published: false };
    assert_eq!(world.http(delete), Some(&HttpReply::Deleted));
    world.wait(MS * 300);
    assert!(is_in(&world, first));
    assert!(refused_with(world.http.get(&second), 503));
}

#[test]
fn a_relay_that_says_nothing_leaves_every_viewer_its_place() {
    let (mut world, viewers) = full_room(2);
    world.relay_mute = true;
    let request = ask(&mut world);
    world.wait(Duration::from_secs(5));
    assert!(refused_with(world.http.get(&request), 503));
    assert_eq!(here(&world, &viewers), 2);
}

#[test]
fn a_room_that_takes_no_viewers_refuses_them() {
    let (mut world, _) = full_room(0);
    for _ in 0..2 {
        world.http(play("r-a-1"));
        let request = world.next;
        world.wait(SILENCE);
        assert!(refused_with(world.http.get(&request), 503));
    }
}

#[test]
fn a_room_that_ends_meanwhile_has_no_stream() {
    let (mut world, _) = full_room(1);
    let request = ask(&mut world);
    world.relay.transports.clear();
    let members: Vec<_> = world.heard.keys().copied().collect();
    members.into_iter().for_each(|id| world.close(id, true));
    world.wait(Duration::from_secs(60));
    assert!(refused_with(world.http.get(&request), 404), "{:?}", world.http.get(&request));
}
