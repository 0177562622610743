//! The relays that carry our streams: how the link to each is, and what they were asked. One today.
//!
//! A room lives on one relay, as no packet goes from relay to relay.

use crate::id::{Held, HttpRequestId, RelayId, RoomId, StreamKey};
use crate::log_limit::LogLimit;
use crate::sdp::RelaySide;
use crate::timer::Time;
use relay_control::{CandidateAddress, TransportOpened, Welcome};
use std::collections::{BTreeMap, HashMap};

/// First request id of the hub; the link uses those below for itself.
const FIRST_REQUEST_ID: u64 = 1 << 32;

/// What a request to a relay was for.
#[derive(Debug)]
pub(super) enum Purpose {
    Open(StreamKey),
    UpTrack(StreamKey),
    /// Index in the plan.
    DownTrack(StreamKey, usize),
    /// With what the client says, which holds once the relay has done it.
    RestartIce(StreamKey, HttpRequestId, RemoteIce),
    /// Somebody wants what the peer's member or stream holds.
    Probe(Held),
    /// Somebody wants the place of a viewer who may be gone.
    ProbeViewer(RoomId, StreamKey),
    /// Whether a track of a publication goes to the recorder.
    Tap(StreamKey, u64),
    /// Nobody waits for the reply.
    Nothing,
}

/// A client's side of ICE.
pub(super) struct RemoteIce {
    pub(super) ufrag: String,
    pub(super) pwd: String,
}

impl std::fmt::Debug for RemoteIce {
    /// Purposes are logged, passwords are not.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.ufrag)
    }
}

pub(super) struct Relays {
    links: BTreeMap<RelayId, Link>,
    requests: HashMap<u64, Purpose>,
    last_request: u64,
    /// Commands that were refused for a limit of a relay.
    full: LogLimit,
}

/// How the link to a relay is.
#[derive(Debug)]
enum Link {
    Never,
    Up(Welcome),
    /// The connection broke a moment ago.
    Lost(Welcome),
    /// Gone for so long that new streams are refused at once. Holds its boot id.
    Gone(u64),
}

/// Which process has been found behind a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    First,
    /// The connection broke, and is back.
    Same,
    /// What the one before carried is lost.
    Another,
}

impl Relays {
    pub(super) fn new(ids: impl IntoIterator<Item = RelayId>) -> Self {
        let links = ids.into_iter().map(|id| (id, Link::Never)).collect();
        Self { links, requests: HashMap::new(), last_request: FIRST_REQUEST_ID, full: LogLimit::default() }
    }

    /// Where a new room is to live: the first relay that is up, or else the first.
    pub(super) fn for_new_room(&self) -> Option<RelayId> {
        let up = self.links.iter().find(|(_, link)| matches!(link, Link::Up(_)));
        up.or(self.links.first_key_value()).map(|(id, _)| *id)
    }

    pub(super) fn up(&mut self, id: RelayId, welcome: Welcome) -> Found {
        let boot_id = welcome.boot_id;
        let before = match self.links.insert(id, Link::Up(welcome)) {
            None | Some(Link::Never) => None,
            Some(Link::Up(welcome) | Link::Lost(welcome)) => Some(welcome.boot_id),
            Some(Link::Gone(boot_id)) => Some(boot_id),
        };
        match before {
            None => Found::First,
            Some(before) if before == boot_id => Found::Same,
            Some(_) => Found::Another,
        }
    }

    /// False: it was not up.
    pub(super) fn lost(&mut self, id: RelayId) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        let Link::Up(welcome) = link else { return false };
        *link = Link::Lost(std::mem::take(welcome));
        true
    }

    /// It does not come back. False: it has.
    pub(super) fn gone(&mut self, id: RelayId) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        let Link::Lost(welcome) = link else { return false };
        *link = Link::Gone(welcome.boot_id);
        true
    }

    pub(super) fn all_are_up(&self) -> bool {
        self.links.values().all(|link| matches!(link, Link::Up(_)))
    }

    /// Whether each has been found once.
    pub(super) fn all_are_known(&self) -> bool {
        !self.links.values().any(|link| matches!(link, Link::Never))
    }

    pub(super) fn is_gone(&self, id: RelayId) -> bool {
        matches!(self.links.get(&id), None | Some(Link::Gone(_)))
    }

    fn welcome(&self, id: RelayId) -> Option<&Welcome> {
        match self.links.get(&id)? {
            Link::Up(welcome) | Link::Lost(welcome) => Some(welcome),
            Link::Never | Link::Gone(_) => None,
        }
    }

    /// What it takes of one transport; 0: not known.
    pub(super) fn max_receive_bitrate_bps(&self, id: RelayId) -> u64 {
        self.welcome(id).map_or(0, |welcome| welcome.max_receive_bitrate_bps)
    }

    /// `None`: it said something that cannot be put into an answer.
    pub(super) fn side(&self, id: RelayId, opened: &TransportOpened, session_id: u64) -> Option<RelaySide> {
        let candidate =
            |address: &CandidateAddress| Some((address.ip.parse().ok()?, u16::try_from(address.port).ok()?));
        Some(RelaySide {
            ufrag: opened.local_ufrag.clone(),
            pwd: opened.local_pwd.clone(),
            fingerprint_sha256: self.welcome(id)?.fingerprint_sha256.as_slice().try_into().ok()?,
            candidates: opened.candidates.iter().filter_map(candidate).collect(),
            session_id,
            max_bitrate_bps: None,
            max_video_bitrate_bps: None,
            play: None,
        })
    }

    /// Gives a request its number, unique among those to all relays.
    pub(super) fn number_request(&mut self, purpose: Purpose) -> u64 {
        self.last_request += 1;
        self.requests.insert(self.last_request, purpose);
        self.last_request
    }

    /// What the request was for; once.
    pub(super) fn answered(&mut self, request_id: u64) -> Option<Purpose> {
        self.requests.remove(&request_id)
    }

    /// A command was refused for a limit. `Some`: how often since that was last said, and now is the time.
    pub(super) fn note_full(&mut self, now: Time) -> Option<u64> {
        self.full.note(now)
    }

    pub(super) fn unanswered(&self) -> usize {
        self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(boot_id: u64) -> Welcome {
        Welcome { boot_id, max_receive_bitrate_bps: boot_id * 1000, ..Welcome::default() }
    }

    #[test]
    fn each_relay_has_a_link_of_its_own_and_requests_have_one_numbering() {
        let (a, b) = (RelayId(0), RelayId(1));
        let mut relays = Relays::new([a, b]);
        assert_eq!(relays.for_new_room(), Some(a));
        assert_eq!(relays.up(b, welcome(7)), Found::First);
        assert_eq!((relays.for_new_room(), relays.all_are_up()), (Some(b), false));
        assert_eq!(relays.up(a, welcome(8)), Found::First);
        assert!(relays.all_are_up());
        assert_eq!((relays.max_receive_bitrate_bps(a), relays.max_receive_bitrate_bps(b)), (8000, 7000));

        assert!(relays.lost(a) && !relays.lost(a));
        assert_eq!(relays.for_new_room(), Some(b));
        assert!(relays.gone(a) && relays.is_gone(a) && !relays.is_gone(b));
        assert!(!relays.gone(b), "it is up");
        assert_eq!((relays.up(a, welcome(8)), relays.up(b, welcome(9))), (Found::Same, Found::Another));

        let first = relays.number_request(Purpose::Open(StreamKey(1)));
        let second = relays.number_request(Purpose::Nothing);
        assert_ne!(first, second);
        assert!(matches!(relays.answered(first), Some(Purpose::Open(StreamKey(1)))));
        assert!(relays.answered(first).is_none());
        assert_eq!(relays.unanswered(), 1);
    }
}
