//! Whole offers in, numbers and whole answers out.

mod answers;
mod hostile;
mod mutations;
mod peers;
mod plans;
mod refusals;

use super::*;
use relay_control::{Codec, RtpParameters};

/// Offers to publish, by name.
const PUBLISH: [(&str, &str); 11] = [
    ("chromium", include_str!("../fixtures/chromium-publish.sdp")),
    ("chromium audio", include_str!("../fixtures/chromium-publish-audio.sdp")),
    ("chromium video", include_str!("../fixtures/chromium-publish-video.sdp")),
    ("chromium screen", include_str!("../fixtures/chromium-publish-screen.sdp")),
    ("firefox", include_str!("../fixtures/firefox-publish.sdp")),
    ("firefox audio", include_str!("../fixtures/firefox-publish-audio.sdp")),
    ("firefox video", include_str!("../fixtures/firefox-publish-video.sdp")),
    ("safari", include_str!("../fixtures/safari-publish.sdp")),
    ("aiortc", include_str!("../fixtures/aiortc-publish.sdp")),
    ("gstreamer", include_str!("../fixtures/gstreamer-publish.sdp")),
    ("obs", include_str!("../fixtures/obs-publish.sdp")),
];

/// Offers to play, by name.
const PLAY: [(&str, &str); 5] = [
    ("chromium", include_str!("../fixtures/chromium-play.sdp")),
    ("firefox", include_str!("../fixtures/firefox-play.sdp")),
    ("safari", include_str!("../fixtures/safari-play.sdp")),
    ("aiortc", include_str!("../fixtures/aiortc-play.sdp")),
    ("str0m", include_str!("../fixtures/str0m-play.sdp")),
];

const CHROMIUM_PUBLISH: &str = PUBLISH[0].1;
const CHROMIUM_PLAY: &str = PLAY[0].1;

const AGREED_BY_ALL: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

fn source(codec: Codec) -> SourceTrack {
    SourceTrack::new(codec, if codec == Codec::H264 { AGREED_BY_ALL } else { "" }).unwrap()
}

fn publish(text: &str) -> Plan {
    answer_publish(&parse(text).unwrap(), &CodecPreferences::default()).unwrap()
}

fn play(text: &str, codecs: &[Codec]) -> Result<Plan, Refusal> {
    let sources: Vec<_> = codecs.iter().copied().map(source).collect();
    answer_play(&parse(text).unwrap(), &sources)
}

fn relay_side() -> RelaySide {
    RelaySide {
        ufrag: "relayufrag".into(),
        pwd: "relaypasswordrelaypassword".into(),
        fingerprint_sha256: [0xab; 32],
        candidates: vec![
            ("192.0.2.7".parse().unwrap(), 10_000),
            ("2001:db8::7".parse().unwrap(), 10_000),
            ("192.0.2.7".parse().unwrap(), 10_001),
        ],
        session_id: u64::MAX,
        ..RelaySide::default()
    }
}

/// What the relay says about the tracks of a play.
fn relay_side_for(plan: &Plan) -> RelaySide {
    let ssrcs = plan.tracks.iter().zip(1..).map(|(track, number)| TrackSsrcs {
        ssrc: number * 10,
        rtx_ssrc: track.rtp.rtx_payload_type.map(|_| number * 10 + 1),
    });
    let play =
        PlaySide { stream_id: "lobby-алиса 7f".into(), cname: "ringvox".into(), ssrcs: ssrcs.collect() };
    RelaySide { play: Some(play), ..relay_side() }
}

/// One line a track: mid, codec, payload types, SSRCs, extension ids, feedback.
fn summary(plan: &Plan) -> String {
    let tracks = plan.tracks.iter().map(|track| {
        let RtpParameters { mid, payload_type, rtx_payload_type, extensions: ids, .. } = &track.rtp;
        let rtx = rtx_payload_type.map_or("-".into(), |rtx| rtx.to_string());
        let feedback = [
            (track.rtp.nack, " nack"),
            (track.rtp.pli, " pli"),
            (track.rtp.fir, " fir"),
            (track.rtp.remb, " remb"),
            (track.rtp.transport_cc, " tcc"),
        ];
        let feedback: String = feedback.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
        format!(
            "{mid} {:?} {payload_type}/{rtx} ssrc {}/{} ext mid={} tcc={} level={} cvo={}{feedback}",
            track.rtp.codec(),
            track.ssrc,
            track.rtx_ssrc,
            ids.mid,
            ids.transport_cc,
            ids.audio_level,
            ids.video_orientation,
        )
    });
    tracks.collect::<Vec<_>>().join("\n")
}
