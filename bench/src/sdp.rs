//! From a browser's offer to our answer.

use signaling::sdp::{self, CodecPreferences, RelaySide, answer_publish};

/// What Chromium offers with a camera and a microphone.
pub const OFFER: &str = include_str!("../../fuzz/corpus/sdp/chromium-publish-offer-camera-and-microphone");

/// What the relay told its side to be.
pub fn relay_side() -> RelaySide {
    RelaySide {
        ufrag: "relayufrag".into(),
        pwd: "relaypasswordrelaypassword".into(),
        fingerprint_sha256: [0xab; 32],
        candidates: vec![([192, 0, 2, 7].into(), 10_000)],
        session_id: 1,
        max_bitrate_bps: Some(2_500_000),
        max_video_bitrate_bps: Some(2_500_000),
        play: None,
    }
}

/// Reads an offer, decides, and writes the answer.
pub fn answer(offer: &str, relay: &RelaySide) -> Option<String> {
    let offer = sdp::parse(offer).ok()?;
    Some(answer_publish(&offer, &CodecPreferences::default()).ok()?.write(relay))
}
