//! Who comes back gets in: silent holders of a login or a name give way, living ones never do.

use crate::whip_whep::refused_with;
use crate::world::{PUBLISH, PUBLISH_AUDIO, World};
use serde_json::{Value, json};
use signaling::auth::{Grant, Rights};
use signaling::hub::{ANSWER_PATIENCE, CloseCode, HttpReply, HttpRequest, PONG_LIMIT, Patch, SILENCE};
use signaling::id::ConnectionId;
use std::time::Duration;

pub(crate) const LOGIN_IN_USE: &str = "FAILED Room already has user with such login";
pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn whip(sdp: &str) -> HttpRequest {
    whip_with(sdp, Grant::everything().rights())
}

fn whip_with(sdp: &str, rights: Rights) -> HttpRequest {
    let (room, login, sdp) = ("r".to_owned(), Some("encoder".to_owned()), sdp.to_owned());
    HttpRequest::Publish { room, login, sdp, priority: None, rights, record: false }
}

/// Another offer of the same program: it was started again.
pub(crate) fn other_offer() -> String {
    PUBLISH.replace("a=ice-ufrag:", "a=ice-ufrag:x")
}

pub(crate) fn secret_of(reply: Option<&HttpReply>) -> String {
    match reply {
        Some(HttpReply::Created { secret, .. }) => secret.clone(),
        other => panic!("{other:?}"),
    }
}

/// An encoder on the air: the secret of its session, and its transport.
pub(crate) fn on_air(world: &mut World) -> (String, u64) {
    let secret = secret_of(world.http(whip(PUBLISH)));
    let transport = world.transport_of(&secret);
    world.media_up(transport);
    world.peer_lives(transport, true);
    world.forget();
    (secret, transport)
}

/// The reply to the request before last's time: all that came so far, by number.
pub(crate) fn last_reply(world: &World) -> Option<&HttpReply> {
    world.http.iter().max_by_key(|(number, _)| **number).map(|(_, reply)| reply)
}

pub(crate) fn ask(world: &mut World, request: HttpRequest) -> usize {
    let before = world.http.len();
    assert!(world.http(request).is_none(), "nobody knows yet");
    before
}

#[test]
fn an_encoder_that_crashed_gets_in_as_soon_as_its_predecessor_is_silent() {
    // However long ago it crashed when it comes back, in the middle of it or long after.
    for (ago, waits) in
        [(Duration::ZERO, SILENCE), (MS * 1_500, ANSWER_PATIENCE), (MS * 9_000, ANSWER_PATIENCE)]
    {
        let mut world = World::new();
        let watcher = world.enter("w", "r");
        let (old, transport) = on_air(&mut world);
        world.peer_lives(transport, false);
        world.wait(ago);
        world.forget();
        let before = ask(&mut world, whip(&other_offer()));
        world.wait(waits - MS);
        assert_eq!(world.http.len(), before, "not before it is known: {ago:?}");
        world.wait(MS * 2);
        let new = secret_of(last_reply(&world));
        let heard = world.names(watcher);
        let name = heard[0].strip_prefix("UNPUBLISHED ").expect("the stream goes first");
        assert!(name.starts_with("encoder/r-encoder-"), "{name}");
        assert_eq!(heard[1..], ["LEFT encoder", "JOINED encoder"]);
        // The old one is gone, whoever remembers it.
        assert!(!world.relay.transports.contains_key(&transport));
        let delete = HttpRequest::Delete { secret: old, published: true };
        assert!(refused_with(world.http(delete), 404));
        let delete = HttpRequest::Delete { secret: new, published: true };
        assert_eq!(world.http(delete), Some(&HttpReply::Deleted));
        world.wait(Duration::from_secs(5));
        assert!(world.hub.ledger().iter().all(|(name, size)| *size == 0 || !name.contains("takeover")));
    }
}

#[test]
fn an_encoder_that_lives_keeps_its_place_and_who_tries_every_second_gets_in_when_it_dies() {
    let mut world = World::new();
    let (_, transport) = on_air(&mut world);
    for _ in 0..5 {
        ask(&mut world, whip(&other_offer()));
        world.wait(Duration::from_secs(1));
        assert!(refused_with(last_reply(&world), 409), "it is alive");
    }
    world.peer_lives(transport, false);
    let died = world.now;
    loop {
        world.http(whip(&other_offer()));
        world.wait(Duration::from_secs(1));
        if matches!(last_reply(&world), Some(HttpReply::Created { .. })) {
            break;
        }
    }
    assert!(world.now - died <= SILENCE + Duration::from_secs(1), "{:?}", world.now - died);
}

/// It has muted and paused everything, so what comes of it is a check every few seconds. It answers the relay.
#[test]
fn an_encoder_that_sends_nothing_but_answers_lives() {
    let mut world = World::new();
    let (_, transport) = on_air(&mut world);
    world.media_stops(transport);
    world.peer_lives(transport, false);
    world.wait(Duration::from_secs(2));
    ask(&mut world, whip(&other_offer()));
    world.wait(MS * 300);
    world.peer_lives(transport, true);
    world.wait(Duration::from_secs(1));
    assert!(refused_with(last_reply(&world), 409));
    assert!(world.relay.transports.contains_key(&transport));
}

#[test]
fn who_never_came_gives_way_and_who_asks_again_with_the_same_offer_is_no_other() {
    let mut world = World::new();
    let watcher = world.enter("w", "r");
    world.wait(Duration::from_secs(10));
    // Its answer was lost, so it asks again.
    let first = secret_of(world.http(whip(PUBLISH)));
    let second = secret_of(world.http(whip(PUBLISH)));
    assert_ne!(first, second);
    assert_eq!(world.names(watcher), ["JOINED encoder", "LEFT encoder", "JOINED encoder"]);
    assert_eq!(world.relay.transports.len(), 1);
    // Its ICE never came up, and the encoder is started again.
    let transport = world.transport_of(&second);
    world.peer_lives(transport, false);
    ask(&mut world, whip(PUBLISH_AUDIO));
    world.wait(SILENCE + MS);
    secret_of(last_reply(&world));
    assert!(!world.relay.transports.contains_key(&transport));
}

#[test]
fn who_has_less_right_does_not_displace_anybody() {
    let named = Rights { named: true, publish: true, subscribe: true };
    let chosen = Rights { named: false, ..named };
    for (holder, newcomer, gets_in) in [
        (chosen, chosen, true),
        (chosen, named, true),
        (named, named, true),
        (named, chosen, false),
        (named, Rights { publish: false, ..named }, false),
        (named, Rights { subscribe: false, ..named }, false),
    ] {
        let mut world = World::new();
        secret_of(world.http(whip_with(PUBLISH, holder)));
        // Also after a restart of signaling, when all that is known of it stands in its label.
        for restarted in [false, true] {
            world.wait(Duration::from_secs(5));
            let reply = world.http(whip_with(&other_offer(), newcomer));
            assert_eq!(refused_with(reply, 409), !gets_in, "{holder:?} {newcomer:?} {restarted}");
            if restarted {
                break;
            }
            world = world.restart(|_| {});
            assert_eq!(world.relay.transports.len(), 1);
        }
    }
    // Another login is another matter.
    let mut world = World::new();
    on_air(&mut world);
    let bob = world.connect("bob");
    world.join(bob, "r");
    assert_eq!(world.relay.transports.len(), 1);
}

/// An older label says nothing of rights. Its member comes back with those of its session, also for the
/// signaling after this one.
#[test]
fn who_resumes_has_the_rights_of_the_session_that_it_resumes_with() {
    let named = Grant { login: Some("a".to_owned()), ..Grant::everything() };
    let back = |world: &mut World, token: Option<&str>, grant: &Grant| {
        let id = world.open();
        let mut custom = json!({"login": "a", "resumable": true});
        token.into_iter().for_each(|token| custom["resume"] = token.into());
        let hello = json!({"message": "connection", "data": [{"appKey": "roomApp", "custom": custom}]});
        world.say_authorized(id, &hello.to_string(), Ok(Some(grant.clone())));
        let token = world.only(id, "getUserData")["authToken"].as_str().expect("token").to_owned();
        (id, token)
    };
    let mut world = World::new();
    let (a, token) = back(&mut world, None, &Grant::everything());
    world.join(a, "r");
    let transport = world.published(a, "r", "s1", "r-a-1");
    let mut label: Value = serde_json::from_slice(&world.relay.transports[&transport].label).expect("JSON");
    label["member"].as_object_mut().expect("a member").remove("rights");
    world.relay.transports.get_mut(&transport).expect("open").label = label.to_string().into_bytes();
    let mut world = world.restart(|_| {});
    let (a, _) = back(&mut world, Some(&token), &named);
    world.join(a, "r");
    for restarted in [false, true] {
        let second = world.connect("a");
        world.command(second, "join", json!({"name": "r"}));
        assert_eq!(world.names(second), [LOGIN_IN_USE], "{restarted}");
        if restarted {
            break;
        }
        world = world.restart(|_| {});
    }
}

#[test]
fn after_a_restart_of_signaling_an_encoder_that_crashed_is_replaced_and_a_living_one_is_not() {
    for lives in [true, false] {
        let mut world = World::new();
        let (_, transport) = on_air(&mut world);
        let mut world = world.restart(|_| {});
        world.peer_lives(transport, lives);
        world.wait(Duration::from_secs(3));
        ask(&mut world, whip(&other_offer()));
        world.wait(SILENCE);
        assert_eq!(refused_with(last_reply(&world), 409), lives);
        assert_eq!(world.relay.transports.contains_key(&transport), lives);
    }
}

#[test]
fn a_relay_that_says_nothing_leaves_everybody_what_they_have() {
    let mut world = World::new();
    on_air(&mut world);
    world.relay_mute = true;
    ask(&mut world, whip(&other_offer()));
    world.wait(Duration::from_secs(5));
    assert!(refused_with(last_reply(&world), 409));
}

#[test]
fn a_login_that_is_alive_is_refused_with_the_exact_words() {
    for by_its_browser in [false, true] {
        let mut world = World::new();
        let (a, second) = (world.enter("a", "r"), world.connect("a"));
        world.command(second, "join", json!({"name": "r"}));
        assert!(world.listen(second).is_empty());
        assert_eq!((world.heard.remove(&a).expect("probe").len(), &world.pinged), (1, &vec![a]));
        world.wait(PONG_LIMIT - MS);
        if by_its_browser {
            // The page hangs, but its browser answers the ping of the WebSocket.
            world.hub.handle_heard(world.now, a);
            world.pump();
        } else {
            world.say(a, "pong", Value::Null);
        }
        assert_eq!(world.names(second), [LOGIN_IN_USE]);
        assert!(world.closed.is_empty());
    }
}

#[test]
fn a_half_open_member_gives_way_in_two_seconds_and_one_whose_media_lives_does_not() {
    for (media_lives, expected) in [(false, vec!["ACCEPTED", "STATE"]), (true, vec![LOGIN_IN_USE])] {
        let mut world = World::new();
        let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
        let transport = world.published(a, "r", "s1", "r-a-1");
        world.peer_lives(transport, media_lives);
        let second = world.connect("a");
        // It has just spoken; that was before.
        world.say(a, "pong", Value::Null);
        world.command(second, "join", json!({"name": "r"}));
        world.wait(PONG_LIMIT);
        assert_eq!(world.names(second), expected);
        if media_lives {
            assert!(world.closed.is_empty() && world.relay.transports.len() == 1);
        } else {
            assert_eq!(world.closed, [(a, CloseCode::Replaced)]);
            assert_eq!(world.names(b), ["UNPUBLISHED a/r-a-1", "LEFT a", "JOINED a"]);
            assert!(world.relay.transports.is_empty());
        }
    }
}

/// Its TCP stalls while its media flows: a claim in one room costs it nothing in another.
#[test]
fn whose_media_lives_in_one_room_lives_in_all_its_rooms() {
    let mut world = World::new();
    let a = world.enter("a", "lobby");
    world.join(a, "secret");
    let transport = world.published(a, "secret", "s1", "secret-a-1");
    world.peer_lives(transport, true);
    let second = world.connect("a");
    world.command(second, "join", json!({"name": "lobby"}));
    world.wait(PONG_LIMIT);
    assert_eq!(world.names(second), [LOGIN_IN_USE]);
    assert!(world.closed.is_empty() && world.relay.transports.contains_key(&transport));
}

/// However many streams it has, and wherever the one that lives stands among them.
#[test]
fn one_living_stream_among_many_dead_ones_is_found() {
    let mut world = World::new();
    let a = world.enter("a", "lobby");
    world.join(a, "secret");
    let mut last = 0;
    for number in 0..12 {
        let room = if number < 6 { "lobby" } else { "secret" };
        last = world.published(a, room, &format!("s{number}"), &format!("{room}-a-{number}"));
        world.peer_lives(last, false);
    }
    world.peer_lives(last, true);
    let second = world.connect("a");
    world.command(second, "join", json!({"name": "lobby"}));
    world.wait(PONG_LIMIT);
    assert_eq!(world.names(second), [LOGIN_IN_USE]);
}

/// Who is silent everywhere loses what is claimed, and nothing else.
#[test]
fn who_is_displaced_in_one_room_keeps_its_place_and_its_streams_in_the_others() {
    let mut world = World::new();
    let (a, watcher) = (world.enter("a", "lobby"), world.enter("w", "secret"));
    world.join(a, "secret");
    let in_lobby = world.published(a, "lobby", "s1", "lobby-a-1");
    let in_secret = world.published(a, "secret", "s2", "secret-a-1");
    world.peer_lives(in_lobby, false);
    world.peer_lives(in_secret, false);
    let second = world.connect("a");
    world.command(second, "join", json!({"name": "lobby"}));
    world.wait(PONG_LIMIT);
    assert_eq!(world.names(second), ["ACCEPTED", "STATE"]);
    assert!(!world.relay.transports.contains_key(&in_lobby));
    // Nothing has happened in the other room.
    assert!(world.closed.is_empty() && world.relay.transports.contains_key(&in_secret));
    assert!(world.names(watcher).is_empty());
    // It hears what it has lost, and goes on with the rest.
    assert_eq!(world.names(a), ["UNPUBLISHED s1 (Replaced by a newer session)", "REPLACED a"]);
    world.command(a, "leave", json!({"name": "lobby"}));
    world.command(a, "leave", json!({"name": "secret"}));
    let left = ["FAILED Not in this room", "UNPUBLISHED s2 (Stopped by user)", "ACCEPTED"];
    assert_eq!(world.names(a), left);
    assert_eq!(world.names(watcher), ["UNPUBLISHED a/secret-a-1", "LEFT a"]);
}

/// A phone between two networks has no socket for a while, but its call goes on.
#[test]
fn who_lost_the_socket_keeps_the_login_while_the_media_lives() {
    let mut world = World::new();
    let (a, token) = world.connect_with(json!({"login": "a", "resumable": true}));
    world.join(a, "r");
    let transport = world.published(a, "r", "s1", "r-a-1");
    world.peer_lives(transport, true);
    // One waits for the login already, one comes later, and one comes by WHIP.
    let (second, third) = (world.connect("a"), world.connect("a"));
    world.command(second, "join", json!({"name": "r"}));
    world.close(a, false);
    world.command(third, "join", json!({"name": "r"}));
    let (login, rights) = (Some("a".to_owned()), Grant::everything().rights());
    let sdp = PUBLISH.to_owned();
    ask(
        &mut world,
        HttpRequest::Publish { room: "r".to_owned(), login, sdp, priority: None, rights, record: false },
    );
    world.wait(PONG_LIMIT);
    assert!(refused_with(last_reply(&world), 409));
    for id in [second, third] {
        assert_eq!(world.names(id), [LOGIN_IN_USE]);
    }
    // Its client comes back, and the next time it does not, as it has died.
    let (again, _) = world.connect_with(json!({"login": "a", "resumable": true, "resume": token}));
    world.join(again, "r");
    world.close(again, false);
    world.peer_lives(transport, false);
    for id in [second, third] {
        world.command(id, "join", json!({"name": "r"}));
    }
    world.wait(SILENCE);
    assert_eq!(world.names(second), ["ACCEPTED", "STATE"]);
    assert!(world.relay.transports.is_empty());
    // The third one now waits for the second.
    world.say(second, "pong", Value::Null);
    assert_eq!(world.names(third), [LOGIN_IN_USE]);
}

#[test]
fn a_login_is_free_at_once_when_its_socket_closes_even_while_it_is_asked() {
    let mut world = World::new();
    let (a, second, third) = (world.enter("a", "r"), world.connect("a"), world.connect("a"));
    world.command(second, "join", json!({"name": "r"}));
    world.command(third, "join", json!({"name": "r"}));
    world.close(a, false);
    assert_eq!(world.names(second), ["ACCEPTED", "STATE"]);
    world.say(second, "pong", Value::Null);
    assert_eq!(world.names(third), [LOGIN_IN_USE]);
}

#[test]
fn nobody_is_displaced_for_a_claimant_that_has_gone() {
    let mut world = World::new();
    let (a, second) = (world.enter("a", "r"), world.connect("a"));
    world.command(second, "join", json!({"name": "r"}));
    world.close(second, true);
    world.wait(Duration::from_secs(4));
    assert!(world.closed.is_empty());
    world.say(a, "pong", Value::Null);
    world.command(a, "leave", json!({"name": "r"}));
    assert_eq!(world.names(a), ["ACCEPTED"]);
}

#[test]
fn who_joins_again_on_the_same_connection_is_told_again() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    world.published(a, "r", "s1", "r-a-1");
    world.command(a, "join", json!({"name": "r"}));
    let heard = world.listen(a);
    assert_eq!(heard[0]["data"][0]["status"], "ACCEPTED");
    let state = &heard[1]["data"][0]["payload"];
    assert_eq!((&state["name"], &state["info"]), (&json!("STATE"), &json!([])));
    assert_eq!(state["resumed"][0]["mediaSessionId"], "s1");
    assert_eq!(world.relay.transports.len(), 1);
}

fn publish(world: &mut World, id: ConnectionId, session: &str, name: &str, sdp: &str) {
    let request = json!({"mediaSessionId": session, "name": name, "sdp": sdp, "custom": {"name": "r"}});
    world.say(id, "publishStream", request);
}

#[test]
fn what_is_asked_twice_is_answered_twice_and_the_stream_goes_on() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.forget();
    publish(&mut world, a, "s1", "r-a-1", PUBLISH);
    let first = world.listen(a);
    publish(&mut world, a, "s1", "r-a-1", PUBLISH);
    assert_eq!(world.listen(a), first, "the same answer");
    let transport = world.transport_of("s1");
    world.media_up(transport);
    world.forget();
    publish(&mut world, a, "s1", "r-a-1", PUBLISH);
    assert_eq!(world.names(a), ["SDP s1", "PUBLISHING s1"]);
    // A stream never changes: what is not the same is refused, and the one that runs is left alone.
    publish(&mut world, a, "s1", "r-a-1", PUBLISH_AUDIO);
    assert_eq!(world.only(a, "fail")["code"], "stream-id-taken");
    publish(&mut world, a, "s1", "r-a-2", PUBLISH);
    assert_eq!(world.only(a, "fail")["code"], "stream-id-taken");
    // The same for who plays it.
    world.play(b, "r", "p1", "r-a-1");
    let first = world.listen(b);
    world.play(b, "r", "p1", "r-a-1");
    assert_eq!(world.listen(b), first);
    let player = world.transport_of("p1");
    world.media_up(player);
    world.forget();
    world.play(b, "r", "p1", "r-a-1");
    assert_eq!(world.names(b), ["SDP p1", "PLAYING p1"]);
    world.play(b, "r", "p1", "r-a-9");
    assert_eq!(world.only(b, "fail")["code"], "stream-id-taken");
    assert_eq!(world.relay.transports.len(), 2);
    // Stopped twice is stopped.
    for _ in 0..2 {
        world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "r-a-1"}));
        assert_eq!(world.names(a), ["UNPUBLISHED s1 (Stopped by user)"]);
    }
}

#[test]
fn a_name_is_published_again_when_the_stream_before_is_silent() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let transport = world.published(a, "r", "s1", "r-a-1");
    world.peer_lives(transport, true);
    publish(&mut world, a, "s2", "r-a-1", &other_offer());
    world.wait(SILENCE);
    assert_eq!(world.names(a), ["FAILED s2 (Stream name is already in use)"]);
    world.peer_lives(transport, false);
    world.wait(SILENCE);
    publish(&mut world, a, "s2", "r-a-1", &other_offer());
    world.wait(ANSWER_PATIENCE);
    assert_eq!(world.names(a), ["UNPUBLISHED s1 (Replaced by a newer session)", "SDP s2"]);
    assert_eq!(world.names(b), ["UNPUBLISHED a/r-a-1"]);
    // Another's stream of that name is another's.
    publish(&mut world, b, "s3", "r-a-1", &other_offer());
    assert_eq!(world.names(b), ["FAILED s3 (Stream name is already in use)"]);
}

/// However silent the one before is: who gets nothing takes nothing.
#[test]
fn nobody_is_displaced_for_an_offer_of_which_nothing_can_be_had() {
    let unusable = other_offer().replace("sha-256", "sha-1");
    let broken = "v=0\r\n".to_owned();
    let mut world = World::new();
    let (secret, transport) = on_air(&mut world);
    world.peer_lives(transport, false);
    world.wait(SILENCE * 2);
    for (offer, status) in [(&unusable, 422), (&broken, 400)] {
        assert!(refused_with(world.http(whip(offer)), status), "at once");
    }
    world.wait(SILENCE * 2);
    let delete = HttpRequest::Delete { secret, published: true };
    assert_eq!(world.http(delete), Some(&HttpReply::Deleted));
    // The same of a name.
    let a = world.enter("a", "r");
    let transport = world.published(a, "r", "s1", "r-a-1");
    world.peer_lives(transport, false);
    world.wait(SILENCE * 2);
    for offer in [&unusable, &broken] {
        publish(&mut world, a, "s2", "r-a-1", offer);
        world.wait(SILENCE * 2);
        let told = world.names(a);
        assert!(told.len() == 1 && told[0].starts_with("FAILED s2"), "{told:?}");
        world.forget();
    }
}

#[test]
fn a_restart_of_ice_whose_answer_was_lost_is_answered_again() {
    let mut world = World::new();
    let (secret, _) = on_air(&mut world);
    let patch = |if_match: &str| {
        let fragment = "a=ice-ufrag:newu\r\na=ice-pwd:0123456789abcdef0123456789\r\n".to_owned();
        let (secret, if_match) = (secret.clone(), Some(if_match.to_owned()));
        HttpRequest::Patch(Patch { secret, published: true, if_match, fragment })
    };
    let restarted = |reply: Option<&HttpReply>| matches!(reply, Some(HttpReply::Restarted { .. }));
    assert!(restarted(world.http(patch("\"ufrag0\""))));
    assert!(restarted(world.http(patch("\"ufrag0\""))), "its answer was lost");
    assert!(restarted(world.http(patch("*"))));
    assert!(refused_with(world.http(patch("\"other\"")), 412));
}

#[test]
fn a_restart_of_ice_that_the_relay_refused_can_be_tried_again() {
    let mut world = World::new();
    let (secret, transport) = on_air(&mut world);
    let patch = |ufrag: &str| {
        let fragment = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789abcdef0123456789\r\n");
        let (secret, if_match) = (secret.clone(), Some("\"ufrag0\"".to_owned()));
        HttpRequest::Patch(Patch { secret, published: true, if_match, fragment })
    };
    let info = world.relay.transports.remove(&transport).expect("on the air");
    assert!(refused_with(world.http(patch("newu")), 503));
    world.relay.transports.insert(transport, info);
    let restarted = |reply: Option<&HttpReply>| matches!(reply, Some(HttpReply::Restarted { .. }));
    assert!(restarted(world.http(patch("newu"))), "the same again");
    assert!(restarted(world.http(patch("newu"))), "its answer was lost");
    // What the answer before was to belongs to that one.
    assert!(refused_with(world.http(patch("other")), 412));
}

/// A room may be large, and two of them are told one after the other.
#[test]
fn who_has_much_to_read_enters_the_next_room_when_it_has_read_it() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    world.hub.handle_pressure(a, true);
    world.command(a, "join", json!({"name": "s"}));
    world.command(a, "leave", json!({"name": "r"}));
    assert!(world.listen(a).is_empty());
    world.hub.handle_pressure(a, false);
    world.pump();
    assert_eq!(world.names(a), ["ACCEPTED", "STATE", "ACCEPTED"]);
}
