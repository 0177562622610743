//! Panics: whose input led to one, and how the shard goes on.
//!
//! A panic is a fault of ours, and the input that led to it is what we can get rid of. So the shard notes
//! whose input it handles, and whoever runs it catches panics and calls [`Shard::recover`]. Nothing is caught
//! in here: tests and fuzz bodies see every panic.
//!
//! Invariants
//! - Who has proved to be the sender of what was handled ends; nobody else does. What was not proved (a check
//!   before its MESSAGE-INTEGRITY, RTP and RTCP before the tag) has changed nothing and ends nobody, however
//!   often it comes: whoever can forge an address and knows such a panic could otherwise end anybody's call
//!   with a handful of datagrams. *Cost:* a transport that is itself what is broken lives on, mute, until its
//!   peer or the controller has enough of it; the counter and the log say so. To be mute is his own loss, and
//!   one call that joins again; the other way it would be everybody's.
//! - A DTLS record is as little proved, but its engine may be left in the middle of something, so the engine
//!   is thrown away. After the handshake the call goes on with its SRTP keys. Nothing is read or said on that
//!   association any more, its end neither; consent tells it (RFC 7675). Before, the next hello gets a new
//!   engine. *Cost:* a client that has been answered already has to wait for the limit of the handshake; the
//!   other way, whoever can forge its address could end its join.
//! - What was lost is counted, so that the ledgers of [`Ledger`] balance again.
//! - Nothing that was begun anew repeats a key, SSRC and index: transports end, and their keys with them. For
//!   one that goes on, an index is taken before its packet is written.
//! - A shard whose tables do not agree any more, or in which nobody's input was handled, is not to be used
//!   but for [`Shard::begin_anew`]. What it keeps is its configuration, its counters, what it has not told
//!   yet, and the queues to other shards, which are told.

use super::Shard;
use crate::handshakes::Handshakes;
use crate::keys::{TransportKey, UpKey};
use crate::media::{Event, FailReason, TransportEvent};
use crate::rng::Rng;
use crate::stats::{Count, DropReason, Ledger};
use crate::time::Time;
use crate::timers::Deadlines;
use crate::track::{Life, Source, Tracks};
use crate::transport::{Phase, TransportTimer};
use crate::transports::Transports;
use relay_port::Message;
use std::time::Duration;

/// Time between two checks of the tables after panics over something unproved: one costs as much as there are
/// transports, and whoever can make us panic can do so again and again.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Whose input is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    None,
    /// A datagram that nobody has proved to have sent, be it from a transport's address.
    Stranger,
    /// A DTLS record from the address of a transport, or what one left in its engine.
    Record(TransportKey),
    Transport(TransportKey),
    /// The same by the controller's id.
    TransportId(u64),
    /// Packets of an up-track on their way out, or its timers.
    Up(UpKey),
    /// What is about a track, by the controller's id.
    Track(u64),
}

/// Whose input led to a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicSource {
    /// A transport, which has ended.
    Transport(u64),
    /// The publisher of a track that comes by a port, whose other side was told.
    BehindPort(u64),
    /// Something that nobody has proved to have sent.
    Unproved,
    /// What ended meanwhile.
    Gone,
}

impl Shard {
    /// To be called after a panic in one of the shard's functions was caught: ends whose input was handled,
    /// counts what was lost and looks whether the tables agree.
    ///
    /// # Errors
    /// Why the shard cannot be trusted any more; [`Shard::begin_anew`] is to be called. The same if this
    /// panics itself.
    pub fn recover(&mut self, now: Time) -> Result<PanicSource, String> {
        self.counters.add(Count::Panics, 1);
        let input = std::mem::replace(&mut self.input, Input::None);
        let source = self.end_source(input)?;
        let Self { waiting, tracks, .. } = self;
        waiting.retain(|key| tracks.ups.contains(key.up) && !tracks.layer(*key).pending.is_empty());
        self.settle();
        if source == PanicSource::Unproved {
            if self.last_check.is_some_and(|at| now.since(at) < CHECK_INTERVAL) {
                return Ok(source);
            }
            self.last_check = Some(now);
        }
        self.check_invariants().map(|()| source)
    }

    /// Ends whoever is the source, if it is known.
    fn end_source(&mut self, input: Input) -> Result<PanicSource, String> {
        match input {
            Input::None => Err("in nobody's input".into()),
            Input::Stranger => Ok(PanicSource::Unproved),
            Input::Record(key) => Ok(self.end_engine(key)),
            Input::Transport(key) => Ok(self.end_by_fault(key)),
            Input::TransportId(id) => {
                Ok(self.transports.key(id).map_or(PanicSource::Gone, |key| self.end_by_fault(key)))
            }
            Input::Up(up_key) => Ok(self.end_publisher_by_fault(up_key)),
            Input::Track(id) => {
                if let Some(up_key) = self.tracks.up_key(id) {
                    return Ok(self.end_publisher_by_fault(up_key));
                }
                let down_key = self.tracks.down_key(id);
                Ok(down_key
                    .map_or(PanicSource::Gone, |key| self.end_by_fault(self.tracks.down(key).transport)))
            }
        }
    }

    /// The rest of the transport goes on.
    fn end_engine(&mut self, key: TransportKey) -> PanicSource {
        let Some(transport) = self.transports.get_mut(key) else { return PanicSource::Gone };
        match &mut transport.phase {
            Phase::Ice => {}
            Phase::Dtls(engine) => *engine = None,
            Phase::Connected(session) => session.engine = None,
        }
        transport.timers.clear(TransportTimer::Dtls);
        transport.arm(key, &mut self.deadlines);
        PanicSource::Unproved
    }

    fn end_publisher_by_fault(&mut self, up_key: UpKey) -> PanicSource {
        let Some(up) = self.tracks.ups.get(up_key) else { return PanicSource::Gone };
        match up.source {
            Source::Peer(key) => self.end_by_fault(key),
            Source::Port { port, .. } => {
                let track_id = up.id;
                self.remove_up_track(up_key);
                self.ports.say(port, Message::Fault { track_id });
                PanicSource::BehindPort(track_id)
            }
        }
    }

    /// Another shard says that a track's packets made it panic.
    pub(super) fn end_publisher(&mut self, track_id: u64) {
        let Some(up_key) = self.tracks.up_key(track_id) else { return };
        match self.tracks.up(up_key).source {
            Source::Peer(_) | Source::Port { life: Life::Held, .. } => {
                self.end_publisher_by_fault(up_key);
            }
            // Its home is elsewhere.
            Source::Port { .. } => {}
        }
    }

    fn end_by_fault(&mut self, key: TransportKey) -> PanicSource {
        let Some(transport) = self.transports.get(key) else { return PanicSource::Gone };
        let id = transport.identity.id;
        self.counters.add(Count::PanicTransports, 1);
        self.fail_transport(key, FailReason::RelayFault);
        PanicSource::Transport(id)
    }

    /// Names what the ledgers miss.
    fn settle(&mut self) {
        let sum = |counts: &[Count]| counts.iter().map(|count| self.counters.get(*count)).sum::<u64>();
        let read = sum(&[Count::RxStun, Count::RxDtls, Count::RxRtp, Count::RxRtcp]);
        let waiting = self.handshakes.counted() as u64;
        let ledgers = [
            (Count::RxDatagrams, read + waiting, Ledger::Datagram, DropReason::Panicked),
            (Count::FanOut, sum(&[Count::TxRtp]), Ledger::Egress, DropReason::EgressPanicked),
            (Count::PipeOffered, sum(&[Count::PipeSent]), Ledger::PipeOut, DropReason::PipeOutPanicked),
            (Count::PipeReceived, sum(&[Count::PipeAccepted]), Ledger::PipeIn, DropReason::PipeInPanicked),
        ];
        for (all, done, ledger, reason) in ledgers {
            let known = done + self.counters.dropped_in(ledger);
            self.counters.drop_many(reason, self.counters.get(all).saturating_sub(known));
        }
    }

    /// Ends all transports, says so to the controller and to the other shards, and makes all tables new.
    /// `seed` as for [`Shard::new`].
    pub fn begin_anew(&mut self, seed: [u8; 32]) {
        self.counters.add(Count::PanicRestarts, 1);
        let transports = std::mem::take(&mut self.transports);
        let mut ended: Vec<u64> = transports.iter().map(|(_, transport)| transport.identity.id).collect();
        ended.sort_unstable();
        self.counters.add(Count::TransportsClosed, ended.len() as u64);
        self.counters.add(Count::PanicTransports, ended.len() as u64);
        for id in ended {
            self.events.push_back(Event::Transport(id, TransportEvent::Failed(FailReason::RelayFault)));
        }
        self.rng = Rng::new(seed);
        self.transports = Transports::new(self.rng.next_u32());
        self.tracks = Tracks::default();
        self.deadlines = Deadlines::default();
        self.waiting = Vec::new();
        self.handshakes = Handshakes::default();
        self.input = Input::None;
        self.settle();
        self.ports.say_reset();
    }
}
