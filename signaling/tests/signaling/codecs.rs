//! Which codec a publisher is answered with, proved with captured offers of browsers.

use crate::world::{PLAY, PUBLISH, World};
use relay_control::{Codec, Command, MediaKind};
use serde_json::{Value, json};
use signaling::auth::Grant;
use signaling::hub::{HttpReply, HttpRequest};
use signaling::id::ConnectionId;

/// Of a fresh profile: Firefox has no H.264 until its plug-in was fetched.
const FIREFOX_PUBLISH: &str = include_str!("../../src/sdp/fixtures/firefox-publish.sdp");
const FIREFOX_PLAY: &str = include_str!("../../src/sdp/fixtures/firefox-play.sdp");
const SAFARI_PLAY: &str = include_str!("../../src/sdp/fixtures/safari-play.sdp");
const AIORTC_PUBLISH: &str = include_str!("../../src/sdp/fixtures/aiortc-publish.sdp");
const OBS_PUBLISH: &str = include_str!("../../src/sdp/fixtures/obs-publish.sdp");

/// Chromium without VP8.
fn without_vp8(offer: &str) -> String {
    offer.replace("VP8/90000", "XP8/90000")
}

fn offer(world: &mut World, id: ConnectionId, message: &str, [session, name]: [&str; 2], sdp: &str) {
    let data = json!({"mediaSessionId": session, "name": name, "sdp": sdp, "custom": {"name": "r"}});
    world.say(id, message, data);
}

/// The codecs of the tracks that the relay was asked to receive for this session, video last.
fn published(world: &mut World, id: ConnectionId, session: &str, sdp: &str) -> Vec<Codec> {
    offer(world, id, "publishStream", [session, session], sdp);
    let transport = world.transport_of(session);
    world.media_up(transport);
    world.forget();
    let tracks = world.relay.asked.iter().filter_map(|command| match command {
        Command::AddUpTrack(add) if add.transport_id == transport => Some(add.rtp.clone()),
        _ => None,
    });
    let mut tracks: Vec<_> = tracks.collect();
    tracks.sort_by_key(|rtp| rtp.kind == MediaKind::Video as i32);
    tracks.iter().map(|rtp| rtp.codec()).collect()
}

fn join_with(world: &mut World, login: &str, codecs: Value) -> (ConnectionId, Vec<String>) {
    let id = world.connect(login);
    world.command(id, "join", json!({"name": "r", "codecs": codecs}));
    let heard = world.names(id);
    (id, heard)
}

fn h264_first() -> World {
    World::with(|config| config.media.video = vec![Codec::H264, Codec::Vp8])
}

#[test]
fn the_setting_orders_the_codecs() {
    for (video, audio, expected) in [
        (vec![Codec::Vp8, Codec::H264], vec![Codec::Opus], [Codec::Opus, Codec::Vp8]),
        (vec![Codec::H264, Codec::Vp8], vec![Codec::Pcma, Codec::Opus], [Codec::Pcma, Codec::H264]),
        (vec![Codec::H264], vec![Codec::Pcmu], [Codec::Pcmu, Codec::H264]),
    ] {
        let mut world = World::with(|config| {
            config.media.video.clone_from(&video);
            config.media.audio.clone_from(&audio);
        });
        let a = world.enter("a", "r");
        assert_eq!(published(&mut world, a, "s", PUBLISH), expected);
    }
}

#[test]
fn who_creates_the_room_orders_its_codecs() {
    let mut world = World::new();
    let (a, heard) = join_with(&mut world, "a", json!({"video": ["h264"], "audio": ["pcmu", "opus"]}));
    assert_eq!(heard, ["ACCEPTED", "STATE"]);
    assert_eq!(published(&mut world, a, "s1", PUBLISH), [Codec::Pcmu, Codec::H264]);
    // The room is there already: the next one's wish is not for it.
    let (b, heard) = join_with(&mut world, "b", json!({"video": ["vp8"]}));
    assert_eq!(heard, ["ACCEPTED", "STATE"]);
    assert_eq!(published(&mut world, b, "s2", PUBLISH), [Codec::Pcmu, Codec::H264]);
}

#[test]
fn a_kind_that_the_wish_does_not_name_is_as_the_server_has_it() {
    let mut world = World::new();
    let (a, _) = join_with(&mut world, "a", json!({"video": ["h264", "vp8"]}));
    assert_eq!(published(&mut world, a, "s", PUBLISH), [Codec::Opus, Codec::H264]);
}

#[test]
fn a_wish_that_cannot_be_met_is_refused_and_makes_no_room() {
    let bad = "FAILED Codecs must be lists of names, such as {\"video\":[\"h264\"],\"audio\":[\"opus\"]}";
    let not_here = "FAILED None of these codecs is allowed on this server";
    for (codecs, expected) in [
        (json!({"video": ["h264"]}), not_here),
        (json!({"video": ["av1"]}), bad),
        (json!({"video": ["opus"]}), bad),
        (json!({"video": []}), bad),
        (json!({"video": "vp8"}), bad),
        (json!({"video": [7]}), bad),
        (json!({"audio": ["opus", "opus"]}), bad),
        (json!({}), bad),
        (json!([]), bad),
        (json!(7), bad),
        (json!("vp8"), bad),
    ] {
        let mut world = World::with(|config| config.media.video = vec![Codec::Vp8]);
        let (_, heard) = join_with(&mut world, "a", codecs.clone());
        assert_eq!(heard, [expected], "{codecs}");
        assert_eq!(world.hub.census(), [1, 0, 0, 0]);
    }
    let mut world = World::new();
    assert_eq!(join_with(&mut world, "a", Value::Null).1, ["ACCEPTED", "STATE"]);
}

#[test]
fn the_codec_is_one_that_all_who_are_present_can_play() {
    // What the other one is known to play, and what the publisher is then answered with.
    for (known, expected) in [(PLAY, Codec::H264), (SAFARI_PLAY, Codec::H264), (FIREFOX_PLAY, Codec::Vp8)] {
        let mut world = h264_first();
        let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
        published(&mut world, a, "first", PUBLISH);
        offer(&mut world, b, "playStream", ["p", "first"], known);
        world.forget();
        assert_eq!(published(&mut world, a, "second", PUBLISH), [Codec::Opus, expected]);
    }
}

#[test]
fn an_offer_to_publish_tells_as_well_until_there_is_one_to_play() {
    let mut world = h264_first();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    assert_eq!(published(&mut world, b, "s1", FIREFOX_PUBLISH), [Codec::Opus, Codec::Vp8]);
    assert_eq!(published(&mut world, a, "s2", PUBLISH), [Codec::Opus, Codec::Vp8]);
    // It can decode what it cannot encode.
    offer(&mut world, b, "playStream", ["p", "s2"], SAFARI_PLAY);
    world.forget();
    assert_eq!(published(&mut world, a, "s3", PUBLISH), [Codec::Opus, Codec::H264]);
}

#[test]
fn without_a_common_codec_the_most_wanted_is_taken_and_who_cannot_play_it_is_told() {
    let mut world = h264_first();
    let (a, b, c) = (world.enter("a", "r"), world.enter("b", "r"), world.enter("c", "r"));
    published(&mut world, b, "sb", FIREFOX_PUBLISH);
    published(&mut world, c, "sc", &without_vp8(PUBLISH));
    assert_eq!(published(&mut world, a, "sa", PUBLISH), [Codec::Opus, Codec::H264]);
    offer(&mut world, b, "playStream", ["p1", "sa"], FIREFOX_PLAY);
    world.media_up(world.transport_of("p1"));
    assert_eq!(world.names(b), ["SDP p1", "PLAYING p1 (video: No common codecs)"]);
    offer(&mut world, c, "playStream", ["p2", "sa"], PLAY);
    assert_eq!(world.names(c), ["SDP p2"]);
}

#[test]
fn who_left_is_not_asked_any_more() {
    let mut world = h264_first();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    published(&mut world, b, "sb", FIREFOX_PUBLISH);
    assert_eq!(published(&mut world, a, "s1", PUBLISH), [Codec::Opus, Codec::Vp8]);
    world.command(b, "leave", json!({"name": "r"}));
    assert_eq!(published(&mut world, a, "s2", PUBLISH), [Codec::Opus, Codec::H264]);
}

#[test]
fn what_was_wished_and_what_members_play_outlive_signaling() {
    for (wished, expected) in
        [(json!({"video": ["h264", "vp8"]}), Codec::Vp8), (json!({"video": ["h264"]}), Codec::H264)]
    {
        let mut world = World::new();
        let (a, _) = join_with(&mut world, "a", wished.clone());
        published(&mut world, a, "sa", PUBLISH);
        // Firefox cannot play H.264; it is known from an offer that comes to nothing, behind one that says
        // more.
        let b = world.enter("b", "r");
        published(&mut world, b, "sb", PUBLISH);
        offer(&mut world, b, "playStream", ["pb", "sa"], FIREFOX_PLAY);
        let mut world = world.restart(|_| {});
        let c = world.enter("c", "r");
        assert_eq!(published(&mut world, c, "sc", PUBLISH), [Codec::Opus, expected], "{wished}");
    }
}

#[test]
fn the_newest_label_knows_best_what_its_member_plays() {
    let mut world = h264_first();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    published(&mut world, b, "s1", FIREFOX_PUBLISH);
    published(&mut world, b, "s2", FIREFOX_PUBLISH);
    // Another browser, or its plug-in has come.
    published(&mut world, a, "sa", PUBLISH);
    offer(&mut world, b, "playStream", ["p", "sa"], PLAY);
    world.forget();
    let change = |config: &mut signaling::config::Config| config.media.video = vec![Codec::H264, Codec::Vp8];
    let mut world = world.restart(change);
    let c = world.enter("c", "r");
    assert_eq!(published(&mut world, c, "sc", PUBLISH), [Codec::Opus, Codec::H264]);
}

#[test]
fn a_wish_that_the_new_settings_do_not_allow_is_none() {
    let mut world = World::new();
    let (a, _) = join_with(&mut world, "a", json!({"video": ["h264"]}));
    published(&mut world, a, "sa", PUBLISH);
    let mut world = world.restart(|config| config.media.video = vec![Codec::Vp8]);
    let b = world.enter("b", "r");
    assert_eq!(published(&mut world, b, "sb", PUBLISH), [Codec::Opus, Codec::Vp8]);
}

#[test]
fn aiortc_gets_what_is_wanted_of_it() {
    for (video, audio) in [(Codec::Vp8, Codec::Opus), (Codec::H264, Codec::Pcma), (Codec::H264, Codec::Pcmu)]
    {
        let mut world = World::with(|config| {
            config.media.video = vec![video];
            config.media.audio = vec![audio];
        });
        let a = world.enter("a", "r");
        assert_eq!(published(&mut world, a, "s", AIORTC_PUBLISH), [audio, video]);
    }
}

#[test]
fn an_encoder_over_whip_plays_nothing_and_is_in_nobodys_way() {
    let mut world = World::new();
    let request = HttpRequest::Publish {
        room: "r".to_owned(),
        login: Some("obs".to_owned()),
        sdp: OBS_PUBLISH.to_owned(),
        priority: None,
        rights: Grant::everything().rights(),
        record: false,
    };
    assert!(matches!(world.http(request), Some(HttpReply::Created { .. })));
    let a = world.enter("a", "r");
    assert_eq!(published(&mut world, a, "s", PUBLISH), [Codec::Opus, Codec::Vp8]);
}
