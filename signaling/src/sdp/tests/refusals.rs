//! Offers that are well-formed and cannot be answered.

use super::*;
use relay_control::MediaKind;

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let lines_without = |starts: &[&str]| -> String {
        let keep = |line: &&str| starts.iter().all(|start| !line.starts_with(start));
        CHROMIUM_PUBLISH.split_inclusive("\r\n").filter(keep).collect()
    };
    for (what, text, refusal) in [
        ("no mux", lines_without(&["a=rtcp-mux"]), Refusal::NoRtcpMux),
        ("no ufrag", lines_without(&["a=ice-ufrag"]), Refusal::NoIceCredentials),
        ("no pwd", lines_without(&["a=ice-pwd"]), Refusal::NoIceCredentials),
        ("no fingerprint", lines_without(&["a=fingerprint"]), Refusal::NoSha256Fingerprint),
        ("sha-1 only", CHROMIUM_PUBLISH.replace("sha-256", "sha-1"), Refusal::NoSha256Fingerprint),
        ("holdconn", CHROMIUM_PUBLISH.replace("actpass", "holdconn"), Refusal::SetupHoldConn(15)),
        ("lite", CHROMIUM_PUBLISH.replace("a=extmap-allow-mixed", "a=ice-lite"), Refusal::BothIceLite),
        ("recvonly", CHROMIUM_PUBLISH.replace("sendonly", "recvonly"), Refusal::NoUsableMedia),
        ("rejected", CHROMIUM_PUBLISH.replace(" 9 UDP", " 0 UDP"), Refusal::NoUsableMedia),
        ("no RTP", CHROMIUM_PUBLISH.replace("UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP"), Refusal::NoUsableMedia),
        (
            "no codec",
            CHROMIUM_PUBLISH
                .replace("opus", "L16")
                .replace("PCM", "X")
                .replace("VP8", "Y")
                .replace("H264", "Z"),
            Refusal::NoCommonCodecs,
        ),
    ] {
        let offer = parse(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        let plan = answer_publish(&offer, &CodecPreferences::default());
        assert_eq!(plan, Err(refusal), "{what}");
    }
}

/// Media of what is accepted, and how many m-lines are rejected.
fn accepted(plan: &Plan) -> (Vec<Codec>, usize) {
    let answer = plan.write(&relay_side());
    let rejected = parse(&answer).unwrap().media.iter().filter(|media| media.is_rejected()).count();
    (plan.tracks.iter().map(|track| track.rtp.codec()).collect(), rejected)
}

#[test]
fn an_m_line_that_cannot_be_had_does_not_cost_the_others() {
    let audio_lines = |start: &str| -> String {
        let (audio, video) = CHROMIUM_PUBLISH.split_once("m=video").unwrap();
        let audio: String = audio.split_inclusive("\r\n").filter(|line| !line.starts_with(start)).collect();
        format!("{audio}m=video{video}")
    };
    let apart = CHROMIUM_PUBLISH.replace("a=group:BUNDLE 0 1\r\n", "");
    let opus_as_96 = CHROMIUM_PUBLISH.replace("SAVPF 111", "SAVPF 96").replace(":111 ", ":96 ");
    let opus_as_97 = CHROMIUM_PUBLISH.replace("SAVPF 111", "SAVPF 97").replace(":111 ", ":97 ");
    assert_eq!(publish(&opus_as_97).tracks[1].rtp.rtx_payload_type, None, "its RTX gives way");
    for (what, text, expected) in [
        (
            "no audio codec",
            CHROMIUM_PUBLISH.replace("opus", "L16").replace("PCM", "X"),
            (vec![Codec::Vp8], 1),
        ),
        ("no video codec", CHROMIUM_PUBLISH.replace("VP8", "X").replace("H264", "Y"), (vec![Codec::Opus], 1)),
        ("no mux for audio", audio_lines("a=rtcp-mux"), (vec![Codec::Vp8], 1)),
        ("one payload type for two", opus_as_96.replace("H264", "X"), (vec![Codec::Opus], 1)),
        ("one payload type for two, of several", opus_as_96, (vec![Codec::Opus, Codec::H264], 0)),
        (
            "one payload type for two, of which we have one",
            CHROMIUM_PUBLISH.replace("SAVPF 111", "SAVPF 35").replace(":111 ", ":35 ").replace("AV1", "X"),
            (vec![Codec::Opus, Codec::Vp8], 0),
        ),
        (
            "a port that is none",
            CHROMIUM_PUBLISH.replace("m=audio 9", "m=audio 70000"),
            (vec![Codec::Vp8], 1),
        ),
        ("no protocol", format!("{CHROMIUM_PUBLISH}m=audio 9\r\n"), (vec![Codec::Opus, Codec::Vp8], 1)),
        ("put off, apart", apart.replacen("actpass", "holdconn", 1), (vec![Codec::Vp8], 1)),
        ("put off, first", CHROMIUM_PUBLISH.replacen("actpass", "holdconn", 1), (vec![Codec::Vp8], 1)),
        ("no fingerprint, apart", apart.replacen("sha-256", "sha-1", 1), (vec![Codec::Vp8], 1)),
        ("no password, apart", apart.replacen("a=ice-pwd", "a=x", 1), (vec![Codec::Vp8], 1)),
        (
            "mux at the session level",
            CHROMIUM_PUBLISH.replace("a=rtcp-mux\r\n", "").replacen("m=", "a=rtcp-mux\r\nm=", 1),
            (vec![Codec::Opus, Codec::Vp8], 0),
        ),
        ("RTX of another's payload type", opus_as_97, (vec![Codec::Opus, Codec::Vp8], 0)),
        ("no bundle", CHROMIUM_PUBLISH.replace("a=group:BUNDLE 0 1\r\n", ""), (vec![Codec::Opus], 1)),
        ("half a bundle", CHROMIUM_PUBLISH.replace("BUNDLE 0 1", "BUNDLE 1"), (vec![Codec::Vp8], 1)),
        (
            "a bundle of one, twice",
            CHROMIUM_PUBLISH.replace("BUNDLE 0 1", "BUNDLE 1 1"),
            (vec![Codec::Vp8], 1),
        ),
        ("a bundle of others", CHROMIUM_PUBLISH.replace("BUNDLE 0 1", "BUNDLE x y"), (vec![Codec::Opus], 1)),
        ("no mids", CHROMIUM_PUBLISH.replace("a=mid", "a=x-mid"), (vec![Codec::Opus], 1)),
        ("one mid for both", CHROMIUM_PUBLISH.replace("a=mid:1", "a=mid:0"), (vec![Codec::Opus], 1)),
        (
            "a bundle without a codec",
            CHROMIUM_PUBLISH.replace("BUNDLE 0 1", "BUNDLE 1").replace("VP8", "X").replace("H264", "Y"),
            (vec![Codec::Opus], 1),
        ),
    ] {
        assert_eq!(accepted(&publish(&text)), expected, "{what}");
    }
}

#[test]
fn what_is_missing_is_said_once_a_kind() {
    let no_codec = Rejected { kind: MediaKind::Video, why: Refusal::NoCommonCodecs };
    let second = Rejected { kind: MediaKind::Video, why: Refusal::OneOfAKind };
    let line = 1 + CHROMIUM_PUBLISH.lines().position(|line| line.starts_with("m=video")).unwrap();
    let bad_line = SdpError { line, kind: SdpErrorKind::BadMediaLine };
    let video = &CHROMIUM_PUBLISH[CHROMIUM_PUBLISH.find("m=video").unwrap()..];
    let av1 = video.replace("VP8", "AV1").replace("H264", "AV1").replace("a=mid:1", "a=mid:2");
    let three = format!("{CHROMIUM_PUBLISH}{av1}").replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    let none = CHROMIUM_PUBLISH.replace("VP8", "AV1").replace("H264", "AV1") + &av1;
    for (what, text, expected) in [
        ("all there", CHROMIUM_PUBLISH.to_owned(), vec![]),
        ("the second", three.clone(), vec![second]),
        (
            "which comes first",
            three.replace("VP8", "AV1").replace("a=rtpmap:35 AV1", "a=rtpmap:35 VP8"),
            vec![second],
        ),
        ("two more", format!("{three}{}", av1.replace("a=mid:2", "a=mid:3")), vec![second]),
        ("the second does not send", three.replace("a=mid:2", "a=mid:2\r\na=inactive"), vec![]),
        (
            "no port",
            CHROMIUM_PUBLISH.replace("m=video 9", "m=video 70000"),
            vec![Rejected { kind: MediaKind::Video, why: Refusal::BadLine(bad_line) }],
        ),
        ("neither of two", none, vec![no_codec]),
        (
            "no group",
            CHROMIUM_PUBLISH.replace("a=group:BUNDLE 0 1\r\n", ""),
            vec![Rejected { kind: MediaKind::Video, why: Refusal::NoBundle }],
        ),
        ("not sent", CHROMIUM_PUBLISH.replacen("a=sendonly", "a=inactive", 1), vec![]),
    ] {
        assert_eq!(publish(&text).rejected, expected, "{what}");
    }
    assert_eq!(play(PLAY[1].1, &[Codec::Opus, Codec::H264]).unwrap().rejected, [no_codec]);
    assert_eq!(play(PLAY[1].1, &[Codec::Opus]).unwrap().rejected, [], "the stream has none");
    let firefox = PLAY[1].1;
    let video = firefox[firefox.find("m=video").unwrap()..].replace("a=mid:1", "a=mid:2");
    let three = format!("{firefox}{video}").replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    let plan = play(&three, &[Codec::Opus, Codec::Vp8]).unwrap();
    assert_eq!((accepted(&plan), plan.rejected), ((vec![Codec::Opus, Codec::Vp8], 1), vec![second]));
}

/// As GStreamer's webrtcbin offers by default: an answer names no group that the offer has not (RFC 9143
/// §7.3.1).
#[test]
fn without_a_group_the_first_m_line_goes_alone() {
    let text = CHROMIUM_PUBLISH.replace("a=group:BUNDLE 0 1\r\n", "");
    let answer = publish(&text).write(&relay_side());
    assert!(!answer.contains("a=group") && answer.contains("a=mid:0"), "{answer}");
    // It takes no answer in which an m-line lacks one of these.
    for name in ["a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:"] {
        assert_eq!(answer.matches(name).count(), 2, "{name} in {answer}");
    }
    // What it does not send does not take the place.
    let text = text.replacen("a=sendonly", "a=recvonly", 1);
    assert_eq!(accepted(&publish(&text)), (vec![Codec::Vp8], 1));
}

/// Of the group's first m-line its author's transport is taken, though its codec is not (RFC 9143 §7.1.3).
#[test]
fn a_rejected_head_speaks_for_those_that_leave_it_to_it() {
    let (head, video) = CHROMIUM_PUBLISH.split_once("m=video").unwrap();
    let (session, audio) = head.split_once("m=audio").unwrap();
    let video = video.replace("VP8", "X").replace("H264", "X");
    let transport = ["a=ice-", "a=fingerprint", "a=setup"];
    let keep = |line: &&str| transport.iter().all(|start| !line.starts_with(start));
    let bare: String = audio.split_inclusive("\r\n").filter(keep).collect();
    let session = session.replace("BUNDLE 0 1", "BUNDLE 1 0");
    let remote = publish(CHROMIUM_PUBLISH).remote;
    for audio in [bare.clone(), format!("{}a=bundle-only\r\n", bare.replacen(" 9 ", " 0 ", 1))] {
        let plan = publish(&format!("{session}m=video{video}m=audio{audio}"));
        assert_eq!((accepted(&plan), &plan.remote), ((vec![Codec::Opus], 1), &remote));
        let answer = plan.write(&relay_side());
        assert!(answer.contains("a=group:BUNDLE 0\r\n"), "{answer}");
        assert_eq!(parse(&answer).unwrap().media[1].candidates, 3);
    }
    // Its own go before.
    let own = audio.replacen("a=ice-ufrag:", "a=ice-ufrag:own", 1);
    assert!(publish(&format!("{session}m=video{video}m=audio{own}")).remote.ufrag.starts_with("own"));
    // An m-line that its author rejects says nothing.
    let dead = format!("{session}m=video{}m=audio{bare}", video.replacen(" 9 ", " 0 ", 1));
    let refused = answer_publish(&parse(&dead).unwrap(), &CodecPreferences::default());
    assert_eq!(refused, Err(Refusal::NoIceCredentials));
}

/// A payload type has one meaning in what is answered (RFC 9143 §9.1), whatever does not flow.
#[test]
fn what_does_not_flow_takes_no_payload_type() {
    let (head, video) = CHROMIUM_PUBLISH.split_once("m=video").unwrap();
    let (session, audio) = head.split_once("m=audio").unwrap();
    let audio = audio.replace("SAVPF 111", "SAVPF 96").replace(":111 ", ":96 ");
    // The picture is not sent, and its codecs are the sound's payload type, or its RTX is.
    let idle = video.replace("a=sendonly", "a=inactive");
    let only_vp8 = idle.replace("H264", "X");
    let plan = publish(&format!("{session}m=video{only_vp8}m=audio{audio}"));
    assert_eq!((accepted(&plan), plan.rejected.len()), ((vec![Codec::Opus], 1), 0));
    // Retransmissions give way to a codec that comes later.
    let audio = audio.replace("SAVPF 96", "SAVPF 97").replace(":96 ", ":97 ");
    let plan = publish(&format!("{session}m=video{video}m=audio{audio}"));
    assert_eq!(accepted(&plan), (vec![Codec::Vp8, Codec::Opus], 0));
    assert_eq!((plan.tracks[0].rtp.rtx_payload_type, plan.tracks[0].rtx_ssrc), (None, 0));
}

#[test]
fn a_player_without_the_publishers_video_codec_hears_it() {
    let firefox = PLAY[1].1;
    let plan = play(firefox, &[Codec::Opus, Codec::H264]).unwrap();
    assert_eq!(accepted(&plan), (vec![Codec::Opus], 1));
    assert_eq!(play(firefox, &[Codec::H264]), Err(Refusal::NoCommonCodecs));
    assert_eq!(play(firefox, &[Codec::Opus, Codec::Vp8]).map(|plan| plan.tracks.len()), Ok(2));
    assert_eq!(Refusal::NoCommonCodecs.to_string(), "No common codecs");
    assert_eq!(play(firefox, &[]), Err(Refusal::NoUsableMedia));
    assert_eq!(
        play(PUBLISH[0].1, &[Codec::Opus]),
        Err(Refusal::NoUsableMedia),
        "a sendonly offer plays nothing"
    );
}

#[test]
fn one_m_line_needs_no_bundle_and_no_mid() {
    let text = PUBLISH[1].1.replace("a=group:BUNDLE 0\r\n", "").replace("a=mid:0\r\n", "");
    let plan = publish(&text);
    assert_eq!(plan.tracks[0].rtp.mid, "");
    assert_eq!(plan.tracks[0].rtp.extensions.mid, 0, "no mid, no MID extension");
    let answer = plan.write(&relay_side());
    assert!(!answer.contains("a=group") && !answer.contains("a=mid"));
}

#[test]
fn active_offers_and_those_without_setup_are_answered() {
    for text in
        [CHROMIUM_PUBLISH.replace("actpass", "active"), CHROMIUM_PUBLISH.replace("a=setup:actpass\r\n", "")]
    {
        assert_eq!(publish(&text).tracks.len(), 2);
    }
}

#[test]
fn payload_types_that_look_like_rtcp_are_passed_over() {
    // RFC 5761 §4
    let text = PUBLISH[1].1.replace("SAVPF 111", "SAVPF 72").replace(":111 ", ":72 ");
    assert_eq!(publish(&text).tracks[0].rtp.codec(), Codec::Pcmu);
    let text = CHROMIUM_PUBLISH.replace("SAVPF 96 97", "SAVPF 96 66").replace(":97 ", ":66 ");
    assert_eq!(publish(&text).tracks[1].rtp.rtx_payload_type, None);
    assert_eq!(publish(&text).tracks[1].rtx_ssrc, 0);
}

#[test]
fn sha_256_is_found_among_several_fingerprints() {
    let (_, aiortc) = PUBLISH[8];
    let plan = publish(aiortc);
    assert_eq!(plan.remote.fingerprints_sha256.len(), 1);
    assert_eq!(plan.remote.fingerprints_sha256[0][..3], [0x8a, 0x9b, 0x1d]);
    let lower = aiortc.replace("sha-256 8A:9B", "SHA-256 8a:9b");
    assert_eq!(publish(&lower).remote, plan.remote);
}

/// RFC 8122 §5: any match is enough.
#[test]
fn several_fingerprints_of_one_hash_are_all_taken() {
    let line =
        |octet: u8| format!("a=fingerprint:sha-256 {}\r\n", vec![format!("{octet:02X}"); 32].join(":"));
    let of = |session: &[u8], media: &[u8]| {
        let lines = |octets: &[u8]| octets.iter().map(|octet| line(*octet)).collect::<String>();
        let rest = |line: &&str| !line.starts_with("a=fingerprint");
        let text: String = CHROMIUM_PUBLISH.split_inclusive("\r\n").filter(rest).collect();
        let text = text.replace("a=mid:", &format!("{}a=mid:", lines(media)));
        let plan = publish(&text.replacen("m=", &format!("{}m=", lines(session)), 1));
        plan.remote.fingerprints_sha256.iter().map(|octets| octets[0]).collect::<Vec<_>>()
    };
    assert_eq!(of(&[], &[1, 2]), [1, 2]);
    assert_eq!(of(&[], &[2, 1, 2]), [2, 1]);
    assert_eq!(of(&[3, 4], &[]), [3, 4]);
    assert_eq!(of(&[3, 4], &[1]), [1], "an m-line's own stand in place of the session's");
    let many: Vec<u8> = (1..20).collect();
    assert_eq!(of(&[], &many), many[..limits::FINGERPRINTS_MAX]);
}

#[test]
fn bundled_lines_may_leave_the_transport_to_the_head() {
    // RFC 9143 §7.1.3: a bundle-only line has port 0 and need not repeat what the tagged one says.
    let (head, video) = CHROMIUM_PUBLISH.split_once("m=video 9").unwrap();
    let transport = ["a=ice-", "a=fingerprint", "a=setup", "a=rtcp-mux"];
    let keep = |line: &&str| transport.iter().all(|start| !line.starts_with(start));
    let video: String = video.split_inclusive("\r\n").filter(keep).collect();
    let text = format!("{head}m=video 0{video}a=bundle-only\r\n");
    let plan = publish(&text);
    assert_eq!(plan.tracks.len(), 2);
    assert_eq!(plan.remote, publish(CHROMIUM_PUBLISH).remote);
}
