//! A track that a peer sends: what it is, where it comes from and whom it feeds.

use super::{Layer, Params};
use crate::down::KeyframeBudget;
use crate::keys::{DownKey, TransportKey, UpKey};
use crate::media::Priority;
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner, TimerTable, timers};
use crate::transport::Transport;
use crate::transports::Transports;
use crate::up::ClockReference;
use relay_port::PortId;
use std::time::Duration;

timers! {
    /// The timers of an up-track.
    pub enum UpTimer {
        /// Missing packets to ask for.
        Nack,
        /// A keyframe to ask for.
        Keyframe,
        /// A local process's request for one that had to wait, the first of them.
        PortKeyframe,
        /// Silence; of a track that comes by a port: whether anybody listens.
        Silence,
    }
}

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

/// A port that an up-track is sent to.
#[derive(Debug)]
pub struct Listener {
    /// Which.
    pub port: PortId,
    /// Number of the opening.
    pub opening: u64,
    /// Of a local process: how often it may have a keyframe asked for.
    pub keyframes: KeyframeBudget,
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
    /// How late its video is withheld.
    pub priority: Priority,
    /// Its encodings: one today. Each has its own SSRC, numbers, history and keyframes.
    pub layers: Vec<Layer>,
    /// Ports it is sent to.
    pub ports: Vec<Listener>,
    /// When it wants to be looked at.
    pub timers: TimerTable<UpTimer>,
    /// Whether packets flow, as last told to the controller.
    pub active: bool,
    /// Packets given up.
    pub lost: u64,
    /// Packets discarded because the publisher sends too much.
    pub policed: PolicedPackets,
}

/// How long a track whose publisher sends too much is not spoken of again.
pub const POLICED_SAID_EVERY: Duration = Duration::from_secs(10);

/// Packets of a track that were discarded because its publisher sends more than it may.
#[derive(Debug, Default)]
pub struct PolicedPackets {
    /// In all.
    pub count: u64,
    said: u64,
    /// The beginning of time: never.
    said_at: Time,
}

impl PolicedPackets {
    /// How many since this was last said, if it is time to say so: at most every [`POLICED_SAID_EVERY`].
    pub fn poll(&mut self, now: Time) -> Option<u64> {
        let said_lately = self.said_at != Time::ZERO && now.since(self.said_at) < POLICED_SAID_EVERY;
        if self.count == self.said || said_lately {
            return None;
        }
        self.said_at = now;
        Some(self.count - std::mem::replace(&mut self.said, self.count))
    }
}

impl UpTrack {
    /// Nothing received yet.
    #[must_use]
    pub fn new(id: u64, source: Source, room_id: u64, params: Params, priority: Priority, now: Time) -> Self {
        let mut up = Self {
            id,
            source,
            room_id,
            params,
            priority,
            layers: Vec::with_capacity(1),
            ports: Vec::new(),
            timers: TimerTable::default(),
            active: false,
            lost: 0,
            policed: PolicedPackets::default(),
        };
        up.add_layer(now);
        up
    }

    /// Adds a layer; its place.
    pub fn add_layer(&mut self, now: Time) -> u8 {
        self.layers.push(Layer::new(&self.params, now));
        self.layers.len() as u8 - 1
    }

    /// Allocates what media needs: when its publisher has keys.
    pub fn prepare(&mut self) {
        self.layers.iter_mut().for_each(Layer::prepare);
    }

    /// The same, and what its publisher's transport needs for it.
    pub fn prepare_with(&mut self, publisher: &mut Transport) {
        self.prepare();
        if self.wants_transport_cc() {
            publisher.receiving.feedback.get_or_insert_default();
        }
    }

    /// When the last packet with a payload came, of whichever layer.
    #[must_use]
    pub fn last_packet(&self) -> Time {
        self.layers.iter().map(|layer| layer.last_packet).max().unwrap_or(Time::ZERO)
    }

    /// How many down-tracks it feeds.
    #[must_use]
    pub fn subscriber_count(&self) -> usize {
        self.layers.iter().map(|layer| layer.subscribers.len()).sum()
    }

    /// Down-tracks that it feeds, of all layers.
    pub fn subscribers(&self) -> impl Iterator<Item = DownKey> {
        self.layers.iter().flat_map(|layer| layer.subscribers.iter().copied())
    }

    /// Whether transport-wide feedback was negotiated for it.
    #[must_use]
    pub fn wants_transport_cc(&self) -> bool {
        self.params.transport_cc && self.params.extensions.transport_cc != 0
    }

    /// Sets its timers from what its layers want, and makes sure that they are looked at.
    pub fn arm(&mut self, key: UpKey, deadlines: &mut Deadlines<TimerOwner>) {
        let (mut nack, mut keyframe) = (Time::MAX, Time::MAX);
        for Layer { stream, .. } in &self.layers {
            nack = nack.min(stream.nack.poll_timeout().unwrap_or(Time::MAX));
            keyframe = keyframe.min(stream.keyframes.poll_timeout().unwrap_or(Time::MAX));
        }
        let waits = self.ports.iter().filter_map(|listener| listener.keyframes.poll_timeout()).min();
        self.timers.set(UpTimer::Nack, nack);
        self.timers.set(UpTimer::Keyframe, keyframe);
        self.timers.set(UpTimer::PortKeyframe, waits.unwrap_or(Time::MAX));
        deadlines.arm(TimerOwner::Up(key), &mut self.timers);
    }

    /// Where a layer's timestamps stand on relay time. As its publisher reported it, or the pipe.
    #[must_use]
    pub fn clock_reference(&self, layer: u8, transports: &Transports) -> Option<ClockReference> {
        let stream = &self.layers.get(usize::from(layer))?.stream;
        match self.source {
            Source::Peer(key) => stream.clock_reference(&transports[key].receiving.clock),
            Source::Port { .. } => stream.port_clock_reference(),
        }
    }

    /// The same of the first layer, as its publisher reported it; what is only guessed from arrivals is not
    /// told on.
    #[must_use]
    pub fn reported_clock(&self, transports: &Transports) -> Option<ClockReference> {
        let stream = &self.layers.first()?.stream;
        match self.source {
            Source::Peer(key) => stream.reported_reference(&transports[key].receiving.clock),
            Source::Port { .. } => stream.port_clock(),
        }
    }

    /// Whether anybody wants it, here or behind a port.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.subscribers().next().is_some() || !self.ports.is_empty()
    }
}
