//! What the control protocol carries, in the core's own words and back: nothing below knows the protocol's types but the
//! handlers of its commands (`shard/command.rs`), and the answers that they give.
//!
//! Kinds, codecs and priorities have the same numbers here and there, which a test holds.

use crate::id::{Mid, Pt};
use crate::media::{Codec, Event, ExtensionIds, FailReason, MediaKind, Priority, TransportEvent};
use crate::track::{DownTrack, Params, UpTrack};
use relay_control as control;
use relay_control::{
    DownTrackAdded, DownTrackInfo, EventBody, ReplyBody, RtpParameters, TransportStateChanged,
    UpTrackActivity, UpTrackInfo,
};

/// Negotiated numbers, if they can be on the wire; else what of them cannot.
pub(crate) fn check_params(rtp: &RtpParameters) -> Result<Params, &'static str> {
    let kind = kind(rtp.kind).ok_or("kind is neither audio nor video")?;
    let codec = codec(rtp.codec).ok_or("codec is none of those passed through")?;
    let pt = check_pt(rtp.payload_type)?;
    let rtx_pt = rtp.rtx_payload_type.map(check_pt).transpose()?;
    if rtx_pt == Some(pt) {
        return Err("rtx_payload_type equals payload_type");
    }
    if rtp.clock_rate_hz == 0 {
        return Err("clock_rate_hz is zero");
    }
    let mid = Mid::from(&rtp.mid).map_err(|_| "mid has more than 16 octets")?;
    let e = &rtp.extensions;
    // RFC 8285 §4.2: 1 to 14 in the one-byte form, the only one the relay writes.
    let id = |id: u32| match u8::try_from(id) {
        Ok(id @ 0..=14) => Ok(id),
        _ => Err("a header-extension id is above 14"),
    };
    let extensions = ExtensionIds {
        mid: id(e.mid)?,
        transport_cc: id(e.transport_cc)?,
        abs_send_time: id(e.abs_send_time)?,
        audio_level: id(e.audio_level)?,
        video_orientation: id(e.video_orientation)?,
    };
    Ok(Params {
        kind,
        codec,
        clock_rate_hz: rtp.clock_rate_hz,
        pt,
        rtx_pt,
        mid,
        extensions,
        nack: rtp.nack,
        pli: rtp.pli,
        fir: rtp.fir,
        remb: rtp.remb,
        transport_cc: rtp.transport_cc,
    })
}

/// The same back.
fn rtp_parameters(params: &Params) -> RtpParameters {
    let e = &params.extensions;
    RtpParameters {
        kind: params.kind as i32,
        codec: params.codec as i32,
        clock_rate_hz: params.clock_rate_hz,
        payload_type: params.pt.0.into(),
        rtx_payload_type: params.rtx_pt.map(|pt| pt.0.into()),
        mid: params.mid.to_string(),
        extensions: control::ExtensionIds {
            mid: e.mid.into(),
            transport_cc: e.transport_cc.into(),
            abs_send_time: e.abs_send_time.into(),
            audio_level: e.audio_level.into(),
            video_orientation: e.video_orientation.into(),
        },
        nack: params.nack,
        pli: params.pli,
        fir: params.fir,
        remb: params.remb,
        transport_cc: params.transport_cc,
    }
}

/// RFC 5761 §4: with RTP and RTCP on one port, 64 to 95 would look like RTCP.
fn check_pt(pt: u32) -> Result<Pt, &'static str> {
    match u8::try_from(pt) {
        Ok(pt @ (0..=63 | 96..=127)) => Ok(Pt(pt)),
        _ => Err("a payload type is not in 0..=63 or 96..=127"),
    }
}

fn kind(number: i32) -> Option<MediaKind> {
    [MediaKind::Audio, MediaKind::Video].into_iter().find(|kind| *kind as i32 == number)
}

fn codec(number: i32) -> Option<Codec> {
    Codec::ALL.into_iter().find(|codec| *codec as i32 == number)
}

pub(crate) fn priority(number: i32) -> Option<Priority> {
    Priority::ALL.into_iter().find(|priority| *priority as i32 == number)
}

pub(crate) fn up_info(up: &UpTrack) -> UpTrackInfo {
    UpTrackInfo {
        track_id: up.id,
        rtp: rtp_parameters(&up.params),
        ssrc: up.layers.iter().find_map(|layer| layer.ssrc).map_or(0, |ssrc| ssrc.0),
        active: up.active,
        packets: up.layers.iter().map(|layer| layer.stream.packets()).sum(),
        bytes: up.layers.iter().map(|layer| layer.stream.octets()).sum(),
        keyframes: up.layers.iter().map(|layer| layer.stream.keyframes_seen()).sum(),
        lost: up.lost,
        priority: up.priority as i32,
    }
}

/// Answer to the command that made it.
pub(crate) fn down_added(down: &DownTrack) -> ReplyBody {
    ReplyBody::DownTrackAdded(DownTrackAdded {
        track_id: down.id,
        ssrc: down.ssrc.0,
        rtx_ssrc: down.params.rtx_pt.map_or(0, |_| down.rtx_ssrc.0),
    })
}

pub(crate) fn down_info(down: &DownTrack) -> DownTrackInfo {
    DownTrackInfo {
        track_id: down.id,
        up_track_id: down.up_track_id,
        rtp: rtp_parameters(&down.params),
        ssrc: down.ssrc.0,
        rtx_ssrc: down.params.rtx_pt.map_or(0, |_| down.rtx_ssrc.0),
        packets: down.stream.packets(),
        bytes: down.stream.octets(),
        retransmissions: down.stream.retransmissions(),
    }
}

pub(crate) fn event_body(event: Event) -> EventBody {
    match event {
        Event::Activity(track_id, active) => EventBody::UpTrackActivity(UpTrackActivity { track_id, active }),
        Event::Transport(transport_id, event) => {
            let (state, reason) = match event {
                TransportEvent::IceConnected => {
                    (control::TransportState::IceConnected, control::FailReason::None)
                }
                TransportEvent::Connected => (control::TransportState::Connected, control::FailReason::None),
                TransportEvent::Failed(reason) => (control::TransportState::Failed, fail_reason(reason)),
            };
            let (state, reason) = (state.into(), reason.into());
            EventBody::TransportState(TransportStateChanged { transport_id, state, reason })
        }
    }
}

const fn fail_reason(reason: FailReason) -> control::FailReason {
    match reason {
        FailReason::IceTimeout => control::FailReason::IceTimeout,
        FailReason::ConsentExpired => control::FailReason::ConsentExpired,
        FailReason::DtlsFingerprint => control::FailReason::DtlsFingerprint,
        FailReason::DtlsFailed => control::FailReason::DtlsFailed,
        FailReason::DtlsClosed => control::FailReason::DtlsClosed,
        FailReason::RelayFault => control::FailReason::RelayFault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_here_and_there() {
        let kinds = [MediaKind::Audio, MediaKind::Video].map(|kind| {
            let name = control::MediaKind::try_from(kind as i32).map(|kind| format!("{kind:?}"));
            assert_eq!(name, Ok(format!("{kind:?}")));
        });
        let codecs = Codec::ALL.map(|codec| {
            let name = control::Codec::try_from(codec as i32).map(|codec| format!("{codec:?}"));
            assert_eq!(name, Ok(format!("{codec:?}")));
        });
        let priorities = Priority::ALL.map(|priority| {
            let name = control::Priority::try_from(priority as i32).map(|priority| format!("{priority:?}"));
            assert_eq!(name, Ok(format!("{priority:?}")));
        });
        // And no more there than here.
        assert!(control::MediaKind::try_from(kinds.len() as i32).is_err());
        assert!(control::Codec::try_from(codecs.len() as i32).is_err());
        assert!(control::Priority::try_from(priorities.len() as i32).is_err());
    }

    #[test]
    fn parameters_come_back_as_they_were() {
        let extensions = control::ExtensionIds {
            mid: 1,
            transport_cc: 2,
            abs_send_time: 3,
            audio_level: 4,
            video_orientation: 14,
        };
        let rtp = RtpParameters {
            kind: 1,
            codec: 4,
            clock_rate_hz: 90_000,
            payload_type: 96,
            rtx_payload_type: Some(97),
            mid: "video".into(),
            extensions,
            nack: true,
            pli: false,
            fir: true,
            remb: false,
            transport_cc: true,
        };
        assert_eq!(check_params(&rtp).map(|params| rtp_parameters(&params)), Ok(rtp.clone()));
        let other =
            RtpParameters { nack: false, pli: true, fir: false, remb: true, transport_cc: false, ..rtp };
        assert_eq!(check_params(&other).map(|params| rtp_parameters(&params)), Ok(other));
    }
}
