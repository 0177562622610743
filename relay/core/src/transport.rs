//! One peer: its ICE, its DTLS association or the keys that came of it, and the tracks on it.
//!
//! A transport lives on one shard for life. Its phase only goes forward: Ice → Dtls → Connected; ending it means
//! removing it from the shard.

use crate::dtls::{DtlsEngine, Fingerprint};
use crate::ice::Ice;
use crate::id::Ssrc;
use crate::policer::Policer;
use crate::room::{DownTrack, UpTrack};
use crate::srtp::{OpenContext, SealContext, SrtpProfile};
use crate::table::Key;
use crate::time::Time;
use crate::timers::{TimerTable, timers};
use crate::up::{RembEstimator, SenderClock, TransportFeedback};
use arrayvec::ArrayVec;
use relay_control::TransportState;

/// Of a transport in its table.
pub type TransportKey = Key<Transport>;
/// Of an up-track in its table.
pub type UpKey = Key<Box<UpTrack>>;
/// Of a down-track in its table.
pub type DownKey = Key<DownTrack>;

/// SSRCs that one peer may send; as many as [`OpenContext`] keeps state for.
pub const SSRCS_MAX: usize = 16;

timers! {
    /// The timers of a transport.
    TransportTimer {
        /// The phase's own limit: ICE, then DTLS, then consent.
        Phase,
        /// Retransmission of a DTLS flight.
        Dtls,
        /// Transport-wide feedback.
        Feedback,
        /// Receiver reports and REMB.
        Report,
    }
}

/// What the controller said of the peer.
#[derive(Debug)]
pub struct Identity {
    /// The controller's id.
    pub id: u64,
    /// Tracks are subscribed within a room only.
    pub room_id: u64,
    /// Opaque.
    pub label: Vec<u8>,
    /// The certificate the peer must show.
    pub fingerprint: Fingerprint,
    /// Kept to tell a repeated `RestartIce` from a new one.
    pub remote_pwd: String,
}

/// Keys, and what they were agreed with.
pub struct Session {
    /// For what the peer sends.
    pub open: OpenContext,
    /// For what we send.
    pub seal: SealContext,
    /// Kept: it answers a repeated last flight and sees close_notify. `None` after a panic in it: the keys do without.
    pub engine: Option<Box<dyn DtlsEngine>>,
    /// For the inventory.
    pub profile: SrtpProfile,
    /// For the inventory.
    pub version: &'static str,
    /// For the inventory.
    pub group: &'static str,
}

/// How far a transport has come.
pub enum Phase {
    /// No authenticated check yet.
    Ice,
    /// The engine is made when the first DTLS datagram comes from a validated address.
    Dtls(Option<Box<dyn DtlsEngine>>),
    /// Media may flow.
    Connected(Box<Session>),
}

impl Phase {
    /// The same in the control language.
    #[must_use]
    pub const fn state(&self) -> TransportState {
        match self {
            Self::Ice => TransportState::New,
            Self::Dtls(_) => TransportState::IceConnected,
            Self::Connected(_) => TransportState::Connected,
        }
    }
}

/// What a received SSRC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SsrcUse {
    /// Media of this up-track.
    Media(UpKey),
    /// Retransmissions of this up-track (RFC 4588).
    Rtx(UpKey),
}

/// What concerns the packets the peer sends.
#[derive(Debug)]
pub struct Receiving {
    /// Known SSRCs.
    pub ssrcs: ArrayVec<(Ssrc, SsrcUse), SSRCS_MAX>,
    /// Rate limit before decryption.
    pub policer: Policer,
    /// Transport-wide feedback, if an up-track negotiated it.
    pub feedback: Option<TransportFeedback>,
    /// What REMB says.
    pub remb: RembEstimator,
    /// The peer's wallclock on our time: keeps audio and video of one peer together.
    pub clock: SenderClock,
    /// Counts the FIRs sent (RFC 5104 §4.3.1).
    pub fir_seq: u8,
}

impl Receiving {
    /// What an SSRC is, if known.
    #[must_use]
    pub fn ssrc_use(&self, ssrc: Ssrc) -> Option<SsrcUse> {
        self.ssrcs.iter().find(|(s, _)| *s == ssrc).map(|(_, u)| *u)
    }

    /// Forgets the SSRCs of a track that goes.
    pub fn forget(&mut self, up: UpKey) {
        self.ssrcs.retain(|(_, used)| !matches!(used, SsrcUse::Media(u) | SsrcUse::Rtx(u) if *u == up));
    }
}

/// One peer.
pub struct Transport {
    /// Who it is.
    pub identity: Identity,
    /// How to reach it.
    pub ice: Ice,
    /// How far it has come.
    pub phase: Phase,
    /// Its datagrams in [`crate::handshakes::Handshakes`].
    pub dtls_waiting: u8,
    /// When it wants to be looked at.
    pub timers: TimerTable<TransportTimer>,
    /// What it sends.
    pub receiving: Receiving,
    /// Tracks it sends.
    pub ups: Vec<UpKey>,
    /// Tracks it receives.
    pub downs: Vec<DownKey>,
    /// Sender SSRC of our RTCP towards it.
    pub rtcp_ssrc: Ssrc,
}

impl Transport {
    /// Keys and engine, once connected.
    #[must_use]
    pub fn session(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Connected(session) => Some(session),
            _ => None,
        }
    }

    /// Arms the phase's limit.
    pub fn set_phase_limit(&mut self, at: Time) {
        self.timers.set(TransportTimer::Phase, at);
    }
}
