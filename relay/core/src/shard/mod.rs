//! The façade: one shard of the media plane.
//!
//! `handle_*` takes something in, `poll_*` gives something out, datagrams leave through the [`Outbox`] one is
//! handed.
//!
//! Invariants
//! - Every received datagram ends in exactly one of `rx.stun`, `rx.dtls`, `rx.rtp`, `rx.rtcp` or a
//!   [`DropReason`] of [`Ledger::Datagram`](crate::stats::Ledger::Datagram); handshakes do so when their turn
//!   comes.
//! - Nothing but a Binding request with good MESSAGE-INTEGRITY makes a path known, and only a peer
//!   that has read what was sent along it makes it one for media ([`crate::transports`], [`crate::ice`]).
//! - Every packet from a port ends in `pipe.accepted` or a [`DropReason`] of
//!   [`Ledger::PipeIn`](crate::stats::Ledger::PipeIn), every packet to one in `pipe.sent` or one of
//!   [`Ledger::PipeOut`](crate::stats::Ledger::PipeOut).
//! - On the forwarding path nothing is allocated.
//! - Whose input is handled is noted before anything of it is changed, so that it is known when that panics
//!   (`faults.rs`).
//!
//! Deliberately absent: sockets, clocks, threads, SDP, and any second place where a packet is decrypted.

mod command;
mod dtls;
mod faults;
mod feedback;
mod invariants;
mod inventory;
mod keyframes;
mod port;
mod rtcp;
mod rtp;
mod stun;
mod timeout;

use crate::config::ShardConfig;
use crate::dtls::DtlsFactory;
use crate::handshakes::Handshakes;
use crate::keys::{LayerKey, TransportKey};
use crate::media::Event;
use crate::outbox::{DATAGRAM_BYTES_MAX, Outbox, Path};
use crate::ports::Ports;
use crate::rng::Rng;
use crate::stats::{Count, Counters, DropReason};
use crate::time::Time;
use crate::timers::{Deadlines, TimerOwner};
use crate::track::Tracks;
use crate::transports::Transports;
use crate::wire::{Protocol, classify, is_protected_dtls};
use faults::Input;
pub use faults::PanicSource;
pub use inventory::TransportView;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Everything that happens on one core.
pub struct Shard {
    config: ShardConfig,
    dtls: Box<dyn DtlsFactory>,
    rng: Rng,
    transports: Transports,
    tracks: Tracks,
    deadlines: Deadlines<TimerOwner>,
    /// Layers with packets that wait for the end of the batch.
    waiting: Vec<LayerKey>,
    handshakes: Handshakes,
    events: VecDeque<Event>,
    counters: Counters,
    ports: Ports,
    /// Whose input is handled just now.
    input: faults::Input,
    /// When the tables were checked after a panic over something unproved.
    last_check: Option<Time>,
    stun_errors: stun::ErrorBudget,
    /// Plaintext of packets that have no place in a history yet: a new SSRC's first, and retransmissions.
    scratch: Box<[u8; DATAGRAM_BYTES_MAX]>,
}

impl Shard {
    /// An empty shard. `seed` must be fresh entropy in production; the same seed repeats a simulated run.
    #[must_use]
    pub fn new(config: ShardConfig, dtls: Box<dyn DtlsFactory>, seed: [u8; 32]) -> Self {
        let mut rng = Rng::new(seed);
        let transports = Transports::new(rng.next_u32());
        Self {
            ports: Ports::new(config.ntp.room_clock()),
            config,
            dtls,
            rng,
            transports,
            tracks: Tracks::default(),
            deadlines: Deadlines::default(),
            waiting: Vec::new(),
            handshakes: Handshakes::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
            input: faults::Input::None,
            last_check: None,
            stun_errors: stun::ErrorBudget::default(),
            scratch: Box::new([0; DATAGRAM_BYTES_MAX]),
        }
    }

    /// Takes one received datagram; it may be decrypted in place. Answers go to `outbox`; media is forwarded
    /// by [`Shard::forward_pending`].
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

    /// Gives a datagram that is no STUN to those whose it may be.
    fn dispatch_by_path<O: Outbox>(
        &mut self,
        now: Time,
        path: &Path,
        protocol: Protocol,
        datagram: &mut [u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        let owner = self.transports.owner(path).ok_or(DropReason::TupleNotValidated)?;
        if protocol == Protocol::Dtls {
            return self.dispatch_dtls(now, path, owner, datagram, outbox);
        }
        let claimants = self.transports.claimants(path);
        if claimants.is_empty() {
            self.on_media_datagram(now, owner, protocol, datagram, outbox)?;
            if self.transports.on_authentic(now, owner, path, &mut self.counters) {
                self.ask_for_proof(now, owner, (path, datagram.len()), outbox);
            }
            return Ok(());
        }
        // Only the keys know: what the owner's do not open may be a claimant's. RTCP is opened in place.
        let mut copy = [0; DATAGRAM_BYTES_MAX];
        let copy = copy.get_mut(..datagram.len()).ok_or(DropReason::Truncated)?;
        copy.copy_from_slice(datagram);
        let refused = match self.on_media_datagram(now, owner, protocol, datagram, outbox) {
            Ok(()) => {
                self.transports.on_contested(now, owner, path, &mut self.counters);
                return Ok(());
            }
            Err(refused) => refused,
        };
        for key in claimants {
            self.input = Input::Stranger;
            let keyed = self.transports.is_connected(key);
            if keyed && self.on_media_datagram(now, key, protocol, copy, outbox).is_ok() {
                self.transports.on_contested(now, key, path, &mut self.counters);
                return Ok(());
            }
        }
        Err(refused)
    }

    fn on_media_datagram<O: Outbox>(
        &mut self,
        now: Time,
        key: TransportKey,
        protocol: Protocol,
        datagram: &mut [u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        match protocol {
            Protocol::Rtp => self.on_rtp(now, key, datagram, outbox),
            _ => self.on_rtcp(now, key, datagram, outbox),
        }
    }

    /// It is paid for once and counted once, however many get it.
    fn dispatch_dtls<O: Outbox>(
        &mut self,
        now: Time,
        path: &Path,
        owner: TransportKey,
        datagram: &[u8],
        outbox: &mut O,
    ) -> Result<(), DropReason> {
        self.transports.earn(path, owner, datagram.len());
        let is_clear = !is_protected_dtls(datagram);
        let mut outcome = None;
        for key in self.transports.receivers_of_dtls(now, path, owner, is_clear) {
            // What it ends may be one of the others.
            if self.transports.get(key).is_some() {
                let is_first = outcome.is_none();
                let taken = self.on_dtls(now, key, datagram, is_first, outbox);
                outcome.get_or_insert(taken);
            }
        }
        outcome.unwrap_or(Err(DropReason::DtlsUnexpected))
    }

    /// The shard does not keep up, or does again: `steps` of [`SHED_STEPS`](crate::shed::SHED_STEPS) of the
    /// video subscriptions get nothing, those of the lowest priority first. What is taken back begins at a
    /// keyframe, which is asked for.
    pub fn shed(&mut self, now: Time, steps: u8) {
        let Self { tracks, deadlines, counters, .. } = self;
        let restored = tracks.shed(steps);
        if !restored.is_empty() {
            keyframes::want_restored(now, &restored, tracks, deadlines, counters);
        }
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

    /// What is announced from now on, in answers and to whoever asks, best first.
    pub fn announce(&mut self, candidates: Vec<SocketAddr>) {
        self.config.candidates = candidates;
    }

    /// All counters of this shard.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
