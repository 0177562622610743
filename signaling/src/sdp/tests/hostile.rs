//! Huge and odd offers: each costs a typed error, or nothing.

use super::limits::{CANDIDATES_MAX, FORMATS_MAX, MEDIA_MAX, SDP_BYTES_MAX};
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
    assert_eq!(refused(&m_lines(MEDIA_MAX + 1)), (66, SdpErrorKind::TooMany("m-lines", 64)));
    assert_eq!(refused(&m_lines(2000)), (66, SdpErrorKind::TooMany("m-lines", 64)));

    let candidates = |count: usize| {
        CHROMIUM_PUBLISH.to_owned() + &"a=candidate:1 1 udp 1 192.0.2.1 1 typ host\n".repeat(count)
    };
    let offer = candidates(CANDIDATES_MAX);
    assert_eq!(parse(&offer).unwrap().media[1].candidates, CANDIDATES_MAX);
    assert_eq!(refused(&candidates(CANDIDATES_MAX + 1)).1, SdpErrorKind::TooMany("candidates", 32));
    assert_eq!(refused(&candidates(1_000_000)), (0, SdpErrorKind::TooLong));
    let at_session = "v=0\n".to_owned() + &"a=candidate:1\n".repeat(33);
    assert_eq!(refused(&at_session), (34, SdpErrorKind::TooMany("candidates", 32)));

    let fmtp = |len: usize| format!("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 96\na=fmtp:96 {}\n", "x".repeat(len));
    assert_eq!(refused(&fmtp(64 * 1024)), (0, SdpErrorKind::TooLong));
    assert_eq!(refused(&fmtp(60 * 1024)), (3, SdpErrorKind::LineTooLong));
    assert!(parse(&fmtp(4000)).is_ok());

    let padded = format!("{CHROMIUM_PUBLISH}{}", "\n".repeat(SDP_BYTES_MAX - CHROMIUM_PUBLISH.len()));
    assert!(parse(&padded).is_ok());
    assert_eq!(refused(&(padded + "\n")), (0, SdpErrorKind::TooLong));

    let formats: Vec<_> = (0..=FORMATS_MAX).map(|number| number.to_string()).collect();
    let formats = format!("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF {}\n", formats.join(" "));
    assert_eq!(refused(&formats), (2, SdpErrorKind::TooMany("formats", 64)));
    let bundle = format!("v=0\na=group:BUNDLE{}\n", " 0".repeat(65));
    assert_eq!(refused(&bundle), (2, SdpErrorKind::TooMany("bundled mids", 64)));
}

#[test]
fn lists_of_an_m_line_are_limited() {
    let many = |line: &str, count: usize| {
        let lines: String =
            (0..count).map(|number| line.replace('#', &(number + 1).to_string()) + "\n").collect();
        format!("v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\n{lines}")
    };
    for (what, max, line) in [
        ("header extensions", 32, "a=extmap:# urn:x"),
        ("SSRCs", 32, "a=ssrc:# cname:x"),
        ("ssrc-groups", 32, "a=ssrc-group:FID # 1"),
        ("fingerprints", 16, "a=fingerprint:sha-1 00"),
        ("rids", 16, "a=rid:# send"),
        ("fmtp lines of a format", 4, "a=fmtp:96 x=#"),
    ] {
        assert!(parse(&many(line, max)).is_ok(), "{what}");
        assert_eq!(refused(&many(line, max + 1)), (max + 3, SdpErrorKind::TooMany(what, max)));
    }
    // Every m-line has its own count.
    let text = many("a=fingerprint:sha-1 00", 16);
    let twice = format!("{text}{}", text.strip_prefix("v=0\n").unwrap());
    assert!(parse(&twice).is_ok());
}

#[test]
fn odd_characters_and_lines_are_refused() {
    let body = "m=audio 9 UDP/TLS/RTP/SAVPF 0";
    for (text, line, kind) in [
        (format!("v=0\r\n{body}\r\na=mid:\0\r\n"), 3, SdpErrorKind::ControlCharacter),
        (format!("v=0\r\n{body}\ra=mid:0\r\n"), 2, SdpErrorKind::ControlCharacter),
        (format!("v=0\r\n{body}\r\r\n"), 2, SdpErrorKind::ControlCharacter),
        (format!("v=0\r\n{body}\r\ns=\u{7f}\r\n"), 3, SdpErrorKind::ControlCharacter),
        (format!("v=0\r\n{body}\r\na=x:\t\r\n"), 3, SdpErrorKind::ControlCharacter),
        (format!("v=0\n{body}\nhello\n"), 3, SdpErrorKind::NotALine),
        (format!("v=0\n{body}\n=0\n"), 3, SdpErrorKind::NotALine),
        (format!("v=0\n{body}\nä=0\n"), 3, SdpErrorKind::NotALine),
        (format!("v=1\n{body}\n"), 1, SdpErrorKind::NoVersion),
        (format!("{body}\n"), 1, SdpErrorKind::NoVersion),
        (format!("\u{feff}v=0\n{body}\n"), 1, SdpErrorKind::NotALine),
        ("v=0\n".to_owned(), 0, SdpErrorKind::NoMedia),
        (String::new(), 0, SdpErrorKind::NoMedia),
    ] {
        assert_eq!(refused(&text), (line, kind), "{text:?}");
    }
}

#[test]
fn tolerated_differences_change_nothing() {
    let offer = parse(CHROMIUM_PUBLISH).unwrap();
    let numbered_alike = |text: &str| assert_eq!(parse(text).unwrap(), offer);
    numbered_alike(&CHROMIUM_PUBLISH.replace("\r\n", "\n"));
    numbered_alike(&CHROMIUM_PUBLISH.replace("\r\n", "  \r\n"));
    numbered_alike(CHROMIUM_PUBLISH.trim_end());
    numbered_alike(&format!("{CHROMIUM_PUBLISH}\r\n\r\n"));
    for name in ["rtpmap", "setup", "ice-ufrag", "fingerprint", "mid", "sendonly", "rtcp-mux"] {
        numbered_alike(
            &CHROMIUM_PUBLISH.replace(&format!("a={name}"), &format!("a={}", name.to_uppercase())),
        );
    }
    numbered_alike(&format!("{CHROMIUM_PUBLISH}a=unknown:thing\r\na={}\r\nx=y\r\n", "long-name".repeat(10)));
}

#[test]
fn bad_values_are_refused_with_their_line() {
    use SdpErrorKind as Kind;
    for (line, kind) in [
        ("m=audio 9 UDP/TLS/RTP/SAVPF 128", Kind::BadPayloadType),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 0 255", Kind::BadPayloadType),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 0 256", Kind::BadPayloadType),
        ("m=audio 9 UDP/TLS/RTP/SAVPF +1", Kind::BadPayloadType),
        ("m=audio 9 UDP/TLS/RTP/SAVPF -1", Kind::BadPayloadType),
        ("m=audio 9 UDP/TLS/RTP/SAVPF", Kind::BadMediaLine),
        ("m=audio", Kind::BadMediaLine),
        ("m=audio 65536 UDP/TLS/RTP/SAVPF 0", Kind::BadMediaLine),
        ("m=audio x UDP/TLS/RTP/SAVPF 0", Kind::BadMediaLine),
        ("m=au/dio 9 UDP/TLS/RTP/SAVPF 0", Kind::BadMediaLine),
        ("m=audio 9 UDP//SAVPF 0", Kind::BadMediaLine),
        ("m=application 9 UDP/DTLS/SCTP \"quoted\"", Kind::BadMediaLine),
        ("a=rtpmap:128 opus/48000/2", Kind::BadPayloadType),
        ("a=rtpmap:256 opus/48000/2", Kind::BadPayloadType),
        ("a=rtpmap:0 opus", Kind::BadAttribute("rtpmap")),
        ("a=rtpmap:0 opus/x", Kind::BadAttribute("rtpmap")),
        ("a=rtpmap:0 opus/48000/256", Kind::BadAttribute("rtpmap")),
        ("a=rtpmap:0 opus/99999999999", Kind::BadAttribute("rtpmap")),
        ("a=fmtp:255 x=1", Kind::BadPayloadType),
        ("a=rtcp-fb:200 nack", Kind::BadPayloadType),
        ("a=extmap:0 urn:x", Kind::BadExtensionId),
        ("a=extmap:256 urn:x", Kind::BadExtensionId),
        ("a=extmap:4352 urn:x", Kind::BadExtensionId),
        ("a=extmap:-1 urn:x", Kind::BadAttribute("extmap")),
        ("a=extmap:1/up urn:x", Kind::BadAttribute("extmap")),
        ("a=extmap:1", Kind::BadAttribute("extmap")),
        ("a=ice-ufrag:abc", Kind::BadUfrag),
        ("a=ice-ufrag:ab cd", Kind::BadUfrag),
        ("a=ice-pwd:012345678901234567890", Kind::BadPassword),
        ("a=fingerprint:sha-256", Kind::BadFingerprint),
        ("a=fingerprint:sha-256 00:11", Kind::BadFingerprint),
        ("a=setup:both", Kind::BadAttribute("setup")),
        ("a=mid:", Kind::BadAttribute("mid")),
        ("a=mid:a b", Kind::BadAttribute("mid")),
        ("a=mid:12345678901234567", Kind::BadAttribute("mid")),
        ("a=ssrc:x cname:y", Kind::BadAttribute("ssrc")),
        ("a=ssrc:4294967296 cname:y", Kind::BadAttribute("ssrc")),
        ("a=ssrc-group:FID x y", Kind::BadAttribute("ssrc-group")),
        ("a=msid:", Kind::BadAttribute("msid")),
    ] {
        let text = format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\n{line}\r\n");
        assert_eq!(refused(&text), (3, kind), "{line}");
    }
    for (len, good) in [(3, false), (4, true), (256, true), (257, false)] {
        let text = format!("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=ice-ufrag:{}\n", "u".repeat(len));
        assert_eq!(parse(&text).is_ok(), good, "ufrag of {len}");
    }
    for (len, good) in [(21, false), (22, true), (256, true), (257, false)] {
        let text = format!("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=ice-pwd:{}\n", "p".repeat(len));
        assert_eq!(parse(&text).is_ok(), good, "pwd of {len}");
    }
}

#[test]
fn doubles_are_refused() {
    let media = "m=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\n";
    assert_eq!(refused(&format!("v=0\n{media}{media}")), (5, SdpErrorKind::DuplicateMid));
    assert_eq!(refused(&format!("v=0\n{media}a=mid:1\n")), (4, SdpErrorKind::DuplicateMid));
    let extmap = "a=extmap:3 urn:x\n";
    assert_eq!(refused(&format!("v=0\n{media}{extmap}{extmap}")), (5, SdpErrorKind::DuplicateExtension));
    assert!(parse(&format!("v=0\n{extmap}{media}{extmap}")).is_ok(), "the m-line's own counts");
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
