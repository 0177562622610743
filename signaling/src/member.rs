//! A member of a room.

use crate::auth::Rights;
use crate::id::{ConnectionId, MemberId, StreamKey};
use crate::sdp::SourceTrack;

/// Somebody in a room.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// Its name in the room. Any Unicode.
    pub(crate) login: String,
    /// Digest of the secret with which its client takes this place over again.
    pub(crate) token: String,
    /// Of its client's session, for the operator's hook.
    pub(crate) app_key: String,
    pub(crate) presence: Presence,
    /// By which it came in.
    pub(crate) rights: Rights,
    /// What its client can play, as far as its offers told.
    pub(crate) playable: Playable,
    /// In the order in which they were published.
    pub(crate) publishes: Vec<StreamKey>,
    pub(crate) plays: Vec<StreamKey>,
}

/// What a client can play.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Playable {
    /// From its latest offer to play; empty for a kind that it did not ask for.
    pub(crate) by_play: Vec<SourceTrack>,
    /// From its latest offer to publish: what it sends it most likely plays as well.
    pub(crate) by_publish: Vec<SourceTrack>,
}

impl Playable {
    /// Whether it would get this track. Who has said nothing about a kind gets any track of it.
    pub(crate) fn allows(&self, track: &SourceTrack) -> bool {
        let of_kind = |known: &[SourceTrack]| -> Vec<SourceTrack> {
            known.iter().filter(|one| one.kind == track.kind).copied().collect()
        };
        let mut known = of_kind(&self.by_play);
        if known.is_empty() {
            known = of_kind(&self.by_publish);
        }
        known.is_empty() || known.iter().any(|one| one.plays(track))
    }
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// On a WebSocket.
    Attached(ConnectionId),
    /// Its connection is lost, its place and its streams are kept for a while: its client asked for that, and
    /// has a secret to come back with.
    Detached,
    /// The same of one that an earlier signaling knew: its client may have no secret.
    Adopted,
    /// It came by WHIP: it is here as long as its stream.
    Http,
}

impl Member {
    /// What it publishes and plays.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &StreamKey> {
        self.publishes.iter().chain(&self.plays)
    }

    pub(crate) fn streams_mut(&mut self, publish: bool) -> &mut Vec<StreamKey> {
        if publish { &mut self.publishes } else { &mut self.plays }
    }

    /// Where to reach it.
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.presence {
            Presence::Attached(connection) => Some(connection),
            Presence::Detached | Presence::Adopted | Presence::Http => None,
        }
    }
}
