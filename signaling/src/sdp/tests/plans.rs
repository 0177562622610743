//! The numbers the relay is told, for whole offers.

use super::*;
use relay_control::MediaKind;

#[test]
fn each_publisher_is_taken_by_its_own_numbers() {
    let summaries: Vec<_> = PUBLISH.iter().map(|(name, text)| (*name, summary(&publish(text)))).collect();
    let expected = [
        (
            "chromium",
            "0 Opus 111/- ssrc 2255942568/0 ext mid=4 tcc=3 level=1 cvo=0 tcc\n\
             1 Vp8 96/97 ssrc 1943241135/3289044109 ext mid=4 tcc=3 level=0 cvo=13 nack pli fir remb tcc",
        ),
        ("chromium audio", "0 Opus 111/- ssrc 3641390368/0 ext mid=4 tcc=3 level=1 cvo=0 tcc"),
        (
            "chromium video",
            "0 Vp8 96/97 ssrc 3092091851/2327894581 ext mid=9 tcc=4 level=0 cvo=3 nack pli fir remb tcc",
        ),
        (
            "chromium screen",
            "0 Opus 111/- ssrc 620878319/0 ext mid=4 tcc=3 level=1 cvo=0 tcc\n\
             1 Vp8 96/97 ssrc 2867660214/2079453195 ext mid=4 tcc=3 level=0 cvo=13 nack pli fir remb tcc",
        ),
        (
            "firefox",
            "0 Opus 109/- ssrc 2062694724/0 ext mid=3 tcc=7 level=1 cvo=0 tcc\n\
             1 Vp8 120/124 ssrc 2989346797/4107389271 ext mid=3 tcc=7 level=0 cvo=0 nack pli fir remb tcc",
        ),
        ("firefox audio", "0 Opus 109/- ssrc 2326369436/0 ext mid=3 tcc=7 level=1 cvo=0 tcc"),
        (
            "firefox video",
            "0 Vp8 120/124 ssrc 325823067/3452923207 ext mid=3 tcc=7 level=0 cvo=0 nack pli fir remb tcc",
        ),
        (
            "safari",
            "0 Opus 111/- ssrc 1422386917/0 ext mid=4 tcc=3 level=1 cvo=0 tcc\n\
             1 Vp8 100/101 ssrc 2871905534/3650278113 ext mid=4 tcc=3 level=0 cvo=13 nack pli fir remb tcc",
        ),
        (
            "aiortc",
            "0 Opus 96/- ssrc 1926808703/0 ext mid=1 tcc=0 level=2 cvo=0\n\
             1 Vp8 97/98 ssrc 3549875917/4137317914 ext mid=1 tcc=0 level=0 cvo=0 nack pli remb",
        ),
        (
            "gstreamer",
            "audio0 Opus 97/- ssrc 3484078953/0 ext mid=0 tcc=1 level=0 cvo=0 tcc\n\
             video1 Vp8 96/98 ssrc 1097523941/885307772 ext mid=0 tcc=1 level=0 cvo=0 nack pli fir tcc",
        ),
        (
            "obs",
            "0 Opus 111/- ssrc 1349455989/0 ext mid=0 tcc=0 level=0 cvo=0\n\
             1 H264 96/- ssrc 1349455990/0 ext mid=0 tcc=0 level=0 cvo=0 nack pli remb",
        ),
    ];
    for ((name, got), (expected_name, expected)) in summaries.iter().zip(expected) {
        assert_eq!(*name, expected_name);
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn each_player_gets_its_own_numbers() {
    let expected = [
        (
            "chromium",
            "0 Opus 111/- ssrc 0/0 ext mid=4 tcc=0 level=1 cvo=0\n\
             1 Vp8 96/97 ssrc 0/0 ext mid=4 tcc=0 level=0 cvo=13 nack pli fir",
        ),
        (
            "firefox",
            "0 Opus 109/- ssrc 0/0 ext mid=3 tcc=0 level=1 cvo=0\n\
             1 Vp8 120/124 ssrc 0/0 ext mid=3 tcc=0 level=0 cvo=0 nack pli fir",
        ),
        (
            "safari",
            "0 Opus 111/- ssrc 0/0 ext mid=4 tcc=0 level=1 cvo=0\n\
             1 Vp8 100/101 ssrc 0/0 ext mid=4 tcc=0 level=0 cvo=13 nack pli fir",
        ),
        (
            "aiortc",
            "0 Opus 96/- ssrc 0/0 ext mid=1 tcc=0 level=2 cvo=0\n\
             1 Vp8 97/98 ssrc 0/0 ext mid=1 tcc=0 level=0 cvo=0 nack pli",
        ),
        (
            "str0m",
            "jaK Opus 111/- ssrc 0/0 ext mid=4 tcc=0 level=1 cvo=0\n\
             qpL Vp8 96/97 ssrc 0/0 ext mid=4 tcc=0 level=0 cvo=13 nack pli fir",
        ),
    ];
    for ((name, text), (expected_name, expected)) in PLAY.into_iter().zip(expected) {
        assert_eq!(name, expected_name);
        assert_eq!(summary(&play(text, &[Codec::Opus, Codec::Vp8]).unwrap()), expected, "{name}");
    }
}

#[test]
fn h264_is_matched_by_mode_and_profile() {
    let h264 = |fmtp: &str| SourceTrack::new(Codec::H264, fmtp).unwrap();
    // (player, what the publisher sends, payload types of the player; None = no common codecs)
    for (player, fmtp, expected) in [
        ("chromium", "packetization-mode=1;profile-level-id=42e01f", Some((108, Some(109)))),
        ("chromium", "packetization-mode=0;profile-level-id=42e01f", Some((114, Some(115)))),
        ("chromium", "packetization-mode=1;profile-level-id=42001f", Some((102, Some(103)))),
        ("chromium", "packetization-mode=0;profile-level-id=42001f", Some((104, Some(107)))),
        ("chromium", "packetization-mode=1;profile-level-id=4d001f", Some((116, Some(117)))),
        ("chromium", "packetization-mode=1;profile-level-id=f4001f", Some((41, Some(42)))),
        ("chromium", "packetization-mode=1;profile-level-id=640c34", Some((41, Some(42)))),
        ("safari", "packetization-mode=1;profile-level-id=42e01f", Some((98, Some(99)))),
        ("safari", "packetization-mode=1;profile-level-id=42001f", Some((98, Some(99)))),
        ("safari", "packetization-mode=1;profile-level-id=4d001f", Some((96, Some(97)))),
        ("safari", "packetization-mode=1;profile-level-id=640c1f", Some((96, Some(97)))),
        ("safari", "packetization-mode=1;profile-level-id=64001f", None),
        ("safari", "packetization-mode=0;profile-level-id=42e01f", Some((98, Some(99)))),
        ("firefox", "packetization-mode=1;profile-level-id=42e01f", None),
    ] {
        let (_, text) = PLAY.into_iter().find(|(name, _)| *name == player).unwrap();
        let plan = answer_play(&parse(text).unwrap(), &[h264(fmtp)]);
        let types = plan.map(|plan| {
            let rtp = plan.tracks[0].rtp.clone();
            (rtp.payload_type, rtp.rtx_payload_type)
        });
        assert_eq!(types, expected.ok_or(Refusal::NoCommonCodecs), "{player} {fmtp}");
    }
}

#[test]
fn a_publisher_is_asked_for_the_h264_that_most_can_play() {
    let preferences =
        CodecPreferences { video: vec![Codec::H264, Codec::Vp8], ..CodecPreferences::default() };
    for (name, payload_type) in
        [("chromium", 108), ("safari", 98), ("aiortc", 101), ("obs", 96), ("firefox", 120)]
    {
        let (_, text) = PUBLISH.into_iter().find(|(other, _)| *other == name).unwrap();
        let plan = answer_publish(&parse(text).unwrap(), &preferences).unwrap();
        let video = &plan.tracks[1];
        assert_eq!(video.rtp.payload_type, payload_type, "{name}");
        let fmtp = if name == "firefox" { "" } else { AGREED_BY_ALL };
        assert_eq!(video.source.fmtp(), fmtp, "{name}");
        assert_eq!(SourceTrack::new(video.source.codec, fmtp), Some(video.source), "{name}");
    }
}

#[test]
fn g711_needs_no_rtpmap() {
    let head = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
                a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
                10:11:12:13:14:15:16:17:18:19:1a:1b:1c:1d:1e:1f\r\n\
                m=audio 9 UDP/TLS/RTP/SAVPF 8 0 13\r\na=rtcp-mux\r\n";
    let plan = publish(head);
    assert_eq!(summary(&plan), " Pcmu 0/- ssrc 0/0 ext mid=0 tcc=0 level=0 cvo=0");
    assert_eq!(plan.remote.fingerprints_sha256, [std::array::from_fn(|index| index as u8)]);
    assert_eq!((plan.remote.ufrag.as_str(), plan.remote.pwd.as_str()), ("abcd", "0123456789012345678901"));
    let plan = play(head, &[Codec::Pcma]).unwrap();
    assert_eq!(plan.tracks[0].rtp.payload_type, 8);
    // Only for the static types, and only if the offer does not give them another meaning.
    for broken in
        [head.replace(" 8 0 13", " 96 13"), format!("{head}a=rtpmap:0 G722/8000\r\n").replace(" 8 0", " 0")]
    {
        let refusal = answer_publish(&parse(&broken).unwrap(), &CodecPreferences::default());
        assert_eq!(refusal, Err(Refusal::NoCommonCodecs));
    }
}

#[test]
fn simulcast_is_answered_by_its_first_layer() {
    let simulcast = "a=ssrc-group:SIM 11 22 33\r\na=ssrc-group:FID 11 12\r\na=ssrc-group:FID 22 23\r\n\
                     a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n";
    let text = CHROMIUM_PUBLISH.replace("a=ssrc-group:FID 1943241135 3289044109\r\n", simulcast);
    let plan = publish(&text);
    assert_eq!((plan.tracks[1].ssrc, plan.tracks[1].rtx_ssrc), (11, 12));
    let answer = plan.write(&relay_side());
    assert!(!answer.contains("a=simulcast") && !answer.contains("a=rid"));
}

#[test]
fn extension_directions_are_respected() {
    let level = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    for (suffix, when_published, when_played) in
        [("", 1, 1), ("/sendrecv", 1, 1), ("/sendonly", 1, 0), ("/recvonly", 0, 1), ("/inactive", 0, 0)]
    {
        let with = level.replace("extmap:1", &format!("extmap:1{suffix}"));
        let plan = publish(&CHROMIUM_PUBLISH.replace(level, &with));
        assert_eq!(plan.tracks[0].rtp.extensions.audio_level, when_published, "{suffix}");
        let plan = play(&CHROMIUM_PLAY.replace(level, &with), &[Codec::Opus]).unwrap();
        assert_eq!(plan.tracks[0].rtp.extensions.audio_level, when_played, "{suffix}");
    }
}

#[test]
fn an_extension_id_has_one_meaning_in_a_bundle() {
    // The video line gives id 4, which is the audio line's MID, to the orientation.
    let text = CHROMIUM_PUBLISH
        .replace("a=extmap:13 urn:3gpp:video-orientation\r\n", "")
        .replacen(
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
            "a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid",
            1,
        )
        .replacen(
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
            "a=extmap:9 urn:3gpp:video-orientation",
            1,
        );
    let plan = publish(&text);
    assert_eq!(plan.tracks[0].rtp.extensions.mid, 9);
    assert_eq!(plan.tracks[1].rtp.extensions.video_orientation, 0);
}

#[test]
fn feedback_for_all_formats_counts() {
    let offer = parse(CHROMIUM_PUBLISH).unwrap();
    let with_star =
        CHROMIUM_PUBLISH.replace("a=rtcp-fb:96 nack pli\r\n", "").replace("96 nack\r\n", "* nack\r\n");
    let starred = parse(&with_star).unwrap();
    assert!(offer.media[1].formats[0].feedback.pli);
    let feedback = starred.media[1].formats[0].feedback;
    assert!(feedback.nack && !feedback.pli && feedback.remb);
}

/// What an answer lists is done: there is no keyframe of a sound.
#[test]
fn sound_has_no_feedback_about_pictures() {
    let feedback = "a=rtcp-fb:111 transport-cc\r\n";
    let more = "a=rtcp-fb:111 nack\r\na=rtcp-fb:111 nack pli\r\na=rtcp-fb:111 ccm fir\r\n";
    let plan = publish(&CHROMIUM_PUBLISH.replace(feedback, &format!("{feedback}{more}")));
    let feedback = |kind: MediaKind| {
        let track = plan.tracks.iter().find(|track| track.source.kind == kind).expect("both");
        (track.rtp.nack, track.rtp.pli, track.rtp.fir)
    };
    assert_eq!(feedback(MediaKind::Audio), (true, false, false));
    assert_eq!(feedback(MediaKind::Video), (true, true, true));
}
