//! Routing: an up-track, the down-tracks it feeds on this shard, and the ports it is sent to.
//!
//! Invariants
//! - A down-track is listed by exactly one up-track, which is of the same room, kind and codec.
//! - A room is no object here: its id is compared when a subscription is made, and a packet follows subscriptions only.

use crate::fanout::Pending;
use crate::id::{Mid, Pt, Ssrc};
use crate::shed::Shedding;
use crate::table::Table;
use crate::time::Time;
use crate::timers::{TimerTable, timers};
use crate::transport::{DownKey, TransportKey, UpKey};
use crate::up::{UpStream, UpStreamConfig};
use arrayvec::ArrayVec;
use foldhash::fast::RandomState;
use relay_control::{Codec, ExtensionIds, MediaKind, Priority, RtpParameters, UpTrackInfo};
use relay_port::PortId;
use std::collections::HashMap;
use std::ops::Range;

pub use crate::subscription::{DownTimer, DownTrack};

timers! {
    /// The timers of an up-track.
    UpTimer {
        /// Missing packets to ask for.
        Nack,
        /// A keyframe to ask for.
        Keyframe,
        /// Silence; of a track that comes by a port: whether anybody listens.
        Silence,
    }
}

/// Negotiated numbers of one m-line, checked.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Audio or video.
    pub kind: MediaKind,
    /// The one codec.
    pub codec: Codec,
    /// RTP clock rate in Hz.
    pub clock_rate_hz: u32,
    /// Of the codec.
    pub pt: Pt,
    /// Of its RTX format.
    pub rtx_pt: Option<Pt>,
    /// Of the m-line.
    pub mid: Mid,
    /// Header-extension ids, each 0 (none) or 1 to 14.
    pub extensions: ExtensionIds,
    /// Generic NACK.
    pub nack: bool,
    /// Picture loss indication.
    pub pli: bool,
    /// Full intra request.
    pub fir: bool,
    /// Receiver-estimated maximum bitrate.
    pub remb: bool,
}

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

/// All tracks of a shard.
#[derive(Debug, Default)]
pub struct Tracks {
    /// Received tracks. Boxed: there are few, each is large, and a table of them would hold room for as many again.
    pub ups: Table<Box<UpTrack>>,
    /// Sent tracks.
    pub downs: Table<DownTrack>,
    /// Which of them get nothing.
    pub shedding: Shedding,
    up_ids: HashMap<u64, UpKey, RandomState>,
    down_ids: HashMap<u64, DownKey, RandomState>,
}

impl Tracks {
    /// The up-track at `key`, which must be live.
    #[must_use]
    pub fn up(&self, key: UpKey) -> &UpTrack {
        &self.ups[key]
    }

    /// The down-track at `key`, which must be live.
    #[must_use]
    pub fn down(&self, key: DownKey) -> &DownTrack {
        &self.downs[key]
    }

    /// Whether a subscription gets nothing, because the shard does not keep up.
    #[must_use]
    pub fn is_shed(&self, down: &DownTrack) -> bool {
        down.rank < self.shedding.cut()
    }

    /// By the controller's id.
    #[must_use]
    pub fn up_key(&self, id: u64) -> Option<UpKey> {
        self.up_ids.get(&id).copied()
    }

    /// By the controller's id.
    #[must_use]
    pub fn down_key(&self, id: u64) -> Option<DownKey> {
        self.down_ids.get(&id).copied()
    }

    /// By the controller's id.
    #[must_use]
    pub fn up_by_id(&self, id: u64) -> Option<&UpTrack> {
        self.up_key(id).map(|k| self.up(k))
    }

    /// By the controller's id.
    #[must_use]
    pub fn down_by_id(&self, id: u64) -> Option<&DownTrack> {
        self.down_key(id).map(|k| self.down(k))
    }

    /// Whether a track of either direction has this id.
    #[must_use]
    pub fn is_used(&self, id: u64) -> bool {
        self.up_ids.contains_key(&id) || self.down_ids.contains_key(&id)
    }

    /// Ids of received tracks.
    #[must_use]
    pub fn up_id_count(&self) -> usize {
        self.up_ids.len()
    }

    /// Ids of sent tracks.
    #[must_use]
    pub fn down_id_count(&self) -> usize {
        self.down_ids.len()
    }

    /// Adds a received track.
    pub fn insert_up(&mut self, up: UpTrack) -> UpKey {
        let id = up.id;
        let key = self.ups.insert(Box::new(up));
        self.up_ids.insert(id, key);
        key
    }

    /// Adds a sent track and lists it with what feeds it.
    pub fn insert_down(&mut self, mut down: DownTrack) -> DownKey {
        let (id, up_key) = (down.id, down.up);
        let up = &self.ups[up_key];
        down.rank = self.shedding.add(up.params.kind, up.priority);
        let key = self.downs.insert(down);
        self.down_ids.insert(id, key);
        self.ups[up_key].subscribers.push(key);
        key
    }

    /// Removes a sent track.
    pub fn remove_down(&mut self, key: DownKey) -> DownTrack {
        let down = self.downs.remove(key).expect("the caller has its key from us");
        self.down_ids.remove(&down.id);
        self.shedding.remove(down.rank);
        if let Some(up) = self.ups.get_mut(down.up) {
            up.subscribers.retain(|k| *k != key);
        }
        down
    }

    /// Sheds so many [`SHED_STEPS`](crate::shed::SHED_STEPS); the ranks that are taken back. To be called again and again:
    /// who came or went since is noticed here.
    pub fn shed(&mut self, steps: u8) -> Range<u8> {
        if steps > 0 && self.shedding.steps() == 0 {
            self.deal_ranks();
        }
        self.shedding.set(steps)
    }

    /// Subscription by subscription, so that each track has its share of every rank. Takes a moment with thousands of
    /// them, so it is done only when shedding begins.
    fn deal_ranks(&mut self) {
        self.shedding.clear();
        for (_, up) in self.ups.iter() {
            for key in &up.subscribers {
                self.downs[*key].rank = self.shedding.add(up.params.kind, up.priority);
            }
        }
    }

    /// Removes a received track; the caller has removed what it feeds.
    pub fn remove_up(&mut self, key: UpKey) -> Box<UpTrack> {
        let up = self.ups.remove(key).expect("the caller has its key from us");
        debug_assert!(up.subscribers.is_empty(), "down-tracks go first");
        self.up_ids.remove(&up.id);
        up
    }
}
