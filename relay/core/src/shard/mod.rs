//! The façade: one shard of the media plane.
//!
//! `handle_*` takes something in, `poll_*` gives something out, datagrams leave through the [`Outbox`] one is handed.
//!
//! Invariants
//! - Every received datagram ends in exactly one of `rx.stun`, `rx.dtls`, `rx.rtp`, `rx.rtcp` or a
//!   [`DropReason`] of stage [`Stage::Datagram`](crate::stats::Stage::Datagram); handshakes do so when their turn comes.
//! - Nothing but a Binding request with good MESSAGE-INTEGRITY makes a path known, and only what its peer alone can have sent
//!   from there makes it one for media (`paths.rs`, [`crate::ice`]).
//! - Every packet from a port ends in `pipe.accepted` or a [`DropReason`] of stage
//!   [`Stage::PipeIn`](crate::stats::Stage::PipeIn), every packet to one in `pipe.sent` or one of stage
//!   [`Stage::PipeOut`](crate::stats::Stage::PipeOut).
//! - On the forwarding path nothing is allocated.
//! - Whose input is handled is noted before anything of it is changed, so that a panic can be held against it (`faults.rs`).
//!
//! Deliberately absent: sockets, clocks, threads, SDP, and any second place where a packet is decrypted.

mod command;
mod dtls;
mod faults;
mod feedback;
mod invariants;
mod inventory;
mod keyframes;
mod paths;
mod port;
mod rtcp;
mod rtp;
mod stun;
mod timeout;

use crate::config::ShardConfig;
use crate::demux::Demux;
use crate::dtls::DtlsFactory;
use crate::handshakes::Handshakes;
use crate::keys::LayerKey;
use crate::media::Event;
use crate::outbox::{DATAGRAM_BYTES_MAX, Outbox, Path};
use crate::rng::Rng;
use crate::stats::{Count, Counters, DropReason};
use crate::time::{RoomClock, Time};
use crate::timers::{Deadlines, TimerOwner};
use crate::track::Tracks;
use crate::transports::Transports;
use crate::wire::{Protocol, classify};
pub use faults::Blamed;
use faults::Input;
pub use inventory::TransportView;
use std::collections::VecDeque;

/// Everything that happens on one core.
pub struct Shard {
    config: ShardConfig,
    dtls: Box<dyn DtlsFactory>,
    rng: Rng,
    transports: Transports,
    tracks: Tracks,
    demux: Demux,
    deadlines: Deadlines<TimerOwner>,
    /// Layers with packets that wait for the end of the batch.
    waiting: Vec<LayerKey>,
    handshakes: Handshakes,
    events: VecDeque<Event>,
    counters: Counters,
    outlets: port::Outlets,
    /// Of all ports.
    room_clock: RoomClock,
    /// Whose input is handled just now.
    input: faults::Input,
    suspicion: faults::Suspicion,
    stun_errors: stun::ErrorBudget,
    /// Hides the key in the ids of challenges.
    challenge_mask: u32,
    /// Plaintext of packets that have no place in a history yet: a new SSRC's first, and retransmissions.
    scratch: Box<[u8; DATAGRAM_BYTES_MAX]>,
}

impl Shard {
    /// An empty shard. `seed` must be fresh entropy in production; the same seed repeats a simulated run.
    #[must_use]
    pub fn new(config: ShardConfig, dtls: Box<dyn DtlsFactory>, seed: [u8; 32]) -> Self {
        let mut rng = Rng::new(seed);
        let challenge_mask = rng.next_u32();
        Self {
            room_clock: config.ntp.room_clock(),
            config,
            dtls,
            rng,
            transports: Transports::default(),
            tracks: Tracks::default(),
            demux: Demux::default(),
            deadlines: Deadlines::default(),
            waiting: Vec::new(),
            handshakes: Handshakes::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
            outlets: port::Outlets::default(),
            input: faults::Input::None,
            suspicion: faults::Suspicion::default(),
            stun_errors: stun::ErrorBudget::default(),
            challenge_mask,
            scratch: Box::new([0; DATAGRAM_BYTES_MAX]),
        }
    }

    /// Takes one received datagram; it may be decrypted in place. Answers go to `outbox`; media is forwarded by
    /// [`Shard::forward_pending`].
    pub fn handle_datagram<O: Outbox>(
        &mut self,
        now: Time,
        path: &Path,
        datagram: &mut [u8],
        outbox: &mut O,
    ) {
        self.counters.add(Count::RxDatagrams, 1);
        self.counters.add(Count::RxBytes, datagram.len() as u64);
        self.input = Input::Stranger;
        if let Err(reason) = self.dispatch(now, path, datagram, outbox) {
            self.counters.drop(reason);
        }
        self.input = Input::None;
    }

    /// Notes a datagram that the kernel cut short: it cannot be authenticated any more.
    pub fn handle_truncated(&mut self, len: usize) {
        self.counters.add(Count::RxDatagrams, 1);
        self.counters.add(Count::RxBytes, len as u64);
        self.counters.drop(DropReason::Truncated);
    }

    fn dispatch<O: Outbox>(
        &mut self,
        now: Time,
        path: &Path,
        datagram: &mut [u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        if datagram.is_empty() {
            return Err(DropReason::Empty);
        }
        let protocol = classify(datagram).ok_or(DropReason::UnknownProtocol)?;
        if protocol == Protocol::Stun {
            return self.on_stun(now, path, datagram, outbox);
        }
        self.dispatch_by_path(now, path, protocol, datagram, outbox)
    }

    /// When [`Shard::handle_timeout`] wants to be called: at once while handshakes wait.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.handshakes.is_empty() { self.deadlines.next() } else { Some(Time::ZERO) }
    }

    /// Whether handshakes wait for their turn.
    #[must_use]
    pub fn handshakes_wait(&self) -> bool {
        !self.handshakes.is_empty()
    }

    /// What happened since the last call, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All counters of this shard.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Number of transports that live here, for placement.
    #[must_use]
    pub fn transport_count(&self) -> usize {
        self.transports.len()
    }
}
