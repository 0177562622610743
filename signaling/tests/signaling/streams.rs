//! Publish, play, stop, failures, mute (protocol section 4).

use crate::world::{PLAY, PUBLISH, PUBLISH_AUDIO, World};
use relay_control::{Codec, Command, FailReason, MediaKind, TransportState, UpTrackPoliced};
use serde_json::{Value, json};
use std::time::Duration;

const FIREFOX_PLAY: &str = include_str!("../../src/sdp/fixtures/firefox-play.sdp");
const SAFARI_PUBLISH: &str = include_str!("../../src/sdp/fixtures/safari-publish.sdp");

#[test]
fn a_publish_goes_its_way() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.forget();
    world.publish(a, "r", "s1", "r-a-1");
    let heard = world.listen(a);
    assert_eq!(heard.len(), 1);
    assert_eq!((&heard[0]["message"], &heard[0]["data"][0]), (&json!("setRemoteSDP"), &json!("s1")));
    let answer = heard[0]["data"][1].as_str().expect("text");
    for line in
        ["a=ice-lite", "a=ice-ufrag:ufrag0", "a=setup:passive", "192.0.2.1 10000 typ host", "a=recvonly"]
    {
        assert!(answer.contains(line), "{line} in {answer}");
    }
    let transport = world.transport_of("s1");
    world.transport_state(transport, TransportState::IceConnected, FailReason::None);
    world.transport_state(transport, TransportState::Connected, FailReason::None);
    assert!(world.listen(a).is_empty() && world.listen(b).is_empty(), "no RTP yet");
    world.first_packets(transport);
    let status = world.only(a, "notifyStreamStatusEvent");
    let expected = json!({"mediaSessionId": "s1", "name": "r-a-1", "status": "PUBLISHING", "published": true,
        "hasVideo": true, "hasAudio": true, "record": false, "mediaProvider": "WebRTC"});
    assert_eq!(status, expected);
    assert_eq!(world.names(b), ["PUBLISHED b/r-a-1".replace("b/", "a/")]);
}

#[test]
fn the_relay_is_told_numbers_and_a_label() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    world.publish(a, "r", "s1", "r-a-1");
    let tracks: Vec<(i32, i32)> = world
        .relay
        .asked
        .iter()
        .filter_map(|command| match command {
            Command::AddUpTrack(add) => Some((add.rtp.kind, add.rtp.codec)),
            _ => None,
        })
        .collect();
    assert_eq!(
        tracks,
        [(MediaKind::Audio as i32, Codec::Opus as i32), (MediaKind::Video as i32, Codec::Vp8 as i32)]
    );
}

#[test]
fn a_publisher_without_rtp_is_announced_after_two_seconds() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.publish(a, "r", "s1", "r-a-1");
    world.forget();
    let transport = world.transport_of("s1");
    world.transport_state(transport, TransportState::Connected, FailReason::None);
    world.wait(Duration::from_millis(1999));
    assert!(world.listen(a).is_empty());
    world.wait(Duration::from_millis(1));
    assert_eq!(world.names(a), ["PUBLISHING s1"]);
    assert_eq!(world.names(b), ["PUBLISHED a/r-a-1"]);
    world.first_packets(transport);
    assert!(world.listen(a).is_empty(), "only once");
}

#[test]
fn a_play_goes_its_way() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.play(b, "r", "p1", "r-a-1");
    assert_eq!(world.names(b), ["SDP p1"]);
    let transport = world.transport_of("p1");
    world.transport_state(transport, TransportState::IceConnected, FailReason::None);
    world.transport_state(transport, TransportState::Connected, FailReason::None);
    let status = world.only(b, "notifyStreamStatusEvent");
    assert_eq!((&status["status"], &status["published"]), (&json!("PLAYING"), &json!(false)));
    assert_eq!(status["audioState"], json!({"muted": false}));
    assert!(world.listen(a).is_empty());
}

#[test]
fn a_play_answer_names_one_media_stream_and_the_relays_ssrcs() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.play(b, "r", "p1", "r-a-1");
    let answer = world.listen(b)[0]["data"][1].as_str().expect("text").to_owned();
    let streams: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=msid:"))
        .map(|value| value.split(' ').next().expect("id"))
        .collect();
    assert!(streams.len() == 2 && streams[0] == streams[1], "{answer}");
    assert!(
        answer.contains("a=ssrc:1000 cname:") && answer.contains("a=ssrc-group:FID 1001 1501"),
        "{answer}"
    );
}

#[test]
fn an_audio_stream_is_played_with_the_video_line_inactive() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let request = json!({"mediaSessionId": "s1", "name": "n", "sdp": PUBLISH_AUDIO, "custom": {"name": "r"}});
    world.say(a, "publishStream", request);
    let transport = world.transport_of("s1");
    world.media_up(transport);
    world.forget();
    world.play(b, "r", "p1", "n");
    let answer = world.listen(b)[0]["data"][1].as_str().expect("text").to_owned();
    assert!(answer.contains("a=inactive") && answer.contains("a=sendonly"), "{answer}");
    world.media_up(world.transport_of("p1"));
    let status = world.only(b, "notifyStreamStatusEvent");
    assert_eq!((&status["hasAudio"], &status["hasVideo"]), (&json!(true), &json!(false)));
}

/// Every way in which a stream is refused, with the exact words of section 11 where there are some.
#[test]
fn refusals() {
    type Case<'a> = (&'a str, Value, &'a str);
    let mut world = World::with(|config| config.rooms.max_publish_streams = 1);
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let c = world.enter("c", "elsewhere");
    world.published(a, "r", "s1", "r-a-1");
    world.publish(b, "r", "s2", "r-b-1");
    world.forget();
    let room = |name: &str| json!({"name": name});
    let h264_play = PLAY.replace("VP8/90000", "VP7/90000").replace("opus/48000", "vorbis/48000");
    let cases: Vec<(_, Case<'_>)> = vec![
        (
            c,
            (
                "publishStream",
                json!({"mediaSessionId": "x1", "name": "n", "sdp": PUBLISH, "custom": room("r")}),
                "Restricted access",
            ),
        ),
        (
            c,
            (
                "playStream",
                json!({"mediaSessionId": "x2", "name": "r-a-1", "sdp": PLAY, "custom": room("r")}),
                "Restricted access",
            ),
        ),
        (
            c,
            (
                "playStream",
                json!({"mediaSessionId": "x3", "name": "r-a-1", "sdp": PLAY, "custom": room("elsewhere")}),
                "Stream not found",
            ),
        ),
        (
            a,
            (
                "publishStream",
                json!({"mediaSessionId": "x4", "name": "n", "sdp": PUBLISH}),
                "Restricted access",
            ),
        ),
        (
            a,
            (
                "playStream",
                json!({"mediaSessionId": "x5", "name": "gone", "sdp": PLAY, "custom": room("r")}),
                "Stream not found",
            ),
        ),
        (
            a,
            (
                "playStream",
                json!({"mediaSessionId": "x6", "name": "r-b-1", "sdp": PLAY, "custom": room("r")}),
                "Publish stream is not ready",
            ),
        ),
        (
            b,
            (
                "playStream",
                json!({"mediaSessionId": "x7", "name": "r-a-1", "sdp": h264_play, "custom": room("r")}),
                "No common codecs",
            ),
        ),
        (
            a,
            (
                "publishStream",
                json!({"mediaSessionId": "x8", "name": "n", "sdp": PUBLISH, "custom": room("r")}),
                "Too many streams",
            ),
        ),
        (
            c,
            (
                "publishStream",
                json!({"mediaSessionId": "s1", "name": "n", "sdp": PUBLISH, "custom": room("elsewhere")}),
                "MediaSessionId is already in use",
            ),
        ),
        (
            b,
            (
                "publishStream",
                json!({"mediaSessionId": "x9", "name": "r-a-1", "sdp": PUBLISH, "custom": room("r")}),
                "Stream name is already in use",
            ),
        ),
        (
            c,
            (
                "publishStream",
                json!({"mediaSessionId": "xa", "name": "n", "sdp": "hello", "custom": room("elsewhere")}),
                "SDP line 1",
            ),
        ),
        (
            c,
            (
                "publishStream",
                json!({"mediaSessionId": "xb", "name": "n", "custom": room("elsewhere")}),
                "SDP",
            ),
        ),
        (
            c,
            (
                "publishStream",
                json!({"mediaSessionId": "xc", "name": "", "sdp": PUBLISH, "custom": room("elsewhere")}),
                "Stream name must be",
            ),
        ),
    ];
    let transports = world.relay.transports.len();
    for (id, (message, request, info)) in cases {
        world.say(id, message, request.clone());
        let status = world.only(id, "notifyStreamStatusEvent");
        assert_eq!(
            (&status["status"], &status["mediaSessionId"]),
            (&json!("FAILED"), &request["mediaSessionId"])
        );
        let given = status["info"].as_str().expect("info");
        assert!(given.starts_with(info), "{request}: {given}");
    }
    assert_eq!(world.relay.transports.len(), transports);
    assert!(world.listen(a).is_empty() && world.listen(b).is_empty());
}

#[test]
fn a_thousand_m_lines_are_one_refusal() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    let sdp = format!("v=0\r\n{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(1000));
    world.say(
        a,
        "publishStream",
        json!({"mediaSessionId": "s", "name": "n", "sdp": sdp, "custom": {"name": "r"}}),
    );
    let status = world.only(a, "notifyStreamStatusEvent");
    assert_eq!(status["status"], "FAILED");
    assert!(status["info"].as_str().expect("info").contains("more than"), "{status}");
}

#[test]
fn h264_reaches_only_players_that_have_it() {
    let mut world = World::with(|config| config.media.video = vec![Codec::H264]);
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let request =
        json!({"mediaSessionId": "s1", "name": "n", "sdp": SAFARI_PUBLISH, "custom": {"name": "r"}});
    world.say(a, "publishStream", request);
    let transport = world.transport_of("s1");
    world.media_up(transport);
    world.forget();
    world.play(b, "r", "p1", "n");
    assert_eq!(world.names(b), ["SDP p1"]);
    // An offline Firefox has no H.264.
    let without = FIREFOX_PLAY.replace("H264/90000", "H26X/90000");
    let request = json!({"mediaSessionId": "p2", "name": "n", "sdp": without, "custom": {"name": "r"}});
    world.say(b, "playStream", request);
    world.media_up(world.transport_of("p2"));
    assert_eq!(world.names(b), ["SDP p2", "PLAYING p2 (video: No common codecs)"]);
    // Without its sound there is nothing left.
    let without = without.replace("opus/48000", "vorbis/48000");
    let request = json!({"mediaSessionId": "p3", "name": "n", "sdp": without, "custom": {"name": "r"}});
    world.say(b, "playStream", request);
    assert_eq!(world.names(b), ["FAILED p3 (No common codecs)"]);
}

#[test]
fn every_pending_stream_ends() {
    // What the relay tells before the time is up, when it is up, and with which words.
    for (states, seconds, info) in [
        (&[][..], 15, "Failed by ICE timeout"),
        (&[TransportState::IceConnected][..], 15, "Failed by DTLS error"),
    ] {
        let mut world = World::new();
        let a = world.enter("a", "r");
        world.publish(a, "r", "s1", "r-a-1");
        world.forget();
        for state in states {
            world.transport_state(world.transport_of("s1"), *state, FailReason::None);
        }
        world.wait(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert!(world.listen(a).is_empty());
        world.wait(Duration::from_millis(1));
        assert_eq!(world.names(a), [format!("FAILED s1 ({info})")]);
        assert!(world.relay.transports.is_empty());
    }
}

#[test]
fn a_relay_that_does_not_answer_ends_the_stream_too() {
    let mut world = World::new();
    let a = world.enter("a", "r");
    world.relay_mute = true;
    world.publish(a, "r", "s1", "r-a-1");
    world.wait(Duration::from_secs(5));
    assert_eq!(world.names(a), ["FAILED s1 (Failed by error)"]);
    world.relay_mute = false;
    world.publish(a, "r", "s2", "r-a-1");
    assert_eq!(world.names(a), ["SDP s2"]);
}

#[test]
fn failures_are_told_with_the_vendors_words() {
    for (reason, info) in [
        (FailReason::IceTimeout, "Failed by ICE timeout"),
        (FailReason::ConsentExpired, "Failed by ICE keep alive"),
        (FailReason::DtlsFingerprint, "Failed by DTLS fingerprint error"),
        (FailReason::DtlsFailed, "Failed by DTLS error"),
    ] {
        let mut world = World::new();
        let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
        let transport = world.published(a, "r", "s1", "r-a-1");
        world.playing(b, "r", "p1", "r-a-1");
        world.transport_state(transport, TransportState::Failed, reason);
        assert_eq!(world.names(a), [format!("FAILED s1 ({info})")]);
        assert_eq!(world.names(b), ["STOPPED p1 (Stopped by publisher stop)", "FAILED a/r-a-1"]);
        assert!(world.relay.transports.is_empty());
    }
}

#[test]
fn a_failed_player_concerns_nobody_else() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "r-a-1");
    let transport = world.playing(b, "r", "p1", "r-a-1");
    world.transport_state(transport, TransportState::Failed, FailReason::ConsentExpired);
    assert_eq!(world.names(b), ["FAILED p1 (Failed by ICE keep alive)"]);
    assert!(world.listen(a).is_empty());
}

/// The client closes its peer connection right after sending the stop: DTLS may be the faster way.
#[test]
fn a_closed_dtls_association_waits_for_the_stop() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let transport = world.published(a, "r", "s1", "r-a-1");
    world.transport_state(transport, TransportState::Failed, FailReason::DtlsClosed);
    assert!(world.listen(a).is_empty());
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "r-a-1"}));
    assert_eq!(world.names(a), ["UNPUBLISHED s1 (Stopped by user)"]);
    assert_eq!(world.names(b), ["UNPUBLISHED a/r-a-1"]);

    let transport = world.published(a, "r", "s2", "r-a-2");
    world.transport_state(transport, TransportState::Failed, FailReason::DtlsClosed);
    world.wait(Duration::from_secs(2));
    assert_eq!(world.names(a), ["FAILED s2 (Failed by DTLS error)"]);
    assert_eq!(world.names(b), ["FAILED a/r-a-2"]);
}

#[test]
fn stops_reach_owner_players_and_room_in_this_order() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.playing(b, "r", "p1", "r-a-1");
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "r-a-1"}));
    assert_eq!(world.names(a), ["UNPUBLISHED s1 (Stopped by user)"]);
    assert_eq!(world.names(b), ["STOPPED p1 (Stopped by publisher stop)", "UNPUBLISHED a/r-a-1"]);
}

#[test]
fn a_publish_that_was_never_announced_is_not_taken_back_before_the_others() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.publish(a, "r", "s1", "r-a-1");
    world.forget();
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "r-a-1"}));
    assert_eq!(world.names(a), ["UNPUBLISHED s1 (Stopped by user)"]);
    assert!(world.listen(b).is_empty() && world.relay.transports.is_empty());
}

#[test]
fn strangers_can_neither_stop_nor_mute_a_stream() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.playing(b, "r", "p1", "r-a-1");
    world.say(b, "unPublishStream", json!({"mediaSessionId": "s1", "name": "r-a-1"}));
    world.say(b, "sendStreamEvent", json!({"mediaSessionId": "s1", "type": "audioMuted"}));
    assert!(world.listen(a).is_empty());
    assert_eq!(world.names(b), ["UNPUBLISHED s1 (Stopped by user)"]);
    assert_eq!(world.relay.transports.len(), 2);
}

#[test]
fn a_stream_is_stopped_by_its_own_word() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.playing(b, "r", "p1", "r-a-1");
    world.say(a, "stopStream", json!({"mediaSessionId": "s1", "name": "r-a-1"}));
    world.say(b, "unPublishStream", json!({"mediaSessionId": "p1", "name": "r-a-1"}));
    assert_eq!(world.relay.transports.len(), 2, "the hook heard of another stream");
    assert_eq!(world.names(a), ["STOPPED s1 (Stopped by user)"]);
    assert_eq!(world.names(b), ["UNPUBLISHED p1 (Stopped by user)"]);
    world.say(b, "stopStream", json!({"mediaSessionId": "p1", "name": "r-a-1"}));
    world.say(a, "unPublishStream", json!({"mediaSessionId": "s1", "name": "r-a-1"}));
    assert!(world.relay.transports.is_empty());
}

#[test]
fn mute_is_told_to_players_and_remembered_for_later_ones() {
    let mut world = World::new();
    let (a, b, c) = (world.enter("a", "r"), world.enter("b", "r"), world.enter("c", "r"));
    world.published(a, "r", "s1", "r-a-1");
    world.playing(b, "r", "p1", "r-a-1");
    for event in ["audioMuted", "videoMuted", "videoUnmuted", "nonsense"] {
        world.say(a, "sendStreamEvent", json!({"mediaSessionId": "s1", "type": event}));
    }
    world.say(a, "sendStreamEvent", json!({"mediaSessionId": "s1", "type": "data", "payload": {"x": "ё"}}));
    world.say(a, "sendStreamEvent", json!({"mediaSessionId": "s1", "type": "data", "payload": "no object"}));
    let heard = world.listen(b);
    assert_eq!(heard.len(), 4);
    assert_eq!(heard[0]["data"][0], json!({"mediaSessionId": "p1", "type": "audioMuted", "payload": null}));
    assert_eq!(heard[3]["data"][0], json!({"mediaSessionId": "p1", "type": "data", "payload": {"x": "ё"}}));
    assert!(world.listen(a).is_empty() && world.listen(c).is_empty());

    world.play(c, "r", "p2", "r-a-1");
    world.media_up(world.transport_of("p2"));
    let status = world.listen(c).pop().expect("PLAYING")["data"][0].clone();
    assert_eq!(
        (&status["audioState"], &status["videoState"]),
        (&json!({"muted": true}), &json!({"muted": false}))
    );
}

#[test]
fn available_stream_answers_with_text() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let stranger = world.enter("c", "other");
    world.published(a, "r", "s1", "r-a-1");
    for (id, name, status) in [(b, "r-a-1", "true"), (b, "gone", "false"), (stranger, "r-a-1", "false")] {
        world.say(id, "availableStream", json!({"mediaSessionId": "q", "name": name}));
        let answer = world.only(id, "availableStream");
        assert_eq!((&answer["id"], &answer["status"]), (&json!("q"), &json!(status)), "{name}");
    }
}

#[test]
fn the_bitrate_is_the_smaller_of_setting_and_wish() {
    for (setting, wish, expected) in [
        (0, 0, 0),
        (0, 500, 500_000),
        (300_000, 500, 300_000),
        (900_000, 500, 500_000),
        // A client's wish lifts nothing: not the relay's default of 4 Mbit/s, not the operator's limit.
        (0, 3_999, 3_999_000),
        (0, 4_000, 0),
        (0, 1_000_000_000, 0),
        (0, u64::MAX, 0),
        (900_000, 1_000_000_000, 900_000),
        (9_000_000, 8_000, 8_000_000),
        (9_000_000, 10_000, 9_000_000),
    ] {
        let mut world = World::with(|config| config.media.max_publish_bitrate_bps = setting);
        let a = world.enter("a", "r");
        let request = json!({"mediaSessionId": "s", "name": "n", "sdp": PUBLISH, "maxBitrate": wish,
            "custom": {"name": "r"}});
        world.say(a, "publishStream", request);
        let told = world.relay.asked.iter().find_map(|command| match command {
            Command::OpenTransport(open) => Some(open.max_receive_bitrate_bps),
            _ => None,
        });
        assert_eq!(told, Some(expected), "{setting} {wish}");
        // And so the publisher is told: of all together; at its video what is not only the relay's own.
        let heard = world.listen(a);
        let answer = heard.iter().find(|heard| heard["message"] == "setRemoteSDP");
        let answer = answer.and_then(|heard| heard["data"][1].as_str()).expect("an answer");
        let bound = format!("b=TIAS:{}\r\n", if expected == 0 { 4_000_000 } else { expected });
        let (session, media) = answer.split_once("m=").expect("m-lines");
        assert!(session.contains(&bound), "{setting} {wish}: {answer}");
        assert_eq!(media.contains(&bound), expected != 0, "{setting} {wish}: {answer}");
    }
}

/// Whoever is not told why packets are missing looks for the fault elsewhere.
#[test]
fn a_publisher_that_sends_too_much_is_told_so() {
    let mut world = World::new();
    let (a, b) = (world.enter("a", "r"), world.enter("b", "r"));
    let transport = world.published(a, "r", "s", "n");
    world.playing(b, "r", "p", "n");
    let track_id = world.relay.transports[&transport].up_tracks[0].track_id;
    let policed = UpTrackPoliced { track_id, packets: 17, max_receive_bitrate_bps: 4_000_000 };
    world.policed(policed);
    let event = world.only(a, "notifyStreamEvent");
    let payload = json!({"maxBitrateBps": 4_000_000, "discardedPackets": 17});
    assert_eq!((&event["mediaSessionId"], &event["type"]), (&json!("s"), &json!("bitrateExceeded")));
    assert_eq!((&event["payload"], world.listen(b).len()), (&payload, 0));
    // Of a track that is gone nobody is told.
    world.policed(UpTrackPoliced { track_id: 7, ..policed });
    assert!(world.listen(a).is_empty());
    // It is the server's word: no client says it to others.
    world.say(a, "sendStreamEvent", json!({"mediaSessionId": "s", "type": "bitrateExceeded"}));
    assert!(world.listen(b).is_empty());
}
