use signaling::sdp::{
    self, CodecPreferences, Offer, Plan, PlaySide, RelaySide, SourceTrack, TrackSsrcs, answer_play,
    answer_publish, parse_ice_fragment, write_ice_fragment,
};

/// SDP: what parses keeps to the limits, and every answer is well formed, has the offer's m-lines and says
/// only what we meant to say.
pub fn sdp(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(fragment) = parse_ice_fragment(text) {
        assert!(fragment.ufrag.is_none_or(|ufrag| sdp::limits::UFRAG_BYTES.contains(&ufrag.len())));
        assert!(fragment.pwd.is_none_or(|pwd| sdp::limits::PWD_BYTES.contains(&pwd.len())));
    }
    let Ok(offer) = sdp::parse(text) else { return };
    assert!((1..=sdp::limits::MEDIA_MAX).contains(&offer.media.len()));
    assert!(text.len() <= sdp::limits::SDP_BYTES_MAX);
    let published = answer_publish(&offer, &CodecPreferences::default());
    if let Ok(plan) = &published {
        check(&offer, plan, &relay_side(None));
    }
    let sources =
        published.map_or_else(|_| other_sources(), |plan| plan.tracks.iter().map(|t| t.source).collect());
    if let Ok(plan) = answer_play(&offer, &sources) {
        assert!(plan.tracks.iter().all(|track| track.source_index < sources.len()));
        let track_ssrcs = |ssrc| TrackSsrcs { ssrc, rtx_ssrc: Some(ssrc + 1) };
        let ssrcs = (1..).step_by(2).take(plan.tracks.len()).map(track_ssrcs).collect();
        let play = PlaySide { stream_id: "room-alice-0a1b".into(), cname: "cname".into(), ssrcs };
        check(&offer, &plan, &relay_side(Some(play)));
    }
}

/// What a player is offered where the text under test cannot publish.
fn other_sources() -> Vec<SourceTrack> {
    let audio = SourceTrack::new(relay_control::Codec::Opus, "");
    let video = SourceTrack::new(relay_control::Codec::Vp8, "");
    audio.into_iter().chain(video).collect()
}

fn relay_side(play: Option<PlaySide>) -> RelaySide {
    RelaySide {
        ufrag: "relayufrag".into(),
        pwd: "relaypasswordrelaypassword".into(),
        fingerprint_sha256: [0xab; 32],
        candidates: vec![([192, 0, 2, 7].into(), 10_000)],
        session_id: 1,
        max_bitrate_bps: play.is_none().then_some(2_500_000),
        max_video_bitrate_bps: play.is_none().then_some(2_500_000),
        play,
    }
}

fn check(offer: &Offer<'_>, plan: &Plan, relay: &RelaySide) {
    assert!((1..=offer.media.len()).contains(&plan.tracks.len()));
    for track in &plan.tracks {
        let rtp = &track.rtp;
        assert!(track.media_index < offer.media.len());
        assert!(rtp.payload_type <= 127 && rtp.rtx_payload_type.is_none_or(|pt| pt <= 127));
        assert_ne!(Some(rtp.payload_type), rtp.rtx_payload_type);
        assert!(rtp.mid.len() <= sdp::limits::MID_BYTES_MAX);
        let ids = &rtp.extensions;
        let ids = [ids.mid, ids.transport_cc, ids.abs_send_time, ids.audio_level, ids.video_orientation];
        assert!(ids.iter().all(|id| *id <= 14), "the one-byte form ends there");
    }
    let answer = plan.write(relay);
    lines_are_ours(&answer);
    assert_eq!(answer.lines().filter(|line| line.starts_with("m=")).count(), offer.media.len());
    let again = sdp::parse(&answer).expect("our own answer parses");
    assert!(again.ice_lite);
    assert!(again.media.iter().map(|media| media.mid).eq(offer.media.iter().map(|media| media.mid)));
    lines_are_ours(&write_ice_fragment(plan, relay));
}

/// Whatever the offer said, it cannot have slipped a line or a control character into the answer.
fn lines_are_ours(text: &str) {
    assert!(text.ends_with("\r\n"));
    for line in text.split_terminator("\r\n") {
        assert!(line.len() >= 2 && line.as_bytes()[1] == b'=', "{line:?}");
        assert!(!line.bytes().any(|octet| octet.is_ascii_control()), "{line:?}");
    }
}
