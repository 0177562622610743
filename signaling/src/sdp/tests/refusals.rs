//! Offers that are well-formed and cannot be answered.

use super::*;

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let lines_without = |starts: &[&str]| -> String {
        let keep = |line: &&str| starts.iter().all(|start| !line.starts_with(start));
        CHROMIUM_PUBLISH.split_inclusive("\r\n").filter(keep).collect()
    };
    for (what, text, refusal) in [
        ("no bundle", lines_without(&["a=group"]), Refusal::NoBundle),
        ("half a bundle", CHROMIUM_PUBLISH.replace("BUNDLE 0 1", "BUNDLE 1"), Refusal::NoBundle),
        ("a bundle of one, twice", CHROMIUM_PUBLISH.replace("BUNDLE 0 1", "BUNDLE 1 1"), Refusal::NoBundle),
        ("no mids", lines_without(&["a=mid"]), Refusal::NoBundle),
        ("no mux", lines_without(&["a=rtcp-mux"]), Refusal::NoRtcpMux),
        ("no ufrag", lines_without(&["a=ice-ufrag"]), Refusal::NoIceCredentials),
        ("no pwd", lines_without(&["a=ice-pwd"]), Refusal::NoIceCredentials),
        ("no fingerprint", lines_without(&["a=fingerprint"]), Refusal::NoSha256Fingerprint),
        ("sha-1 only", CHROMIUM_PUBLISH.replace("sha-256", "sha-1"), Refusal::NoSha256Fingerprint),
        ("passive", CHROMIUM_PUBLISH.replace("actpass", "passive"), Refusal::SetupNotActive),
        ("holdconn", CHROMIUM_PUBLISH.replace("actpass", "holdconn"), Refusal::SetupNotActive),
        ("lite", CHROMIUM_PUBLISH.replace("a=extmap-allow-mixed", "a=ice-lite"), Refusal::BothIceLite),
        ("recvonly", CHROMIUM_PUBLISH.replace("sendonly", "recvonly"), Refusal::NoUsableMedia),
        ("rejected", CHROMIUM_PUBLISH.replace(" 9 UDP", " 0 UDP"), Refusal::NoUsableMedia),
        ("no DTLS", CHROMIUM_PUBLISH.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), Refusal::NoUsableMedia),
        (
            "no audio codec",
            CHROMIUM_PUBLISH.replace("opus", "L16").replace("PCM", "X"),
            Refusal::NoCommonCodecs,
        ),
        (
            "no video codec",
            CHROMIUM_PUBLISH.replace("VP8", "X").replace("H264", "Y"),
            Refusal::NoCommonCodecs,
        ),
    ] {
        let offer = parse(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        let plan = answer_publish(&offer, &CodecPreferences::default());
        assert_eq!(plan, Err(refusal), "{what}");
    }
    let opus_as_96 = CHROMIUM_PUBLISH.replace("SAVPF 111", "SAVPF 96").replace(":111 ", ":96 ");
    let plan = answer_publish(&parse(&opus_as_96).unwrap(), &CodecPreferences::default());
    assert_eq!(plan, Err(Refusal::PayloadTypeConflict));
}

#[test]
fn a_player_without_the_publishers_codec_is_refused_as_a_whole() {
    let firefox = PLAY[1].1;
    assert_eq!(play(firefox, &[Codec::Opus, Codec::H264]), Err(Refusal::NoCommonCodecs));
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
    assert_eq!(plan.remote.fingerprint_sha256[..3], [0x8a, 0x9b, 0x1d]);
    let lower = aiortc.replace("sha-256 8A:9B", "SHA-256 8a:9b");
    assert_eq!(publish(&lower).remote, plan.remote);
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
