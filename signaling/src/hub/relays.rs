//! The relays that carry our streams: which are there, and what they were asked. One today.

use super::{Output, Purpose};
use crate::sdp::RelaySide;
use crate::tally::Tally;
use crate::timer::Time;
use relay_control::{CandidateAddress, Command, TransportOpened, Welcome};
use std::collections::HashMap;

/// First request id of the hub; the link uses those below for itself.
const FIRST_REQUEST_ID: u64 = 1 << 32;

pub(super) struct Relays {
    link: LinkState,
    requests: HashMap<u64, Purpose>,
    last_request: u64,
    /// Commands that were refused for a limit of the relay.
    full: Tally,
}

/// How the link to it is.
#[derive(Debug)]
enum LinkState {
    /// Not seen yet.
    Never,
    /// Connected.
    Up(Welcome),
    /// The connection broke a moment ago.
    Lost(Welcome),
    /// Gone for so long that new streams are refused at once.
    Gone(u64),
}

/// Which relay has been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    First,
    /// The connection broke, and is back.
    Same,
    /// What the one before carried is lost.
    Another,
}

impl Default for Relays {
    fn default() -> Self {
        let last_request = FIRST_REQUEST_ID;
        Self { link: LinkState::Never, requests: HashMap::new(), last_request, full: Tally::default() }
    }
}

impl Relays {
    pub(super) fn up(&mut self, welcome: Welcome) -> Found {
        let before = match &self.link {
            LinkState::Never => None,
            LinkState::Up(welcome) | LinkState::Lost(welcome) => Some(welcome.boot_id),
            LinkState::Gone(boot_id) => Some(*boot_id),
        };
        let found = match before {
            None => Found::First,
            Some(boot_id) if boot_id == welcome.boot_id => Found::Same,
            Some(_) => Found::Another,
        };
        self.link = LinkState::Up(welcome);
        found
    }

    /// False: it was not up.
    pub(super) fn lost(&mut self) -> bool {
        let LinkState::Up(welcome) = &self.link else { return false };
        self.link = LinkState::Lost(welcome.clone());
        true
    }

    /// It does not come back. False: it has.
    pub(super) fn gone(&mut self) -> bool {
        let LinkState::Lost(welcome) = &self.link else { return false };
        self.link = LinkState::Gone(welcome.boot_id);
        true
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.link, LinkState::Up(_))
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.link, LinkState::Gone(_))
    }

    fn welcome(&self) -> Option<&Welcome> {
        match &self.link {
            LinkState::Up(welcome) | LinkState::Lost(welcome) => Some(welcome),
            LinkState::Never | LinkState::Gone(_) => None,
        }
    }

    /// What it takes of one transport; 0: not known.
    pub(super) fn max_receive_bitrate_bps(&self) -> u64 {
        self.welcome().map_or(0, |welcome| welcome.max_receive_bitrate_bps)
    }

    /// `None`: it said something that cannot be put into an answer.
    pub(super) fn side(&self, opened: &TransportOpened, session_id: u64) -> Option<RelaySide> {
        let candidate =
            |address: &CandidateAddress| Some((address.ip.parse().ok()?, u16::try_from(address.port).ok()?));
        Some(RelaySide {
            ufrag: opened.local_ufrag.clone(),
            pwd: opened.local_pwd.clone(),
            fingerprint_sha256: self.welcome()?.fingerprint_sha256.as_slice().try_into().ok()?,
            candidates: opened.candidates.iter().filter_map(candidate).collect(),
            session_id,
            max_video_bitrate_bps: None,
            play: None,
        })
    }

    pub(super) fn ask(&mut self, purpose: Purpose, command: Command) -> Output {
        self.last_request += 1;
        self.requests.insert(self.last_request, purpose);
        Output::Relay { request_id: self.last_request, command }
    }

    /// What the request was for; once.
    pub(super) fn answered(&mut self, request_id: u64) -> Option<Purpose> {
        self.requests.remove(&request_id)
    }

    /// It was refused for a limit. `Some`: how often since that was last said, and now is the time.
    pub(super) fn note_full(&mut self, now: Time) -> Option<u64> {
        self.full.note(now)
    }

    pub(super) fn unanswered(&self) -> usize {
        self.requests.len()
    }
}
