//! Offers in the shape that real encoders and players make them, at every door: what can be had is had, and
//! who wanted more is told what cannot be.

use crate::edges::{header, http, setup};
use crate::world::World;
use relay_control::{Codec, Command, MediaKind};
use serde_json::{Value, json};
use signaling::auth::Grant;
use signaling::config::AuthMode;
use signaling::hub::{HttpReply, HttpRequest, Patch};
use signaling::id::ConnectionId;
use signaling::names::NameOf;

/// An offer, what is had of it, and what is not.
type Case = (&'static str, &'static [Codec], &'static str);

const PUBLISHERS: [Case; 6] = [
    (include_str!("../../src/sdp/fixtures/peer-publish-opus-upper-case-no-channels.sdp"), &[Codec::Opus], ""),
    (
        include_str!("../../src/sdp/fixtures/peer-publish-opus-and-av1.sdp"),
        &[Codec::Opus],
        "video: No common codecs",
    ),
    (include_str!("../../src/sdp/fixtures/peer-publish-savp.sdp"), &[Codec::Opus], ""),
    (
        include_str!("../../src/sdp/fixtures/peer-publish-without-bundle.sdp"),
        &[Codec::H264],
        "audio: The offer does not BUNDLE its m-lines",
    ),
    (include_str!("../../src/sdp/fixtures/peer-publish-40-candidates.sdp"), &[Codec::Opus], ""),
    (include_str!("../../src/sdp/fixtures/peer-publish-rids.sdp"), &[Codec::Vp8], ""),
];

const PLAYERS: [Case; 2] = [
    (include_str!("../../src/sdp/fixtures/peer-play-h264-without-fmtp.sdp"), &[Codec::Opus, Codec::H264], ""),
    (
        include_str!("../../src/sdp/fixtures/peer-play-opus-and-vp8-only.sdp"),
        &[Codec::Opus],
        "video: No common codecs",
    ),
];

/// Publishes Opus and H.264.
const OBS: &str = include_str!("../../src/sdp/fixtures/obs-publish.sdp");

fn say(world: &mut World, id: ConnectionId, message: &str, session: &str, name: &str, sdp: &str) {
    let data = json!({"mediaSessionId": session, "name": name, "sdp": sdp, "custom": {"name": "r"}});
    world.say(id, message, data);
}

/// Codecs of the tracks that the relay was asked for since the last look.
fn tracks(world: &mut World) -> Vec<Codec> {
    let codecs = world.relay.asked.drain(..).filter_map(|command| match command {
        Command::AddUpTrack(add) => Some(add.rtp.codec()),
        Command::AddDownTrack(add) => Some(add.rtp.codec()),
        _ => None,
    });
    codecs.collect()
}

/// The session and the `Ringvox-Rejected` of a request over HTTP, in the words of `info`.
fn created(world: &mut World, request: HttpRequest) -> (String, String) {
    match world.http(request) {
        Some(HttpReply::Created { secret, rejected, .. }) => {
            let words = rejected.iter().map(|one| format!("{}: {}", one.media(), one.why));
            (secret.clone(), words.collect::<Vec<_>>().join(", "))
        }
        other => panic!("{other:?}"),
    }
}

/// What its owner and the room are told of a stream that misses something.
fn check_told(status: &Value, room: Option<&Value>, had: &[Codec], missed: &str) {
    let has = |kind| had.iter().any(|codec| kind == matches!(codec, Codec::Vp8 | Codec::H264));
    let (has_video, has_audio) = (has(true), has(false));
    assert_eq!(
        (&status["hasVideo"], &status["hasAudio"]),
        (&json!(has_video), &json!(has_audio)),
        "{status}"
    );
    assert_eq!(status["info"].as_str().unwrap_or_default(), missed, "{status}");
    let kinds: Vec<&Value> =
        status["rejected"].as_array().into_iter().flatten().map(|r| &r["kind"]).collect();
    assert_eq!(kinds.len(), usize::from(!missed.is_empty()), "{status}");
    assert!(kinds.iter().all(|kind| missed.starts_with(kind.as_str().expect("kind"))), "{status}");
    if let Some(room) = room {
        let told = |name: &str| room[name].as_bool().unwrap_or(true);
        assert_eq!((told("hasVideo"), told("hasAudio")), (has_video, has_audio), "{room}");
    }
}

#[test]
fn publishers_over_websocket_and_whip_are_taken() {
    for (sdp, had, missed) in PUBLISHERS {
        let mut world = World::new();
        let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
        world.forget();
        tracks(&mut world);
        say(&mut world, a, "publishStream", "s", "n", sdp);
        assert_eq!(tracks(&mut world), had, "{sdp}");
        assert_eq!(world.names(a), ["SDP s"], "{sdp}");
        world.media_up(world.transport_of("s"));
        let status = world.only(a, "notifyStreamStatusEvent");
        assert_eq!(status["status"], "PUBLISHING");
        let published = world.only(b, "OnDataEvent")["payload"]["info"].clone();
        check_told(&status, Some(&published), had, missed);
        // Who comes later is told the same.
        let c = world.connect("c");
        world.command(c, "join", json!({"name": "r"}));
        let state = world.listen(c).pop().expect("STATE")["data"][0]["payload"]["info"].clone();
        assert!(state.as_array().expect("array").contains(&published), "{state}");

        let request = HttpRequest::Publish {
            room: "r".to_owned(),
            login: Some("encoder".to_owned()),
            sdp: sdp.to_owned(),
            priority: None,
            rights: Grant::everything().rights(),
            record: false,
        };
        let (_, rejected) = created(&mut world, request);
        assert_eq!((tracks(&mut world).as_slice(), rejected.as_str()), (had, missed), "{sdp}");
    }
}

#[test]
fn players_over_websocket_and_whep_get_what_they_can_play() {
    for (sdp, had, missed) in PLAYERS {
        let mut world = World::new();
        let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
        say(&mut world, a, "publishStream", "s", "n", OBS);
        world.media_up(world.transport_of("s"));
        world.forget();
        tracks(&mut world);
        say(&mut world, b, "playStream", "p", "n", sdp);
        assert_eq!(tracks(&mut world), had, "{sdp}");
        assert_eq!(world.names(b), ["SDP p"], "{sdp}");
        world.media_up(world.transport_of("p"));
        let status = world.only(b, "notifyStreamStatusEvent");
        assert_eq!(status["status"], "PLAYING");
        check_told(&status, None, had, missed);

        let (room, name, by) = ("r".to_owned(), "n".to_owned(), NameOf::Stream);
        let (_, rejected) = created(&mut world, HttpRequest::Play { room, name, by, sdp: sdp.to_owned() });
        assert_eq!((tracks(&mut world).as_slice(), rejected.as_str()), (had, missed), "{sdp}");
    }
}

/// A stream never changes; what is published anew is offered anew, and then the picture can be had.
#[test]
fn a_player_without_the_picture_has_that_of_the_next_stream() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let without_h264 = PLAYERS[1].0;
    say(&mut world, a, "publishStream", "s1", "n1", OBS);
    world.media_up(world.transport_of("s1"));
    say(&mut world, b, "playStream", "p1", "n1", without_h264);
    world.media_up(world.transport_of("p1"));
    world.forget();
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "n1"}));
    assert_eq!(world.names(b), ["STOPPED p1 (Stopped by publisher stop)", "UNPUBLISHED a/n1"]);
    world.published(a, "r", "s2", "n2");
    tracks(&mut world);
    say(&mut world, b, "playStream", "p2", "n2", without_h264);
    world.media_up(world.transport_of("p2"));
    assert_eq!(world.names(b), ["SDP p2", "PLAYING p2"]);
    assert_eq!(tracks(&mut world), [Codec::Opus, Codec::Vp8]);
}

/// The operator's hook is told as well, and nobody counts a track that is not there.
#[test]
fn one_kind_is_asked_of_the_relay_if_one_is_had() {
    let mut world = World::with(|config| config.auth.mode = AuthMode::Hook);
    let a = world.open();
    let hello = json!({"message": "connection", "data": [{"custom": {"login": "a"}}]});
    world.say_authorized(a, &hello.to_string(), Ok(Some(Grant::everything())));
    world.join(a, "r");
    say(&mut world, a, "publishStream", "s", "n", PUBLISHERS[1].0);
    let kinds: Vec<i32> = world
        .relay
        .asked
        .iter()
        .filter_map(|command| match command {
            Command::AddUpTrack(add) => Some(add.rtp.kind),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [MediaKind::Audio as i32]);
    world.media_up(world.transport_of("s"));
    let note = world.notes.iter().rev().find(|(method, _)| *method == "StreamStatusEvent");
    let (_, note) = note.expect("a note");
    let rejected = json!([{"kind": "video", "code": "no-common-codecs", "info": "No common codecs"}]);
    assert_eq!(note["rejected"], rejected, "{note}");
}

#[test]
fn a_fragment_of_forty_candidates_and_unknown_lines_is_noted() {
    let mut world = World::new();
    let (room, login) = ("r".to_owned(), Some("encoder".to_owned()));
    let sdp = PUBLISHERS[4].0.to_owned();
    let (secret, _) = created(
        &mut world,
        HttpRequest::Publish {
            room,
            login,
            sdp,
            priority: None,
            rights: Grant::everything().rights(),
            record: false,
        },
    );
    let candidates: String = (1..=40)
        .map(|number| format!("a=candidate:{number} 1 udp {number} 192.0.2.{number} 9 typ host\r\n"))
        .collect();
    for fragment in [
        candidates.clone(),
        format!(
            "a=ice-options:trickle ice2\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n{candidates}a=end-of-candidates\r\n"
        ),
        format!("hello\n;;\nm=\na=\na=x-unknown:{}\n{candidates}", "y".repeat(9000)),
        "a=candidate:what is this\r\n".to_owned(),
        String::new(),
    ] {
        let (secret, if_match) = (secret.clone(), Some("*".to_owned()));
        let patch = Patch { secret, published: true, if_match, fragment };
        assert_eq!(world.http(HttpRequest::Patch(patch)), Some(&HttpReply::Noted));
    }
}

/// A header, which a page may read as well; over the wire, where all is in small letters here.
#[tokio::test]
async fn whip_says_in_a_header_what_cannot_be_had() {
    let setup = setup(|_| {}).await;
    let server = setup.running.http;
    let whip = "POST /whip/r HTTP/1.1\r\nContent-Type: application/sdp\r\nOrigin: https://x.example";
    let (status, head, sdp) = http(server, whip, PUBLISHERS[1].0).await;
    assert_eq!(status, 201, "{sdp}");
    assert!(sdp.contains("\r\nm=audio 10000 ") && sdp.contains("\r\nm=video 0 "), "{sdp}");
    let rejected = r#"video;code="no-common-codecs";info="no common codecs""#;
    assert_eq!(header(&head, "ringvox-rejected"), rejected);
    assert!(header(&head, "access-control-expose-headers").contains("ringvox-rejected"));
    let (status, head, _) = http(server, whip, PUBLISHERS[4].0).await;
    assert!(status == 201 && !head.contains("ringvox-rejected:"), "{head}");
    setup.running.stop().await;
}
