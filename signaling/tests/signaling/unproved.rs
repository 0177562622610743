//! Streams whose clients never do ICE.

use crate::recordings::{publish, recording};
use crate::whip_whep::refused_with;
use crate::world::{PLAY, PUBLISH_AUDIO, World};
use relay_control::{ErrorCode, FailReason, TransportState};
use signaling::address::Subnet;
use signaling::auth::Grant;
use signaling::hub::{ANSWER_LIMIT, CONNECT_LIMIT};
use signaling::hub::{HttpReply, HttpRequest};
use signaling::names::NameOf;
use signaling::refusal::{Refusal, StreamEnd};
use std::net::IpAddr;

fn from(last: u8) -> Option<Subnet> {
    Some(IpAddr::from([192, 0, 2, last]).into())
}

fn limited() -> World {
    World::with(|config| {
        config.signaling.max_unproved_streams = 10;
        config.signaling.max_unproved_streams_per_address = 4;
    })
}

/// WHIP into a room of its own; the session, or whether it was told to come again.
fn whip(world: &mut World, room: &str) -> Result<String, bool> {
    let (room, sdp) = (room.to_owned(), PUBLISH_AUDIO.to_owned());
    match world.http(HttpRequest::Publish {
        room,
        login: None,
        sdp,
        priority: None,
        rights: Grant::everything().rights(),
        record: false,
    }) {
        Some(HttpReply::Created { secret: session, .. }) => Ok(session.clone()),
        Some(HttpReply::Refused(refusal)) => Err(refusal.http_status() == 503),
        other => panic!("{other:?}"),
    }
}

fn empty(world: &World) -> bool {
    world.hub.ledger().iter().filter(|(name, _)| *name != "requests").all(|(_, size)| *size == 0)
}

#[test]
fn one_address_has_few_streams_without_ice_and_the_others_have_theirs() {
    let mut world = limited();
    world.from = from(1);
    let sessions: Vec<_> = (0..40).map(|room| whip(&mut world, &format!("r{room}"))).collect();
    assert!(sessions[..4].iter().all(Result::is_ok), "{sessions:?}");
    assert!(sessions[4..].iter().all(|session| *session == Err(true)), "{sessions:?}");
    assert_eq!(world.relay.transports.len(), 4);
    // What was refused left no room and no member behind.
    assert_eq!(world.hub.census(), [0, 4, 4, 4]);

    world.from = from(2);
    assert!(whip(&mut world, "other").is_ok());
    // Who has proved his address counts no more; one check, whose sender may be forged, does not prove it.
    world.from = from(1);
    let first = world.transport_of(sessions[0].as_ref().expect("created"));
    world.transport_state(first, TransportState::IceConnected, FailReason::None);
    assert_eq!(whip(&mut world, "again"), Err(true));
    world.transport_state(first, TransportState::Connected, FailReason::None);
    assert!(whip(&mut world, "again").is_ok());
    assert_eq!(whip(&mut world, "once more"), Err(true));
    // Nor who has gone: by himself, or because his time is up.
    let (session, published) = (sessions[1].clone().expect("created"), true);
    assert_eq!(world.http(HttpRequest::Delete { secret: session, published }), Some(&HttpReply::Deleted));
    assert!(whip(&mut world, "once more").is_ok());
    let session = sessions[0].clone().expect("created");
    assert_eq!(world.http(HttpRequest::Delete { secret: session, published }), Some(&HttpReply::Deleted));
    world.wait(ANSWER_LIMIT + CONNECT_LIMIT);
    assert!(world.relay.transports.is_empty() && empty(&world), "{:?}", world.hub.ledger());
    assert!((0..4).all(|room| whip(&mut world, &format!("r{room}")).is_ok()));
}

#[test]
fn all_addresses_together_have_few_as_well() {
    let mut world = limited();
    let mut made = 0;
    for last in 0..40 {
        world.from = from(last);
        made += usize::from(whip(&mut world, &format!("r{last}")).is_ok());
    }
    assert_eq!((made, world.relay.transports.len()), (10, 10));
    // Behind a proxy nobody is counted by address, but all are.
    let mut world = limited();
    assert_eq!((0..40).filter(|room| whip(&mut world, &format!("r{room}")).is_ok()).count(), 10);
}

#[test]
fn a_site_with_many_networks_does_not_take_all_places() {
    let mut world = limited();
    let mut made = 0;
    for net in 0..40 {
        world.from = Some(IpAddr::from([0x2001, 0xdb8, 1, net, 0, 0, 0, 1]).into());
        made += usize::from(whip(&mut world, &format!("r{net}")).is_ok());
    }
    assert_eq!(made, 5);
    world.from = from(1);
    assert!(whip(&mut world, "other").is_ok());
}

#[test]
fn streams_that_are_taken_over_without_keys_count_until_they_have_them() {
    let mut world = limited();
    let sessions: Vec<_> = (0..10).map(|room| whip(&mut world, &format!("r{room}")).expect("room")).collect();
    let first = world.transport_of(&sessions[0]);
    world.relay.set_state(first, TransportState::IceConnected);
    let mut world = world.restart(|config| config.signaling.max_unproved_streams = 10);
    assert_eq!(world.relay.transports.len(), 10);
    assert_eq!(whip(&mut world, "other"), Err(true));
    world.transport_state(first, TransportState::Connected, FailReason::None);
    assert!(whip(&mut world, "other").is_ok());
}

#[test]
fn streams_of_websockets_and_players_of_whep_count_too() {
    let mut world = limited();
    world.from = from(2);
    let publisher = world.enter("publisher", "r");
    world.published(publisher, "r", "s", "n");
    world.from = from(1);
    let a = world.enter("a", "r");
    world.play(a, "r", "p1", "n");
    world.publish(a, "r", "s1", "n1");
    let play = || HttpRequest::Play {
        room: "r".to_owned(),
        name: "n".to_owned(),
        by: NameOf::Either,
        sdp: PLAY.to_owned(),
    };
    for _ in 0..2 {
        assert!(matches!(world.http(play()), Some(HttpReply::Created { .. })));
    }
    assert!(refused_with(world.http(play()), 503));
    world.forget();
    let b = world.enter("b", "r");
    world.play(b, "r", "p2", "n");
    assert_eq!(world.names(b), ["FAILED p2 (Too many streams are being set up)"]);
    // He who publishes already may go on to play.
    world.play(publisher, "r", "p3", "n");
    assert!(world.names(publisher).contains(&"SDP p3".to_owned()));
}

#[test]
fn one_connection_behind_a_proxy_that_names_nobody_does_not_take_all_places() {
    const EACH: usize = 64;
    let mut world = World::with(|config| {
        config.signaling.max_unproved_streams = 100;
        config.rooms.max_publish_streams = 200;
    });
    let [a, b] = ["a", "b"].map(|login| world.enter(login, "r"));
    let answered = |world: &mut World, id, count: usize| {
        let login = format!("{id:?}");
        for n in 0..count {
            world.publish(id, "r", &format!("s{login}{n}"), &format!("n{login}{n}"));
        }
        world.names(id).iter().filter(|name| name.starts_with("SDP")).count()
    };
    assert_eq!(answered(&mut world, a, 90), EACH);
    assert_eq!(answered(&mut world, b, 20), 20);
}

#[test]
fn a_relay_without_room_is_full_and_not_an_error() {
    for code in [ErrorCode::LimitReached, ErrorCode::Busy] {
        let mut world = limited();
        world.relay.refuses = Some(code);
        let (room, sdp) = ("r".to_owned(), PUBLISH_AUDIO.to_owned());
        let reply = world.http(HttpRequest::Publish {
            room,
            login: None,
            sdp,
            priority: None,
            rights: Grant::everything().rights(),
            record: false,
        });
        let full = Refusal::Ended(StreamEnd::RelayFull);
        assert_eq!(reply, Some(&HttpReply::Refused(full)), "{code:?}");
        let a = world.enter("a", "r");
        world.publish(a, "r", "s", "n");
        assert_eq!(world.names(a), ["FAILED s (The server is full)"]);
    }
}

/// The recorder's port of the relay has few places.
#[test]
fn who_never_does_ice_takes_nothing_of_the_recorder() {
    let mut world = recording(|config| {
        config.recording.record_all_streams = true;
        config.recording.record_all_rooms = true;
    });
    let a = world.enter_recorded("a", "r");
    let ports = |world: &World| world.relay.asked.iter().filter(|asked| asked.is_of_ports()).count();
    let sessions: Vec<_> = (0..40).map(|room| whip(&mut world, &format!("r{room}"))).collect();
    publish(&mut world, a, "n1", true);
    assert!(sessions.iter().all(Result::is_ok), "{sessions:?}");
    // Nor when there is another recorder, which is told of all.
    world.recorder(false);
    world.recorder(true);
    assert_eq!((ports(&world), world.relay.taps.len()), (0, 0));
    let transport = world.transport_of("s-n1");
    world.transport_state(transport, TransportState::Connected, FailReason::None);
    assert_eq!((ports(&world), world.taps(transport).len()), (2, 2), "before its first packet");
    world.wait(ANSWER_LIMIT + CONNECT_LIMIT);
    assert_eq!(ports(&world), 2);
}

/// An earlier signaling has ordered taps of a stream that has no keys: what was stopped meanwhile is not written.
#[test]
fn taps_that_are_there_without_keys_are_taken_back_with_them() {
    for stopped in [false, true] {
        let mut world = recording(|_| {});
        let a = world.enter("a", "r");
        publish(&mut world, a, "n1", true);
        let transport = world.transport_of("s-n1");
        world.transport_state(transport, TransportState::Connected, FailReason::None);
        let before = world.taps(transport);
        world.relay.set_state(transport, TransportState::IceConnected);
        let mut world = world.restart(|config| config.recording.directory = Some("/records".into()));
        assert_eq!(world.taps(transport), before);
        if stopped {
            let id = before[0].recordings[0].id.clone();
            let reply = world.http(HttpRequest::StopRecording { id });
            assert_eq!(reply, Some(&HttpReply::RecordingStopped));
        }
        world.transport_state(transport, TransportState::Connected, FailReason::None);
        let expected = if stopped { Vec::new() } else { before };
        assert_eq!(world.taps(transport), expected);
    }
}
