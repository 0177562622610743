//! One thread = one core = one [`Shard`](relay_core::Shard) with its own socket. The only media loop.
//!
//! reap → handle → ports → commands → timeouts → flush. The clock is read once for the whole batch, and once
//! behind it.
//!
//! A panic in the shard costs one transport ([`crate::faults`]). One around it, in here, makes the shard
//! begin anew; if that comes again and again, the process ends (see [`crate::Relay`]), and signaling starts a
//! new relay.

use crate::clock::Clock;
use crate::driver::{OrderOutcome, ShardDriver};
use crate::faults::{PerMinute, panic_text};
use crate::overload::{OverloadControl, Turn};
use crate::usage::Usage;
use relay_control::Counter;
use relay_core::outbox::{self, OutboxFull, Path, Run};
use relay_core::time::Time;
use relay_io::{Io, Route};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Commands handled between two batches of datagrams: opening transports must not hold up media.
const COMMANDS_PER_TURN_MAX: usize = 32;

/// Panics of the loop itself within a minute; one more is the end.
const PANICS_MAX: u32 = 3;

/// Transports closed between two flushes when the process ends.
const CLOSES_PER_FLUSH: usize = 32;

/// Longest wait of a worker.
const WAIT_MAX: Duration = Duration::from_secs(1);

pub struct Worker {
    /// The media plane of this core, with its mailbox and the queues of its ports.
    pub driver: ShardDriver,
    pub io: Io,
    pub clock: Clock,
    /// Decides how long waits gather and what is shed.
    pub overload: OverloadControl,
    /// Set when the process is to end.
    pub stop: Arc<AtomicBool>,
}

impl Worker {
    /// Runs until told to stop.
    ///
    /// # Errors
    /// When waiting for the socket fails for good.
    ///
    /// # Panics
    /// When the loop has panicked again and again.
    pub fn run(&mut self) -> io::Result<()> {
        let mut panics = PerMinute::default();
        loop {
            // What it left behind is the shard, which begins anew, and the back end, whose calls hold alone.
            match catch_unwind(AssertUnwindSafe(|| self.turn_until_stopped())) {
                Ok(result) => return result,
                Err(panic) if panics.exceeds(self.clock.now(), PANICS_MAX) => resume_unwind(panic),
                Err(panic) => self.driver.begin_anew(panic_text(panic.as_ref())),
            }
        }
    }

    fn turn_until_stopped(&mut self) -> io::Result<()> {
        let (mut busy, mut ended) = (false, self.clock.now());
        while !self.stop.load(Ordering::Relaxed) {
            let kept_awake = busy || self.driver.shard.handshakes_wait();
            let wait = if busy { Duration::ZERO } else { self.time_to_wait(ended) };
            self.io.wait(Some(wait))?;
            let begun = self.clock.now();
            let received = self.handle_datagrams(begun);
            // The other shards may begin while we forward.
            self.driver.shard.ring_ports();
            self.driver.handle_ports(begun, &mut SendMemory(self.io.send_queue()));
            let deferred = kept_awake.then(|| self.clock.now());
            busy = self.handle_commands(begun);
            if self.driver.shard.handshakes_wait() {
                self.driver.handle_handshakes(begun, &mut SendMemory(self.io.send_queue()));
            }
            let deferred = deferred.map_or(Duration::ZERO, |since| self.clock.now().since(since));
            if self.driver.shard.poll_timeout().is_some_and(|due| due <= begun) {
                self.driver.handle_deadlines(begun, &mut SendMemory(self.io.send_queue()));
            }
            self.driver.send_events();
            self.io.flush();
            self.driver.shard.ring_ports();
            self.driver.notify_if_answered();
            ended = self.clock.now();
            self.control_overload(&Turn { begun, ended, received, kept_awake, deferred });
        }
        self.close_transports();
        Ok(())
    }

    /// Sends close_notify to the peers, which would otherwise notice the end after 30 s only. As many at a
    /// time as the outbox surely holds.
    fn close_transports(&mut self) {
        while self.driver.shard.close_some(CLOSES_PER_FLUSH, &mut SendMemory(self.io.send_queue())) {
            self.io.flush();
            // What was sent gives its memory back; without, the next ones are lost, and nobody is there to be
            // told.
            let _ = self.io.wait(Some(Duration::ZERO));
        }
    }

    fn time_to_wait(&self, now: Time) -> Duration {
        let due = self.driver.shard.poll_timeout();
        due.map_or(WAIT_MAX, |due| due.since(now).min(WAIT_MAX))
    }

    fn control_overload(&mut self, turn: &Turn) {
        if self.overload.end_turn(turn) {
            self.overload.measure(turn.ended, Usage::of_this_thread());
            self.io.set_hold(self.overload.hold());
            self.driver.shard.shed(turn.ended, self.overload.shed());
        }
    }

    /// Handles a batch; returns how many datagrams it had.
    fn handle_datagrams(&mut self, now: Time) -> usize {
        let driver = &mut self.driver;
        self.io.receive(|received, datagram, outbox| {
            if received.truncated {
                return driver.shard.handle_truncated(datagram.len());
            }
            let path = Path { remote: received.route.remote, local: received.route.local };
            driver.handle_datagram(now, &path, datagram, &mut SendMemory(outbox));
        })
    }

    /// Handles some of the waiting orders. True: more wait.
    fn handle_commands(&mut self, now: Time) -> bool {
        for _ in 0..COMMANDS_PER_TURN_MAX {
            match self.driver.handle_order(now, &mut SendMemory(self.io.send_queue())) {
                OrderOutcome::Nothing => return false,
                OrderOutcome::Done => {}
                OrderOutcome::DoneSlow => return true,
                OrderOutcome::Stats(ticket) => {
                    let io = self.io.counters();
                    let io = io.iter().map(|(name, value)| Counter { name: name.to_owned(), value });
                    self.driver.send_stats(ticket, io);
                }
            }
        }
        true
    }
}

/// The back end's memory, as the core sees it.
struct SendMemory<'a>(&'a mut relay_io::SendQueue);

impl outbox::Outbox for SendMemory<'_> {
    fn lend(&mut self, bytes: usize) -> Result<&mut [u8], OutboxFull> {
        self.0.lend(bytes).map_err(|relay_io::Full| OutboxFull)
    }

    fn commit(&mut self, path: &Path, Run { start, segment, len }: Run) {
        let route = Route { remote: path.remote, local: path.local };
        self.0.commit(&route, relay_io::Run { start, segment, len });
    }
}

const _: () = assert!(relay_io::DATAGRAM_BYTES_MAX == outbox::DATAGRAM_BYTES_MAX);
