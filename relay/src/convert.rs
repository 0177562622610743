//! The control protocol's types and the core's, each made of the other. The core knows nothing of the
//! protocol, so that a field which is added there, or how it is encoded, is no business of the media plane.
//!
//! What has no place in the core's types (a codec that is not known, a fingerprint of 31 octets) is refused
//! here; whether a value that has is good, the core says. Kinds, codecs and priorities have the same numbers
//! here and there, which a test holds.

mod inventory;

pub use inventory::{describe, inventory};

use relay_control as control;
use relay_control::{CommandError, EventBody, ReplyBody};
use relay_core::Shard;
use relay_core::command::{
    AddDownTrack, AddUpTrack, Command, LABEL_BYTES_MAX, OpenTransport, RefusalCode, Refused,
    RemoteCredentials, Reply, TransportOpened,
};
use relay_core::dtls::DtlsRole;
use relay_core::id::{Cname, Mid, Pt, Ssrc};
use relay_core::media::{
    Codec, Event, ExtensionIds, FailReason, MediaKind, Policed, Priority, TransportEvent,
};
use relay_core::outbox::Outbox;
use relay_core::port::OpenPort;
use relay_core::time::Time;
use relay_core::track::Params;
use relay_port::Track;

const _: () = assert!(LABEL_BYTES_MAX == control::LABEL_BYTES_MAX);

/// Has a shard obey a command. Those of the process (`Hello`, `GetInventory`, …) are refused.
pub fn obey<O: Outbox>(shard: &mut Shard, now: Time, command: control::Command, outbox: &mut O) -> ReplyBody {
    let obeyed = core_command(command).and_then(|command| shard.handle_command(now, command, outbox));
    obeyed.map_or_else(error, reply_body)
}

/// Has a shard send a track to a port.
pub fn open_port(shard: &mut Shard, order: OpenPort) -> ReplyBody {
    shard.open_port(order).map_or_else(error, |()| ReplyBody::Done(control::Done {}))
}

fn bad_request(message: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    Refused::new(RefusalCode::BadRequest, message)
}

fn core_command(command: control::Command) -> Result<Command, Refused> {
    Ok(match command {
        control::Command::OpenTransport(c) => Command::OpenTransport(open_transport(c)?),
        control::Command::RestartIce(c) => Command::RestartIce {
            transport_id: c.transport_id,
            remote: RemoteCredentials { ufrag: c.remote_ufrag, pwd: c.remote_pwd },
        },
        control::Command::CloseTransport(c) => Command::CloseTransport { transport_id: c.transport_id },
        control::Command::AddUpTrack(c) => Command::AddUpTrack(add_up_track(&c)?),
        control::Command::AddDownTrack(c) => Command::AddDownTrack(add_down_track(&c)?),
        control::Command::RemoveTrack(c) => Command::RemoveTrack { track_id: c.track_id },
        control::Command::RequestKeyframe(c) => Command::RequestKeyframe { track_id: c.track_id },
        control::Command::ProbeTransport(c) => Command::ProbeTransport { transport_id: c.transport_id },
        control::Command::SetLabel(c) => Command::SetLabel { transport_id: c.transport_id, label: c.label },
        control::Command::Hello(_)
        | control::Command::GetInventory(_)
        | control::Command::GetStats(_)
        | control::Command::Shutdown(_)
        | control::Command::AddTap(_)
        | control::Command::RemoveTap(_)
        | control::Command::AddSource(_)
        | control::Command::RemoveSource(_) => {
            return Err(bad_request("this command is for the process, not for a shard"));
        }
    })
}

fn open_transport(c: control::OpenTransport) -> Result<OpenTransport, Refused> {
    if c.more_fingerprints_sha256.len() >= control::FINGERPRINTS_MAX {
        return Err(bad_request("more fingerprints than FINGERPRINTS_MAX"));
    }
    let fingerprints = std::iter::once(&c.remote_fingerprint_sha256).chain(&c.more_fingerprints_sha256);
    let fingerprints: Result<_, _> = fingerprints.map(|octets| octets.as_slice().try_into()).collect();
    Ok(OpenTransport {
        transport_id: c.transport_id,
        room_id: c.room_id,
        remote: RemoteCredentials { ufrag: c.remote_ufrag, pwd: c.remote_pwd },
        fingerprints: fingerprints.map_err(|_| bad_request("a SHA-256 fingerprint must have 32 octets"))?,
        label: c.label,
        role: if c.dtls_client { DtlsRole::Client } else { DtlsRole::Server },
        max_receive_bitrate_bps: Some(c.max_receive_bitrate_bps).filter(|bps| *bps != 0),
    })
}

fn add_up_track(c: &control::AddUpTrack) -> Result<AddUpTrack, Refused> {
    let ssrc = |ssrc: u32| Some(Ssrc(ssrc)).filter(|ssrc| ssrc.0 != 0);
    Ok(AddUpTrack {
        transport_id: c.transport_id,
        track_id: c.track_id,
        params: params(&c.rtp)?,
        ssrc: ssrc(c.ssrc),
        rtx_ssrc: ssrc(c.rtx_ssrc),
        priority: priority(c.priority)?,
    })
}

fn add_down_track(c: &control::AddDownTrack) -> Result<AddDownTrack, Refused> {
    Ok(AddDownTrack {
        transport_id: c.transport_id,
        track_id: c.track_id,
        up_track_id: c.up_track_id,
        params: params(&c.rtp)?,
        cname: Cname::from(&c.cname).map_err(|_| bad_request("cname must have 1 to 64 octets"))?,
    })
}

fn params(rtp: &control::RtpParameters) -> Result<Params, Refused> {
    // A number that is too large for an octet stays one that the core refuses.
    let octet = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    let e = &rtp.extensions;
    Ok(Params {
        kind: kind(rtp.kind)?,
        codec: codec(rtp.codec)?,
        clock_rate_hz: rtp.clock_rate_hz,
        pt: Pt(octet(rtp.payload_type)),
        rtx_pt: rtp.rtx_payload_type.map(|pt| Pt(octet(pt))),
        mid: Mid::from(&rtp.mid).map_err(|_| bad_request("mid has more than 16 octets"))?,
        extensions: ExtensionIds {
            mid: octet(e.mid),
            transport_cc: octet(e.transport_cc),
            abs_send_time: octet(e.abs_send_time),
            audio_level: octet(e.audio_level),
            video_orientation: octet(e.video_orientation),
        },
        nack: rtp.nack,
        pli: rtp.pli,
        fir: rtp.fir,
        remb: rtp.remb,
        transport_cc: rtp.transport_cc,
    })
}

fn rtp_parameters(params: &Params) -> control::RtpParameters {
    let e = &params.extensions;
    control::RtpParameters {
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

fn kind(number: i32) -> Result<MediaKind, Refused> {
    let known = [MediaKind::Audio, MediaKind::Video].into_iter().find(|kind| *kind as i32 == number);
    known.ok_or_else(|| bad_request("kind is neither audio nor video"))
}

fn codec(number: i32) -> Result<Codec, Refused> {
    let known = Codec::ALL.into_iter().find(|codec| *codec as i32 == number);
    known.ok_or_else(|| bad_request("codec is none of those passed through"))
}

fn priority(number: i32) -> Result<Priority, Refused> {
    let names = "0 (medium), 1 (very low), 2 (low) or 3 (high)";
    let known = Priority::ALL.into_iter().find(|priority| *priority as i32 == number);
    known.ok_or_else(|| bad_request(format!("priority is {number}, not {names}")))
}

/// What the up-track of a source is to be, as its port is told.
///
/// # Errors
/// What of the order no track can have.
pub fn source_track(c: &control::AddSource) -> Result<Track, Refused> {
    let (kind, codec, clock_rate_hz) = (kind(c.rtp.kind)?, codec(c.rtp.codec)?, c.rtp.clock_rate_hz);
    if matches!(codec, Codec::Vp8 | Codec::H264) != (kind == MediaKind::Video) {
        return Err(bad_request("this codec is of the other kind"));
    }
    if clock_rate_hz == 0 {
        return Err(bad_request("a clock rate is needed"));
    }
    let (room_id, priority) = (c.room_id, priority(c.priority)?);
    Ok(Track { room_id, kind, codec, clock_rate_hz, priority, connected: true, held: true })
}

fn reply_body(reply: Reply) -> ReplyBody {
    match reply {
        Reply::Done => ReplyBody::Done(control::Done {}),
        Reply::TransportOpened(opened) => ReplyBody::TransportOpened(transport_opened(opened)),
        Reply::TransportProbed { transport_id, silence } => {
            let silent_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
            ReplyBody::TransportProbed(control::TransportProbed { transport_id, silent_ms })
        }
        Reply::UpTrackAdded { track_id } => ReplyBody::UpTrackAdded(control::UpTrackAdded { track_id }),
        Reply::DownTrackAdded { track_id, ssrc, rtx_ssrc } => {
            let (ssrc, rtx_ssrc) = (ssrc.0, rtx_ssrc.map_or(0, |ssrc| ssrc.0));
            ReplyBody::DownTrackAdded(control::DownTrackAdded { track_id, ssrc, rtx_ssrc })
        }
    }
}

fn transport_opened(opened: TransportOpened) -> control::TransportOpened {
    let candidate = |a: &std::net::SocketAddr| control::CandidateAddress {
        ip: a.ip().to_string(),
        port: a.port().into(),
    };
    control::TransportOpened {
        transport_id: opened.transport_id,
        shard: opened.shard,
        candidates: opened.candidates.iter().map(candidate).collect(),
        local_ufrag: opened.local_ufrag,
        local_pwd: opened.local_pwd,
    }
}

/// A refusal of the core.
#[must_use]
pub fn error(refused: Refused) -> ReplyBody {
    let code = match refused.code {
        RefusalCode::BadRequest => control::ErrorCode::BadRequest,
        RefusalCode::UnknownTransport => control::ErrorCode::UnknownTransport,
        RefusalCode::UnknownTrack => control::ErrorCode::UnknownTrack,
        RefusalCode::IdInUse => control::ErrorCode::IdInUse,
        RefusalCode::Mismatch => control::ErrorCode::Mismatch,
        RefusalCode::LimitReached => control::ErrorCode::LimitReached,
        RefusalCode::Busy => control::ErrorCode::Busy,
    };
    let message = refused.message.into_owned();
    ReplyBody::Error(CommandError { code: code.into(), message, highest_epoch: 0 })
}

/// An event of the core.
#[must_use]
pub fn event_body(event: Event) -> EventBody {
    match event {
        Event::Activity(track_id, active) => {
            EventBody::UpTrackActivity(control::UpTrackActivity { track_id, active })
        }
        Event::Policed(Policed { track_id, packets, bitrate_bps: max_receive_bitrate_bps }) => {
            let policed = control::UpTrackPoliced { track_id, packets, max_receive_bitrate_bps };
            EventBody::UpTrackPoliced(policed)
        }
        Event::Transport(transport_id, event) => {
            let (state, reason) = match event {
                TransportEvent::IceConnected => {
                    (control::TransportState::IceConnected, control::FailReason::None)
                }
                TransportEvent::Connected => (control::TransportState::Connected, control::FailReason::None),
                TransportEvent::Failed(reason) => (control::TransportState::Failed, fail_reason(reason)),
            };
            let (state, reason) = (state.into(), reason.into());
            EventBody::TransportState(control::TransportStateChanged { transport_id, state, reason })
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
        let rtp = control::RtpParameters {
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
        assert_eq!(params(&rtp).map(|params| rtp_parameters(&params)), Ok(rtp.clone()));
        let other = control::RtpParameters {
            nack: false,
            pli: true,
            fir: false,
            remb: true,
            transport_cc: false,
            ..rtp
        };
        assert_eq!(params(&other).map(|params| rtp_parameters(&params)), Ok(other));
    }
}
