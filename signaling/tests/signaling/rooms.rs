//! Join, leave, limits, the life of a room (protocol sections 3 and 10).

use crate::world::{PUBLISH, World};
use relay_control::Command;
use serde_json::{Value, json};
use signaling::auth::Grant;
use signaling::hub::{HttpReply, HttpRequest};
use signaling::refusal::Refusal;
use std::time::Duration;

fn state(world: &mut World, id: signaling::id::ConnectionId, room: &str) -> Value {
    world.command(id, "join", json!({"name": room}));
    let heard = world.listen(id);
    heard.last().expect("STATE")["data"][0]["payload"]["info"].clone()
}

#[test]
fn the_first_one_finds_an_empty_room_and_the_others_hear_of_the_next() {
    let mut world = World::new();
    let a = world.connect("Алиса");
    assert_eq!(state(&mut world, a, "комната 1"), json!([]));
    let b = world.connect("bob");
    assert_eq!(state(&mut world, b, "комната 1"), json!(["Алиса"]));
    assert_eq!(world.names(a), ["JOINED bob"]);
}

#[test]
fn state_lists_streams_in_order_and_nobody_twice() {
    let mut world = World::new();
    let (a, _silent) = (world.enter("a", "r"), world.enter("silent", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.published(a, "r", "s2", "r-a-1-screenShare");
    let c = world.connect("c");
    assert_eq!(
        state(&mut world, c, "r"),
        json!([{"login": "a", "name": "r-a-1"}, {"login": "a", "name": "r-a-1-screenShare"}, "silent"])
    );
    world.publish(c, "r", "s3", "r-c-1");
    let d = world.connect("d");
    // Not on the air yet: c is a plain member.
    assert_eq!(state(&mut world, d, "r")[3], "c");
}

#[test]
fn leave_tears_down_first_and_frees_the_login_before_it_is_accepted() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.published(b, "r", "s2", "r-b-1");
    world.playing(b, "r", "p1", "r-a-1");
    world.playing(a, "r", "p2", "r-b-1");
    world.command(a, "leave", json!({"name": "r"}));
    assert_eq!(
        world.names(a),
        ["UNPUBLISHED s1 (Stopped by user)", "STOPPED p2 (Stopped by user)", "ACCEPTED"]
    );
    assert_eq!(world.names(b), ["STOPPED p1 (Stopped by publisher stop)", "UNPUBLISHED a/r-a-1", "LEFT a"]);
    // The vendor's client stops its play once more: no error.
    world.say(a, "stopStream", json!({"mediaSessionId": "p2", "name": "r-b-1"}));
    assert_eq!(world.names(a), ["STOPPED p2 (Stopped by user)"]);
    let closes = world.relay.asked.iter().filter(|c| matches!(c, Command::CloseTransport(_))).count();
    assert_eq!((closes, world.relay.transports.len()), (3, 1));
}

#[test]
fn leaving_and_joining_at_once_never_fails() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.forget();
    for _ in 0..20 {
        world.command(a, "leave", json!({"name": "r"}));
        world.command(a, "join", json!({"name": "r"}));
        assert_eq!(world.names(a), ["ACCEPTED", "ACCEPTED", "STATE"]);
    }
    let heard = world.names(b);
    assert_eq!(heard.len(), 40);
    assert!(heard.chunks(2).all(|pair| pair == ["LEFT a", "JOINED a"]));
}

#[test]
fn leaving_a_room_one_is_not_in_is_refused() {
    let mut world = World::new();
    let (a, _b) = (world.connect("a"), world.enter("b", "r"));
    for room in ["r", "nowhere"] {
        world.command(a, "leave", json!({"name": room}));
        assert_eq!(world.names(a), ["FAILED Not in this room"]);
    }
}

#[test]
fn the_room_has_a_limit_of_its_own_and_nobody_sees_the_refused_one() {
    let mut world = World::with(|config| config.rooms.max_participants = 2);
    let (a, _b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.forget();
    let c = world.connect("c");
    world.command(c, "join", json!({"name": "r"}));
    assert_eq!(world.names(c), ["FAILED Room is full"]);
    assert!(world.listen(a).is_empty());
}

#[test]
fn who_creates_a_room_may_limit_it_within_the_servers_own_limit() {
    for (wished, fits) in
        [(json!(2), 2), (json!(1), 1), (json!(9), 3), (json!(u64::MAX), 3), (Value::Null, 3)]
    {
        let mut world = World::with(|config| config.rooms.max_participants = 3);
        let join = |world: &mut World, login: &str, wished: &Value| {
            let id = world.connect(login);
            world.command(id, "join", json!({"name": "r", "maxParticipants": wished}));
            world.names(id)
        };
        for (at, login) in ["a", "b", "c", "d"].into_iter().enumerate() {
            // Only the first one's wish is for this room.
            let wished = if at == 0 { &wished } else { &json!(100) };
            let heard = join(&mut world, login, wished);
            let expected = if at < fits { vec!["ACCEPTED", "STATE"] } else { vec!["FAILED Room is full"] };
            assert_eq!(heard, expected, "{login} of {wished}");
        }
        assert_eq!(world.hub.census()[2], fits);
    }
}

#[test]
fn a_limited_room_keeps_out_encoders_too_and_a_place_that_is_left_is_free() {
    let mut world = World::new();
    let (a, b) = (world.connect("a"), world.connect("b"));
    for id in [a, b] {
        world.command(id, "join", json!({"name": "r", "maxParticipants": 2}));
    }
    let whip = || HttpRequest::Publish {
        room: "r".to_owned(),
        login: None,
        sdp: PUBLISH.to_owned(),
        priority: None,
        rights: Grant::everything().rights(),
        record: false,
    };
    let full = HttpReply::Refused(Refusal::RoomFull);
    assert_eq!(world.http(whip()), Some(&full));
    world.command(a, "leave", json!({"name": "r"}));
    assert!(matches!(world.http(whip()), Some(HttpReply::Created { .. })));
}

#[test]
fn a_limit_that_is_none_is_refused_and_makes_no_room() {
    for wished in
        [json!(0), json!(-1), json!(1.5), json!("2"), json!([2]), json!({}), json!(true), json!(1e30)]
    {
        let mut world = World::new();
        let a = world.connect("a");
        world.command(a, "join", json!({"name": "r", "maxParticipants": wished}));
        assert_eq!(world.names(a), ["FAILED maxParticipants must be a whole number from 1"], "{wished}");
        assert_eq!(world.hub.census(), [1, 0, 0, 0]);
    }
}

#[test]
fn rooms_have_a_limit() {
    let mut world = World::with(|config| config.rooms.max_rooms = 1);
    world.enter("a", "r");
    let b = world.connect("b");
    world.command(b, "join", json!({"name": "s"}));
    assert_eq!(world.names(b), ["FAILED Too many rooms"]);
}

#[test]
fn a_connection_may_be_in_two_rooms_whose_names_are_alike() {
    let mut world = World::new();
    let a = world.enter("x", "a");
    world.join(a, "a-b");
    let b = world.enter("y", "a-b");
    world.published(a, "a", "s1", "a-x-1");
    world.published(a, "a-b", "s2", "a-b-x-1");
    world.command(a, "leave", json!({"name": "a"}));
    assert_eq!(world.names(a), ["UNPUBLISHED s1 (Stopped by user)", "ACCEPTED"]);
    assert!(world.listen(b).is_empty());
}

#[test]
fn a_closed_socket_ends_streams_and_membership_at_once() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.playing(b, "r", "p1", "r-a-1");
    world.close(a, false);
    assert_eq!(world.names(b), ["STOPPED p1 (Stopped by publisher stop)", "UNPUBLISHED a/r-a-1", "LEFT a"]);
    assert!(world.relay.transports.is_empty());
}

/// Section 3.5: `leave` of the last one ends the room; if it vanished, a join within the time continues it.
#[test]
fn the_life_of_a_room() {
    let room_id = |world: &World| {
        world.relay.asked.iter().rev().find_map(|command| match command {
            Command::OpenTransport(open) => Some(open.room_id),
            _ => None,
        })
    };
    for (leave, wait, same) in [(false, 59, true), (false, 61, false), (true, 0, false)] {
        let mut world = World::new();
        let a = world.enter("a", "r");
        world.published(a, "r", "s1", "r-a-1");
        let first = room_id(&world);
        if leave {
            world.command(a, "leave", json!({"name": "r"}));
        } else {
            world.close(a, true);
        }
        world.wait(Duration::from_secs(wait));
        let b = world.enter("b", "r");
        world.published(b, "r", "s2", "r-b-1");
        assert_eq!(first == room_id(&world), same, "leave {leave}, {wait} s");
    }
}
