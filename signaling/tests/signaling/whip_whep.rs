//! WHIP and WHEP at the hub (RFC 9725).

use crate::world::{PLAY, PUBLISH, World};
use relay_control::{FailReason, TransportState};
use serde_json::json;
use signaling::auth::Grant;
use signaling::hub::{HttpReply, HttpRequest, Patch};
use signaling::names::NameOf;
use signaling::refusal::Refusal;
use std::time::Duration;

pub(crate) fn publish(login: Option<&str>) -> HttpRequest {
    HttpRequest::Publish {
        room: "r".to_owned(),
        login: login.map(str::to_owned),
        sdp: PUBLISH.to_owned(),
        priority: None,
        rights: Grant::everything().rights(),
        record: false,
    }
}

pub(crate) fn play(name: &str) -> HttpRequest {
    play_by(name, NameOf::Either)
}

fn play_by(name: &str, by: NameOf) -> HttpRequest {
    HttpRequest::Play { room: "r".to_owned(), name: name.to_owned(), by, sdp: PLAY.to_owned() }
}

pub(crate) fn created(reply: Option<&HttpReply>) -> (String, String) {
    match reply {
        Some(HttpReply::Created { secret: session, etag, sdp, .. }) => {
            assert!(sdp.starts_with("v=0\r\n") && session.len() >= 32);
            (session.clone(), etag.clone())
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refused_with(reply: Option<&HttpReply>, status: u16) -> bool {
    matches!(reply, Some(HttpReply::Refused(refusal)) if refusal.http_status() == status)
}

#[test]
fn a_whip_publisher_looks_like_any_member() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    world.forget();
    let (session, _) = created(world.http(publish(Some("камера"))));
    assert_eq!(world.names(a), ["JOINED камера"]);
    world.media_up(world.transport_of(&session));
    let published = world.names(a);
    let name = published[0].strip_prefix("PUBLISHED камера/").expect("published").to_owned();
    assert!(name.starts_with("r-камера-"), "{name}");
    world.play(a, "r", "p1", &name);
    assert_eq!(world.names(a), ["SDP p1"]);
    let reply = world.http(HttpRequest::Delete { secret: session.clone(), published: true });
    assert_eq!(reply, Some(&HttpReply::Deleted));
    assert_eq!(
        world.names(a),
        [
            "STOPPED p1 (Stopped by publisher stop)".to_owned(),
            format!("UNPUBLISHED камера/{name}"),
            "LEFT камера".into()
        ]
    );
    let again = world.http(HttpRequest::Delete { secret: session, published: true });
    assert!(refused_with(again, 404));
    assert!(world.relay.transports.is_empty());
}

#[test]
fn a_whip_member_leaves_when_its_transport_ends() {
    for (reason, event) in [(FailReason::ConsentExpired, "FAILED"), (FailReason::DtlsClosed, "UNPUBLISHED")] {
        let mut world = World::new();
        let a = world.enter("a", "r");
        let (session, _) = created(world.http(publish(None)));
        let transport = world.transport_of(&session);
        world.media_up(transport);
        world.forget();
        world.transport_state(transport, TransportState::Failed, reason);
        let heard = world.names(a);
        assert!(
            heard.len() == 2 && heard[0].starts_with(event) && heard[1].starts_with("LEFT whip-"),
            "{heard:?}"
        );
    }
}

#[test]
fn refused_publishers_are_never_seen() {
    let mut world = World::with(|config| config.rooms.max_participants = 2);
    let a = world.enter("a", "r");
    world.forget();
    let broken = |sdp: String| HttpRequest::Publish {
        room: "r".to_owned(),
        login: None,
        sdp,
        priority: None,
        rights: Grant::everything().rights(),
        record: false,
    };
    for (request, refusal) in [
        (broken("nonsense".to_owned()), (400, "SDP line 1: does not start with v=0")),
        (
            broken(
                PUBLISH
                    .replace("opus/48000", "vorbis/48000")
                    .replace("PCM", "XCM")
                    .replace("VP8", "XP8")
                    .replace("H264", "H26X"),
            ),
            (422, "No common codecs"),
        ),
        (
            broken(PUBLISH.replace("setup:actpass", "setup:holdconn")),
            (422, "SDP line 15: setup is holdconn, not actpass, active or passive"),
        ),
        (
            broken(PUBLISH.replace("a=ice-pwd:", "a=ice-pwd:short\r\na=x:")),
            (400, "SDP line 12: ice-pwd is not 22 to 256 visible characters"),
        ),
    ] {
        let Some(HttpReply::Refused(refused)) = world.http(request) else { panic!("not {refusal:?}") };
        assert_eq!((refused.http_status(), refused.reason().words.as_ref()), refusal);
    }
    // Whoever has the login is asked, and answers.
    assert_eq!(world.http(publish(Some("a"))), None);
    world.say(a, "pong", serde_json::Value::Null);
    let taken = HttpReply::Refused(Refusal::LoginTaken);
    assert!(world.http.values().any(|reply| *reply == taken));
    created(world.http(publish(Some("b"))));
    let full = world.http(publish(Some("c")));
    assert_eq!(full, Some(&HttpReply::Refused(Refusal::RoomFull)));
    assert_eq!(world.names(a), ["JOINED b"]);
}

#[test]
fn a_whep_player_is_seen_by_nobody_and_has_a_limit() {
    let mut world = World::with(|config| config.rooms.max_viewers = 1);
    let a = world.enter("a", "r");
    let early = world.http(play("a"));
    assert!(refused_with(early, 409), "{early:?}");
    world.published(a, "r", "s1", "r-a-1");
    let (session, _) = created(world.http(play("r-a-1")));
    let viewer = world.transport_of(&session);
    world.media_up(viewer);
    world.peer_lives(viewer, true);
    assert!(world.listen(a).is_empty());
    // It is asked whether it lives.
    assert_eq!(world.http(play("r-a-1")), None);
    world.wait(Duration::from_secs(1));
    assert!(world.http.values().any(|reply| *reply == HttpReply::Refused(Refusal::TooManyStreams)));
    let wrong_kind = world.http(HttpRequest::Delete { secret: session.clone(), published: true });
    assert!(refused_with(wrong_kind, 404));
    assert_eq!(
        world.http(HttpRequest::Delete { secret: session, published: false }),
        Some(&HttpReply::Deleted)
    );
    // By login: its first stream.
    created(world.http(play("a")));
    let gone = world.http(play("b"));
    assert!(refused_with(gone, 404));
}

#[test]
fn a_login_is_played_before_a_foreign_stream_of_that_name() {
    let mut world = World::new();
    let (mallory, alice) = (world.enter("mallory", "r"), world.enter("alice", "r"));
    world.published(mallory, "r", "m1", "alice");
    let early = world.http(play("alice"));
    assert!(refused_with(early, 409), "not published yet: {early:?}");
    let first = world.published(alice, "r", "a1", "r-alice-1");
    let own = world.published(alice, "r", "a2", "alice-2");
    let stream = world.published(mallory, "r", "m2", "stream");
    let mut played = |name: &str, publisher: u64| {
        let (session, _) = created(world.http(play(name)));
        let tracks = |transport: u64| {
            let ups = &world.relay.transports[&transport].up_tracks;
            ups.iter().map(|track| track.track_id).collect::<Vec<_>>()
        };
        let viewer = &world.relay.transports[&world.transport_of(&session)];
        let heard: Vec<u64> = viewer.down_tracks.iter().map(|track| track.up_track_id).collect();
        assert_eq!(heard, tracks(publisher), "{name}");
    };
    played("alice", first);
    played("alice-2", own);
    played("stream", stream);
    world.close(alice, true);
    // Nobody has that login any more, so it is a stream's name like any other.
    created(world.http(play("alice")));
}

/// Whoever comes later cannot hide what was there: neither a login a stream, nor a stream a login.
#[test]
fn who_says_what_a_name_is_of_is_misled_by_nobody() {
    let mut world = World::new();
    let alice = world.enter("alice", "r");
    let concert = world.published(alice, "r", "a1", "concert");
    let mallory = world.enter("concert", "r");
    let played = |world: &mut World, name: &str, by: NameOf| {
        let reply = world.http(play_by(name, by));
        if let Some(HttpReply::Refused(refusal)) = reply {
            return Err(format!("{refusal:?}"));
        }
        let (session, _) = created(reply);
        Ok(world.relay.transports[&world.transport_of(&session)].down_tracks[0].up_track_id)
    };
    let track = |world: &World, transport: u64| world.relay.transports[&transport].up_tracks[0].track_id;
    let concert = track(&world, concert);
    assert_eq!(played(&mut world, "concert", NameOf::Stream), Ok(concert));
    assert!(played(&mut world, "concert", NameOf::Login).is_err_and(|why| why == "StreamNotReady"));
    let lure = world.published(mallory, "r", "m1", "alice");
    let lure = track(&world, lure);
    assert_eq!(played(&mut world, "alice", NameOf::Login), Ok(concert));
    assert_eq!(played(&mut world, "alice", NameOf::Stream), Ok(lure));
    world.close(alice, true);
    // Without a word it is the only thing of that name; with one it is never anything else.
    assert_eq!(played(&mut world, "alice", NameOf::Either), Ok(lure));
    assert!(played(&mut world, "alice", NameOf::Login).is_err_and(|why| why == "StreamNotFound"));
}

#[test]
fn of_several_streams_the_one_called_like_its_publisher_is_played_by_login() {
    let mut world = World::new();
    let alice = world.enter("alice", "r");
    world.published(alice, "r", "a1", "other");
    let own = world.published(alice, "r", "a2", "alice");
    let (session, _) = created(world.http(play("alice")));
    let heard = world.relay.transports[&world.transport_of(&session)].down_tracks[0].up_track_id;
    assert!(world.relay.transports[&own].up_tracks.iter().any(|track| track.track_id == heard));
}

#[test]
fn the_publishers_end_ends_its_viewers() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    world.published(a, "r", "s1", "r-a-1");
    created(world.http(play("r-a-1")));
    assert_eq!(world.relay.transports.len(), 2);
    world.command(a, "leave", json!({"name": "r"}));
    assert!(world.relay.transports.is_empty());
}

#[test]
fn ids_of_websocket_streams_are_no_keys() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    world.published(a, "r", "s1", "r-a-1");
    for published in [true, false] {
        let reply = world.http(HttpRequest::Delete { secret: "s1".to_owned(), published });
        assert!(refused_with(reply, 404));
    }
    assert_eq!(world.relay.transports.len(), 1);
}

#[test]
fn patches() {
    const RESTART: &str = "a=ice-ufrag:new1\r\na=ice-pwd:a-password-of-22-chars!\r\n";
    const CANDIDATE: &str = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.7 9 typ host\r\na=end-of-candidates\r\n";
    let mut world = World::new();
    let (session, etag) = created(world.http(publish(Some("b"))));
    let tag = format!("\"{etag}\"");
    let mut patch = |if_match: Option<&str>, fragment: &str| {
        let (if_match, fragment) = (if_match.map(str::to_owned), fragment.to_owned());
        let patch = Patch { secret: session.clone(), published: true, if_match, fragment };
        match world.http(HttpRequest::Patch(patch)) {
            Some(HttpReply::Restarted { etag, fragment }) => {
                assert!(fragment.contains("a=ice-ufrag:") && fragment.contains("a=candidate:"), "{fragment}");
                (200, etag.clone())
            }
            Some(HttpReply::Noted) => (204, String::new()),
            Some(HttpReply::Refused(refusal)) => (refusal.http_status(), String::new()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(patch(None, CANDIDATE).0, 428);
    assert_eq!(patch(Some("\"old\""), CANDIDATE).0, 412);
    for tag in [&tag, &format!("W/{tag}"), &etag, "*"] {
        assert_eq!(patch(Some(tag), CANDIDATE).0, 204, "{tag}");
    }
    assert_eq!(patch(Some("*"), "a=ice-ufrag:new1\r\n").0, 400);
    assert_eq!(patch(Some("*"), "a=ice-ufrag:x\r\n").0, 400);
    let (status, second) = patch(Some("*"), RESTART);
    assert_eq!(status, 200);
    assert_ne!(second, etag);
    // The old ICE session is over; its tag too.
    assert_eq!(patch(Some(&tag), CANDIDATE).0, 412);
    assert_eq!(patch(Some(&format!("\"x\", \"{second}\"")), CANDIDATE).0, 204);
    // The same credentials again are no further restart, and answered as the first.
    assert_eq!(patch(Some("*"), RESTART), (200, second));
}

/// Labels are shown to people by `ringvox-relay ctl inventory`; who knows a session's secret ends it.
#[test]
fn labels_hold_no_secret_of_a_session() {
    let mut world = World::new();
    let (publisher, _) = created(world.http(publish(Some("b"))));
    world.media_up(world.transport_of(&publisher));
    let (viewer, _) = created(world.http(play("b")));
    let mut shown = Vec::new();
    for transport in world.relay.inventory().transports {
        let label = String::from_utf8(transport.label).expect("JSON");
        assert!(!label.contains(&publisher) && !label.contains(&viewer), "{label}");
        let label: serde_json::Value = serde_json::from_str(&label).expect("JSON");
        shown.push(label["session"].as_str().expect("text").to_owned());
    }
    // Nor is what they hold instead a key.
    for session in shown {
        for published in [true, false] {
            let reply = world.http(HttpRequest::Delete { secret: session.clone(), published });
            assert!(refused_with(reply, 404), "{reply:?}");
        }
    }
    assert_eq!(world.relay.transports.len(), 2);
}

#[test]
fn whip_sessions_survive_a_kill_of_signaling() {
    let mut world = World::new();
    let (publisher, etag) = created(world.http(publish(Some("b"))));
    world.media_up(world.transport_of(&publisher));
    let (viewer, _) = created(world.http(play("b")));
    world.media_up(world.transport_of(&viewer));
    let mut world = world.restart(|_| {});
    world.wait(Duration::from_secs(600));
    assert_eq!(world.relay.transports.len(), 2);
    let patch = Patch {
        secret: publisher.clone(),
        published: true,
        if_match: Some(format!("\"{etag}\"")),
        fragment: "a=ice-ufrag:new1\r\na=ice-pwd:a-password-of-22-chars!\r\n".to_owned(),
    };
    let restarted = world.http(HttpRequest::Patch(patch));
    assert!(matches!(restarted, Some(HttpReply::Restarted { .. })), "{restarted:?}");
    assert_eq!(
        world.http(HttpRequest::Delete { secret: viewer, published: false }),
        Some(&HttpReply::Deleted)
    );
    assert_eq!(
        world.http(HttpRequest::Delete { secret: publisher, published: true }),
        Some(&HttpReply::Deleted)
    );
    assert!(world.relay.transports.is_empty());
    assert_eq!(world.hub.census(), [0, 0, 0, 0]);
}

/// Its labels held the secrets themselves.
#[test]
fn whip_sessions_of_an_older_signaling_are_ended_by_their_urls() {
    let mut world = World::new();
    let (publisher, _) = created(world.http(publish(Some("b"))));
    world.media_up(world.transport_of(&publisher));
    let (viewer, _) = created(world.http(play("b")));
    world.media_up(world.transport_of(&viewer));
    for secret in [&publisher, &viewer] {
        let transport = world.transport_of(secret);
        let info = world.relay.transports.get_mut(&transport).expect("open");
        let mut label: serde_json::Value = serde_json::from_slice(&info.label).expect("JSON");
        label["session"] = json!(secret);
        label.as_object_mut().expect("object").remove("digest");
        info.label = label.to_string().into_bytes();
    }
    let world = world.restart(|_| {});
    for info in world.relay.transports.values() {
        let label = String::from_utf8_lossy(&info.label);
        assert!(!label.contains(&publisher) && !label.contains(&viewer), "{label}");
    }
    // What is written now is understood by the next one as well.
    let mut world = world.restart(|_| {});
    for (session, published) in [(viewer, false), (publisher, true)] {
        let reply = world.http(HttpRequest::Delete { secret: session, published });
        assert_eq!(reply, Some(&HttpReply::Deleted));
    }
    assert!(world.relay.transports.is_empty());
}

#[test]
fn without_a_relay_the_client_is_told_to_come_again() {
    let mut world = World::new();
    world.relay_mute = true;
    assert!(world.http(publish(None)).is_none());
    world.wait(Duration::from_secs(5));
    let replies: Vec<&HttpReply> = world.http.values().collect();
    assert!(
        matches!(replies.as_slice(), [HttpReply::Refused(refusal)] if refusal.http_status() == 503),
        "{replies:?}"
    );
    assert_eq!(world.hub.census(), [0, 0, 0, 0]);
}
