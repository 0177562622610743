//! A track that a peer sends: what it is, where it comes from and whom it feeds.

use super::Params;
use crate::id::Ssrc;
use crate::keys::{DownKey, TransportKey, UpKey};
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner, TimerTable, timers};
use crate::transports::Transports;
use crate::up::{ClockReference, UpStream, UpStreamConfig};
use arrayvec::ArrayVec;
use relay_control::{Priority, RtpParameters, UpTrackInfo};
use relay_port::PortId;
use std::time::Duration;

timers! {
    /// The timers of an up-track.
    pub enum UpTimer {
        /// Missing packets to ask for.
        Nack,
        /// A keyframe to ask for.
        Keyframe,
        /// Silence; of a track that comes by a port: whether anybody listens.
        Silence,
    }
}

/// A source that was not heard for so long may have been left for one before it. Packets are not reordered by more.
const SOURCE_GONE: Duration = Duration::from_millis(200);

/// Accepted packets of one up-track that are forwarded together. More arrive in a batch only under a flood or after a stall,
/// and a longer run gains nothing.
pub const BURST_MAX: usize = 16;

/// Extended sequence numbers of accepted packets that wait for the end of the batch.
pub type Pending = ArrayVec<u64, BURST_MAX>;

/// SSRCs remembered that have fed a track. Late packets are of the last one or two.
pub const LEFT_MAX: usize = 4;

/// Where an up-track comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A peer of this shard.
    Peer(TransportKey),
    /// What is behind a port, from which packets come in clear.
    Port {
        /// Which.
        port: PortId,
        /// Number of the opening last heard of.
        opening: u64,
        /// Whether it goes when nobody listens.
        life: Life,
    },
}

impl Source {
    /// Whether it is this port.
    #[must_use]
    pub fn is_port(&self, from: PortId) -> bool {
        matches!(self, Self::Port { port, .. } if *port == from)
    }
}

/// How long an up-track that comes by a port stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until its source ends it: this is its home.
    Held,
    /// Until nobody listens any more; somebody did at the last look, or may come.
    Used,
    /// The same; nobody did.
    Idle,
}

/// A track that a peer sends.
#[derive(Debug)]
pub struct UpTrack {
    /// The controller's id.
    pub id: u64,
    /// Whose.
    pub source: Source,
    /// Subscriptions stay within it.
    pub room_id: u64,
    /// As negotiated, checked.
    pub params: Params,
    /// As negotiated, for the inventory and for repeated commands.
    pub rtp: RtpParameters,
    /// How late its video is withheld.
    pub priority: Priority,
    /// SSRC that feeds it now.
    pub ssrc: Option<Ssrc>,
    /// SSRCs that have fed it before, latest last.
    pub left: ArrayVec<Ssrc, LEFT_MAX>,
    /// Counts its SSRCs one after the other, in the publisher's shard.
    pub sources: u32,
    /// Down-tracks it feeds.
    pub subscribers: Vec<DownKey>,
    /// Accepted packets that wait for the end of the batch.
    pub pending: Pending,
    /// Ports it is sent to, with the number of the opening.
    pub ports: Vec<(PortId, u64)>,
    /// When it wants to be looked at.
    pub timers: TimerTable<UpTimer>,
    /// Numbers, losses, keyframes and the one plaintext copy.
    pub stream: UpStream,
    /// Whether packets flow, as last told to the controller.
    pub active: bool,
    /// When the last one came.
    pub last_packet: Time,
    /// Packets given up.
    pub lost: u64,
}

impl UpTrack {
    /// Nothing received yet.
    #[must_use]
    pub fn new(
        id: u64,
        source: Source,
        room_id: u64,
        params: Params,
        rtp: RtpParameters,
        priority: Priority,
        now: Time,
    ) -> Self {
        let stream = UpStream::new(&UpStreamConfig {
            ssrc: Ssrc::default(),
            rtx_ssrc: None,
            kind: params.kind,
            clock_rate_hz: params.clock_rate_hz,
            nack: params.nack && params.rtx_pt.is_some(),
        });
        Self {
            id,
            source,
            room_id,
            params,
            rtp,
            priority,
            ssrc: None,
            left: ArrayVec::new(),
            sources: 0,
            subscribers: Vec::new(),
            pending: Pending::new(),
            ports: Vec::new(),
            timers: TimerTable::default(),
            stream,
            active: false,
            last_packet: now,
            lost: 0,
        }
    }

    /// Whether transport-wide feedback was negotiated for it.
    #[must_use]
    pub fn wants_transport_cc(&self) -> bool {
        self.rtp.transport_cc && self.params.extensions.transport_cc != 0
    }

    /// Whether a packet of this SSRC is a late one, of a source that the publisher has left.
    #[must_use]
    pub fn is_late_source(&self, now: Time, ssrc: Ssrc) -> bool {
        self.left.contains(&ssrc) && now.since(self.last_packet) < SOURCE_GONE
    }

    /// Another SSRC feeds the track from now on. False: it is the first.
    pub fn follow_ssrc(&mut self, ssrc: Ssrc) -> bool {
        self.stream.change_ssrc(ssrc, None);
        let Some(left) = self.ssrc.replace(ssrc) else { return false };
        self.left.retain(|known| *known != ssrc);
        if self.left.is_full() {
            self.left.remove(0);
        }
        self.left.push(left);
        self.sources = self.sources.wrapping_add(1);
        true
    }

    /// Sets its timers from what its parts want, and makes sure that they are looked at.
    pub fn arm(&mut self, key: UpKey, deadlines: &mut Deadlines<TimerOwner>) {
        self.timers.set(UpTimer::Nack, self.stream.nack.poll_timeout().unwrap_or(Time::MAX));
        self.timers.set(UpTimer::Keyframe, self.stream.keyframes.poll_timeout().unwrap_or(Time::MAX));
        deadlines.arm(TimerOwner::Up(key), &mut self.timers);
    }

    /// Where its timestamps stand on relay time. As its publisher reported it, or the port.
    #[must_use]
    pub fn clock_reference(&self, transports: &Transports) -> Option<ClockReference> {
        match self.source {
            Source::Peer(key) => self.stream.clock_reference(&transports[key].receiving.clock),
            Source::Port { .. } => self.stream.port_clock_reference(),
        }
    }

    /// Whether anybody wants it, here or behind a port.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.subscribers.is_empty() || !self.ports.is_empty()
    }

    /// For the inventory.
    #[must_use]
    pub fn info(&self) -> UpTrackInfo {
        UpTrackInfo {
            track_id: self.id,
            rtp: self.rtp.clone(),
            ssrc: self.ssrc.map_or(0, |s| s.0),
            active: self.active,
            packets: self.stream.packets(),
            bytes: self.stream.octets(),
            keyframes: self.stream.keyframes_seen(),
            lost: self.lost,
            priority: self.priority.into(),
        }
    }
}
