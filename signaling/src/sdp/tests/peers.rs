//! Offers in the shape that real encoders and players make them: each is answered, with what can be had of
//! it.

use super::*;

/// Kinds and codecs of what is accepted, one a m-line; `-` for a rejected one.
fn outcome(plan: &Plan) -> String {
    let answer = plan.write(&relay_side_for(plan));
    let answer = parse(&answer).unwrap_or_else(|error| panic!("{error}\n{answer}"));
    let lines = answer.media.iter().map(|media| match media.formats.first() {
        Some(format) if !media.is_rejected() => {
            let fmtp = format.fmtp.first().map(|fmtp| format!(" {fmtp}")).unwrap_or_default();
            format!("{} {}{fmtp}", media.protocol, format.rtpmap.map_or("?", |rtpmap| rtpmap.name))
        }
        _ => "-".to_owned(),
    });
    lines.collect::<Vec<_>>().join(", ")
}

#[test]
fn publishers_are_taken_with_what_can_be_had() {
    for (name, text, expected) in [
        (
            "OPUS/48000",
            include_str!("../fixtures/peer-publish-opus-upper-case-no-channels.sdp"),
            "UDP/TLS/RTP/SAVPF opus",
        ),
        (
            "Opus and AV1",
            include_str!("../fixtures/peer-publish-opus-and-av1.sdp"),
            "UDP/TLS/RTP/SAVPF opus minptime=10;useinbandfec=1, -",
        ),
        (
            "SAVP",
            include_str!("../fixtures/peer-publish-savp.sdp"),
            "UDP/TLS/RTP/SAVP opus minptime=10;useinbandfec=1",
        ),
        (
            "no group",
            include_str!("../fixtures/peer-publish-without-bundle.sdp"),
            "UDP/TLS/RTP/SAVPF H264 packetization-mode=1;profile-level-id=42c015, -",
        ),
        (
            "40 candidates",
            include_str!("../fixtures/peer-publish-40-candidates.sdp"),
            "UDP/TLS/RTP/SAVPF opus minptime=10;useinbandfec=1",
        ),
    ] {
        assert_eq!(outcome(&publish(text)), expected, "{name}");
    }
}

#[test]
fn players_are_given_what_they_can_play() {
    let high = SourceTrack::new(Codec::H264, "packetization-mode=1;profile-level-id=640c28").unwrap();
    for (name, text, expected) in [
        (
            "H.264 without parameters",
            include_str!("../fixtures/peer-play-h264-without-fmtp.sdp"),
            "UDP/TLS/RTP/SAVPF opus minptime=10;useinbandfec=1, \
             UDP/TLS/RTP/SAVPF H264 packetization-mode=1;profile-level-id=640c28",
        ),
        (
            "VP8 only",
            include_str!("../fixtures/peer-play-opus-and-vp8-only.sdp"),
            "UDP/TLS/RTP/SAVPF opus minptime=10;useinbandfec=1, -",
        ),
    ] {
        let plan = answer_play(&parse(text).unwrap(), &[source(Codec::Opus), high]).unwrap();
        assert_eq!(outcome(&plan), expected, "{name}");
    }
}

#[test]
fn codecs_are_known_by_all_the_names_they_are_given() {
    let named = |kind: &str, rtpmap: &str| {
        let text = format!(
            "v=0\na=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 {}\n\
             m={kind} 9 UDP/TLS/RTP/SAVPF 100\na=rtcp-mux\na=rtpmap:100 {rtpmap}\n",
            ["AB"; 32].join(":")
        );
        let plan = answer_publish(&parse(&text).unwrap(), &CodecPreferences::default());
        plan.ok().map(|plan| plan.tracks[0].rtp.codec())
    };
    for (kind, rtpmap, codec) in [
        ("audio", "OPUS/48000", Some(Codec::Opus)),
        ("audio", "opus/48000/1", Some(Codec::Opus)),
        ("audio", "Opus/48000/2", Some(Codec::Opus)),
        ("audio", " opus/48000/2 ", Some(Codec::Opus)),
        ("audio", "opus/48000/2/x", Some(Codec::Opus)),
        ("audio", "opus/48000/6", None),
        ("audio", "opus/16000", None),
        ("audio", "multiopus/48000/6", None),
        ("audio", "pcmu/8000", Some(Codec::Pcmu)),
        ("audio", "PCMA/8000/1", Some(Codec::Pcma)),
        ("audio", "PCMU/8000/2", None),
        ("audio", "PCMU/16000", None),
        ("video", "vp8/90000", Some(Codec::Vp8)),
        ("video", "VP8/90000/1", Some(Codec::Vp8)),
        ("video", "h264/90000", Some(Codec::H264)),
        ("video", "H264/90000/0", Some(Codec::H264)),
        ("video", "VP9/90000", None),
        ("audio", "VP8/90000", None),
    ] {
        assert_eq!(named(kind, rtpmap), codec, "{kind} {rtpmap}");
    }
}

/// RFC 8829 §5.1.3: who writes these means DTLS-SRTP all the same, and reads its own word in the answer.
#[test]
fn odd_profiles_are_taken_and_repeated() {
    for protocol in ["UDP/TLS/RTP/SAVP", "RTP/AVP", "RTP/SAVPF", "TCP/DTLS/RTP/SAVPF", "udp/tls/rtp/savpf"] {
        let plan = publish(&CHROMIUM_PUBLISH.replace("UDP/TLS/RTP/SAVPF", protocol));
        assert_eq!(plan.tracks.len(), 2, "{protocol}");
        assert!(plan.write(&relay_side()).contains(&format!(" {protocol} 111")), "{protocol}");
    }
}

#[test]
fn a_peer_that_waits_for_our_hello_is_told_that_it_comes() {
    let plan = publish(include_str!("../fixtures/peer-publish-setup-passive.sdp"));
    assert!(plan.remote.is_dtls_server);
    let answer = plan.write(&relay_side_for(&plan));
    assert_eq!((answer.matches("a=setup:active").count(), answer.matches("a=setup:").count()), (2, 2));
    let codecs = plan.tracks.iter().map(|track| track.source.codec);
    assert!(codecs.eq([relay_control::Codec::Opus, relay_control::Codec::H264]));
}
