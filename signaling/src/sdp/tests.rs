//! Whole offers in, numbers and whole answers out.

use super::*;
use relay_control::Codec;

fn relay_side() -> RelaySide {
    RelaySide {
        ufrag: "relayufrag".into(),
        pwd: "relaypasswordrelaypassword".into(),
        fingerprint_sha256: [0xab; 32],
        candidates: vec![("192.0.2.7".parse().unwrap(), 10_000), ("2001:db8::7".parse().unwrap(), 10_000)],
        session_id: u64::MAX,
        ..RelaySide::default()
    }
}

#[test]
fn smoke() {
    let offer = parse(include_str!("fixtures/chromium-publish.sdp")).unwrap();
    let plan = answer_publish(&offer, &CodecPreferences::default()).unwrap();
    println!("{:#?}\n{}", plan.tracks, plan.write(&relay_side()));
    let play = parse(include_str!("fixtures/firefox-play.sdp")).unwrap();
    let sources: Vec<_> = plan.tracks.iter().map(|track| track.source).collect();
    let plan = answer_play(&play, &sources).unwrap();
    let ssrcs = vec![TrackSsrcs { ssrc: 1, rtx_ssrc: None }, TrackSsrcs { ssrc: 2, rtx_ssrc: Some(3) }];
    let relay = RelaySide {
        play: Some(PlaySide { stream_id: "s 1".into(), cname: "c".into(), ssrcs }),
        ..relay_side()
    };
    println!("{:#?}\n{}", plan.tracks, plan.write(&relay));
    println!("{}", write_ice_fragment(&plan, &relay));
    assert_eq!(plan.tracks[0].rtp.codec(), Codec::Opus);
}
