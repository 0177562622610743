//! What an answer must be whatever the offer was, seen through our own parser.

use super::*;

/// Every rule that holds between an offer and its answer.
fn check(name: &str, offer: &str, plan: &Plan, relay: &RelaySide) {
    let text = plan.write(relay);
    assert!(text.split_inclusive('\n').all(|line| line.ends_with("\r\n")), "{name}: CRLF");
    let (offer, answer) =
        (parse(offer).unwrap(), parse(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}")));
    assert!(answer.ice_lite, "{name}");
    assert_eq!(answer.media.len(), offer.media.len(), "{name}");
    let accepted: Vec<_> = answer.media.iter().filter(|media| !media.is_rejected()).collect();
    let mids: Vec<_> = accepted.iter().filter_map(|media| media.mid).collect();
    assert_eq!(answer.bundle, mids, "{name}");
    for (index, (offered, answered)) in offer.media.iter().zip(&answer.media).enumerate() {
        assert_eq!(
            (offered.name, offered.mid, offered.protocol),
            (answered.name, answered.mid, answered.protocol)
        );
        if answered.is_rejected() {
            assert_eq!(offered.format_list, answered.format_list, "{name}");
            check_rejected(name, offered, answered);
            continue;
        }
        check_media(name, offered, answered, relay);
        let has_candidates = answered.candidates == relay.candidates.len() && answered.end_of_candidates;
        assert_eq!(has_candidates, answered.mid == accepted[0].mid, "{name} m-line {index}");
    }
}

/// As much as aiortc wants of any m-line.
fn check_rejected(name: &str, offered: &Media<'_>, answered: &Media<'_>) {
    assert_eq!(answered.direction(), Direction::Inactive, "{name}");
    assert_eq!(answered.rtcp_mux, offered.rtcp_mux, "{name}");
    assert_eq!((answered.candidates, answered.end_of_candidates), (0, true), "{name}");
    let said = |media: &Media<'_>| -> Vec<_> {
        let formats = media.formats.iter();
        formats
            .map(|format| format!("{} {:?} {:?}", format.payload_type, format.rtpmap, format.fmtp))
            .collect()
    };
    assert_eq!(said(answered), said(offered), "{name}");
}

fn check_media(name: &str, offered: &Media<'_>, answered: &Media<'_>, relay: &RelaySide) {
    assert_eq!(answered.transport.setup.map(|(setup, _)| setup), Some(Setup::Passive), "{name}");
    assert_eq!(answered.transport.ufrag, Some(relay.ufrag.as_str()), "{name}");
    assert_eq!(answered.transport.pwd, Some(relay.pwd.as_str()), "{name}");
    assert_eq!(answered.transport.fingerprints_sha256, [relay.fingerprint_sha256], "{name}");
    assert!(answered.rtcp_mux, "{name}");
    assert_eq!(answered.rtcp_rsize, offered.rtcp_rsize, "{name}");
    assert_eq!(answered.port, 10_000, "{name}");
    // RFC 3264 §6.1: what the offerer does not want to send or receive is not received or sent.
    assert!(!answered.direction().sends() || offered.direction().receives(), "{name}");
    assert!(!answered.direction().receives() || offered.direction().sends(), "{name}");
    // One codec and its RTX, both with the offer's own meaning.
    assert!((1..=2).contains(&answered.formats.len()), "{name}");
    for format in &answered.formats {
        let theirs = offered.format(format.payload_type).unwrap();
        let (ours, theirs) = (format.rtpmap.unwrap(), theirs.rtpmap.or(format.rtpmap).unwrap());
        assert!(ours.name.eq_ignore_ascii_case(theirs.name), "{name}");
        assert_eq!((ours.clock_rate_hz, ours.channels), (theirs.clock_rate_hz, theirs.channels), "{name}");
    }
    if let [codec, rtx] = answered.formats.as_slice() {
        assert_eq!(rtx.parameter("apt"), Some(codec.payload_type.to_string().as_str()), "{name}");
    }
    for extension in &answered.extensions {
        let same = offered.extensions.iter().find(|theirs| theirs.uri == extension.uri);
        assert_eq!(same.map(|theirs| theirs.id), Some(extension.id), "{name} {}", extension.uri);
    }
}

#[test]
fn answers_to_publishers_hold_the_rules() {
    for (name, text) in PUBLISH {
        let plan = publish(text);
        check(name, text, &plan, &relay_side());
        let max_bitrate_bps = Some(1_500_001);
        let relay = RelaySide { max_bitrate_bps, ..relay_side() };
        // 0.95 * 1,596,000 - 50 * 40 * 8 is 1,500,200 (RFC 9429 §5.9).
        let bound = "b=AS:1596\r\nb=TIAS:1500001\r\n";
        let whole = format!("s=-\r\n{bound}t=0 0\r\n");
        let answer = plan.write(&relay);
        assert!(answer.contains(&whole) && answer.matches(bound).count() == 1, "{name}: {answer}");
        let relay = RelaySide { max_video_bitrate_bps: max_bitrate_bps, ..relay };
        let has_video = plan.tracks.iter().any(|track| track.source.codec != Codec::Opus);
        assert_eq!(plan.write(&relay).matches(bound).count(), 1 + usize::from(has_video), "{name}");
    }
}

#[test]
fn answers_to_players_hold_the_rules() {
    for (name, text) in PLAY {
        for sources in [&[Codec::Opus, Codec::Vp8][..], &[Codec::Vp8], &[Codec::Pcmu]] {
            let Ok(plan) = play(text, sources) else { continue };
            check(name, text, &plan, &relay_side_for(&plan));
        }
    }
}

#[test]
fn a_player_sees_one_stream_with_cname_and_rtx() {
    let plan = play(CHROMIUM_PLAY, &[Codec::Vp8, Codec::Opus]).unwrap();
    assert_eq!(plan.tracks.iter().map(|track| track.source_index).collect::<Vec<_>>(), [1, 0]);
    let text = plan.write(&relay_side_for(&plan));
    let answer = parse(&text).unwrap();
    let stream = "lobby-______7f";
    for (media, track) in answer.media.iter().zip(["audio", "video"]) {
        let track = format!("{stream}-{track}");
        assert_eq!(media.msid, Some(Msid { stream, track: Some(&track) }));
        assert_eq!(media.direction(), Direction::SendOnly);
        assert!(media.sources.iter().all(|source| source.cname == Some("ringvox")));
    }
    let ssrcs =
        |index: usize| answer.media[index].sources.iter().map(|source| source.ssrc).collect::<Vec<_>>();
    assert_eq!((ssrcs(0), ssrcs(1)), (vec![10], vec![20, 21]));
    assert_eq!(answer.media[1].groups, [SourceGroup { semantics: "FID", first: 20, second: 21 }]);
    assert!(
        text.starts_with(
            "v=0\r\no=- 4611686018427387903 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n"
        )
    );
    // The SDK takes the codec's name from the first payload type.
    assert!(text.contains("m=video 10000 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 192.0.2.7\r\n"));
    assert!(!text.contains("transport-cc") && !text.contains("goog-remb"));
}

#[test]
fn a_kind_that_is_not_published_is_inactive() {
    for (sources, directions) in [
        (&[Codec::Opus][..], [Direction::SendOnly, Direction::Inactive]),
        (&[Codec::Vp8], [Direction::Inactive, Direction::SendOnly]),
    ] {
        let plan = play(CHROMIUM_PLAY, sources).unwrap();
        assert_eq!(plan.tracks.len(), 1);
        let text = plan.write(&relay_side_for(&plan));
        let answer = parse(&text).unwrap();
        assert_eq!([answer.media[0].direction(), answer.media[1].direction()], directions);
        assert_eq!(answer.bundle, ["0", "1"], "both stay in the bundle");
        assert_eq!(text.matches("a=msid:").count(), 1);
    }
}

#[test]
fn candidates_are_in_order_with_a_foundation_per_address() {
    let text = publish(CHROMIUM_PUBLISH).write(&relay_side());
    let candidates: Vec<_> = text.lines().filter(|line| line.starts_with("a=candidate")).collect();
    assert_eq!(
        candidates,
        [
            "a=candidate:1 1 udp 2130706431 192.0.2.7 10000 typ host",
            "a=candidate:2 1 udp 2130706175 2001:db8::7 10000 typ host",
            "a=candidate:1 1 udp 2130705919 192.0.2.7 10001 typ host",
        ]
    );
    let without = RelaySide { candidates: Vec::new(), ..relay_side() };
    let text = publish(CHROMIUM_PUBLISH).write(&without);
    assert!(text.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n"));
}

#[test]
fn fmtp_says_what_was_agreed() {
    let fmtp = |text: &str, start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start));
        line.map(str::to_owned)
    };
    let text = publish(CHROMIUM_PUBLISH).write(&relay_side());
    assert_eq!(fmtp(&text, "a=fmtp:111 ").as_deref(), Some("minptime=10;useinbandfec=1"));
    let plan = play(CHROMIUM_PLAY, &[Codec::H264]).unwrap();
    let text = plan.write(&relay_side_for(&plan));
    assert_eq!(fmtp(&text, "a=fmtp:108 ").as_deref(), Some(AGREED_BY_ALL));
    // Nothing of the offer gets into the answer unchecked.
    let odd = CHROMIUM_PUBLISH.replace("minptime=10;", "minptime=10 a=ice-ufrag:evil;");
    assert_eq!(fmtp(&publish(&odd).write(&relay_side()), "a=fmtp:111 ").as_deref(), Some("useinbandfec=1"));
}

#[test]
fn what_is_not_used_is_rejected_in_its_place() {
    let extra = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:data\r\n\
                 a=sctp-port:5000\r\n";
    let text = CHROMIUM_PUBLISH.replace("BUNDLE 0 1", "BUNDLE data 0 1");
    let (head, media) = text.split_once("m=audio").unwrap();
    let text = format!("{head}{extra}m=audio{media}");
    let plan = publish(&text);
    check("with data", &text, &plan, &relay_side());
    let answer = plan.write(&relay_side());
    assert!(answer.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"));
    assert_eq!(plan.tracks[0].media_index, 1);
}

/// It is parsed like any other by who made the offer.
#[test]
fn a_rejected_m_line_says_what_was_offered_of_it() {
    let h264 = source(Codec::H264);
    for (name, text) in PUBLISH.into_iter().chain(PLAY) {
        let offer = parse(text).unwrap();
        let preferences = CodecPreferences { audio: vec![Codec::Opus], video: Vec::new() };
        for plan in [answer_publish(&offer, &preferences), answer_play(&offer, &[source(Codec::Opus), h264])]
        {
            let Ok(plan) = plan else { continue };
            check(name, text, &plan, &RelaySide { play: None, ..relay_side() });
        }
    }
    let only_sound = |text: &str| {
        let preferences = CodecPreferences { audio: vec![Codec::Opus], video: Vec::new() };
        let answer = answer_publish(&parse(text).unwrap(), &preferences).unwrap().write(&relay_side());
        answer.split_once("m=video 0 ").unwrap().1.to_owned()
    };
    let rejected = only_sound(CHROMIUM_PUBLISH);
    for line in ["rtcp-mux", "rtpmap:96 VP8/90000", "rtpmap:97 rtx/90000", "fmtp:97 apt=96"] {
        assert!(rejected.contains(&format!("\r\na={line}\r\n")), "{line}: {rejected}");
    }
    let odd = CHROMIUM_PUBLISH.replace("a=fmtp:97 apt=96", "a=fmtp:97 apt=96\u{7f}ä");
    assert!(!only_sound(&odd).contains("fmtp:97"), "nothing that cannot be seen");
}

#[test]
fn a_second_video_is_rejected() {
    let (head, video) = CHROMIUM_PUBLISH.split_once("m=video").unwrap();
    let text = format!("{head}m=video{video}m=video{}", video.replace("a=mid:1", "a=mid:2"));
    let text = text.replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    let plan = publish(&text);
    assert_eq!(plan.tracks.len(), 2);
    check("two videos", &text, &plan, &relay_side());
    let answer = plan.write(&relay_side());
    let answer = parse(&answer).unwrap();
    assert!(answer.media[2].is_rejected());
    assert_eq!(answer.bundle, ["0", "1"]);
}

#[test]
fn ice_fragments_are_read_and_written() {
    let text = "a=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
                a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
    let fragment = parse_ice_fragment(text).unwrap();
    assert_eq!((fragment.ufrag, fragment.pwd), (Some("EsAw"), Some("bP+XJMM09aR8AiX1jdukzR6Y")));
    assert_eq!((fragment.candidates, fragment.end_of_candidates), (1, true));
    assert_eq!(parse_ice_fragment("").unwrap(), IceFragment::default());
    for (bad, line, kind) in [
        ("a=ice-ufrag:abc", 1, SdpErrorKind::BadUfrag),
        ("a=mid:0\na=ice-pwd:short", 2, SdpErrorKind::BadPassword),
    ] {
        assert_eq!(parse_ice_fragment(bad), Err(SdpError { line, kind }), "{bad}");
    }
    assert_eq!(parse_ice_fragment("nonsense"), Ok(IceFragment::default()));
    assert_eq!(parse_ice_fragment(&"a=candidate:1\n".repeat(1_000)).unwrap().candidates, 1_000);
    let written = write_ice_fragment(&publish(CHROMIUM_PUBLISH), &relay_side());
    let fragment = parse_ice_fragment(&written).unwrap();
    assert_eq!((fragment.ufrag, fragment.candidates), (Some("relayufrag"), 3));
    assert!(
        written.starts_with(
            "a=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
        )
    );
    let bare = write_ice_fragment(None, &relay_side());
    assert!(bare.starts_with("a=ice-lite\r\na=ice-ufrag:relayufrag\r\n"));
    assert_eq!(parse_ice_fragment(&bare), Ok(fragment));
}
