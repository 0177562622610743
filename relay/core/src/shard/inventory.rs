//! What runs, in the control language: enough for a new controller to take over.

use super::Shard;
use crate::control::{down_info, up_info};
use crate::keys::TransportKey;
use crate::transport::{Phase, Transport};
use relay_control::{CandidateAddress, TransportInfo, TransportOpened, TransportState};

impl Shard {
    /// Every transport with its tracks.
    #[must_use]
    pub fn inventory(&self) -> Vec<TransportInfo> {
        self.transports.iter().map(|(key, transport)| self.transport_info(key, transport)).collect()
    }

    /// Those of these transports that are here.
    #[must_use]
    pub fn describe(&self, ids: &[u64]) -> Vec<TransportInfo> {
        let here = ids.iter().filter_map(|id| self.transports.key(*id));
        here.map(|key| self.transport_info(key, &self.transports[key])).collect()
    }

    fn transport_info(&self, key: TransportKey, transport: &Transport) -> TransportInfo {
        let (state, version, group, profile) = match &transport.phase {
            Phase::Ice => (TransportState::New, "", "", ""),
            Phase::Dtls(_) => (TransportState::IceConnected, "", "", ""),
            Phase::Connected(s) => (TransportState::Connected, s.version, s.group, s.profile.name()),
        };
        TransportInfo {
            transport_id: transport.identity.id,
            room_id: transport.identity.room_id,
            shard: self.config.shard,
            state: state.into(),
            label: transport.identity.label.clone(),
            remote_address: transport.ice.selected().map(|p| p.remote.to_string()).unwrap_or_default(),
            dtls_version: version.into(),
            dtls_group: group.into(),
            srtp_profile: profile.into(),
            up_tracks: transport.ups.iter().map(|k| up_info(self.tracks.up(*k))).collect(),
            down_tracks: transport.downs.iter().map(|k| down_info(self.tracks.down(*k))).collect(),
            opened: Some(self.transport_opened(key)),
        }
    }

    /// The relay's side of a transport, for the answer.
    pub(super) fn transport_opened(&self, key: TransportKey) -> TransportOpened {
        let transport = &self.transports[key];
        TransportOpened {
            transport_id: transport.identity.id,
            shard: self.config.shard,
            local_ufrag: transport.ice.local.ufrag_text(),
            local_pwd: transport.ice.local.pwd_text(),
            candidates: self
                .config
                .candidates
                .iter()
                .map(|a| CandidateAddress { ip: a.ip().to_string(), port: a.port().into() })
                .collect(),
        }
    }
}
