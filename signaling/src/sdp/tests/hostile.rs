//! Huge and odd offers: each costs a typed error, or only what is odd about it.

use super::limits::{MEDIA_MAX, SDP_BYTES_MAX};
use super::*;

fn refused(text: &str) -> (usize, SdpErrorKind) {
    let error = parse(text).expect_err("must be refused");
    assert!(error.to_string().starts_with("SDP"));
    (error.line, error.kind)
}

#[test]
fn sizes_are_limited() {
    let m_lines = |count: usize| "v=0\n".to_owned() + &"m=audio 9 UDP/TLS/RTP/SAVPF 0\n".repeat(count);
    assert_eq!(parse(&m_lines(MEDIA_MAX)).unwrap().media.len(), MEDIA_MAX);
    assert_eq!(refused(&m_lines(MEDIA_MAX + 1)), (66, SdpErrorKind::TooManyMediaLines));
    assert_eq!(refused(&m_lines(2000)), (66, SdpErrorKind::TooManyMediaLines));
    let padded = format!("{CHROMIUM_PUBLISH}{}", "\n".repeat(SDP_BYTES_MAX - CHROMIUM_PUBLISH.len()));
    assert!(parse(&padded).is_ok());
    assert_eq!(refused(&(padded + "\n")), (0, SdpErrorKind::TooLong));
}

/// What comes first is read of a list that is longer than any should be; the rest costs nothing.
#[test]
fn long_lists_are_cut_and_refuse_nothing() {
    let expected = summary(&publish(CHROMIUM_PUBLISH));
    for line in [
        "a=candidate:1 1 udp 1 192.0.2.1 1 typ host",
        "a=extmap:14 urn:x",
        "a=ssrc:# cname:x",
        "a=ssrc-group:FID # 1",
        "a=fingerprint:sha-1 00",
        "a=rid:# send",
        "a=fmtp:96 x=#",
        "a=x-unknown:#",
    ] {
        let lines: String = (1..=500).map(|number| line.replace('#', &number.to_string()) + "\r\n").collect();
        let text = format!("{CHROMIUM_PUBLISH}{lines}");
        assert_eq!(summary(&publish(&text)), expected, "{line}");
    }
    let formats: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    let more = CHROMIUM_PUBLISH.replace("SAVPF 111", &format!("SAVPF 111 {}", formats.join(" ")));
    assert_eq!(publish(&more).tracks[0].rtp.payload_type, 111);
    let bundle = CHROMIUM_PUBLISH.replace("BUNDLE 0 1", &format!("BUNDLE 0 1{}", " x".repeat(500)));
    assert_eq!(summary(&publish(&bundle)), expected);
    let long = format!("{CHROMIUM_PUBLISH}a=fmtp:96 {}\r\na=x:{}\r\n", "x".repeat(9_000), "y".repeat(9_000));
    assert_eq!(summary(&publish(&long)), expected);
}

#[test]
fn what_is_no_offer_is_refused() {
    let body = "m=audio 9 UDP/TLS/RTP/SAVPF 0";
    for (text, line, kind) in [
        (format!("v=1\n{body}\n"), 1, SdpErrorKind::NoVersion),
        (format!("{body}\n"), 1, SdpErrorKind::NoVersion),
        ("v=0\n".to_owned(), 0, SdpErrorKind::NoMedia),
        (String::new(), 1, SdpErrorKind::NoVersion),
        ("{\"sdp\": 1}".to_owned(), 1, SdpErrorKind::NoVersion),
    ] {
        assert_eq!(refused(&text), (line, kind), "{text:?}");
    }
    for line in ["m=au/dio 9 UDP/TLS/RTP/SAVPF 0", "m=", "m= 9 UDP/TLS/RTP/SAVPF 0"] {
        let text = format!("v=0\r\ns=-\r\n{line}\r\n");
        assert_eq!(refused(&text), (3, SdpErrorKind::BadMediaLine), "{line}");
    }
    for line in [
        "m=audio",
        "m=audio 9",
        "m=audio 9 ",
        "m=audio 9 UDP/TLS\u{7f} 0",
        "m=audio 65536 UDP/TLS/RTP/SAVPF 0",
        "m=audio x UDP/TLS/RTP/SAVPF 0",
        "m=audio -1 UDP/TLS/RTP/SAVPF 0",
        "m=audio 9 UDP//SAVPF 0",
    ] {
        let text = format!("v=0\r\ns=-\r\n{line}\r\n");
        let why = answer_publish(&parse(&text).unwrap(), &CodecPreferences::default());
        let error = SdpError { line: 3, kind: SdpErrorKind::BadMediaLine };
        assert_eq!(why, Err(Refusal::BadLine(error)), "{line}");
        let plan = publish(&format!("{CHROMIUM_PUBLISH}{line}\r\n"));
        assert_eq!(plan.tracks.len(), 2, "it costs the others nothing: {line}");
        assert!(plan.write(&relay_side()).contains("\r\nm=audio 0 UDP/TLS/RTP/SAVPF 0\r\n"), "{line}");
    }
}

#[test]
fn tolerated_differences_change_nothing() {
    let offer = parse(CHROMIUM_PUBLISH).unwrap();
    let numbered_alike = |text: &str| assert_eq!(parse(text).unwrap(), offer);
    numbered_alike(&CHROMIUM_PUBLISH.replace("\r\n", "\n"));
    numbered_alike(&CHROMIUM_PUBLISH.replace("\r\n", "\r"));
    numbered_alike(&CHROMIUM_PUBLISH.replace("\r\n", "  \r\n"));
    numbered_alike(&CHROMIUM_PUBLISH.replace("\r\n", "\r\n\t  "));
    numbered_alike(CHROMIUM_PUBLISH.trim_end());
    numbered_alike(&format!("{CHROMIUM_PUBLISH}\r\n\r\n"));
    for name in ["rtpmap", "setup", "ice-ufrag", "fingerprint", "mid", "sendonly", "rtcp-mux"] {
        numbered_alike(
            &CHROMIUM_PUBLISH.replace(&format!("a={name}"), &format!("a={}", name.to_uppercase())),
        );
    }
    numbered_alike(&format!("\u{feff}{CHROMIUM_PUBLISH}"));
    numbered_alike(&CHROMIUM_PUBLISH.replace("\r\n", "\r\r\n"));
    numbered_alike(&CHROMIUM_PUBLISH.replace("m=audio 9 ", "m=audio\t 9  "));
    numbered_alike(&format!("{CHROMIUM_PUBLISH}hello\r\n=0\r\nä=0\r\ns=\u{7f}\r\na=x:\t\0\r\n"));
    numbered_alike(&format!("{CHROMIUM_PUBLISH}a=unknown:thing\r\na={}\r\nx=y\r\n", "long-name".repeat(10)));
}

/// Said of the video line, each of these is as if it had not been said.
#[test]
fn lines_that_are_not_understood_cost_nothing() {
    let expected = summary(&publish(CHROMIUM_PUBLISH));
    for line in [
        "a=rtpmap:128 opus/48000/2",
        "a=rtpmap:x opus/48000/2",
        "a=rtpmap:96",
        "a=rtpmap:96 opus",
        "a=rtpmap:96 opus/x",
        "a=rtpmap:96 opus/99999999999",
        "a=fmtp:255 x=1",
        "a=fmtp:",
        "a=rtcp-fb:200 nack",
        "a=extmap:0 urn:x",
        "a=extmap:256 urn:x",
        "a=extmap:4352 urn:x",
        "a=extmap:-1 urn:x",
        "a=extmap:1/up urn:x",
        "a=extmap:1",
        "a=extmap:4 urn:x",
        "a=ice-ufrag:abc",
        "a=ice-pwd:short",
        "a=fingerprint:sha-256 00:11",
        "a=setup:both",
        "a=mid:",
        "a=mid:a b",
        "a=mid:other",
        "a=mid:0",
        "a=ssrc:x cname:y",
        "a=ssrc:4294967296 cname:y",
        "a=ssrc-group:FID x y",
        "a=msid:",
        "a=rtcp-mux",
        "a=recvonly",
    ] {
        // Twice, as repeated attributes are.
        let text = format!("{CHROMIUM_PUBLISH}{line}\r\n{line}\r\n");
        assert_eq!(summary(&publish(&text)), expected, "{line}");
    }
    for payload_types in ["128 96", "96 -1", "+1 96 256", "x 96"] {
        let text = format!("{CHROMIUM_PUBLISH}m=video 9 UDP/TLS/RTP/SAVPF {payload_types}\r\na=mid:2\r\n");
        assert_eq!(summary(&publish(&text)), expected, "{payload_types}");
    }
}

/// Where something that is needed is missing because it is wrong, the refusal names the line.
#[test]
fn a_refusal_names_the_line_that_was_needed() {
    use SdpErrorKind as Kind;
    let audio = |line: &str| {
        format!(
            "v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=rtcp-mux\na=ice-ufrag:abcd\n\
             a=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 {}\n{line}\n",
            ["AB"; 32].join(":")
        )
    };
    let of = |text: &str| answer_publish(&parse(text).unwrap(), &CodecPreferences::default());
    assert!(of(&audio("")).is_ok());
    let short = audio("").replace(":abcd", ":abc");
    let no_hex = audio("").replace("AB:AB", "AB:AX");
    let at_session = audio("").replace("v=0\n", "v=0\na=ice-pwd:short\n").replace("a=ice-pwd:0", "a=x:0");
    for (text, line, kind, words) in [
        (short, 4, Kind::BadUfrag, "SDP line 4: ice-ufrag is not 4 to 256 visible characters"),
        (at_session, 2, Kind::BadPassword, "SDP line 2: ice-pwd is not 22 to 256 visible characters"),
        (no_hex, 6, Kind::BadFingerprint, "SDP line 6: sha-256 fingerprint is not 32 octets"),
    ] {
        let refusal = of(&text).unwrap_err();
        assert_eq!(refusal, Refusal::BadLine(SdpError { line, kind }), "{text}");
        assert_eq!(refusal.to_string(), words);
    }
    for (len, good) in [(3, false), (4, true), (256, true), (257, false)] {
        let text = audio("").replace(":abcd", &format!(":{}", "u".repeat(len)));
        assert_eq!(of(&text).is_ok(), good, "ufrag of {len}");
    }
    for (len, good) in [(21, false), (22, true), (256, true), (257, false)] {
        let text = audio("").replace(":0123456789012345678901", &format!(":{}", "p".repeat(len)));
        assert_eq!(of(&text).is_ok(), good, "pwd of {len}");
    }
}

/// Packets cannot carry it, the answer can.
#[test]
fn a_long_mid_is_answered_without_its_extension() {
    let long = "x".repeat(40);
    let text = CHROMIUM_PUBLISH
        .replace("a=mid:1", &format!("a=mid:{long}"))
        .replace("BUNDLE 0 1", &format!("BUNDLE 0 {long}"));
    let plan = publish(&text);
    assert_eq!((plan.tracks[1].rtp.mid.as_str(), plan.tracks[1].rtp.extensions.mid), ("", 0));
    assert!(plan.write(&relay_side()).contains(&format!("a=mid:{long}\r\n")));
}

#[test]
fn unusable_extension_ids_are_left_out() {
    // RFC 8285: 15 is reserved in the one-byte form, 16 to 255 need the two-byte form, 4096 and up ask for a
    // free id.
    for id in ["15", "16", "255", "4096", "4351"] {
        let text = PUBLISH[1].1.replace("a=extmap:1 urn", &format!("a=extmap:{id} urn"));
        let plan = publish(&text);
        assert_eq!(plan.tracks[0].rtp.extensions.audio_level, 0, "{id}");
        assert_eq!(plan.tracks[0].rtp.extensions.mid, 4, "{id}");
    }
}

#[test]
fn a_rejected_bundle_head_leaves_the_rest() {
    let text = CHROMIUM_PUBLISH.replacen("m=audio 9", "m=audio 0", 1);
    let plan = publish(&text);
    assert_eq!(plan.tracks.len(), 1);
    let answer = plan.write(&relay_side());
    let answer = parse(&answer).unwrap();
    assert!(answer.media[0].is_rejected());
    assert_eq!(answer.bundle, ["1"]);
    assert_eq!(answer.media[1].candidates, 3);
}

/// Whatever an m-line that nobody can use holds, its place in the answer is kept, and the others are answered.
#[test]
fn an_m_line_that_is_not_used_costs_nothing() {
    let expected = summary(&publish(CHROMIUM_PUBLISH));
    for (line, answered) in [
        (
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
        ),
        ("m=application 9 UDP/DTLS/SCTP \"a\" b", "m=application 0 UDP/DTLS/SCTP b"),
        ("m=application 9 DTLS/SCTP", "m=application 0 DTLS/SCTP 0"),
        ("m=text 9 RTP/AVP 98 x\ra=y", "m=text 0 RTP/AVP 98 x"),
        ("m=video 0 UDP/TLS/RTP/SAVPF", "m=video 0 UDP/TLS/RTP/SAVPF 0"),
        ("m=audio 9/2 udp 3456", "m=audio 0 udp 3456"),
    ] {
        let plan = publish(&format!("{CHROMIUM_PUBLISH}{line}\r\n"));
        assert_eq!((summary(&plan), &plan.rejected), (expected.clone(), &Vec::new()), "{line}");
        let answer = plan.write(&relay_side());
        assert!(answer.contains(&format!("\r\n{answered}\r\n")), "{line}: {answer}");
    }
}
