//! What runs on a shard, as its controllers read it.

use super::{rtp_parameters, transport_opened};
use relay_control::{DownTrackInfo, TransportInfo, TransportState, UpTrackInfo};
use relay_core::track::{DownTrack, UpTrack};
use relay_core::transport::Phase;
use relay_core::{Shard, TransportView};

/// Every transport with its tracks.
#[must_use]
pub fn inventory(shard: &Shard) -> Vec<TransportInfo> {
    shard.transports().map(transport_info).collect()
}

/// Those of these transports that are here.
#[must_use]
pub fn describe(shard: &Shard, ids: &[u64]) -> Vec<TransportInfo> {
    ids.iter().filter_map(|id| shard.transport(*id)).map(transport_info).collect()
}

fn transport_info(view: TransportView<'_>) -> TransportInfo {
    let (transport, opened) = (view.transport, view.opened());
    let (state, version, group, profile) = match &transport.phase {
        Phase::Ice => (TransportState::New, "", "", ""),
        Phase::Dtls(_) => (TransportState::IceConnected, "", "", ""),
        Phase::Connected(s) => (TransportState::Connected, s.version, s.group, s.profile.name()),
    };
    TransportInfo {
        transport_id: transport.identity.id,
        room_id: transport.identity.room_id,
        shard: opened.shard,
        state: state.into(),
        label: transport.identity.label.clone(),
        remote_address: transport.ice.selected().map(|p| p.remote.to_string()).unwrap_or_default(),
        dtls_version: version.into(),
        dtls_group: group.into(),
        srtp_profile: profile.into(),
        up_tracks: view.ups().map(up_info).collect(),
        down_tracks: view.downs().map(down_info).collect(),
        opened: Some(transport_opened(opened)),
    }
}

fn up_info(up: &UpTrack) -> UpTrackInfo {
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
        policed: up.policed.count,
    }
}

fn down_info(down: &DownTrack) -> DownTrackInfo {
    DownTrackInfo {
        track_id: down.id,
        up_track_id: down.up_track_id,
        rtp: rtp_parameters(&down.params),
        ssrc: down.ssrc.0,
        rtx_ssrc: down.offered_rtx_ssrc().map_or(0, |ssrc| ssrc.0),
        packets: down.stream.packets(),
        bytes: down.stream.octets(),
        retransmissions: down.stream.retransmissions(),
    }
}
