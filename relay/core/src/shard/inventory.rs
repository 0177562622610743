//! What runs, to be looked at: enough for a new controller to take over.

use super::Shard;
use crate::command::TransportOpened;
use crate::keys::TransportKey;
use crate::track::{DownTrack, UpTrack};
use crate::transport::Transport;

/// A transport with its tracks.
#[derive(Clone, Copy)]
pub struct TransportView<'a> {
    shard: &'a Shard,
    /// The transport itself.
    pub transport: &'a Transport,
}

impl<'a> TransportView<'a> {
    /// The tracks that its peer sends.
    pub fn ups(&self) -> impl Iterator<Item = &'a UpTrack> + use<'a> {
        let tracks = &self.shard.tracks;
        self.transport.ups.iter().map(|key| tracks.up(*key))
    }

    /// The tracks that its peer receives.
    pub fn downs(&self) -> impl Iterator<Item = &'a DownTrack> + use<'a> {
        let tracks = &self.shard.tracks;
        self.transport.downs.iter().map(|key| tracks.down(*key))
    }

    /// The relay's side of it, as in the answer to the command that made it.
    #[must_use]
    pub fn opened(&self) -> TransportOpened {
        let (config, local) = (&self.shard.config, &self.transport.ice.local);
        TransportOpened {
            transport_id: self.transport.identity.id,
            shard: config.shard,
            local_ufrag: local.ufrag_text(),
            local_pwd: local.pwd_text(),
            candidates: config.candidates.clone(),
        }
    }
}

impl Shard {
    /// All transports.
    pub fn transports(&self) -> impl Iterator<Item = TransportView<'_>> {
        self.transports.iter().map(|(_, transport)| TransportView { shard: self, transport })
    }

    /// The transport with this id, if it is here.
    #[must_use]
    pub fn transport(&self, id: u64) -> Option<TransportView<'_>> {
        self.transports.key(id).map(|key| self.view(key))
    }

    pub(super) fn view(&self, key: TransportKey) -> TransportView<'_> {
        TransportView { shard: self, transport: &self.transports[key] }
    }
}
