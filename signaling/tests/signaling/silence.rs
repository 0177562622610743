//! Who is not silent though nothing of it is heard, and who is not waited for though it came.

use crate::takeovers::{LOGIN_IN_USE, MS, ask, last_reply, on_air, other_offer, secret_of, whip};
use crate::whip_whep::refused_with;
use crate::world::{PUBLISH_AUDIO, World};
use serde_json::json;
use signaling::hub::{GIVE_UP, PONG_LIMIT, SILENCE};
use std::time::Duration;

/// It is being told of a large room over a slow line, or its reader waits for the operator's hook.
#[test]
fn whose_answer_cannot_be_here_yet_is_not_taken_for_silent() {
    let second = Duration::from_secs(1);
    for hook in [false, true] {
        // It answers, it does not, and nobody can know.
        for (answers, known, expected) in [
            (true, true, vec![LOGIN_IN_USE]),
            (false, true, vec!["ACCEPTED", "STATE"]),
            (false, false, vec![LOGIN_IN_USE]),
        ] {
            let mut world = World::new();
            let (a, b) = (world.enter("a", "r"), world.connect("a"));
            world.pings_wait = !hook;
            if hook {
                world.hub.handle_listens(world.now, a, false);
            }
            world.command(b, "join", json!({"name": "r"}));
            world.wait(second);
            match known {
                true if hook => world.hub.handle_listens(world.now, a, true),
                true => world.hub.handle_pinged(world.now, a),
                false => {}
            }
            world.wait(PONG_LIMIT - MS);
            assert!(world.listen(b).is_empty(), "{hook} {answers} {known}");
            if answers {
                world.hub.handle_heard(world.now, a);
                world.pump();
            }
            world.wait(GIVE_UP - second - PONG_LIMIT + MS);
            assert_eq!(world.names(b), expected, "{hook} {answers} {known}");
        }
    }
}

/// The machine was moved, or slept: what the holders have said meanwhile is not read yet.
#[test]
fn a_pause_of_the_server_is_no_silence_of_the_holder() {
    for answers in [true, false] {
        let mut world = World::new();
        let (_, transport) = on_air(&mut world);
        let a = world.enter("a", "r");
        world.peer_lives(transport, false);
        let second = world.connect("a");
        world.command(second, "join", json!({"name": "r"}));
        ask(&mut world, whip(&other_offer()));
        world.now += Duration::from_secs(13);
        world.hub.handle_timeout(world.now);
        world.pump();
        assert!(world.listen(second).is_empty() && world.http.len() == 1);
        if answers {
            world.peer_lives(transport, true);
            world.hub.handle_heard(world.now, a);
            world.pump();
        }
        world.wait(PONG_LIMIT);
        assert_eq!(world.names(second).contains(&LOGIN_IN_USE.to_owned()), answers);
        assert_eq!(refused_with(last_reply(&world), 409), answers);
    }
}

/// An encoder gives up after less than the server takes to find out, or is ended meanwhile.
#[test]
fn nobody_is_displaced_for_an_encoder_that_has_hung_up() {
    let mut world = World::new();
    let (_, transport) = on_air(&mut world);
    let watcher = world.enter("w", "r");
    world.peer_lives(transport, false);
    ask(&mut world, whip(&other_offer()));
    world.hang_up();
    world.wait(SILENCE * 2);
    assert!(world.relay.transports.contains_key(&transport));
    assert!(world.names(watcher).is_empty());
    // Of two, the one that still waits gets in.
    ask(&mut world, whip(&other_offer()));
    world.hang_up();
    ask(&mut world, whip(PUBLISH_AUDIO));
    world.wait(SILENCE * 2);
    secret_of(last_reply(&world));
    assert_eq!(world.names(watcher)[1..], ["LEFT encoder", "JOINED encoder"]);
    assert!(world.hub.ledger().iter().all(|(name, size)| *size == 0 || !name.contains("takeover")));
}
